"""The merge behind every rewrite of a lake object: what was there, united with what is new. Pure and vectorised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.domain.datasets import Shape
from gapless.domain.schema import Source, knowledge
from gapless.domain.text_runs import text_runs
from gapless.domain.window import iso
from gapless.errors import LakeShrink, ValidationError
from gapless.storage.lake.parquet import canonical

Rows: TypeAlias = npt.NDArray[np.int64]

_TS_BITS = 43
_TS_END = 1 << _TS_BITS
"""Open times fit into this many milliseconds until the year 2248; the rest of an int64 numbers the series."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge gives. A row of the new side counts once: the first of the counts below that fits it.

    Attributes:
        table: every row of both sides once, in canonical order.
        added: rows that only the new side has.
        replaced_old, replaced_new: rows whose values changed, as they were and as they are, aligned: the restatements.
        outranked_old, outranked_new: what stands and what was refused, aligned: other values of a source that knows
            less. Nulls that a refused row could fill are filled all the same.
        filled: rows that put values where there were nulls, and contradicted none.
        confirmed: rows with equal values that a better source has now confirmed (their `source` changes, no value).
        unchanged: rows of the new side that changed nothing.
        removed: rows of the old side taken out because the caller named them.
        changed: whether the table is not the old side.
    """

    table: pa.Table
    added: int
    replaced_old: pa.Table
    replaced_new: pa.Table
    outranked_old: pa.Table
    outranked_new: pa.Table
    filled: int
    confirmed: int
    unchanged: int
    removed: int
    changed: bool

    @property
    def replaced(self) -> int:
        """How many rows changed their values."""
        return int(self.replaced_old.num_rows)

    @property
    def outranked(self) -> int:
        """How many rows were refused because their source knows less."""
        return int(self.outranked_old.num_rows)


def merge_rows(shape: Shape, old: pa.Table | None, new: pa.Table, *, removed: pa.Table | None = None) -> Merged:
    """Unite by key.

    Where both sides hold a row: a source of lower rank (`gapless.domain.schema.knowledge`) never replaces a value of
    one of higher rank; of equal or higher rank, the new one wins. A null contradicts nothing: it never replaces a
    value, and any value fills it in. `source` becomes the better one of the two; a row that is equal and no better
    known stays as it is. So a merge done twice changes nothing the second time.

    Args:
        old: the object's rows, or None when there is no object.
        new: the rows at hand, in any order.
        removed: keys (the key columns) to take out of the old side; one that `new` brings stays.

    Raises:
        ValidationError: a side is not canonical rows of the shape, or holds a key twice.
    """
    new = canonical(new, shape)
    old = shape.schema.empty_table() if old is None else canonical(old, shape)
    if removed is None and (quick := _nothing_to_merge(shape, old, new)) is not None:
        return quick
    sides = [old, new] if removed is None else [old, new, removed]
    old_keys, new_keys, *rest = _keys(shape, sides)
    old_order, new_order = _order(shape, old_keys, old, "stored"), _order(shape, new_keys, new, "new")
    old_keys, new_keys = old_keys[old_order], new_keys[new_order]

    at = np.searchsorted(old_keys, new_keys)
    met = np.zeros(len(new_keys), bool)
    inside = at < len(old_keys)
    met[inside] = old_keys[at[inside]] == new_keys[inside]
    old_met, new_met = old_order[at[met]], new_order[met]  # row numbers of the rows that both sides hold

    differs, fills = _compare(shape, old, old_met, new, new_met)
    old_rank, new_rank = _ranks(old)[old_met], _ranks(new)[new_met]
    replaces, refused = differs & (new_rank >= old_rank), differs & (new_rank < old_rank)
    confirms = ~differs & (new_rank > old_rank)
    takes_new = replaces | confirms

    gone = _among(old_keys, rest[0]) & ~_among(old_keys, new_keys) if rest else np.zeros(len(old_keys), bool)
    rows, other = old_order.copy(), old_order.copy()  # of both sides together: whose row it is, and the one it met
    rows[at[met][takes_new]] = new_met[takes_new] + old.num_rows
    other[at[met]] = np.where(takes_new, old_met, new_met + old.num_rows)
    added = new_order[~met]
    keys = np.concatenate([old_keys[~gone], new_keys[~met]])
    order = np.argsort(keys, kind="stable")
    rows = np.concatenate([rows[~gone], added + old.num_rows])[order]
    other = np.concatenate([other[~gone], added + old.num_rows])[order]
    both = pa.concat_tables([old, new])
    table = _united(shape, both, rows, other)
    became = np.flatnonzero(_among(keys[order], new_keys[met][replaces]))
    filled = fills & ~differs
    return Merged(
        table=table,
        added=len(added),
        replaced_old=old.take(old_met[replaces]),
        replaced_new=table.take(became),
        outranked_old=old.take(old_met[refused]),
        outranked_new=new.take(new_met[refused]),
        filled=int(filled.sum()),
        confirmed=int((confirms & ~fills).sum()),
        unchanged=int((~differs & ~fills & ~confirms).sum()),
        removed=int(gone.sum()),
        changed=bool(len(added) or (takes_new | fills).any() or gone.any()),
    )


def _nothing_to_merge(shape: Shape, old: pa.Table, new: pa.Table) -> Merged | None:
    """The merge of a side that is empty, or of two that hold the same rows; None where there is more to it."""
    if old.num_rows and new.num_rows:
        same = all(old[name].equals(new[name]) for name in (*reversed(shape.key), *shape.values))
        if not same or (not old["source"].equals(new["source"]) and (_ranks(new) > _ranks(old)).any()):
            return None
        _ranks(new)
        if not (np.diff(_keys(shape, [new])[0]) > 0).all():
            return None  # out of order, or a key twice: the long way says which
        added, table = 0, old
    elif new.num_rows:
        added, table = new.num_rows, in_order(shape, new, side="new")
    else:
        added, table = 0, in_order(shape, old, side="stored")
    none = shape.schema.empty_table()
    unchanged = new.num_rows - added
    return Merged(table, added, none, none, none, none, 0, 0, unchanged, 0, changed=bool(added))


def in_order(shape: Shape, rows: pa.Table, *, side: str) -> pa.Table:
    """Canonical rows in canonical order, after making sure that no key comes twice and every source is known.

    Args:
        side: which rows these are, for errors: `new`, `stored`.

    Raises:
        ValidationError: they are not such rows.
    """
    rows = canonical(rows, shape)
    _ranks(rows)
    order = _order(shape, _keys(shape, [rows])[0], rows, side)
    return rows if np.array_equal(order, np.arange(rows.num_rows)) else rows.combine_chunks().take(order)


def refuse_shrinking(
    shape: Shape, old: pa.Table | None, merged: pa.Table, removed: pa.Table | None, *, name: str
) -> None:
    """The last look before a write: no key of the old object may be missing from the new one, unless it was named.

    Raises:
        LakeShrink: keys would be lost; the message names the object, how many, and the first of them.
    """
    if old is None or old.num_rows == 0:
        return
    sides = [old, merged] if removed is None else [old, merged, removed]
    old_keys, *kept = _keys(shape, sides)
    lost = np.flatnonzero(~np.logical_or.reduce([_among(old_keys, keys) for keys in kept]))
    if len(lost):
        raise LakeShrink(
            f"{name}: the write would lose {len(lost)} of {old.num_rows} rows, the first "
            f"{_named(shape, old, int(lost[0]))}; nothing was written. Merge with what is stored, or name "
            "the rows to remove"
        )


def times(rows: pa.Table) -> Rows:
    """The column `ts` as integer milliseconds."""
    return np.asarray(rows["ts"].cast(pa.int64()).to_numpy(), np.int64)


def series_ranks(shape: Shape, tables: list[pa.Table]) -> list[Rows]:
    """For each row the place of its series (the key columns before `ts`) in all tables, in UTF-8 order."""
    total = np.zeros(sum(table.num_rows for table in tables), np.int64)
    for name in shape.key[:-1]:
        chunks = [chunk for table in tables for chunk in table[name].cast(pa.string()).chunks]
        starts, texts = text_runs(pa.chunked_array(chunks, pa.string()))
        encoded = texts.dictionary_encode()
        names: list[str] = encoded.dictionary.to_pylist()
        if len(names) < 2:
            continue  # adds nothing to the order
        place = np.empty(len(names), np.int64)
        place[sorted(range(len(names)), key=lambda i: names[i])] = np.arange(len(names))
        ranks = place[encoded.indices.to_numpy(zero_copy_only=False)]
        total = total * len(names) + np.repeat(ranks, np.diff(np.append(starts, len(total))))
    ends = np.cumsum([table.num_rows for table in tables])
    return np.split(total, ends[:-1])


def _keys(shape: Shape, tables: list[pa.Table]) -> list[Rows]:
    """One int64 a row, in canonical order; comparable between the tables of this call only."""
    keys = []
    for table, ranks in zip(tables, series_ranks(shape, tables), strict=True):
        ts = times(table)
        if len(ts) and (ts.min() < 0 or ts.max() >= _TS_END):
            raise ValidationError(f"open times outside 1970..2248: {iso(int(ts.min()))} to {int(ts.max())} ms")
        if len(ranks) and int(ranks.max()) >= 1 << (63 - _TS_BITS):
            raise ValidationError("more than a million series in one merge: merge one object at a time")
        keys.append((ranks << _TS_BITS) | ts)
    return keys


def _order(shape: Shape, keys: Rows, table: pa.Table, side: str) -> Rows:
    """Row numbers in key order, after making sure that no key comes twice."""
    steps = np.diff(keys)
    ordered = bool((steps > 0).all())
    order = np.arange(len(keys)) if ordered else np.argsort(keys, kind="stable")
    if not ordered:
        again = np.flatnonzero(np.diff(keys[order]) == 0)
        if len(again):
            raise ValidationError(
                f"the {side} rows hold {len(again)} keys twice, the first "
                f"{_named(shape, table, int(order[again[0]]))}: a row stands once in a table that is merged"
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


def _compare(
    shape: Shape, old: pa.Table, old_rows: Rows, new: pa.Table, new_rows: Rows
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Of aligned rows: where any value contradicts the other exactly, and where the new one fills a null in."""
    differs, fills = np.zeros(len(old_rows), bool), np.zeros(len(old_rows), bool)
    for name in shape.values:
        other = (_words(old[name])[old_rows] != _words(new[name])[new_rows]).any(axis=1)
        if name in shape.nullable:
            has_old, has_new = _valid(old[name])[old_rows], _valid(new[name])[new_rows]
            other &= has_old & has_new
            fills |= ~has_old & has_new
        differs |= other
    return differs, fills


