"""One integer a row, by which rows of several tables are matched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import Shape
from gapless.domain.grid import Opens
from gapless.domain.interval import ALL_INTERVALS
from gapless.errors import ValidationError

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]

_LABEL_MAX = 16
_SECONDS_BITS = 34  # until the year 2514


def row_keys(shape: Shape, tables: Sequence[pa.Table], what: str, *, by_name: bool = False) -> list[Indices]:
    """For each table one integer a row, in key order: symbol's place, label's place, seconds since 1970.

    They compare among the tables of one call only.

    Args:
        by_name: intervals in the order of their names, as canonical order has them; else shortest first.

    Raises:
        ValidationError: an unknown interval, or a label that its column cannot hold.
    """
    symbols = _order(sorted(_unique(tables, "symbol")))
    labels = _label_order(shape, tables, what, by_name=by_name)
    keys = []
    for table in tables:
        series = _places(table["symbol"], symbols)
        if shape.label:
            series = series * max(1, len(labels)) + _places(table[shape.label], labels)
        keys.append((series << _SECONDS_BITS) | (millis_of(table["ts"]) // 1000))
    return keys


def opens_by_series(shape: Shape, table: pa.Table) -> dict[tuple[str, str], Opens]:
    """The times (ms) of each series' rows, by symbol and label (empty where the shape has none).

    Args:
        table: in canonical order, so that the rows of a series lie together.
    """
    if table.num_rows == 0:
        return {}
    [keys] = row_keys(shape, [table], "rows")
    starts = np.flatnonzero(np.diff(keys >> _SECONDS_BITS, prepend=-1))
    firsts = table.take(pa.array(starts))
    labels = firsts[shape.label].to_pylist() if shape.label else [""] * len(starts)
    parts = np.split(millis_of(table["ts"]), starts[1:])
    return dict(zip(zip(firsts["symbol"].to_pylist(), labels, strict=True), parts, strict=True))


def millis_of(column: pa.ChunkedArray) -> Indices:
    """A column of times as integer milliseconds."""
    found: Indices = column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    return found


def _label_order(shape: Shape, tables: Sequence[pa.Table], what: str, *, by_name: bool) -> dict[str, int]:
    if shape.label is None:
        return {}
    found = _unique(tables, shape.label)
    if shape.label != "interval":
        wrong = sorted(name for name in found if not name.isascii() or not 0 < len(name.strip()) <= _LABEL_MAX)
        if wrong:
            raise ValidationError(f"{what}: not a {shape.label} of at most {_LABEL_MAX} ASCII characters: {wrong[0]!r}")
        return _order(sorted(found))
    names = [str(interval) for interval in ALL_INTERVALS]
    order = _order(sorted(names) if by_name else names)
    if unknown := sorted(found - set(order)):
        raise ValidationError(f"{what}: unknown interval {unknown[0]!r}")
    return order


def _order(names: Iterable[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


def _unique(tables: Sequence[pa.Table], name: str) -> set[str]:
    return set(chain.from_iterable(table[name].unique().to_pylist() for table in tables))


def _places(column: pa.ChunkedArray, order: dict[str, int]) -> Indices:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    places = np.array([order[name] for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    return places[encoded.indices.to_numpy(zero_copy_only=False)] if len(column) else np.zeros(0, dtype=np.int64)
