"""The merge behind every rewrite of a lake object: what was there, united with what is new. Pure and vectorised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.domain.schema import OHLCV, OHLCV_KEY, OHLCV_VALUES, Source, knowledge
from gapless.domain.window import iso
from gapless.errors import LakeShrink, ValidationError
from gapless.storage.lake.parquet import canonical

Rows: TypeAlias = npt.NDArray[np.int64]

_TS_BITS = 43
_TS_END = 1 << _TS_BITS
"""Open times fit into this many milliseconds until the year 2248; the rest of an int64 numbers the series."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge gives.

    Attributes:
        table: every bar of both sides once, in canonical order.
        added: rows that only the new side has.
        replaced_old, replaced_new: bars whose values changed, aligned row by row: the restatements.
        confirmed: rows with equal values that a better source has now confirmed (their `source` changes, no value).
        unchanged: rows of the new side that changed nothing.
        outranked: rows of the new side with other values, refused because their source knows less.
        removed: rows of the old side taken out because the caller named them.
    """

    table: pa.Table
    added: int
    replaced_old: pa.Table
    replaced_new: pa.Table
    confirmed: int
    unchanged: int
    outranked: int
    removed: int = 0

    @property
    def replaced(self) -> int:
        """How many bars changed their values."""
        return int(self.replaced_old.num_rows)

    @property
    def changed(self) -> bool:
        """Whether the object has to be written."""
        return bool(self.added or self.replaced or self.confirmed or self.removed)


def merge_bars(old: pa.Table | None, new: pa.Table, *, removed: pa.Table | None = None) -> Merged:
    """Unite by key (exchange, symbol, interval, ts).

    Where both sides hold a bar: a source of lower rank (`gapless.domain.schema.knowledge`) never replaces one of
    higher rank; of equal or higher rank, the new one wins. A bar whose values are equal stays as it is, unless the new
    source ranks higher: then only `source` changes. So a merge done twice changes nothing the second time.

    Args:
        old: the object's bars, or None when there is no object.
        new: the bars at hand, in any order.
        removed: keys (the four key columns) to take out of the old side; one that `new` brings stays.

    Raises:
        ValidationError: a side is not canonical bars, or holds a key twice.
    """
    new = canonical(new)
    old = OHLCV.empty_table() if old is None else canonical(old)
    sides = [old, new] if removed is None else [old, new, removed.select(list(OHLCV_KEY))]
    old_keys, new_keys, *rest = _keys(sides)
    old_order, new_order = _order(old_keys, old, "stored"), _order(new_keys, new, "new")
    old_keys, new_keys = old_keys[old_order], new_keys[new_order]

    at = np.searchsorted(old_keys, new_keys)
    met = np.zeros(len(new_keys), bool)
    inside = at < len(old_keys)
    met[inside] = old_keys[at[inside]] == new_keys[inside]
    old_met, new_met = old_order[at[met]], new_order[met]  # row numbers of the bars that both sides hold

    differs = _differing(old, old_met, new, new_met)
    old_rank, new_rank = _ranks(old)[old_met], _ranks(new)[new_met]
    replaces = differs & (new_rank >= old_rank)
    confirms = ~differs & (new_rank > old_rank)
    takes_new = replaces | confirms

    gone = _among(old_keys, rest[0]) & ~_among(old_keys, new_keys) if rest else np.zeros(len(old_keys), bool)
    rows = old_order.copy()
    rows[at[met][takes_new]] = new_met[takes_new] + old.num_rows
    added = new_order[~met]
    keys = np.concatenate([old_keys[~gone], new_keys[~met]])
    rows = np.concatenate([rows[~gone], added + old.num_rows])
    rows = rows[np.argsort(keys, kind="stable")]
    return Merged(
        table=_take(pa.concat_tables([old, new]), rows),
        added=len(added),
        replaced_old=old.take(old_met[replaces]),
        replaced_new=new.take(new_met[replaces]),
        confirmed=int(confirms.sum()),
        unchanged=int((~differs & ~confirms).sum()),
        outranked=int((differs & ~replaces).sum()),
        removed=int(gone.sum()),
    )


def refuse_shrinking(old: pa.Table | None, merged: pa.Table, removed: pa.Table | None, *, name: str) -> None:
    """The last look before a write: no key of the old object may be missing from the new one, unless it was named.

    Raises:
        LakeShrink: keys would be lost; the message names the object, how many, and the first of them.
    """
    if old is None or old.num_rows == 0:
        return
    sides = [old, merged] if removed is None else [old, merged, removed.select(list(OHLCV_KEY))]
    old_keys, *kept = _keys(sides)
    lost = np.flatnonzero(~np.logical_or.reduce([_among(old_keys, keys) for keys in kept]))
    if len(lost):
        raise LakeShrink(
            f"{name}: the write would lose {len(lost)} of {old.num_rows} bars, the first {_named(old, int(lost[0]))}; "
            "nothing was written. Merge with what is stored, or name the bars to remove"
        )


def open_times(bars: pa.Table) -> Rows:
    """The column `ts` as integer milliseconds."""
    return np.asarray(bars["ts"].cast(pa.int64()).to_numpy(), np.int64)


def series_ranks(tables: list[pa.Table]) -> list[Rows]:
    """For each row of each table the place of its series among all: by exchange, symbol, interval, in UTF-8 order."""
    total = np.zeros(sum(table.num_rows for table in tables), np.int64)
    for name in OHLCV_KEY[:3]:
        chunks = [chunk for table in tables for chunk in table[name].cast(pa.string()).chunks]
        encoded = pa.chunked_array(chunks, pa.string()).combine_chunks().dictionary_encode()
        encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
        names: list[str] = encoded.dictionary.to_pylist()
        place = np.empty(len(names), np.int64)
        place[sorted(range(len(names)), key=lambda i: names[i])] = np.arange(len(names))
        total = total * max(1, len(names)) + place[encoded.indices.to_numpy(zero_copy_only=False)]
    ends = np.cumsum([table.num_rows for table in tables])
    return np.split(total, ends[:-1])


def _keys(tables: list[pa.Table]) -> list[Rows]:
    """One int64 a row, in canonical order; comparable between the tables of this call only."""
    keys = []
    for table, ranks in zip(tables, series_ranks(tables), strict=True):
        ts = open_times(table)
        if len(ts) and (ts.min() < 0 or ts.max() >= _TS_END):
            raise ValidationError(f"open times outside 1970..2248: {iso(int(ts.min()))} to {int(ts.max())} ms")
        if len(ranks) and int(ranks.max()) >= 1 << (63 - _TS_BITS):
            raise ValidationError("more than a million series in one merge: merge one object at a time")
        keys.append((ranks << _TS_BITS) | ts)
    return keys


def _order(keys: Rows, table: pa.Table, side: str) -> Rows:
    """Row numbers in key order, after making sure that no key comes twice."""
    steps = np.diff(keys)
    ordered = bool((steps > 0).all())
    order = np.arange(len(keys)) if ordered else np.argsort(keys, kind="stable")
    if not ordered:
        again = np.flatnonzero(np.diff(keys[order]) == 0)
        if len(again):
            raise ValidationError(
                f"the {side} bars hold {len(again)} keys twice, the first {_named(table, int(order[again[0]]))}: "
                "a bar stands once in a table that is merged"
            )
    return order


def _among(keys: Rows, others: Rows) -> npt.NDArray[np.bool_]:
    """Which of `keys` are in `others`; the order of `others` does not matter, but sorted is fast."""
    if len(others) == 0:
        return np.zeros(len(keys), bool)
    if not (others[1:] >= others[:-1]).all():
        others = np.sort(others)
    at = np.minimum(np.searchsorted(others, keys), len(others) - 1)
    return np.asarray(others[at] == keys)


def _ranks(table: pa.Table) -> npt.NDArray[np.int8]:
    ranks: npt.NDArray[np.int8] = np.full(256, -1, np.int8)
    codes: npt.NDArray[np.uint8] = np.asarray(table["source"].to_numpy(), np.uint8)
    for source in Source:
        ranks[source] = knowledge(source)
    found: npt.NDArray[np.int8] = ranks[codes]
    if len(found) and found.min() < 0:
        raise ValidationError(f"unknown source code {int(codes[found.argmin()])}: written by a newer release?")
    return found


def _differing(old: pa.Table, old_rows: Rows, new: pa.Table, new_rows: Rows) -> npt.NDArray[np.bool_]:
    """Of aligned rows, those in which any of the nine values differs, exactly."""
    differs = np.zeros(len(old_rows), bool)
    for name in OHLCV_VALUES:
        differs |= (_words(old[name])[old_rows] != _words(new[name])[new_rows]).any(axis=1)
    return differs


def _words(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A column's stored words without conversion: two int64 for a decimal128, one otherwise; shape (rows, words)."""
    array = column.combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if not pa.types.is_decimal128(array.type):
        return np.asarray(array.to_numpy(), np.int64).reshape(-1, 1)
    if len(array) == 0:
        return np.empty((0, 2), np.int64)
    words = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)
    return words[array.offset : array.offset + len(array)]


def _take(table: pa.Table, rows: Rows) -> pa.Table:
    if np.array_equal(rows, np.arange(table.num_rows)):
        return table
    return table.combine_chunks().take(rows)


def _named(table: pa.Table, row: int) -> str:
    exchange, symbol, interval = (table[name][row].as_py() for name in OHLCV_KEY[:3])
    return f"{exchange} {symbol} {interval} {iso(table['ts'][row].value)}"
