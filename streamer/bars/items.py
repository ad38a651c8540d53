"""What waits for MySQL, one line each: a closed bar as the exchange's own twelve values, or a liquidation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.source import Source
from gapless.errors import ValidationError
from gapless.exchanges.binance.streams.messages import ForceOrder, KlineBar


class BarItem(msgspec.Struct, frozen=True, tag_field="k", tag="b", array_like=True, gc=False):
    """A closed bar.

    Attributes:
        open_ms: -1 where the row's own cannot be read.
        row: the JSON text of a kline row as REST has them (`gapless.exchanges.binance.rows.FIELDS`).
        source: a `Source`.
    """

    market: Market
    symbol: str
    interval: str
    open_ms: int
    row: str
    source: int
    received_ns: int

    @property
    def key(self) -> tuple[str, str, int]:
        return self.symbol, self.interval, self.open_ms


class LiquidationItem(msgspec.Struct, frozen=True, tag_field="k", tag="l", array_like=True, gc=False):
    """A liquidation: the exchange's JSON object, and when it was told and received."""

    symbol: str
    raw_symbol: str
    event_ms: int
    payload: str
    received_ns: int


Item = BarItem | LiquidationItem

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Item).decode


def bar_of_stream(symbol: str, market: Market, bar: KlineBar, received_ns: int) -> BarItem:
    """A closed bar of a kline stream, its prices and quantities letter for letter."""
    row = [bar.t, bar.o, bar.h, bar.l, bar.c, bar.v, bar.T, bar.q, bar.n, bar.V, bar.Q, "0"]
    return BarItem(market, symbol, bar.i, bar.t, _encode(row).decode(), Source.STREAM, received_ns)


def liquidation_of_stream(symbol: str, order: ForceOrder, received_ns: int) -> LiquidationItem:
    """A liquidation of its stream; fields that we do not know are let go, as in the table."""
    return LiquidationItem(symbol, order.o.s, order.E, _encode(order).decode(), received_ns)


def lines_of(items: Iterable[Item]) -> bytes:
    """Items as text, one a line."""
    return b"".join(_encode(item) + b"\n" for item in items)


def items_of(text: bytes, where: str) -> Iterator[Item]:
    """The items of such text.

    Raises:
        ValidationError: a line is none; names it.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            yield _decode(line)
        except msgspec.DecodeError as error:
            raise ValidationError(f"{where}: line {number} is no bar and no liquidation ({error})") from None
