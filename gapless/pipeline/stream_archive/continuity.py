"""Which trades are missing: ids within an hour, against the hours around it, and what `md.gaps` says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gapless.domain.live import GapEvent, Kind
from gapless.domain.window import HOUR_MS, iso
from gapless.pipeline.stream_archive.columns import dataset_of
from gapless.pipeline.stream_archive.receipts import TradeHole
from gapless.storage.lake.hour_layout import HourFooter, HourObject, SymbolRange
from gapless.storage.lake.hour_merge import IdHole
from gapless.storage.lake.hours import HourLake

LOOK_BACK_HOURS = 24
"""How far back a quiet symbol's last trade is looked for."""
NEAR_MS = 60_000
"""An event explains a hole when its times are this near."""


def holes_around(lake: HourLake, target: HourObject, footer: HourFooter) -> list[IdHole]:
    """Missing ids between an object and what lies before and after it, by footers alone.

    A symbol with no trade in the 24 hours before has no beginning to compare with.

    Raises:
        StorageError: the store is away, or an object is damaged.
    """
    found: list[IdHole] = []
    left = {each.symbol: each for each in footer.ranges if each.rows}
    for back in range(1, LOOK_BACK_HOURS + 1):
        if not left:
            break
        for earlier in _ranges(lake, target, -back):
            if (here := left.pop(earlier.symbol, None)) is not None:
                found += _between(earlier, here)
    ours = {each.symbol: each for each in footer.ranges if each.rows}
    for later in _ranges(lake, target, 1):
        if later.symbol in ours:
            found += _between(ours[later.symbol], later)
    return found


def explained(holes: Iterable[IdHole], events: Sequence[GapEvent]) -> list[TradeHole]:
    """Holes with what is known of their cause, in order of symbol and id, each once. Pure."""
    by_symbol: dict[str, list[GapEvent]] = {}
    for event in events:
        if event.kind is Kind.TRADES:
            by_symbol.setdefault(event.symbol, []).append(event)
    return [
        TradeHole(
            hole.symbol,
            hole.first_id,
            hole.last_id,
            hole.ids,
            iso(hole.after_ms),
            iso(hole.before_ms),
            _cause(hole, by_symbol),
        )
        for hole in sorted(set(holes), key=lambda each: (each.symbol, each.first_id))
    ]


def events_around(lake: HourLake, exchange: str, hour_ms: int, spooled: Iterable[GapEvent]) -> list[GapEvent]:
    """The losses told in the hours around one: what the lake holds of `md.gaps`, and what the spool does still.

    Raises:
        StorageError: the store is away, or an object is damaged.
    """
    found = list(spooled)
    for hour in (hour_ms - HOUR_MS, hour_ms, hour_ms + HOUR_MS):
        for rows in lake.read(dataset_of(Kind.GAPS), exchange, hour):
            for row in rows.to_pylist():
                told = {
                    name: row[name] for name in ("symbol", "reason", "from_id", "to_id", "count", "repaired", "detail")
                }
                at_ms = int(row["ts"].timestamp() * 1000)
                ids = {"first": row["first_identity"], "last": row["last_identity"]}
                found.append(GapEvent(kind=Kind(row["kind"]), exchange=exchange, at_ms=at_ms, **told, **ids))
    return found


def _ranges(lake: HourLake, target: HourObject, hours: int) -> Iterator[SymbolRange]:
    footer = lake.footer(HourObject(target.dataset, target.exchange, target.hour_ms + hours * HOUR_MS, target.bucket))
    yield from () if footer is None else (each for each in footer.ranges if each.rows)


def _between(earlier: SymbolRange, later: SymbolRange) -> list[IdHole]:
    if later.first_id <= earlier.last_id + 1:
        return []
    return [IdHole(later.symbol, earlier.last_id + 1, later.first_id - 1, earlier.last_ts_ms, later.first_ts_ms)]


def _cause(hole: IdHole, events: Mapping[str, Sequence[GapEvent]]) -> str:
    """By the event that names the ids, the latest and narrowest; else by what happened near its time."""
    ours = events.get(hole.symbol, ())
    naming = [event for event in ours if _names(event, hole)]
    if naming:
        told = max(naming, key=lambda event: (event.at_ms, int(event.first) - int(event.last), event.repaired))
        if not told.repaired or told.count == 0:  # else they were brought, and are missing for another reason
            return _said(told)
    for event in (*(each for each in ours if not each.first), *events.get("", ())):
        start, end = _ms(event.from_id, event.at_ms), _ms(event.to_id, event.at_ms)
        if min(start, end) <= hole.before_ms + NEAR_MS and max(start, end) >= hole.after_ms - NEAR_MS:
            return _said(event)
    return ""


def _names(event: GapEvent, hole: IdHole) -> bool:
    if not (event.first.isdecimal() and event.last.isdecimal()):
        return False
    return int(event.first) <= hole.last_id and hole.first_id <= int(event.last)


def _said(event: GapEvent) -> str:
    return f"{event.reason}: {event.detail}" if event.detail else event.reason


def _ms(stream_id: str, otherwise: int) -> int:
    """The time that a Stream's id carries."""
    head = stream_id.partition("-")[0]
    return int(head) if head.isascii() and head.isdigit() else otherwise
