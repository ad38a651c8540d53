"""One object's rows: what is stored and what is new as one, in order, each row once; and the ids that are not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.stream_columns import StreamShape
from gapless.domain.window import HOUR_MS
from gapless.storage.lake.hour_layout import HourObject, SymbolRange
from gapless.storage.lake.hour_runs import Runs, changes, ordered

PIECE_ROWS = 131_072
"""A symbol with more rows is merged in equal slices of its hour."""
CONFLICTS = 10_000
"""Conflicting rows that are kept apart of one object; all are counted."""


@dataclass(frozen=True, slots=True)
class IdHole:
    """Ids of the exchange that are not stored, between two rows that are.

    Attributes:
        first_id, last_id: of the missing.
        after_ms, before_ms: the times of the rows around them.
    """

    symbol: str
    first_id: int
    last_id: int
    after_ms: int
    before_ms: int

    @property
    def ids(self) -> int:
        """How many."""
        return self.last_id - self.first_id + 1


@dataclass
class MergeTally:
    """What became of an object's rows.

    Attributes:
        stored: rows that were there. added: rows that were not. duplicates: rows sent again, with the same values.
        conflicts: rows of a known key with other values, as they came; the stored or first seen one stays.
        conflicted: how many of those.
    """

    stored: int = 0
    added: int = 0
    duplicates: int = 0
    conflicted: int = 0
    conflicts: list[pa.Table] = field(default_factory=list)
    ranges: list[SymbolRange] = field(default_factory=list)
    holes: list[IdHole] = field(default_factory=list)


class _Ahead:
    """Sorted rows of an object, taken from the front."""

    def __init__(self, groups: Iterable[pa.Table]) -> None:
        self._groups = iter(groups)
        self._held: pa.Table | None = next(self._groups, None)

    @property
    def symbol(self) -> str | None:
        """Of the next row."""
        if self._held is None:
            return None
        found: str = self._held["symbol"][0].as_py()
        return found

    def take(self, symbol: str, below_ms: int) -> Iterator[pa.Table]:
        """The next rows as long as they are of the symbol and before a time."""
        while self._held is not None:
            belongs = pc.and_(
                pc.equal(self._held["symbol"], symbol), pc.less(self._held["ts"].cast(pa.int64()), below_ms)
            ).to_numpy()
            count = len(belongs) if belongs.all() else int(np.argmin(belongs))
            if count:
                yield self._held.slice(0, count)
            if count < len(belongs):
                self._held = self._held.slice(count)
                return
            self._held = next(self._groups, None)


def merged(
    target: HourObject,
    stored: Iterable[pa.Table],
    held: Iterable[SymbolRange],
    runs: Runs,
    tally: MergeTally,
    *,
    piece_rows: int = PIECE_ROWS,
) -> Iterator[pa.Table]:
    """All rows of an object in order, piece by piece; `tally` is filled on the way.

    Args:
        stored: the object's row groups as they are, in order; none when there is none.
        held: what its footer says of them.
    """
    shape, waiting, ahead = target.shape, runs.symbols(target), _Ahead(stored)
    sizes = Counter({each.symbol: each.rows for each in held}) + Counter(waiting)
    new = iter(sorted(waiting))
    upcoming = next(new, None)
    while upcoming is not None or ahead.symbol is not None:
        symbol = min(name for name in (upcoming, ahead.symbol) if name is not None)
        seen = _Seen(symbol, shape)
        slices = max(1, -(-sizes[symbol] // piece_rows))
        for number in range(slices):
            start = target.hour_ms + HOUR_MS * number // slices
            end = target.hour_ms + HOUR_MS * (number + 1) // slices
            for old, fresh in _pieces(ahead, runs, target, symbol, start, end, alone=symbol != upcoming):
                rows = _union(shape, old, fresh, tally)
                seen.add(rows)
                yield rows
        tally.ranges.append(seen.range())
        tally.holes.extend(seen.holes())
        upcoming = next(new, None) if symbol == upcoming else upcoming


def _pieces(
    ahead: _Ahead, runs: Runs, target: HourObject, symbol: str, start: int, end: int, *, alone: bool
) -> Iterator[tuple[pa.Table, pa.Table]]:
    empty = target.shape.schema.empty_table()
    if alone:  # nothing new: what is stored passes group by group
        yield from ((old, empty) for old in ahead.take(symbol, end))
        return
    yield pa.concat_tables([empty, *ahead.take(symbol, end)]), runs.rows(target, symbol, start, end)


def _union(shape: StreamShape, old: pa.Table, new: pa.Table, tally: MergeTally) -> pa.Table:
    tally.stored += old.num_rows
    if not new.num_rows:
        return old
    rows = pa.concat_tables([old, new]).combine_chunks()
    is_new = np.concatenate([np.zeros(old.num_rows, np.int64), np.ones(new.num_rows, np.int64)])
    seen_ns = rows["received_ns"].to_numpy()
    order = ordered(rows, shape.key, is_new, seen_ns)  # of one key the stored row is first, then the first one seen
    by_key = rows.take(pa.array(order))
    starts = changes(by_key, shape.key)
    first = np.zeros(rows.num_rows, bool)
    first[starts] = True
    if len(starts) < rows.num_rows:
        _tell_others(shape, by_key, first, tally)
    kept = by_key.filter(pa.array(first))
    tally.added += int(is_new[order][first].sum())
    kept = kept.take(pa.array(ordered(kept, shape.order)))
    return _numbered(kept) if "sequence" in shape.schema.names else kept


def _tell_others(shape: StreamShape, by_key: pa.Table, first: np.ndarray, tally: MergeTally) -> None:
    """Rows that share the key of the one before: sent again, or in conflict with it."""
    others = np.flatnonzero(~first)
    heads = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))[others]
    theirs, kept = by_key.take(pa.array(others)), by_key.take(pa.array(heads))
    same = np.ones(len(others), bool)
    for name in shape.values:
        equal = pc.equal(theirs[name], kept[name])
        both_null = pc.and_(pc.is_null(theirs[name]), pc.is_null(kept[name]))
        same &= pc.or_kleene(both_null, equal).fill_null(False).to_numpy()
    tally.duplicates += int(same.sum())
    if not same.all():
        conflicts = theirs.filter(pa.array(~same))
        room = CONFLICTS - min(tally.conflicted, CONFLICTS)
        tally.conflicts.append(conflicts.slice(0, room))
        tally.conflicted += conflicts.num_rows


def _numbered(rows: pa.Table) -> pa.Table:
    """`sequence` counted anew in every millisecond."""
    starts = changes(rows, ("ts",))
    first = np.zeros(rows.num_rows, bool)
    first[starts] = True
    numbers = np.arange(rows.num_rows) - np.maximum.accumulate(np.where(first, np.arange(rows.num_rows), 0))
    place = rows.schema.get_field_index("sequence")
    return rows.set_column(place, rows.schema.field(place), pa.array(numbers.astype(np.int32)))


class _Seen:
    """What an object holds of one symbol."""

    def __init__(self, symbol: str, shape: StreamShape) -> None:
        self._symbol, self._shape = symbol, shape
        self._rows = 0
        self._first_ms = self._last_ms = 0
        self._ids: list[np.ndarray] = []
        self._times: list[np.ndarray] = []
        self._bounds: tuple[int, int] | None = None

    def add(self, rows: pa.Table) -> None:
        """More rows, later ones."""
        if not rows.num_rows:
            return
        times = rows["ts"].cast(pa.int64()).to_numpy()
        if not self._rows:
            self._first_ms = int(times[0])
        self._last_ms, self._rows = int(times[-1]), self._rows + rows.num_rows
        if self._shape.ids is not None:
            ids = rows[self._shape.ids].to_numpy()
            low, high = int(ids.min()), int(ids.max())
            self._bounds = (
                (low, high) if self._bounds is None else (min(self._bounds[0], low), max(self._bounds[1], high))
            )
            if self._shape.contiguous:
                self._ids.append(ids)
                self._times.append(times)

    def range(self) -> SymbolRange:
        """In the form of the footer."""
        return SymbolRange(self._symbol, self._rows, *(self._bounds or (-1, -1)), self._first_ms, self._last_ms)

    def holes(self) -> list[IdHole]:
        """The missing ids, in order; none where the exchange's ids have holes of their own."""
        if not self._ids:
            return []
        ids, times = np.concatenate(self._ids), np.concatenate(self._times)
        order = np.argsort(ids, kind="stable")
        ids, times = ids[order], times[order]
        found = np.flatnonzero(np.diff(ids) > 1)
        return [
            IdHole(self._symbol, int(ids[at]) + 1, int(ids[at + 1]) - 1, int(times[at]), int(times[at + 1]))
            for at in found.tolist()
        ]