def _united(shape: Shape, both: pa.Table, rows: Rows, other: Rows) -> pa.Table:
    """The rows of that number; a null in them is filled in from the row they met."""
    if np.array_equal(rows, np.arange(len(rows))) and np.array_equal(rows, other):
        return both.slice(0, len(rows))
    both = both.combine_chunks()
    table = both.take(rows)
    for name in shape.nullable:
        valid = _valid(both[name])
        empty = ~valid[rows] & valid[other]
        if empty.any():
            number = table.column_names.index(name)
            table = table.set_column(number, shape.schema.field(name), both[name].take(np.where(empty, other, rows)))
    return table


def _valid(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(column.is_valid().to_numpy(), bool)


def _words(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """A column's stored words without conversion: two int64 for a decimal128, one otherwise; shape (rows, words)."""
    array = column.combine_chunks()
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if not pa.types.is_decimal128(array.type):
        plain = array.cast(pa.int64()) if pa.types.is_timestamp(array.type) else array
        return np.asarray(plain.fill_null(0).to_numpy(), np.int64).reshape(-1, 1)
    if len(array) == 0:
        return np.empty((0, 2), np.int64)
    words = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)
    return words[array.offset : array.offset + len(array)]


def _named(shape: Shape, table: pa.Table, row: int) -> str:
    series = " ".join(table[name][row].as_py() for name in shape.key[:-1])
    return f"{series} {iso(table['ts'][row].value)}"
