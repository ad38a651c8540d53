"""Everything of the spool that is over, published: which hours, in what order, and what to do when one fails."""

from __future__ import annotations

import time
from collections.abc import Collection

from gapless.domain.live import Kind
from gapless.domain.receipts import Failure
from gapless.domain.window import HOUR_MS, Window, iso
from gapless.errors import ConfigError, GaplessError, NotYet, StorageError
from gapless.pipeline.runtime import Runtime
from gapless.pipeline.stream_archive.publish import OnProgress, publish_hour
from gapless.pipeline.stream_archive.receipts import PublishReport, StreamHourReceipt, WaitingHour
from gapless.storage.lake.objects import Damaged
from gapless.storage.spool import SpoolHour, spooled_hours, streams_root

SETTLED_MS = 300_000
"""An hour is published once it has been over this long; what comes later still is merged in by a later call."""


def publish_closed(
    rt: Runtime,
    *,
    now_ms: int,
    hour_ms: int | None = None,
    kinds: Collection[Kind] | None = None,
    dry_run: bool = False,
    link: str = "",
    on_progress: OnProgress = lambda line: None,
) -> PublishReport:
    """Publish every spooled hour that has been over for five minutes, oldest first; losses before what they explain.

    One hour that fails keeps no other from being published, unless the lake, MySQL or the disk is away: then the rest
    is left for the next call.

    Args:
        now_ms: the host's clock; an hour closed too early by it costs a second merge, never a row.
        hour_ms: only the hour that begins then.
        kinds: only these.
        link: where a person can look at the run.
        dry_run: only say what would be published.

    Raises:
        ConfigError: `hour_ms` is not the beginning of an hour.
        NotYet: that hour is not over for five minutes.
        StorageError: the spool cannot be read.
    """
    begun = time.monotonic()
    _check(hour_ms, now_ms)
    done: list[StreamHourReceipt] = []
    waiting: list[WaitingHour] = []
    errors: list[Failure] = []
    away = False
    for hour in _spooled(rt, hour_ms, kinds):
        if not _over(hour.hour_ms, now_ms):
            waiting.append(_waiting(hour, "open"))
        elif dry_run or away:
            waiting.append(_waiting(hour, "closed"))
        else:
            try:
                receipt = publish_hour(rt, hour, on_progress, link=link)
            except GaplessError as error:
                errors.append(_failure(hour, error))
                away = isinstance(error, StorageError) and not isinstance(error, Damaged)
                continue
            if receipt.files:
                done.append(receipt)
            else:
                waiting.append(_waiting(hour, "writing"))
    return PublishReport(tuple(done), tuple(waiting), tuple(errors), round(time.monotonic() - begun, 3))


def _check(hour_ms: int | None, now_ms: int) -> None:
    if hour_ms is None:
        return
    if hour_ms % HOUR_MS:
        raise ConfigError(f"{iso(hour_ms)} is not the beginning of an hour: write 2026-11-20T16")
    if not _over(hour_ms, now_ms):
        ready_ms = hour_ms + HOUR_MS + SETTLED_MS
        raise NotYet(
            f"the hour of {iso(hour_ms)} is published from {iso(ready_ms)} on, five minutes after its end",
            retry_after_s=(ready_ms - now_ms) / 1000,
        )


def _over(hour_ms: int, now_ms: int) -> bool:
    return hour_ms + HOUR_MS + SETTLED_MS <= now_ms


def _spooled(rt: Runtime, hour_ms: int | None, kinds: Collection[Kind] | None) -> list[SpoolHour]:
    try:
        found = spooled_hours(streams_root(rt.settings.spool_dir))
    except OSError as error:
        raise StorageError(
            f"{error.filename or rt.settings.spool_dir}: the spool cannot be read: {error.strerror or error}"
        ) from error
    chosen = [
        hour for hour in found if (hour_ms is None or hour.hour_ms == hour_ms) and (kinds is None or hour.kind in kinds)
    ]
    return sorted(chosen, key=lambda each: (each.hour_ms, each.kind is not Kind.GAPS, each))


def _waiting(hour: SpoolHour, why: str) -> WaitingHour:
    return WaitingHour(str(hour.kind), hour.exchange, iso(hour.hour_ms), hour.bytes, hour.files, why)


def _failure(hour: SpoolHour, error: GaplessError) -> Failure:
    window = Window(hour.hour_ms, hour.hour_ms + HOUR_MS)
    return Failure(f"{hour.kind} {hour.exchange}", "", str(window), error.kind, str(error))
