"""The streams that the live side has, by the names the exchange gives them. Source: reference sections 7 and 8."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gapless.domain.instrument import Market
from replica.bars import INTERVAL_MS


class Topic(StrEnum):
    """What a stream tells; the value is `LiveMessage.kind`."""

    TRADES = "trades"
    FILLS = "fills"
    DEPTH = "depth"
    PARTIAL = "partial"
    BOOK_TICKER = "book_ticker"
    KLINES = "klines"
    MARK_PRICE = "mark_price"
    LIQUIDATIONS = "liquidations"


ALL = ""
"""The symbol of an all-market stream."""


@dataclass(frozen=True, slots=True)
class StreamKey:
    """A stream's name, read.

    Attributes:
        symbol: in lower case as in the name; `ALL` for all of the market.
        period_ms: how often it is sent; 0: as things happen.
        levels: of a partial book.
        interval: of klines.
    """

    topic: Topic
    symbol: str
    period_ms: int = 0
    levels: int = 0
    interval: str = ""


_DIFF_MS = {Market.SPOT: {"": 1000, "@100ms": 100}, Market.UM: {"": 250, "@100ms": 100, "@500ms": 500}}
_MARK_MS = {"": 3000, "@1s": 1000}
_PLAIN = {"aggTrade": Topic.TRADES, "trade": Topic.FILLS, "bookTicker": Topic.BOOK_TICKER}


def read_name(market: Market, name: str) -> StreamKey | None:
    """A stream's name by the market's rules; None for one it has not, whose symbol may still be unknown."""
    symbol, _, topic = name.partition("@")
    if not symbol or not topic:
        return None
    um = market is Market.UM
    if symbol.startswith("!"):
        if um and name == "!forceOrder@arr":
            return StreamKey(Topic.LIQUIDATIONS, ALL)
        if um and symbol == "!markPrice" and topic.startswith("arr") and topic[3:] in _MARK_MS:
            return StreamKey(Topic.MARK_PRICE, ALL, _MARK_MS[topic[3:]])
        return None
    if topic in _PLAIN:
        return StreamKey(_PLAIN[topic], symbol)
    if topic.startswith("kline_"):
        interval = topic[6:]
        return StreamKey(Topic.KLINES, symbol, interval=interval) if interval in INTERVAL_MS else None
    if um and topic == "forceOrder":
        return StreamKey(Topic.LIQUIDATIONS, symbol)
    if um and topic.startswith("markPrice"):
        period = _MARK_MS.get(topic[9:])
        return None if period is None else StreamKey(Topic.MARK_PRICE, symbol, period)
    if topic.startswith("depth"):
        head, at, speed = topic.partition("@")
        period = _DIFF_MS[market].get(at + speed)
        levels = head[5:]
        if period is None or levels not in ("", "5", "10", "20"):
            return None
        return StreamKey(Topic.PARTIAL if levels else Topic.DEPTH, symbol, period, int(levels or 0))
    return None
