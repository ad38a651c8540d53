"""What to write, given what is stored: a pure comparison of two tables of bars, whole columns at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.domain.instrument import Market, market_of
from gapless.domain.interval import ALL_INTERVALS
from gapless.domain.schema import OHLCV, OHLCV_VALUES, knowledge
from gapless.domain.window import DAY_MS, iso
from gapless.errors import ValidationError

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]

_SYMBOL_MAX = 32
_SECONDS_BITS = 34  # until the year 2514
_RANKS = 256


@dataclass(frozen=True, slots=True)
class Bars:
    """Sound bars in the table's key order: symbol (by code point), interval (shortest first), ts.

    Attributes:
        table: one chunk a column, columns of `gapless.domain.schema.OHLCV`.
        exchange, market: the one that all of them belong to.
        days: first moments (ms) of the UTC days that open times fall on, in order.
    """

    table: pa.Table
    exchange: str
    market: Market
    days: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """What becomes of each offered bar, as row numbers in the offered and in the stored table.

    Attributes:
        fresh: not stored yet.
        restated, restated_old: stored with other values, which these replace; aligned pairs.
        confirmed: stored with these very values by a source of lower rank; rewritten so that the rank is kept.
        unchanged: how many are stored with these values (the confirmed included).
        outranked: how many differ from a stored bar of a higher-ranking source, which stays.
    """

    fresh: Indices
    restated: Indices
    restated_old: Indices
    confirmed: Indices
    unchanged: int
    outranked: int

    @property
    def written(self) -> Indices:
        """Rows to write, in key order."""
        return np.sort(np.concatenate([self.fresh, self.restated, self.confirmed]))

    @property
    def replaced(self) -> int:
        """How many of the written rows take the place of stored ones."""
        return len(self.restated) + len(self.confirmed)


def prepare(bars: pa.Table, what: str) -> Bars:
    """Check what the loader relies on, and put the rows into key order.

    Raises:
        ValidationError: another schema, nulls, an unknown interval or source, open times with fractions of a second,
        more
            than one exchange or market, an impossible symbol, or two rows of one key.
    """
    if bars.schema.names != OHLCV.names or bars.schema.types != OHLCV.types:
        raise ValidationError(f"{what}: the bars do not have the canonical columns {', '.join(OHLCV.names)}")
    table = bars.combine_chunks()
    holes = [name for name in OHLCV.names if table[name].null_count]
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
    _ranks(table["source"], what)
    millis = _millis(table["ts"])
    if len(millis) and (millis.min() < 0 or (millis % 1000).any()):
        wrong = int(millis[(millis < 0) | (millis % 1000 != 0)][0])
        raise ValidationError(f"{what}: an open time must be a whole second since 1970, not {iso(wrong)}")
    keys = _keys(table, symbols, what)
    steps = np.diff(keys)
    if (steps <= 0).any():
        order = np.argsort(keys, kind="stable")
        table, keys = table.take(pa.array(order)).combine_chunks(), keys[order]
        twice = np.flatnonzero(np.diff(keys) == 0)
        if len(twice):
            row = table.slice(int(twice[0]), 1).to_pylist()[0]
            raise ValidationError(
                f"{what}: {row['symbol']} {row['interval']} {row['ts']:%Y-%m-%dT%H:%M:%SZ} comes twice; "
                f"{len(twice)} bars do in all. A bar must be offered once"
            )
    days = tuple(int(day) * DAY_MS for day in np.unique(millis // DAY_MS))
    return Bars(table, exchanges[0], market, days)


def diff(offered: pa.Table, stored: pa.Table, what: str = "diff") -> Diff:
    """Compare bars in key order with what is stored around them.

    A stored bar is replaced by a different one unless its source knows better (`gapless.domain.schema.knowledge`).

    Args:
        offered: as `prepare` leaves them.
        stored: the same columns (more are allowed); any order, each key once; may hold bars that are not offered.
    """
    stored = stored.combine_chunks()
    symbols = sorted({*offered["symbol"].unique().to_pylist(), *stored["symbol"].unique().to_pylist()})
    new_keys, old_keys = _keys(offered, symbols, what), _keys(stored, symbols, what)
    order = np.argsort(old_keys, kind="stable")
    at = np.searchsorted(old_keys, new_keys, sorter=order)
    candidate = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(new_keys), dtype=np.int64)
    known: Flags = (old_keys[candidate] == new_keys) if len(order) else np.zeros(len(new_keys), dtype=np.bool_)
    new, old = np.flatnonzero(known), candidate[known]
    same = np.ones(len(new), dtype=np.bool_)
    for name in OHLCV_VALUES:
        same &= (_words(offered[name])[new] == _words(stored[name])[old]).all(axis=1)
    new_rank, old_rank = _ranks(offered["source"], what)[new], _ranks(stored["source"], what)[old]
    lower = new_rank < old_rank
    changed = ~same & ~lower
    return Diff(
        fresh=np.flatnonzero(~known),
        restated=new[changed],
        restated_old=old[changed],
        confirmed=new[same & (new_rank > old_rank)],
        unchanged=int(same.sum()),
        outranked=int((~same & lower).sum()),
    )


def _keys(table: pa.Table, symbols: list[str], what: str) -> Indices:
    """One integer a bar, in key order: symbol's place in `symbols`, interval, seconds since 1970."""
    order = {str(interval): place for place, interval in enumerate(ALL_INTERVALS)}
    unknown = [name for name in table["interval"].unique().to_pylist() if name not in order]
    if unknown:
        raise ValidationError(f"{what}: unknown interval {unknown[0]!r}")
    symbol = _places(table["symbol"], {name: place for place, name in enumerate(symbols)})
    interval = _places(table["interval"], order)
    return ((symbol * len(order) + interval) << _SECONDS_BITS) | (_millis(table["ts"]) // 1000)


def _places(column: pa.ChunkedArray, order: dict[str, int]) -> Indices:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    places = np.array([order[name] for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    return places[encoded.indices.to_numpy(zero_copy_only=False)] if len(column) else np.zeros(0, dtype=np.int64)


def _millis(column: pa.ChunkedArray) -> Indices:
    found: Indices = column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
    return found


def _ranks(column: pa.ChunkedArray, what: str) -> Indices:
    table = np.zeros(_RANKS, dtype=np.int64)
    for code in column.unique().to_pylist():
        try:
            table[code] = knowledge(code)
        except ValueError:
            raise ValidationError(f"{what}: unknown source code {code}") from None
    found: Indices = table[column.to_numpy()]
    return found


def _words(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A column's values as rows of machine words, equal when the values are: a decimal128 is two, trades are one."""
    whole = column.combine_chunks()
    chunk = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole
    if not pa.types.is_decimal128(chunk.type):
        return np.asarray(chunk.to_numpy(zero_copy_only=False)).astype(np.int64).reshape(-1, 1)
    values = np.frombuffer(chunk.buffers()[1] or b"", dtype=np.int64)
    start = chunk.offset * 2
    return values[start : start + len(chunk) * 2].reshape(-1, 2)
