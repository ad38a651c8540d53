"""What has outlived its days, zone by zone: looked at in order, a piece at a time, and removed when that is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from gapless.domain.retention import RetentionRules, is_final, outlived, payload_goes
from gapless.pipeline.quality.docs import ended_ms, old_pages, sweep_docs
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import ObjectStore, Stat, layout, uri_of
from gapless.storage.lake.book_zone import sweep_books
from gapless.storage.lake.reports import old_reports
from gapless.storage.lake.superseded import old_superseded, original_key
from gapless.storage.lake.zones import WORK_KEPT_MS, delete, list_raw, list_refused, old_work
from gapless.storage.mysql.exports import COPYING, LEAVING, read_exports
from gapless.storage.mysql.manifest import loaded_since
from gapless.storage.mysql.partitions import Month
from gapless.storage.mysql.receipts import load_states

T = TypeVar("T")

_AT_ONCE = 500
"""Objects that the books are asked about in one query."""


@dataclass(frozen=True, slots=True)
class Outlived:
    """Something that has been kept its days.

    Attributes:
        where: its URI or path.
        since_ms: from when its days are counted, UTC.
        goes: whether it is removed; what is not is held back by unfinished work.
        why: the reason, either way.
    """

    where: str
    since_ms: int
    bytes: int
    goes: bool
    why: str


@dataclass(frozen=True, slots=True)
class Zone:
    """A kind of thing that is kept for a time.

    Attributes:
        days: how many; None for ever.
        look: gives what has outlived its days, and removes of it what goes, each before it is given, when told to.
    """

    name: str
    days: int | None
    look: Callable[[Runtime, int, int, bool], Iterator[Outlived]]


def zones(rules: RetentionRules) -> tuple[Zone, ...]:
    """All of them, in the order in which they are swept."""
    return (
        Zone("raw", rules.raw.days, _raw),
        Zone("work", WORK_KEPT_MS // 86_400_000, _work),
        Zone("superseded", rules.superseded.days, _superseded),
        Zone("quarantine", rules.quarantine.days, _refused),
        Zone("books", rules.books.days, _books),
        Zone("reports", rules.reports.days, _reports),
        Zone("data_docs", rules.reports.days, _data_docs),
    )


def _raw(rt: Runtime, now_ms: int, days: int, apply: bool) -> Iterator[Outlived]:
    """Payloads as received; those of loads that are not finished stay."""
    store = rt.lake.store
    old = ((stat, batch) for stat, batch in list_raw(store) if outlived(stat.modified_ms, now_ms, days))
    for piece in _pieces(old):
        states = load_states(rt.db, {batch for _, batch in piece})
        for stat, batch in piece:
            loads = states.get(batch, [])
            goes = payload_goes(stat.modified_ms, now_ms, days, loads)
            if goes and apply:
                goes = _unless_renewed(store, stat)
            yield _object(store, stat, goes, _PAYLOAD_GOES if is_final(loads) else _payload_stays(bool(loads)))


_PAYLOAD_GOES = "loaded, and archived in the lake"


def _payload_stays(known: bool) -> str:
    if known:
        return "held: its load is not archived, or its window was not over; run `gapless etl` for that window"
    return "held: no receipt says that it was loaded; run `gapless etl` for that window"


def _unless_renewed(store: ObjectStore, stat: Stat) -> bool:
    """Delete the version that was judged; one that a run has written again since then is in use."""
    now = store.head(stat.key)
    if now is not None and now.etag != stat.etag:
        return False
    delete(store, stat.key)
    return True


def _work(rt: Runtime, now_ms: int, days: int, apply: bool) -> Iterator[Outlived]:
    """Tables between two steps: they follow from the payloads, so a run that comes late makes its own again."""
    store = rt.lake.store
    for stat in old_work(store, now_ms):
        if apply:
            delete(store, stat.key)
        yield _object(store, stat, True, "left by a run that did not come back; it follows from the payloads")


def _superseded(rt: Runtime, now_ms: int, days: int, apply: bool) -> Iterator[Outlived]:
    """Earlier versions of objects; those of a month whose export is not over stay until it is."""
    store = rt.lake.store
    unfinished = {
        (export.dataset, export.month) for export in read_exports(rt.db) if export.state in (COPYING, LEAVING)
    }
    for stat in old_superseded(store, now_ms, days):
        live = layout.parse_key(original_key(stat.key) or "")
        held = live is not None and (live.dataset, Month.of_ms(live.period_start_ms)) in unfinished
        if not held and apply:
            delete(store, stat.key)
        why = "held: the export of its month is not over; run `gapless export-month`" if held else "replaced since"
        yield _object(store, stat, not held, why)


def _refused(rt: Runtime, now_ms: int, days: int, apply: bool) -> Iterator[Outlived]:
    """Files of the archive that were not trusted; only those go in whose place another was loaded."""
    store = rt.lake.store
    old = ((stat, path) for stat, path, _ in list_refused(store) if outlived(stat.modified_ms, now_ms, days))
    for piece in _pieces(old):
        loaded = loaded_since(rt.db, {path for _, path in piece})
        for stat, path in piece:
            goes = path in loaded
            if goes and apply:
                delete(store, stat.key)
            why = "another version of the file was loaded" if goes else "held: nothing was loaded in its place"
            yield _object(store, stat, goes, why)


def _books(rt: Runtime, now_ms: int, days: int, apply: bool) -> Iterator[Outlived]:
    """Exports of the books, but for the newest whole one and what kept ones share with them."""
    store = rt.lake.store
    for stat in sweep_books(store, now_ms, days, dry=not apply):
        yield _object(store, stat, True, "a newer export holds the books")


def _reports(rt: Runtime, now_ms: int, days: int, apply: bool) -> Iterator[Outlived]:
    store = rt.lake.store
    for stat, since_ms in old_reports(store, now_ms, days):
        if apply:
            delete(store, stat.key)
        yield Outlived(uri_of(store, stat.key), since_ms, stat.size, True, "a report of a day long ago")


def _data_docs(rt: Runtime, now_ms: int, days: int, apply: bool) -> Iterator[Outlived]:
    """Pages of days long ago; the list of pages is made anew when some go."""
    home = rt.settings.data_docs_dir
    found = [
        Outlived(str(folder), ended_ms(folder), _bytes_below(folder), True, "the pages of a day long ago")
        for folder in old_pages(home, now_ms, days)
    ]
    if apply:
        sweep_docs(home, now_ms, days)
    yield from found


def _pieces(found: Iterable[T]) -> Iterator[list[T]]:
    left = iter(found)
    while piece := list(islice(left, _AT_ONCE)):
        yield piece


def _object(store: ObjectStore, stat: Stat, goes: bool, why: str) -> Outlived:
    return Outlived(uri_of(store, stat.key), stat.modified_ms, stat.size, goes, why)


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:  # removed by another sweep meanwhile
                continue
    return total
