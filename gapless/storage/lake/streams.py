"""Merging objects that are never whole in memory: sorted rows by runs of whole symbols, in step. Pure, lazy."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

import pyarrow as pa

from gapless.domain.datasets import Shape
from gapless.storage.lake.merge import Merged, merge_rows, refuse_shrinking

RUN_ROWS = 32_768
"""About how many rows a run holds: more when one symbol alone has more."""


class SymbolRuns:
    """Sorted rows that come in pieces (row groups), given out by runs of whole symbols.

    Holds a run, a piece, and what the last symbol of the run has.
    """

    def __init__(self, shape: Shape, pieces: Iterable[pa.Table], *, run_rows: int = RUN_ROWS) -> None:
        self._pieces = iter(pieces)
        self._run_rows = run_rows
        self._held = shape.schema.empty_table()
        self._ready = 0
        """How many of the rows held are of symbols that are complete."""
        self._ended = False

    def last_symbol(self) -> str | None:
        """The last symbol of the next run; None at the end."""
        while not self._ended and (self._held.num_rows < self._run_rows or not self._ready):
            piece = next(self._pieces, None)
            if piece is None:
                self._ended = True
                self._ready = self._held.num_rows
            else:
                self._held = pa.concat_tables([self._held, piece]) if self._held.num_rows else piece
                self._ready = _start_of_last_symbol(self._held)
        return None if not self._ready else str(self._held["symbol"][self._ready - 1].as_py())

    def upto(self, symbol: str) -> pa.Table:
        """Take the rows of all symbols up to this one, which is not beyond the next run."""
        if self.last_symbol() is None:
            return self._held
        if self._held["symbol"][self._ready - 1].as_py() <= symbol:
            count = self._ready
        else:
            count = _first_beyond(self._held["symbol"], self._ready, symbol)
        taken, self._held = self._held.slice(0, count), self._held.slice(count)
        self._ready -= count
        return taken


def merged_runs(
    shape: Shape,
    old: Iterable[pa.Table],
    new: Iterable[pa.Table],
    removed: Iterable[pa.Table] = (),
    *,
    name: str,
) -> Iterator[tuple[pa.Table, Merged]]:
    """Merge two sorted streams of rows (see `merge_rows`) run by run; each run of the new side, and what became of it.

    Args:
        removed: rows whose keys are taken out of the old side.
        name: of the object, for errors.

    Raises:
        LakeShrink: a run would lose rows that were not named.
        ValidationError: a key comes twice, or a source code is unknown.
    """
    sides = [SymbolRuns(shape, side) for side in (old, new, removed)]
    while True:
        ends = [end for side in sides if (end := side.last_symbol()) is not None]
        if not ends:
            return
        boundary = min(ends)
        held, offered, named = (side.upto(boundary) for side in sides)
        merged = merge_rows(shape, held, offered, removed=named if named.num_rows else None)
        if merged.changed or not merged.table.equals(held):
            refuse_shrinking(shape, held, merged.table, named if named.num_rows else None, name=name)
        yield offered, merged


def _start_of_last_symbol(rows: pa.Table) -> int:
    """The row at which the last symbol begins; all before it are of symbols that are complete."""
    symbols = rows["symbol"]
    last = symbols[-1].as_py() if rows.num_rows else ""
    return bisect_left(range(rows.num_rows), last, key=lambda row: symbols[row].as_py())


def _first_beyond(symbols: pa.ChunkedArray, count: int, symbol: str) -> int:
    """The first of `count` sorted symbols that is above `symbol`."""
    return bisect_right(range(count), symbol, key=lambda row: symbols[row].as_py())
