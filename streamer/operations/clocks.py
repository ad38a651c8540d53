"""Two clocks that must be watched: how late the event loop is, and how far the exchange's clock is from ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from gapless.domain.instrument import Market
from gapless.errors import GaplessError
from gapless.exchanges.binance.clock import ExchangeClock, TimeSample

_BEAT_S = 0.05
_BEATS_KEPT = 100
_STUCK_S = 30.0
_TRIES = 4


class LoopWatch:
    """How late the event loop ran what was due: every 50 ms it is asked, the last five seconds are kept.

    Args:
        on_stall: told how many seconds the loop stood still, when that was longer than `stall_s`.
    """

    def __init__(self, *, stall_s: float = 1.0, on_stall: Callable[[float], None] = lambda _: None) -> None:
        self._late_ms = [0.0] * _BEATS_KEPT
        self._at = 0
        self._beat_s = time.monotonic()
        self._stall_s = stall_s
        self._on_stall = on_stall

    @property
    def lag_ms(self) -> float:
        """The longest of the last five seconds."""
        return max(self._late_ms)

    @property
    def turning(self) -> bool:
        """Whether the watch itself has run lately."""
        return time.monotonic() - self._beat_s < _STUCK_S

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _BEAT_S
            await asyncio.sleep(_BEAT_S)
            late_s = loop.time() - due_s
            self._late_ms[self._at] = max(0.0, late_s * 1000)
            self._at = (self._at + 1) % _BEATS_KEPT
            self._beat_s = time.monotonic()
            if late_s > self._stall_s:
                self._on_stall(late_s)


class Clocked(Protocol):
    """What is asked of a market's REST client here; `BinanceRest` is one."""

    clock: ExchangeClock

    async def server_time(self) -> TimeSample: ...


async def best_offset_ms(rest: Clocked, tries: int = _TRIES) -> int:
    """How far the host's clock is ahead of the exchange's, by the quickest of several answers.

    Each is exact to half its way there and back. The first after a pause pays for a new connection, mostly on its way
    there, and would be tens of milliseconds wrong.
    """
    samples = [await rest.server_time() for _ in range(tries)]
    best = min(samples, key=lambda sample: sample.received_s - sample.sent_s)
    rest.clock.take(best)
    return round((best.wall_s - (best.received_s - best.sent_s) / 2) * 1000) - best.server_ms


class ClockWatch:
    """Keeps the offset of this host's clock to each market's.

    Args:
        on_offset: told whenever it was read: the market, and by how many ms the host is ahead.
    """

    def __init__(
        self,
        rests: Mapping[Market, Clocked],
        every_s: float,
        *,
        on_offset: Callable[[Market, int], None],
        say: Callable[[str], None],
    ) -> None:
        self._rests = rests
        self._every_s = every_s
        self._on_offset = on_offset
        self._say = say

    async def run(self) -> None:
        """Read all at once, and again every so often, until cancelled. One that does not answer is asked next time."""
        failed: set[Market] = set()
        while True:
            for market, rest in list(self._rests.items()):
                try:
                    offset_ms = await best_offset_ms(rest)
                except GaplessError as error:
                    if market not in failed:
                        self._say(f"the clock of {market} cannot be read, the last offset stays: {error}")
                    failed.add(market)
                    continue
                failed.discard(market)
                self._on_offset(market, offset_ms)
            await asyncio.sleep(self._every_s)
