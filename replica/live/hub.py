"""The pump between the live market and its listeners: one task sends what happened every few milliseconds, keeps the
exchange's rules, and ends connections; who connects and what they say comes in by calls."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from gapless.domain.instrument import Market
from replica.clock import ReplicaClock
from replica.live.connection import Connection
from replica.live.fan import Blow, Fan
from replica.live.fault_schema import Cut, LiveScript, Refuse, Reject, Shutdown, Silence, Stall
from replica.live.faults import LiveFaults
from replica.live.ledger import ConnectionCounts
from replica.live.messages import Live
from replica.live.rules import LiveRules
from replica.live.subscriptions import Answer, Desk, Place, error_text, is_served, request_id, request_streams

PUMP_S = 0.005
_IDLE_S = 0.05
_CHECK_S = 0.02
_ATTEMPTS_WINDOW_S = 300.0
_LINGER_S = 900.0
_CLOSE_WITHIN_S = 2.0
_FOREVER = float("inf")


class Admission(NamedTuple):
    """A handshake's fate: refused, or a connection that may be short-lived."""

    refuse: Refuse | None
    life_s: float | None


class Hub:
    """All WebSocket connections of both markets.

    Args:
        live: what happens. A stream stays watched for 15 minutes after its last listener left, so that the market goes
            on behind a cut.
    """

    def __init__(
        self, clock: ReplicaClock, live: Live, script: LiveScript, rules: Mapping[Market, LiveRules], *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.clock, self.live = clock, live
        self.faults = LiveFaults(script)
        self.rules: dict[Market, LiveRules] = dict(rules)
        self.counts = {market: ConnectionCounts() for market in Market}
        self.connections: dict[Connection, web.WebSocketResponse] = {}
        self.fans: dict[Market, dict[str, Fan]] = {market: {} for market in Market}
        self.longest_tick_s = 0.0
        self._numbers = dict.fromkeys(Market, 0)
        self._monotonic = monotonic
        self._attempts: dict[tuple[Market, str], deque[float]] = {}
        self._waiting: set[Fan] = set()
        self._doomed: list[tuple[Connection, int, str]] = []
        self._check_at = 0.0

    async def run(self) -> None:
        """Pumps until cancelled. However it ends, no connection is left that would wait for more."""
        try:
            async with asyncio.TaskGroup() as closings:
                while True:
                    started = self._monotonic()
                    self.tick()
                    for connection, code, reason in self._doomed:
                        if connection in self.connections:
                            connection.closing = closings.create_task(self._close(connection, code, reason))
                    self._doomed.clear()
                    spent = self._monotonic() - started
                    self.longest_tick_s = max(self.longest_tick_s, spent)
                    await asyncio.sleep(max(0.0, (PUMP_S if self.connections or self._waiting else _IDLE_S) - spent))
        finally:
            for connection in self.connections:
                connection.reset()

    def tick(self) -> None:
        """Sends what happened up to now."""
        now_s = self._monotonic()
        for message in self.live.advance(self.clock.now_ms()):
            fan = self.fans[message.market].get(message.stream)
            if fan is None:
                continue
            for blow in fan.happened(message, self.faults, now_s):
                self._strike(blow, fan)
            if fan.holds:
                self._waiting.add(fan)
        for fan in tuple(self._waiting):
            for blow in fan.due(self.faults, now_s):
                self._strike(blow, fan)
            if not fan.holds:
                self._waiting.discard(fan)
        checks = now_s >= self._check_at
        if checks:
            self._check_at = now_s + _CHECK_S
            self._let_go(now_s)
        now_ms = self.clock.now_ms()
        for connection in tuple(self.connections):
            why = connection.check(now_s, now_ms) if checks else ""
            if why:
                self.end(connection, Cut("close", 1008 if why == "no_pong" else 1001, why), why)
            if not connection.flush():
                self.end(connection, Cut(), "slow")

    # -- who comes and goes ------------------------------------------------------------------------------------------

    def admit(self, market: Market, address: str, place: Place) -> Admission:
        """Counts a handshake; whether it is refused, by the exchange's bound on attempts or by the script."""
        counts, now_s = self.counts[market], self._monotonic()
        counts.attempts += 1
        attempts = self._attempts.setdefault((market, address), deque())
        while attempts and attempts[0] <= now_s - _ATTEMPTS_WINDOW_S:
            attempts.popleft()
        refuse: Refuse | None = None
        life_s: float | None = None
        if len(attempts) >= self.rules[market].attempts_per_5m:
            refuse = Refuse(429, int(_ATTEMPTS_WINDOW_S - (now_s - attempts[0])) + 1)
        else:
            attempts.append(now_s)
            for action in self.faults.of_handshake(
                market, place.streams, self._numbers[market] + 1, self.clock.now_ms()
            ):
                if action.refuse is not None:
                    refuse = action.refuse if isinstance(action.refuse, Refuse) else Refuse(action.refuse)
                    break
                life_s = action.life_s
        if refuse is not None:
            counts.refused[refuse.status] += 1
        return Admission(refuse, life_s)

    def welcome(
        self, market: Market, address: str, place: Place, socket: web.WebSocketResponse, transport: asyncio.Transport,
        life_s: float | None = None,
    ) -> Connection:  # fmt: skip
        """A connection that was accepted; it gets what its URL asked for."""
        counts, rules = self.counts[market], self.rules[market]
        counts.opened += 1
        self._numbers[market] += 1
        desk = Desk(market, place, rules.streams)
        connection = Connection(self._numbers[market], market, address, desk, transport, rules, counts, self._monotonic)
        if life_s is not None:
            connection.ends_at = self._monotonic() + life_s
        self.connections[connection] = socket
        self._join(connection, place.streams)
        return connection

    def heard(self, connection: Connection, text: str | bytes) -> None:
        """What a client said."""
        if not self.counted(connection):
            return
        streams = request_streams(text)
        for action in self.faults.of_request(connection.market, streams, connection.number, self.clock.now_ms()):
            reject = action.reject if isinstance(action.reject, Reject) else Reject()
            if reject.code is not None:
                connection.say(error_text(reject.code, reject.msg, request_id(text)))
            return
        answer = connection.desk.answer(text)
        self._carry_out(connection, answer)
        connection.say(answer.text)

    def counted(self, connection: Connection) -> bool:
        """Counts a frame of a client; False when it said too much, and is disconnected."""
        if connection.heard(self._monotonic()):
            return True
        self.end(connection, Cut("close", 1008, "Too many requests"), "too_many_messages")
        return False

    def gone(self, connection: Connection) -> None:
        """A connection is over."""
        del self.connections[connection]
        self.counts[connection.market].ended[connection.ending or "client"] += 1
        self._leave(connection, connection.desk.streams)

    def end(self, connection: Connection, cut: Cut, why: str) -> None:
        """Ends a connection in a way; the first cause counts."""
        if connection.ending:
            return
        connection.flush()
        if cut.how == "half_open":
            connection.half_open()
            return
        connection.ending = why
        if cut.how == "reset":
            connection.reset()
        else:
            self._doomed.append((connection, cut.code, cut.reason))

    def shut_down(self, connection: Connection, after_s: float) -> None:
        """Tells a connection that the server goes, and ends it so much later."""
        connection.shut_down(self.clock.now_ms(), self._monotonic() + after_s)

    def play(self, script: LiveScript) -> None:
        """Replaces the fault script. What an earlier one holds back is sent; nobody is silent or stalled any more."""
        self.faults = LiveFaults(script)
        now_s = self._monotonic()
        for fan in self._waiting:
            for blow in fan.due(self.faults, now_s, at_once=True):
                self._strike(blow, fan)
        self._waiting.clear()
        for connection in self.connections:
            connection.recover()

    # -- within ------------------------------------------------------------------------------------------------------

    def _strike(self, blow: Blow, fan: Fan) -> None:
        connection, action, now_s = blow.connection, blow.action, self._monotonic()
        if connection.ending:
            return
        if action.silence:
            silence = action.silence if isinstance(action.silence, Silence) else Silence()
            connection.muted[fan.stream] = _FOREVER if silence.s is None else now_s + silence.s
        elif action.stall:
            stall = action.stall if isinstance(action.stall, Stall) else Stall()
            connection.stall(_FOREVER if stall.s is None else now_s + stall.s, keep=stall.keep)
        elif action.cut:
            cut = action.cut if isinstance(action.cut, Cut) else Cut() if action.cut is True else Cut(action.cut)
            self.end(connection, cut, "cut")
        elif action.shutdown:
            shutdown = action.shutdown if isinstance(action.shutdown, Shutdown) else Shutdown()
            self.shut_down(connection, shutdown.after_s)

    def _carry_out(self, connection: Connection, answer: Answer) -> None:
        counts = self.counts[connection.market].requests
        counts["subscribed"] += len(answer.added)
        counts["unsubscribed"] += len(answer.removed)
        counts["requests"] += 1
        for stream in answer.added:
            connection.muted.pop(stream, None)
        self._join(connection, answer.added)
        self._leave(connection, answer.removed)
        if answer.combined is not None:
            self._join(connection, connection.desk.streams)

    def _join(self, connection: Connection, streams: Iterable[str]) -> None:
        market, desk = connection.market, connection.desk
        for stream in streams:
            if not is_served(market, desk.route, stream) or not self.live.knows(market, stream):
                continue
            fan = self.fans[market].setdefault(stream, Fan(market, stream))
            fan.join(connection, in_envelope=desk.combined)
            if not fan.watched:
                fan.watched = True
                self.live.watch(market, stream)

    def _leave(self, connection: Connection, streams: Iterable[str]) -> None:
        for stream in streams:
            fan = self.fans[connection.market].get(stream)
            if fan is not None:
                fan.leave(connection)
                fan.empty_since = self._monotonic()

    def _let_go(self, now_s: float) -> None:
        for fans in self.fans.values():
            for fan in fans.values():
                if fan.watched and not fan.is_heard and now_s - fan.empty_since > _LINGER_S:
                    fan.watched = False
                    self.live.unwatch(fan.market, fan.stream)

    async def _close(self, connection: Connection, code: int, reason: str) -> None:
        """A close frame; a client that does not answer it is cut."""
        socket = self.connections.get(connection)
        if socket is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await socket.close(code=code, message=reason.encode())
        except (TimeoutError, ConnectionError):
            connection.reset()

    def report(self) -> list[dict[str, Any]]:
        """Every connection as it stands."""
        now_s = self._monotonic()
        return [connection.report(now_s) for connection in self.connections]
