"""Aggregate trades: ids are contiguous, so a hole is seen, held open, filled by REST, and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gapless.exchanges.binance.streams.messages import AggTrade, decode_message
from gapless.exchanges.binance.streams.names import StreamSpec
from streamer.channels.channel import Channel, Desk
from streamer.continuity.line import Line


class Trade(NamedTuple):
    """A trade on its way: its id, and what an entry needs."""

    id: int
    event_ms: int
    received_ns: int
    payload: bytes


class TradesChannel(Channel):
    """Trades in order of their ids, each once.

    Args:
        line: what knows which id is next.
        on_trouble: told once when ids are missing, so that somebody looks at `line.due`.
    """

    __slots__ = ("_on_trouble", "line")

    def __init__(
        self, spec: StreamSpec, desk: Desk, line: Line[Trade], on_trouble: Callable[[TradesChannel], None]
    ) -> None:
        super().__init__(spec, desk)
        self.line = line
        self.last_id: int = -1
        self._on_trouble = on_trouble

    def take(self, data: bytes, received_ns: int) -> None:
        try:
            message = decode_message(data)
            number, event_ms = message.a, message.E
        except Exception:
            message = None
        if type(message) is not AggTrade:
            self.decode(data, AggTrade)  # says what is wrong
            return
        line = self.line
        if number == line.expected:
            line.expected = number + 1
            self.put(self.out, event_ms, received_ns, b"%d" % number, data)
            # What `emit` does, without the call: this line runs ten thousand times a second.
            desk = self.desk
            delay = received_ns // 1_000_000 - event_ms - desk.offset_ms
            desk.delays.counts[0 if delay < 0 else delay if delay < 60_000 else 60_000] += 1
            self.delay_ms += delay
            self.last_id = number
            self.latest = (event_ms, received_ns, data)
            if not self.dirty:
                self.dirty = True
                desk.dirty.append(self)
            return
        self.pass_on(line.irregular(number, Trade(number, event_ms, received_ns, data), received_ns))
        if line.troubled:
            self._on_trouble(self)

    def pass_on(self, trades: Iterable[Trade]) -> None:
        """Emit trades that may go now, in their order. Those that REST brought are no newer for having come later, and
        say nothing of how late messages are."""
        for trade in trades:
            self.put(self.out, trade.event_ms, trade.received_ns, b"%d" % trade.id, trade.payload)
            if trade.id > self.last_id:
                self.last_id = trade.id
                self.latest = (trade.event_ms, trade.received_ns, trade.payload)
                self.show()
