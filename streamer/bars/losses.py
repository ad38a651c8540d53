"""What was let go on its way to MySQL, told as one event a series. Pure."""

from __future__ import annotations

from gapless.domain.live import GapEvent, Kind
from gapless.exchanges.binance.symbols import EXCHANGE
from streamer.bars.items import BarItem, Item

UNSTORED = "unstored"
"""The reason of an event about what went to Redis and not to MySQL."""
_WHY = "neither MySQL nor the disk takes them"


class Losses:
    """Series by series, what was let go.

    Attributes:
        count: of items, since the start.
    """

    def __init__(self) -> None:
        self.count = 0
        self._series: dict[tuple[Kind, str, str], list[int]] = {}

    def add(self, item: Item) -> None:
        """One more."""
        self.count += 1
        if isinstance(item, BarItem):
            key, at = (Kind.KLINES, item.symbol, item.interval), item.open_ms
        else:
            key, at = (Kind.LIQUIDATIONS, item.symbol, ""), item.event_ms
        seen = self._series.setdefault(key, [at, at, 0])
        seen[0], seen[1], seen[2] = min(seen[0], at), max(seen[1], at), seen[2] + 1

    def take(self, at_ms: int) -> list[GapEvent]:
        """The events of all that was added since the last time; `at_ms`: now."""
        events = []
        for (kind, symbol, interval), (first, last, count) in self._series.items():
            bars = kind is Kind.KLINES
            events.append(
                GapEvent(
                    kind=kind,
                    exchange=EXCHANGE,
                    symbol=symbol,
                    reason=UNSTORED,
                    count=count,
                    at_ms=at_ms,
                    first=str(first) if bars else "",
                    last=str(last) if bars else "",
                    detail=f"{interval} closed, not for MySQL: {_WHY}; left to the patrol" if bars else _WHY,
                )
            )
        self._series.clear()
        return events
