"""What to write, given what is stored: a pure comparison of two tables of rows, whole columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import Shape
from gapless.domain.keys import Indices, row_keys
from gapless.storage.mysql.prepare import BARS, ranks_of

Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class Diff:
    """What becomes of each offered row, as row numbers in the offered and in the stored table.

    A null disagrees with nothing: a value takes its place, whatever the ranks.

    Attributes:
        fresh: not stored yet.
        restated, restated_old: stored with other values, which these replace; aligned pairs, like those below.
        refused, refused_old: differ from a stored row of a higher-ranking source, which stays.
        confirmed, confirmed_old: stored with these very values by a source of lower rank; rewritten so that the rank is
            kept.
        filled, filled_old: those that bring values for stored nulls and replace none; some may be refused otherwise.
        unchanged: how many are stored and disagree in nothing (the confirmed included, and the filled).
    """

    fresh: Indices
    restated: Indices
    restated_old: Indices
    refused: Indices
    refused_old: Indices
    confirmed: Indices
    confirmed_old: Indices
    filled: Indices
    filled_old: Indices
    unchanged: int

    @property
    def outranked(self) -> int:
        """How many were refused."""
        return len(self.refused)

    @property
    def written(self) -> Indices:
        """Rows to write, in key order."""
        return np.sort(np.concatenate([self.fresh, self.restated, self.confirmed, self.filled]))

    @property
    def replaced(self) -> int:
        """How many of the written rows take the place of stored ones."""
        return len(self.restated) + len(self.confirmed) + len(self.filled)

    def fresh_alone(self) -> Diff:
        """The same without any change to what is stored: all that is counts as unchanged."""
        none = self.fresh[:0]
        stored = len(self.restated) + len(self.refused) + self.unchanged
        return Diff(self.fresh, none, none, none, none, none, none, none, none, stored)


def diff(offered: pa.Table, stored: pa.Table, what: str = "diff", shape: Shape = BARS) -> Diff:
    """Compare rows in key order with what is stored around them.

    A stored row is replaced by a different one unless its source knows better (`gapless.domain.schema.knowledge`).

    Args:
        offered: as `gapless.storage.mysql.prepare` leaves them.
        stored: the same columns (more are allowed); any order, each key once; may hold rows that are not offered.
    """
    stored = stored.combine_chunks()
    new_keys, old_keys = row_keys(shape, [offered, stored], what)
    order = np.argsort(old_keys, kind="stable")
    at = np.searchsorted(old_keys, new_keys, sorter=order)
    candidate = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(new_keys), dtype=np.int64)
    known: Flags = (old_keys[candidate] == new_keys) if len(order) else np.zeros(len(new_keys), dtype=np.bool_)
    new, old = np.flatnonzero(known), candidate[known]
    same = np.ones(len(new), dtype=np.bool_)
    fills = np.zeros(len(new), dtype=np.bool_)
    for name in shape.values:
        equal = (_words(offered[name])[new] == _words(stored[name])[old]).all(axis=1)
        if offered[name].null_count or stored[name].null_count:
            blank, hole = _nulls(offered[name])[new], _nulls(stored[name])[old]
            equal |= blank | hole
            fills |= hole & ~blank
        same &= equal
    new_rank, old_rank = ranks_of(offered["source"], what)[new], ranks_of(stored["source"], what)[old]
    lower = new_rank < old_rank
    changed, refused = ~same & ~lower, ~same & lower
    confirmed, filled = same & ~fills & (new_rank > old_rank), fills & ~changed
    return Diff(
        fresh=np.flatnonzero(~known),
        restated=new[changed],
        restated_old=old[changed],
        refused=new[refused],
        refused_old=old[refused],
        confirmed=new[confirmed],
        confirmed_old=old[confirmed],
        filled=new[filled],
        filled_old=old[filled],
        unchanged=int(same.sum()),
    )


def rows_to_write(
    offered: pa.Table, stored: pa.Table, changes: Diff, what: str = "diff", shape: Shape = BARS
) -> pa.Table:
    """The rows of `changes.written` as they shall be stored, in that order: where one of two is null, the other."""
    written = changes.written
    whole = len(written) == offered.num_rows
    if not shape.nullable or not changes.replaced:
        return offered if whole else offered.take(pa.array(written))
    new = np.concatenate([changes.restated, changes.confirmed, changes.filled])
    old = np.concatenate([changes.restated_old, changes.confirmed_old, changes.filled_old])
    order = np.argsort(new, kind="stable")
    united = unite(offered.take(pa.array(new[order])), stored.take(pa.array(old[order])), what, shape)
    both = pa.concat_tables([offered.take(pa.array(changes.fresh)), united])
    places = np.argsort(np.concatenate([changes.fresh, new[order]]), kind="stable")
    return both.take(pa.array(places)).combine_chunks()


def unite(new: pa.Table, old: pa.Table, what: str, shape: Shape) -> pa.Table:
    """Aligned rows of one key each: the values of the better source, the later where none is, and the other's for its
    nulls."""
    lower = pa.array(ranks_of(new["source"], what) < ranks_of(old["source"], what))
    columns = []
    for name in shape.schema.names:
        ours, theirs = new[name], old[name]
        if name in shape.nullable:
            ours, theirs = pc.coalesce(ours, theirs), pc.coalesce(theirs, ours)
        columns.append(pc.if_else(lower, theirs, ours))
    return pa.table(columns, schema=shape.schema)


def _nulls(column: pa.ChunkedArray) -> Flags:
    found: Flags = column.is_null().to_numpy()
    return found


def _words(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A column's values as rows of machine words, equal when the values are: a decimal128 is two, all others are one.

    Nulls are any words.
    """
    whole = column.combine_chunks()
    chunk = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    if not pa.types.is_decimal128(chunk.type):
        kind = pa.int64() if pa.types.is_timestamp(chunk.type) else chunk.type
        plain = chunk.cast(kind).fill_null(0) if chunk.null_count else chunk.cast(kind)
        return np.asarray(plain.to_numpy(zero_copy_only=False)).astype(np.int64).reshape(-1, 1)
    values = np.frombuffer(chunk.buffers()[1] or b"", dtype=np.int64)
    start = chunk.offset * 2
    return values[start : start + len(chunk) * 2].reshape(-1, 2)
