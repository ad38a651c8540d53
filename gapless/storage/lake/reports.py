"""Reports in the lake: what the daily checks found, a JSON object each, under `reports/`; kept for a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from gapless.domain.window import DAY_MS, Window, from_ms
from gapless.errors import ConfigError, NotFound, StorageError
from gapless.storage.lake.objects import ObjectStore, Stat, uri_of

PREFIX = "reports/"
_KIND = re.compile(r"[a-z0-9_]{1,32}")
_REPORT = re.compile(r"reports/(?P<kind>[a-z0-9_]{1,32})/(?P<day>\d{4}-\d{2}-\d{2})/[^/]+\.json")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_MOST = 120


def report_key(kind: str, day: Window, run: str) -> str:
    """Where a report lies: `reports/quality/2026-11-20/<run>.json`.

    Args:
        run: the run's name; what a key cannot hold of it becomes a dash (`file_name`).

    Raises:
        ConfigError: the kind is not a plain word.
    """
    if not _KIND.fullmatch(kind):
        raise ConfigError(f"not a kind of report: {kind!r}; write lower-case letters, digits and underscores")
    return f"{PREFIX}{kind}/{from_ms(day.start_ms):%Y-%m-%d}/{file_name(run)}.json"


def file_name(run: str) -> str:
    """A run's name as part of a path, on any disk and in any URL: letters, digits, dots, dashes, underscores."""
    return (_UNFIT.sub("-", run).strip("-.") or "run")[:_NAME_MOST]


def put_report(store: ObjectStore, key: str, data: bytes) -> None:
    """Store a report, in place of an earlier one of the same run; read back.

    Raises:
        ConfigError: the key is not one of a report.
        StorageError: the store did not take it, or gave other bytes back.
    """
    _checked(key)
    store.put(key, data)
    if store.get(key) != data:
        raise StorageError(
            f"{uri_of(store, key)} came back with other bytes than were written; check the store and run it again"
        )


def get_report(store: ObjectStore, key: str) -> bytes:
    """A stored report.

    Raises:
        NotFound: there is none; old ones are removed.
    """
    data = store.get(_checked(key))
    if data is None:
        raise NotFound(f"{uri_of(store, key)} is not there: it never was, or was removed as too old")
    return data


def list_reports(store: ObjectStore, kind: str) -> Iterator[Stat]:
    """The reports of a kind, by day."""
    return (stat for stat in store.list(f"{PREFIX}{kind}/") if _REPORT.fullmatch(stat.key))


def old_reports(store: ObjectStore, now_ms: int, days: int) -> Iterator[tuple[Stat, int]]:
    """The reports of days that ended more than so many days ago, each with the moment (ms) that its day ended.

    By the day in their key, so that all reports of a day go together. What is no report is left alone.
    """
    oldest = now_ms - days * DAY_MS
    for stat in store.list(PREFIX):
        found = _REPORT.fullmatch(stat.key)
        if found and (ended_ms := _ended(found["day"])) <= oldest:
            yield stat, ended_ms


def sweep_reports(store: ObjectStore, now_ms: int, days: int) -> int:
    """Remove the reports that are `old_reports`; how many."""
    removed = 0
    for stat, _ in old_reports(store, now_ms, days):
        store.delete(stat.key)
        removed += 1
    return removed


def _ended(day: str) -> int:
    try:
        start = datetime.fromisoformat(day + "T00:00:00+00:00")
    except ValueError:
        return 1 << 62  # no such date: not ours to remove
    return int(start.timestamp() * 1000) + DAY_MS


def _checked(key: str) -> str:
    if not _REPORT.fullmatch(key):
        raise ConfigError(f"not the key of a report: {key!r}; they are reports/<kind>/<day>/<run>.json")
    return key
