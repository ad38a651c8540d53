"""The rules every bar must pass before it is stored. Whole columns at a time; a row fails for the first it breaks.

Sources of the rules: Binance's kline semantics. `closeTime = openTime + interval - 1 ms`; bars are aligned to UTC; a
bar without trades is legal (open = high = low = close, volume 0). A page comes oldest first, each open time once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.interval import Interval

PRICES = ("open", "high", "low", "close")
AMOUNTS = ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume")


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that breaks a rule: its index in the table that was checked, and the rule's name."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Attributes:
        good: the rows that pass every rule, in their order.
        broken: the others, in their order, each with the first rule it breaks.
    """

    good: pa.Table
    broken: tuple[Broken, ...]


def check_bars(bars: pa.Table) -> Checked:
    """Hold closed bars against every rule.

    Args:
        bars: `gapless.domain.schema.OHLCV` with `close_time` (ms) beside, in the order they were received: the
            rows of one series stand together.
    """
    if bars.num_rows == 0:
        return Checked(bars, ())
    bars = bars.combine_chunks()
    verdict = np.zeros(bars.num_rows, dtype=np.int8)
    for number, (_, breaks) in enumerate(_RULES, start=1):
        verdict[(verdict == 0) & breaks(bars)] = number
    # Last, and among sound rows only: one row with a time far ahead must not condemn all that follow it.
    if not verdict.any():
        verdict[_not_increasing(bars)] = _ORDER
    else:
        sound = np.flatnonzero(verdict == 0)
        verdict[sound[_not_increasing(bars.take(pa.array(sound)))]] = _ORDER
    if not verdict.any():
        return Checked(bars, ())
    names = [*(name for name, _ in _RULES), "order"]
    broken = tuple(Broken(int(row), names[verdict[row] - 1]) for row in np.flatnonzero(verdict))
    return Checked(bars.filter(pa.array(verdict == 0)), broken)


def open_times(bars: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The open times as int64 milliseconds."""
    times: np.ndarray[tuple[int], np.dtype[np.int64]] = bars["ts"].cast(pa.int64()).to_numpy()
    return times


def interval_lengths(bars: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each row's interval in milliseconds."""
    encoded = bars["interval"].combine_chunks().dictionary_encode()
    lengths = np.array([Interval(name).ms for name in encoded.dictionary.to_pylist()], dtype=np.int64)
    result: np.ndarray[tuple[int], np.dtype[np.int64]] = lengths[encoded.indices.to_numpy()]
    return result


Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


def _mask(condition: pa.ChunkedArray) -> Mask:
    mask: Mask = condition.to_numpy().astype(bool)
    return mask


def _any(conditions: list[pa.ChunkedArray]) -> Mask:
    return _mask(reduce(pc.or_, conditions))


def _misaligned(bars: pa.Table) -> Mask:
    mask: Mask = open_times(bars) % interval_lengths(bars) != 0
    return mask


def _wrong_close_time(bars: pa.Table) -> Mask:
    close = bars["close_time"].cast(pa.int64()).to_numpy()
    mask: Mask = close != open_times(bars) + interval_lengths(bars) - 1
    return mask


def _not_increasing(bars: pa.Table) -> Mask:
    """A row at or before the latest open time seen so far in its series."""
    times = open_times(bars)
    if len(times) == 0:
        return np.zeros(0, dtype=bool)
    symbols, intervals = (bars[name].combine_chunks().dictionary_encode() for name in ("symbol", "interval"))
    codes = symbols.indices.to_numpy().astype(np.int64) * len(intervals.dictionary) + intervals.indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    late = np.zeros(len(times), dtype=bool)
    suspects = np.flatnonzero((np.diff(times, prepend=times[0]) <= 0) & (np.diff(codes, prepend=-1) == 0))
    for start in np.unique(np.searchsorted(starts, suspects, side="right") - 1):
        end = starts[start + 1] if start + 1 < len(starts) else len(times)
        part = times[starts[start] : end]
        late[starts[start] + 1 : end] = part[1:] <= np.maximum.accumulate(part)[:-1]
    return late


def _not_positive(bars: pa.Table) -> Mask:
    zero = pa.scalar(Decimal(0), bars["open"].type)
    return _any([pc.less_equal(bars[name], zero) for name in PRICES])


def _out_of_order(bars: pa.Table) -> Mask:
    high, low = bars["high"], bars["low"]
    inside = [
        condition
        for name in ("open", "close")
        for condition in (pc.greater(bars[name], high), pc.less(bars[name], low))
    ]
    return _any([*inside, pc.greater(low, high)])


def _negative(bars: pa.Table) -> Mask:
    zero = pa.scalar(Decimal(0), bars["volume"].type)
    return _any([pc.less(bars[name], zero) for name in AMOUNTS])


def _taker_exceeds(bars: pa.Table) -> Mask:
    return _any(
        [
            pc.greater(bars["taker_buy_volume"], bars["volume"]),
            pc.greater(bars["taker_buy_quote_volume"], bars["quote_volume"]),
        ]
    )


# In the order in which a row is blamed. The names are stored with quarantined rows and never change meaning.
_RULES: tuple[tuple[str, Callable[[pa.Table], Mask]], ...] = (
    ("alignment", _misaligned),
    ("close_time", _wrong_close_time),
    ("price", _not_positive),
    ("ohlc", _out_of_order),
    ("volume", _negative),
    ("taker", _taker_exceeds),
)
_ORDER = len(_RULES) + 1
