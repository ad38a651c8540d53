"""What a load takes: rows of one exchange and market, checked and put into key order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.instrument import Market, market_of
from gapless.domain.interval import ALL_INTERVALS
from gapless.domain.schema import knowledge
from gapless.domain.window import DAY_MS, iso
from gapless.errors import ValidationError

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]

BARS = SHAPES[Dataset.OHLCV]
_SYMBOL_MAX = 32
_LABEL_MAX = 16
_SECONDS_BITS = 34  # until the year 2514
_RANKS = 256


@dataclass(frozen=True, slots=True)
class Prepared:
    """Sound rows in key order: symbol (by code point), label (intervals: shortest first), ts.

    Attributes:
        table: one chunk a column, columns of the shape's schema.
        exchange, market: the one that all of them belong to.
        days: first moments (ms) of the UTC days that their labels fall on, in order.
    """

    table: pa.Table
    exchange: str
    market: Market
    days: tuple[int, ...]


def prepare(rows: pa.Table, what: str, shape: Shape = BARS) -> Prepared:
    """Check what the loader relies on, and put the rows into key order.

    Raises:
        ValidationError: another schema, nulls where there must be none, an unknown interval or source, times (`ts`)
            with fractions of a second, more than one exchange or market, an impossible symbol, or two rows of one key.
    """
    names = shape.schema.names
    if rows.schema.names != names or rows.schema.types != shape.schema.types:
        raise ValidationError(f"{what}: the rows do not have the canonical columns {', '.join(names)}")
    table = rows.combine_chunks()
    holes = [name for name in names if table[name].null_count and name not in shape.nullable]
    if holes:
        raise ValidationError(f"{what}: null values in {', '.join(holes)}")
    exchanges = table["exchange"].unique().to_pylist()
    symbols = sorted(table["symbol"].unique().to_pylist())
    markets = {market_of(symbol) for symbol in symbols}
    if len(exchanges) != 1 or len(markets) != 1:
        raise ValidationError(
            f"{what}: one load takes one exchange and one market, not {exchanges} {sorted(map(str, markets))}"
        )
    market = markets.pop()
    strange = [s for s in symbols if s != s.strip() or len(s) > _SYMBOL_MAX]
    if market is None or strange:
        raise ValidationError(
            f"{what}: not a unified symbol of at most {_SYMBOL_MAX} characters: {(strange or symbols)[0]!r}"
        )
    ranks_of(table["source"], what)
    millis = _millis(table["ts"])
    if len(millis) and (millis.min() < 0 or (millis % 1000).any()):
        wrong = int(millis[(millis < 0) | (millis % 1000 != 0)][0])
        raise ValidationError(f"{what}: an open time must be a whole second since 1970, not {iso(wrong)}")
    [keys] = row_keys(shape, [table], what)
    if (np.diff(keys) <= 0).any():
        order = np.argsort(keys, kind="stable")
        table, keys = table.take(pa.array(order)).combine_chunks(), keys[order]
        twice = np.flatnonzero(np.diff(keys) == 0)
        if len(twice):
            row = table.slice(int(twice[0]), 1).to_pylist()[0]
            label = f" {row[shape.label]}" if shape.label else ""
            raise ValidationError(
                f"{what}: {row['symbol']}{label} {row['ts']:%Y-%m-%dT%H:%M:%SZ} comes twice; "
                f"{len(twice)} rows do in all. A row must be offered once"
            )
    days = tuple(int(day) * DAY_MS for day in np.unique(millis // DAY_MS))
    return Prepared(table, exchanges[0], market, days)


def row_keys(shape: Shape, tables: Sequence[pa.Table], what: str) -> list[Indices]:
    """For each table one integer a row, in key order: symbol's place, label's place, seconds since 1970.

    They compare among the tables of one call only.

    Raises:
        ValidationError: an unknown interval, or a label that its column cannot hold.
    """
    symbols = _order(sorted(_unique(tables, "symbol")))
    labels = _label_order(shape, tables, what)
    keys = []
    for table in tables:
        series = _places(table["symbol"], symbols)
        if shape.label:
            series = series * max(1, len(labels)) + _places(table[shape.label], labels)
        keys.append((series << _SECONDS_BITS) | (_millis(table["ts"]) // 1000))
    return keys


def ranks_of(column: pa.ChunkedArray, what: str) -> Indices:
    """What each row's source knows, as `gapless.domain.schema.knowledge` ranks it.

    Raises:
        ValidationError: an unknown source code.
    """
    table = np.zeros(_RANKS, dtype=np.int64)
    for code in column.unique().to_pylist():
        try:
            table[code] = knowledge(code)
        except ValueError:
            raise ValidationError(f"{what}: unknown source code {code}") from None
    found: Indices = table[column.to_numpy()]
    return found


def _label_order(shape: Shape, tables: Sequence[pa.Table], what: str) -> dict[str, int]:
    if shape.label is None:
        return {}
    found = _unique(tables, shape.label)
    if shape.label != "interval":
        wrong = sorted(name for name in found if not name.isascii() or not 0 < len(name.strip()) <= _LABEL_MAX)
        if wrong:
            raise ValidationError(f"{what}: not a {shape.label} of at most {_LABEL_MAX} ASCII characters: {wrong[0]!r}")
        return _order(sorted(found))
    order = _order(str(interval) for interval in ALL_INTERVALS)
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


def _millis(column: pa.ChunkedArray) -> Indices:
    found: Indices = column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    return found
