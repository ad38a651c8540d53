"""What a load takes: rows of one exchange and market, checked and put into key order. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.instrument import Market, market_of
from gapless.domain.keys import Indices, millis_of, row_keys
from gapless.domain.schema import knowledge
from gapless.domain.window import DAY_MS, iso
from gapless.errors import ValidationError

BARS = SHAPES[Dataset.OHLCV]
_SYMBOL_MAX = 32
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
    millis = millis_of(table["ts"])
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
