"""Bars as integer columns, their exact aggregates, and their rows in the exchange's own text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from replica.noise import Ints

MINUTE_MS = 60_000
DAY_MS = 86_400_000

INTERVAL_MS = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": 60 * MINUTE_MS,
    "2h": 120 * MINUTE_MS,
    "4h": 240 * MINUTE_MS,
    "6h": 360 * MINUTE_MS,
    "8h": 480 * MINUTE_MS,
    "12h": 720 * MINUTE_MS,
    "1d": DAY_MS,
}
"""The intervals served: those of the exchange that divide a UTC day."""

FIELDS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "taker_buy_quote_volume",
    "ignore",
)
"""The twelve places of a kline row, named."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How integers become the exchange's decimal strings.

    Attributes:
        price, quantity, quote: decimals that the integers carry.
        pad: decimals that every string is filled up to with zeros (8 on spot, 0 for none).
        bare_zero: write a zero volume as `0`, without decimals (USD-M does since 2024).
    """

    price: int
    quantity: int
    quote: int
    pad: int = 0
    bare_zero: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one series in order of open time. All columns are int64 and of one length.

    Prices count units of `10**-scale.price`, volumes units of `10**-scale.quantity`, quote volumes units of
    `10**-scale.quote`; `open_ms` is UTC.
    """

    open_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    quote_volume: Ints
    trades: Ints
    taker_volume: Ints
    taker_quote_volume: Ints

    def __len__(self) -> int:
        return len(self.open_ms)

    def columns(self) -> tuple[Ints, ...]:
        return (
            self.open_ms,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.quote_volume,
            self.trades,
            self.taker_volume,
            self.taker_quote_volume,
        )

    def between(self, start_ms: int, end_ms: int) -> Bars:
        """The bars that open in `[start_ms, end_ms)`; views, nothing is copied."""
        first, last = np.searchsorted(self.open_ms, (start_ms, end_ms))
        if first == 0 and last == len(self):
            return self
        return Bars(*(column[first:last] for column in self.columns()))

    def tail(self, count: int) -> Bars:
        """The newest `count` bars."""
        return self if count >= len(self) else Bars(*(column[len(self) - count :] for column in self.columns()))

    def head(self, count: int) -> Bars:
        """The oldest `count` bars."""
        return self if count >= len(self) else Bars(*(column[:count] for column in self.columns()))


def no_bars() -> Bars:
    """Bars of length zero."""
    empty = np.empty(0, dtype=np.int64)
    return Bars(*(empty for _ in range(10)))


def concat(parts: Iterable[Bars]) -> Bars:
    """Bars one after the other; the caller gives them in order."""
    kept = [part for part in parts if len(part)]
    if not kept:
        return no_bars()
    if len(kept) == 1:
        return kept[0]
    return Bars(*(np.concatenate(columns) for columns in zip(*(part.columns() for part in kept), strict=True)))


def aggregate(bars: Bars, interval_ms: int) -> Bars:
    """The exact bars of a longer interval: first open, highest high, lowest low, last close, sums of the rest.

    A stretch without any bar has no aggregate either, as on the exchange.
    """
    if not len(bars):
        return bars
    bucket = bars.open_ms // interval_ms
    starts = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
    ends = np.concatenate((starts[1:], [len(bars)])) - 1
    return Bars(
        open_ms=bucket[starts] * interval_ms,
        open=bars.open[starts],
        high=np.maximum.reduceat(bars.high, starts),
        low=np.minimum.reduceat(bars.low, starts),
        close=bars.close[ends],
        volume=np.add.reduceat(bars.volume, starts),
        quote_volume=np.add.reduceat(bars.quote_volume, starts),
        trades=np.add.reduceat(bars.trades, starts),
        taker_volume=np.add.reduceat(bars.taker_volume, starts),
        taker_quote_volume=np.add.reduceat(bars.taker_quote_volume, starts),
    )


def _decimal_template(decimals: int, pad: int) -> str:
    if decimals == 0:
        return '"%d.' + "0" * pad + '"' if pad else '"%d"'
    return f'"%d.%0{decimals}d' + "0" * (max(pad, decimals) - decimals) + '"'


def _digits(column: Ints, decimals: int) -> list[list[int]]:
    if decimals == 0:
        return [column.tolist()]
    whole, rest = np.divmod(column, 10**decimals)
    return [whole.tolist(), rest.tolist()]


def render_rows(bars: Bars, interval_ms: int, scale: Scale, *, micros: bool = False) -> list[str]:
    """Each bar as the text of its JSON row: twelve places, no spaces, prices and volumes as strings.

    Args:
        micros: times in microseconds (spot's `X-MBX-TIME-UNIT`), the close time one microsecond before the next open.
    """
    unit = 1000 if micros else 1
    price = _decimal_template(scale.price, scale.pad)
    quantity = _decimal_template(scale.quantity, scale.pad)
    quote = _decimal_template(scale.quote, scale.pad)
    template = f'[%d,{price},{price},{price},{price},{quantity},%d,{quote},%d,{quantity},{quote},"0"]'
    opens = bars.open_ms * unit
    columns: list[list[int]] = [opens.tolist()]
    for prices in (bars.open, bars.high, bars.low, bars.close):
        columns += _digits(prices, scale.price)
    columns += _digits(bars.volume, scale.quantity)
    columns.append((opens + interval_ms * unit - 1).tolist())
    columns += _digits(bars.quote_volume, scale.quote)
    columns.append(bars.trades.tolist())
    columns += _digits(bars.taker_volume, scale.quantity)
    columns += _digits(bars.taker_quote_volume, scale.quote)
    rows = [template % values for values in zip(*columns, strict=True)]
    if scale.bare_zero:
        for at in np.flatnonzero(bars.taker_volume == 0).tolist():
            rows[at] = _bare_zeros(rows[at])
    return rows


def _bare_zeros(row: str) -> str:
    places = row[1:-1].split(",")
    for at in (5, 7, 9, 10):
        if not places[at].strip('"0.'):
            places[at] = '"0"'
    return "[" + ",".join(places) + "]"
