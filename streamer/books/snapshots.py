"""Who gets a snapshot next: books that have none before books that want more, what trades most before what trades less.

All requests pass the client's pacer, so the desk never spends more than the granted share; it only decides the order.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from enum import IntEnum
from typing import Protocol

from gapless.errors import BadSymbol, ExchangeError, RateLimited, RegionRefused
from gapless.exchanges.binance.live_rest import Snapshot, depth_snapshot
from gapless.exchanges.binance.rest import BinanceRest
from streamer.books.settings import BookSettings

_REFUSED_PAUSE_S = 300.0
_LONGEST_SLEEP_S = 60.0


class Need(IntEnum):
    """What a snapshot is for; the lower goes first."""

    BUILD = 0  # the book is not live
    DEEPEN = 1
    CHECK = 2


class BookOwner(Protocol):
    """Whose books these are."""

    def opening(self, raw_symbol: str) -> None:
        """A snapshot is about to be asked for: keep the diffs from now on (`BookSync.expecting`)."""

    def arrived(self, raw_symbol: str, snapshot: Snapshot, levels: int) -> None:
        """Here it is (`BookSync.snapshot`); ask again for what did not join."""

    def failed(self, raw_symbol: str, why: str) -> None:
        """None came (`BookSync.unexpected`); it is asked for again after a pause unless it was a check."""


class _Want:
    __slots__ = ("busy", "need", "not_before_s")

    def __init__(self, need: Need, not_before_s: float) -> None:
        self.need = need
        self.busy = False
        self.not_before_s = not_before_s


class SnapshotDesk:
    """The snapshots of one market.

    Attributes:
        taken, failures, limited: snapshots that came, requests that failed, times that the budget or a ban said no.
        halted: why nothing is asked for now; empty while all goes well.

    Args:
        within: bounds a wait to so many seconds of `monotonic`.
    """

    def __init__(
        self,
        rest: BinanceRest,
        owner: BookOwner,
        settings: BookSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        within: Callable[[float], AbstractAsyncContextManager[object]] = asyncio.timeout,
    ) -> None:
        self.taken = self.failures = self.limited = 0
        self.halted = ""
        self._rest = rest
        self._owner = owner
        self._settings = settings
        self._monotonic = monotonic
        self._jitter = jitter
        self._within = within
        self._wants: dict[str, _Want] = {}
        self._levels = {
            Need.BUILD: settings.shallow(rest.market),
            Need.DEEPEN: settings.depth,
            Need.CHECK: settings.check_levels,
        }
        self._tries: dict[tuple[str, Need], tuple[int, float]] = {}
        self._volumes: Mapping[str, float] = {}
        self._halted_until_s = 0.0
        self._changed = asyncio.Event()

    def rank(self, volumes: Mapping[str, float]) -> None:
        """What trades how much, by raw symbol (`quote_volumes`); the unknown come last."""
        self._volumes = volumes

    def build(self, raw_symbol: str) -> None:
        """The book is not live: a shallow snapshot, and a deep one when all shallow ones are there."""
        self._want(raw_symbol, Need.BUILD)

    def deepen(self, raw_symbol: str) -> None:
        """A live book knows too few levels."""
        self._want(raw_symbol, Need.DEEPEN)

    def check(self, raw_symbol: str) -> None:
        """Compare a live book, when nobody waits for anything else."""
        self._want(raw_symbol, Need.CHECK)

    def joined(self, raw_symbol: str) -> None:
        """The book is live: that it needed a snapshot was no failure of snapshots. The next time it needs one, it waits
        for the first pause alone."""
        tries, last_s = self._tries.get((raw_symbol, Need.BUILD), (0, 0.0))
        if tries > 1:
            self._tries[raw_symbol, Need.BUILD] = 1, last_s

    def drop(self, raw_symbol: str) -> None:
        """The symbol is no longer wanted."""
        self._wants.pop(raw_symbol, None)
        for need in Need:
            self._tries.pop((raw_symbol, need), None)

    def waiting(self) -> dict[Need, int]:
        """How many wait for what."""
        counts = dict.fromkeys(Need, 0)
        for want in self._wants.values():
            counts[want.need] += 1
        return counts

    async def run(self) -> None:
        """Serve until cancelled; ends by itself only for a mistake in this program."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            symbol, pause_s = self._next()
            if symbol is None:
                await self._pause(pause_s)
                continue
            await self._ask(symbol, self._wants[symbol])

    def _next(self) -> tuple[str | None, float]:
        """The next symbol to ask for, or how long there is none."""
        now_s = self._monotonic()
        if now_s < self._halted_until_s:
            return None, self._halted_until_s - now_s
        self.halted = ""
        free = [(symbol, want) for symbol, want in self._wants.items() if not want.busy]
        ready = [(want.need, -self._volumes.get(symbol, 0.0), symbol) for symbol, want in free
                 if want.not_before_s <= now_s]  # fmt: skip
        if ready:
            return min(ready)[2], 0.0
        return None, min((want.not_before_s - now_s for _, want in free), default=_LONGEST_SLEEP_S)

    async def _ask(self, symbol: str, want: _Want) -> None:
        want.busy = True
        levels = self._levels[want.need]
        self._owner.opening(symbol)
        try:
            snapshot = await depth_snapshot(self._rest, symbol, levels)
        except ExchangeError as error:
            self._failed(symbol, want, error)
            return
        finally:
            want.busy = False
            self._changed.set()
        self.taken += 1
        if self._wants.get(symbol) is not want:
            return  # no longer wanted, or wanted anew
        del self._wants[symbol]
        self._tried(symbol, want.need)
        self._owner.arrived(symbol, snapshot, levels)
        if want.need is not Need.CHECK and levels < self._settings.depth:
            self._want(symbol, Need.DEEPEN)

    def _want(self, symbol: str, need: Need) -> None:
        want = self._wants.get(symbol)
        if want is None:
            self._wants[symbol] = _Want(need, self._not_before_s(symbol, need))
        elif need < want.need:
            want.need = need
            want.not_before_s = self._not_before_s(symbol, need)
        else:
            return
        self._changed.set()

    def _tried(self, symbol: str, need: Need) -> None:
        tries, _ = self._tries_of(symbol, need)
        self._tries[symbol, need] = tries + 1, self._monotonic()

    def _tries_of(self, symbol: str, need: Need) -> tuple[int, float]:
        """How often it was tried lately, and when last."""
        tries, last_s = self._tries.get((symbol, need), (0, 0.0))
        if tries and self._monotonic() - last_s > 2 * self._settings.longest_pause_s:
            return 0, 0.0
        return tries, last_s

    def _not_before_s(self, symbol: str, need: Need) -> float:
        """What was tried lately is tried again after a pause, each time twice as long, with jitter."""
        tries, last_s = self._tries_of(symbol, need)
        if not tries:
            return 0.0
        pause_s = min(self._settings.first_pause_s * (1 << min(tries - 1, 16)), self._settings.longest_pause_s)
        return last_s + pause_s * (0.5 + self._jitter() / 2)

    def _failed(self, symbol: str, want: _Want, error: ExchangeError) -> None:
        if isinstance(error, RateLimited | RegionRefused):
            self.limited += 1
            pause_s = error.retry_after_s if isinstance(error, RateLimited) else _REFUSED_PAUSE_S
            self._halted_until_s = self._monotonic() + max(pause_s, self._settings.first_pause_s)
            self.halted = str(error)
        else:
            self.failures += 1
            self._tried(symbol, want.need)
            want.not_before_s = self._not_before_s(symbol, want.need)
            if isinstance(error, BadSymbol):
                want.not_before_s = self._monotonic() + _REFUSED_PAUSE_S
        if self._wants.get(symbol) is want:
            if want.need is Need.CHECK:
                del self._wants[symbol]
            self._owner.failed(symbol, str(error))

    async def _pause(self, pause_s: float) -> None:
        """Until something changes, at most so long."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with self._within(min(max(pause_s, 0.001), _LONGEST_SLEEP_S)):
                await self._changed.wait()
