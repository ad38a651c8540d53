"""Channels whose entries are states or single events: book tickers, mark prices, klines, liquidations.

Nothing of the exchange numbers what they miss, so they order and de-duplicate by what identifies an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.live import Entry, last_key
from gapless.exchanges.binance.streams.messages import (
    BookTicker,
    ForceOrder,
    Kline,
    MarkPrice,
    decode_spot_ticker,
)
from gapless.exchanges.binance.streams.names import StreamSpec
from streamer.channels.channel import EXCHANGE, Channel, Desk
from streamer.channels.recent import Recent

_RECENT = 128
_RECENT_LIQUIDATIONS = 512

OnClosed = Callable[[StreamSpec, Kline, int], bool]
OnLiquidation = Callable[[StreamSpec, ForceOrder, int], None]


class BookTickerChannel(Channel):
    """The best bid and ask. Only what is newer than the newest goes on: a state that is superseded is none.

    Spot's names no event time; the time of receipt stands for it, on the exchange's clock as far as it is known.
    """

    __slots__ = ("_spot",)

    def __init__(self, spec: StreamSpec, desk: Desk) -> None:
        super().__init__(spec, desk)
        self._spot = spec.market is Market.SPOT
        self.last_id: int = -1

    def resume(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.last_id = max(self.last_id, int(entry.identity))

    def take(self, data: bytes, received_ns: int) -> None:
        if self._spot:
            try:
                update_id = decode_spot_ticker(data).u
            except msgspec.DecodeError as error:
                self.refuse(data, f"json: {error}")
                return
            event_ms = received_ns // 1_000_000 - self.desk.offset_ms
        else:
            message = self.decode(data, BookTicker)
            if message is None:
                return
            update_id, event_ms = message.u, message.E
        if update_id <= self.last_id:
            self.duplicates += 1
            return
        self.last_id = update_id
        self.emit(event_ms, received_ns, b"%d" % update_id, data)


class MarkPriceChannel(Channel):
    """Mark price, index, running funding rate and its next time, each second."""

    __slots__ = ("_recent",)

    def __init__(self, spec: StreamSpec, desk: Desk) -> None:
        super().__init__(spec, desk)
        self._recent: Recent[int] = Recent(_RECENT)

    def resume(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._recent.is_new(int(entry.identity))

    def take(self, data: bytes, received_ns: int) -> None:
        message = self.decode(data, MarkPrice)
        if message is None:
            return
        if not self._recent.is_new(message.E):
            self.duplicates += 1
            return
        newest = self.latest
        self.last_id = max(message.E, self.last_event_ms)
        self.emit(message.E, received_ns, b"%d" % message.E, data)
        if newest is not None and newest[0] > message.E:
            self.latest = newest  # it came late: an entry of its own, but not the newest state


class KlineChannel(Channel):
    """Bars as they grow and close.

    Args:
        on_closed: told of every close; says whether it is the bar's first. Only that one is an entry: of a bar that is
            closed again with other values `md.gaps` tells both.
    """

    __slots__ = ("_on_closed", "_recent")

    def __init__(self, spec: StreamSpec, desk: Desk, on_closed: OnClosed) -> None:
        super().__init__(spec, desk)
        self._recent: Recent[bytes] = Recent(_RECENT)
        self._on_closed = on_closed

    def resume(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._recent.is_new(entry.identity.encode())

    def take(self, data: bytes, received_ns: int) -> None:
        message = self.decode(data, Kline)
        if message is None:
            return
        bar = message.k
        if bar.i != self.spec.interval:
            self.refuse(data, f"fields: interval {bar.i!r} in {self.spec.name}")
            return
        interval = bar.i.encode()
        identity = b"%b:%d:1" % (interval, bar.t) if bar.x else b"%b:%d:0:%d" % (interval, bar.t, message.E)
        is_first = not bar.x or self._on_closed(self.spec, message, received_ns)
        if not self._recent.is_new(identity) or not is_first:
            self.duplicates += 1
            return
        newest = self.latest
        self.last_id = identity.decode()
        self.emit(message.E, received_ns, identity, data)
        if newest is not None and newest[0] > message.E:
            self.latest = newest


class LiquidationChannel(Channel):
    """Liquidations: a sample of the exchange's choosing, which numbers none."""

    __slots__ = ("_on_liquidation", "_recent")

    def __init__(self, spec: StreamSpec, desk: Desk, on_liquidation: OnLiquidation) -> None:
        super().__init__(spec, desk)
        self._recent: Recent[bytes] = Recent(_RECENT_LIQUIDATIONS)
        self._on_liquidation = on_liquidation
        self.key = last_key(spec.kind, EXCHANGE, spec.symbol)

    def resume(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._recent.is_new(entry.payload)

    def take(self, data: bytes, received_ns: int) -> None:
        message = self.decode(data, ForceOrder)
        if message is None:
            return
        order = message.o
        # Two of one symbol and millisecond that agree in what the identity names may still be two: all fields tell.
        if not self._recent.is_new(data):
            self.duplicates += 1
            return
        identity = f"{order.T}:{order.S}:{order.p}:{order.q}"
        self.last_id = identity
        self.emit(message.E, received_ns, identity.encode(), data)
        self._on_liquidation(self.spec, message, received_ns)
