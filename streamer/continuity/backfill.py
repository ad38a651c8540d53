"""Missing trades brought back from REST: the tasks around `Searches`, which decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.live import GapEvent, GapReason
from gapless.errors import BadSymbol, ExchangeError, GaplessError, RateLimited, RegionRefused, Unreachable
from gapless.exchanges.binance.live_rest import RestTrade
from streamer.continuity.holes import Range
from streamer.continuity.line import Line, Room
from streamer.continuity.moment import Moment
from streamer.continuity.search import Ask, Found, Tracked
from streamer.continuity.searches import Searches
from streamer.continuity.settings import ContinuitySettings

T = TypeVar("T")
AskTrades = Callable[[str, int, int], Awaitable[Sequence[tuple[RestTrade, bytes]]]]
"""Raw symbol, first id, limit: `functools.partial(agg_trades, rest)`."""
Make = Callable[[int, int, int, bytes], T]
"""An item of id, event time in ms, received ns and payload."""


class BackfillState(msgspec.Struct, frozen=True, kw_only=True):
    """How the search for missing trades stands; counts since the start, in trades unless named otherwise.

    Attributes:
        open_searches: under way now.
        waiting_bytes: of trades that wait for an earlier one.
        absent: ids that the exchange never gave, or declared void.
        deferred: holes that what followed did not wait for.
        failures: requests without an answer.
    """

    open_searches: int
    waiting_bytes: int
    searches: int
    missing: int
    brought: int
    absent: int
    lost: int
    deferred: int
    requests: int
    failures: int


class _Void(msgspec.Struct):
    f: int


class TradeBackfill(Generic[T]):
    """Brings back the missing trades of one market.

    Every hole is told when it is noticed and when it is closed or lost. A line that has trouble is handed in by
    `look_at`; nothing runs for those that have none.

    Args:
        ask: one page of trades by id; it passes the shared budget and raises the errors of the house.
        make: an item of the lines, of a trade that REST gave (without `e`, `E` and `s`).
        tell: takes the events of `md.gaps`.
        exchange_ms: the exchange's clock; the host's unless given.
    """

    def __init__(
        self,
        market: Market,
        ask: AskTrades,
        make: Make[T],
        settings: ContinuitySettings,
        *,
        tell: Callable[[GapEvent], None],
        exchange: str = "binance",
        exchange_ms: Callable[[], int] | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.market = market
        self.requests = 0
        self._request, self._make, self._settings = ask, make, settings
        self._exchange_ms = exchange_ms
        self._monotonic_ns, self._wall_ns, self._sleep = monotonic_ns, wall_ns, sleep
        self._room = Room(settings.room_bytes)
        self._searches: Searches[T] = Searches(settings, exchange, tell)
        self._tracked: dict[str, Tracked[T]] = {}
        self._troubled: set[str] = set()
        self._look = asyncio.Event()
        self._ask_now = asyncio.Event()

    def line(self, weigh: Callable[[T], int]) -> Line[T]:
        """A new line, which shares the room of the market. `weigh`: the bytes of an item."""
        return Line(self._settings, room=self._room, weigh=weigh)

    def track(
        self,
        symbol: str,
        raw_symbol: str,
        line: Line[T],
        release: Callable[[Sequence[T]], None],
        *,
        resume: tuple[int, int] | None = None,
        reopen: Sequence[Range] = (),
    ) -> None:
        """See to a symbol from now on.

        Args:
            release: takes trades that may go on, in their order.
            resume: id and event time (ms) of the newest trade that was written before this process began; what lies
                between it and the first that comes is missing.
            reopen: ranges that a process before this one left open, see `left_open`.
        """
        of = Tracked(symbol, raw_symbol, line, release)
        self._tracked[symbol] = of
        if resume is not None:
            line.resume(resume[0])
            of.reason, of.reason_at, of.began = GapReason.STARTED, line.next_id, line.next_id
            if self._now().exchange_ms - resume[1] > self._settings.resume_minutes * 60_000:
                of.too_old = resume[0] + 1
            self._searches.reopen(of, reopen, self._now())
            if line.troubled:
                self.look_at(symbol)

    def untrack(self, symbol: str, why: str = "no longer asked for") -> None:
        """Let go of a symbol: what waits goes on, what is missing is told."""
        if (of := self._tracked.pop(symbol, None)) is not None:
            self._searches.drop(of, self._now(), why)
            self._troubled.discard(symbol)

    def look_at(self, symbol: str) -> None:
        """Its line has trouble. Cheap, and harmless when repeated."""
        if symbol not in self._troubled and symbol in self._tracked:
            self._troubled.add(symbol)
            self._look.set()

    def because(self, symbol: str, reason: str) -> None:
        """Why ids of a symbol may be missing from now on (a `GapReason`): a hole that begins here is told with it."""
        if (of := self._tracked.get(symbol)) is not None:
            of.reason, of.reason_at = reason, of.line.next_id

    async def run(self) -> None:
        """Search until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                group.create_task(self._work())
            await self._watch()

    def close(self, why: str = "the writer stopped") -> None:
        """After `run`: let go of all symbols. What is told as missing now can be searched for again after a restart."""
        for symbol in list(self._tracked):
            self.untrack(symbol, why)

    def lost(self, symbol: str) -> int:
        """Trades of a symbol that were given up."""
        of = self._tracked.get(symbol)
        return of.lost if of else 0

    def state(self) -> BackfillState:
        """Counts for status and metrics."""
        tally = self._searches.tally
        return BackfillState(
            open_searches=len(self._searches),
            waiting_bytes=self._room.used,
            searches=tally.opened,
            missing=tally.missing,
            brought=tally.brought,
            absent=tally.absent,
            lost=tally.lost,
            deferred=tally.deferred,
            requests=self.requests,
            failures=tally.failures,
        )

    async def _watch(self) -> None:
        while True:
            if not self._troubled:
                self._look.clear()
                await self._look.wait()
            now = self._now()
            for symbol in list(self._troubled):
                if not self._searches.look(self._tracked[symbol], now):
                    self._troubled.discard(symbol)
            if self._searches.next_ns() is not None:
                self._ask_now.set()
            await self._sleep(self._settings.tick_ms / 1000)

    async def _work(self) -> None:
        """Make one request after another. What has to wait is asked at a later tick of `_watch`."""
        while True:
            ask = self._searches.next_ask(self._now())
            if ask is None:
                self._ask_now.clear()
                await self._ask_now.wait()
                continue
            await self._answer(ask)

    async def _answer(self, ask: Ask[T]) -> None:
        self.requests += 1
        failed = self._searches.failed
        try:
            rows = await self._request(ask.search.of.raw_symbol, ask.first, ask.limit)
            now = self._now()
            found = [self._found(row, payload, now.wall_ns) for row, payload in rows]
        except RateLimited as error:
            failed(ask, str(error), self._now(), wait_s=error.retry_after_s)
        except BadSymbol as error:
            failed(ask, str(error), self._now(), lasting=True)
        except GaplessError as error:
            passing = isinstance(error, Unreachable | RegionRefused) or not isinstance(error, ExchangeError)
            failed(ask, str(error), self._now(), refused=not passing)
        else:
            self._searches.answered(ask, found, now)

    def _found(self, row: RestTrade, payload: bytes, received_ns: int) -> Found[T]:
        # Spot keeps the numbers of duplicates that it declared void: no price, no trades in it (reference section 3).
        try:
            void = self.market is Market.SPOT and _first_trade(payload).f < 0
        except msgspec.DecodeError as error:
            raise ExchangeError(f"binance trade {row.a}: not what the exchange documents ({error})") from None
        return Found(row.a, row.T, None if void else self._make(row.a, row.T, received_ns, payload))

    def _now(self) -> Moment:
        wall_ns = self._wall_ns()
        exchange_ms = wall_ns // 1_000_000 if self._exchange_ms is None else self._exchange_ms()
        return Moment(self._monotonic_ns(), wall_ns, exchange_ms)


_first_trade = msgspec.json.Decoder(_Void).decode


def left_open(events: Iterable[GapEvent]) -> dict[str, list[Range]]:
    """By symbol, the trades that a process before this one left missing when it ended in order; oldest event first.

    Only what it told exactly: after a crash nobody knows what of a hole was written, and bringing it again might write
    a trade twice.
    """
    found: dict[str, list[Range]] = {}
    for event in events:
        if event.kind != "trades" or not (event.first.isdecimal() and event.last.isdecimal()):
            continue
        first, last = int(event.first), int(event.last)
        open_ = found.setdefault(event.symbol, [])
        open_[:] = [each for each in open_ if each.last < first or last < each.first]
        if event.reason == GapReason.STOPPED and not event.repaired and event.count == last - first + 1:
            open_.append(Range(first, last))
    return {symbol: sorted(ranges) for symbol, ranges in found.items() if ranges}
