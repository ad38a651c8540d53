"""One client's connection, as the exchange keeps it: what waits to be sent, its pings, its life, what befell it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from gapless.domain.instrument import Market
from replica.live.framing import combined, ping_frame, pong_frame, text_frame
from replica.live.ledger import ConnectionCounts
from replica.live.rules import LiveRules
from replica.live.subscriptions import Desk

_FOREVER = float("inf")


class Connection:
    """A connection that was accepted. Times are seconds of a clock that never jumps.

    Attributes:
        number: counted from 1 in its market.
        ending: why it ends, once that is decided; nothing is sent any more.
        closing: who sends the close frame and waits for the client's.
        muted: streams that stay silent, and until when; asking for one again ends that.
    """

    def __init__(
        self, number: int, market: Market, address: str, desk: Desk, transport: asyncio.Transport, rules: LiveRules,
        counts: ConnectionCounts, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.number, self.market, self.address, self.desk = number, market, address, desk
        self._clock, now_s = clock, clock()
        self.ending = ""
        self.muted: dict[str, float] = {}
        self.messages = 0
        self.ends_at = now_s + rules.life_s
        self.closing: asyncio.Task[None] | None = None
        self._transport, self._rules, self._counts = transport, rules, counts
        self._opened = now_s
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._stalled_until = 0.0
        self._keeps = False
        self._ping_at = now_s + rules.ping_every_s
        self._pings: dict[bytes, float] = {}
        self._heard: deque[float] = deque(maxlen=rules.messages_per_s + 1)

    def send(self, frame: bytes) -> bool:
        """Puts a message's frame behind what waits; False when it is lost, since the connection stalls or ends."""
        if self.ending or (self._stalled_until and not self._keeps):
            return False
        self._out.append(frame)
        self._out_bytes += len(frame)
        self.messages += 1
        return True

    def say(self, text: bytes) -> None:
        """Sends an answer or a notice."""
        self._control(text_frame(text))

    def pong(self, payload: bytes) -> None:
        """Answers a client's ping."""
        self._control(pong_frame(payload))

    def shut_down(self, event_ms: int, at_s: float) -> None:
        """Tells that the server goes, and ends the connection at a moment."""
        notice = b'{"e":"serverShutdown","E":%d}' % event_ms
        self.say(combined("!serverShutdown", notice) if self.desk.combined else notice)
        self.ends_at = min(self.ends_at, at_s)

    def stall(self, until_s: float, *, keep: bool) -> None:
        """Sends nothing at all up to a moment; what it misses follows then, or is lost."""
        self.flush()
        self._stalled_until, self._keeps = until_s, keep

    def recover(self) -> None:
        """Silence and stall are over."""
        self.muted.clear()
        self._stalled_until = 0.0

    def half_open(self) -> None:
        """Neither reads nor sends any more, yet stays open, as a peer does behind a dead path."""
        self.ending = "half_open"
        self.ends_at = _FOREVER
        self._transport.pause_reading()

    def is_muted(self, stream: str) -> bool:
        """Whether a stream is silent here; looks at `muted`, which is empty for most."""
        until = self.muted.get(stream)
        if until is None:
            return False
        if self._clock() < until:
            return True
        del self.muted[stream]
        return False

    def heard(self, now_s: float) -> bool:
        """Counts a frame of the client; False when it said too much within a second."""
        self._heard.append(now_s)
        return len(self._heard) <= self._rules.messages_per_s or now_s - self._heard[0] > 1.0

    def ponged(self, payload: bytes) -> None:
        """A pong; one that no ping asked for keeps nothing alive."""
        if payload in self._pings:
            self._counts.pongs += 1
            self._pings.clear()

    def check(self, now_s: float, now_ms: int) -> str:
        """Pings when it is time; says why the connection must end, or nothing."""
        if self.ending:
            return ""
        if now_s >= self.ends_at:
            return "life"
        if self._pings and now_s - next(iter(self._pings.values())) > self._rules.pong_within_s:
            return "no_pong"
        if self._stalled_until and now_s >= self._stalled_until:
            self._stalled_until = 0.0
        if now_s >= self._ping_at and not self._stalled_until:
            self._ping_at = now_s + self._rules.ping_every_s
            payload = b"%d" % now_ms
            self._pings.setdefault(payload, now_s)
            self._counts.pings += 1
            self._control(ping_frame(payload))
        return ""

    def flush(self) -> bool:
        """Hands over what waits; False when the reader is too slow."""
        if self._stalled_until:
            return self._out_bytes <= self._rules.unsent_bytes
        if self._out:
            if not self.ending and not self._transport.is_closing():
                self._transport.write(b"".join(self._out))
                self._counts.messages += len(self._out)
                self._counts.bytes += self._out_bytes
            self._out.clear()
            self._out_bytes = 0
        return self._transport.get_write_buffer_size() <= self._rules.unsent_bytes

    def reset(self) -> None:
        """Ends it by a TCP reset."""
        connection: socket.socket | None = self._transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def report(self, now_s: float) -> dict[str, Any]:
        return {
            "number": self.number,
            "market": self.market.value,
            "route": self.desk.route,
            "address": self.address,
            "streams": self.desk.streams,
            "open_s": round(now_s - self._opened, 3),
            "messages": self.messages,
            "unsent_bytes": self._transport.get_write_buffer_size(),
            "ending": self.ending,
            "stalled": bool(self._stalled_until),
        }

    def _control(self, frame: bytes) -> None:
        """Sends a frame that is no stream's message, behind those that wait."""
        if self.ending or (self._stalled_until and not self._keeps):
            return
        if self._stalled_until:
            self._out.append(frame)
            self._out_bytes += len(frame)
            return
        self.flush()
        if not self._transport.is_closing():
            self._transport.write(frame)
