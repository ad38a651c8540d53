"""The patrol: every ten minutes MySQL is searched for bars that it should hold, and REST is asked for what it lacks."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import ExchangeError, StorageError
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.storage.mysql import MySql
from gapless.storage.mysql.runs import read_opens_by_symbol
from streamer.bars.asking import ask_bars
from streamer.bars.settings import BarSettings
from streamer.bars.sink import BarSink

_ABSENT_TWICE = 2


@dataclass(frozen=True, slots=True)
class Patrolled:
    """What one search found.

    Attributes:
        lacking: bars that should be there and were not. brought: those that REST had; they are on their way to MySQL.
        absent: those that the exchange has not. failed: series of which it did not answer.
    """

    lacking: int = 0
    brought: int = 0
    absent: int = 0
    failed: int = 0


class Patrol:
    """Searches for what is lacking of the bars that are streamed.

    Args:
        db: read in the sink's thread. rests: by market, entered; markets may be added.
        intervals: that are streamed.

    Attributes:
        brought, absent: bars, since the start.
    """

    def __init__(
        self,
        sink: BarSink,
        db: MySql,
        rests: Mapping[Market, BinanceRest],
        settings: BarSettings,
        intervals: Sequence[Interval],
        *,
        say: Callable[[str], None],
    ) -> None:
        self.brought = self.absent = 0
        self._sink = sink
        self._db = db
        self._rests = rests
        self._settings = settings
        self._intervals = tuple(intervals)
        self._say = say
        self._followed: dict[Market, list[Instrument]] = {}
        self._good_ms: dict[Market, int] = {}
        self._never: Counter[tuple[str, Interval, int]] = Counter()
        self._said = ""

    def follow(self, instruments: Iterable[Instrument]) -> None:
        """These are streamed now."""
        followed: dict[Market, list[Instrument]] = defaultdict(list)
        for each in instruments:
            followed[each.market].append(each)
        self._followed = dict(followed)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.sleep(self._settings.patrol_first_s)
        while True:
            await self.look()
            await asyncio.sleep(self._settings.patrol_s)

    async def look(self) -> Patrolled:
        """One search, of all markets. While MySQL is away, or what waited for it is on its way, there is none."""
        total = Patrolled()
        if self._sink.behind:
            return total
        for market, instruments in list(self._followed.items()):
            rest = self._rests.get(market)
            if rest is None:
                continue
            try:
                found = await self._look(rest, instruments)
            except (StorageError, ExchangeError, LookupError) as error:
                if not self._said:
                    self._say(f"the patrol of {market} bars did not come through, the next one looks further: {error}")
                self._said = str(error)
                continue
            self._said = ""
            total = Patrolled(
                total.lacking + found.lacking,
                total.brought + found.brought,
                total.absent + found.absent,
                total.failed + found.failed,
            )
        return total

    async def _look(self, rest: BinanceRest, instruments: Sequence[Instrument]) -> Patrolled:
        now_ms, market = rest.clock.now_ms(), rest.market
        window = self._window(now_ms, self._good_ms.get(market))
        lacking = {}
        for interval in self._intervals:
            stored = await self._stored(instruments, interval, window)
            for each in instruments:
                opens = self._expected(each, interval, window)
                if missing := [at for at in opens if at not in stored.get(each.symbol, ())]:
                    lacking[each.symbol, interval] = (each, missing)
        room = asyncio.Semaphore(self._settings.concurrency)
        counts = Counter[str]()

        async def bring(instrument: Instrument, interval: Interval, opens: Sequence[int]) -> None:
            async with room:
                await self._sink.room()
                try:
                    answer = await ask_bars(rest, instrument, interval, opens)
                except ExchangeError:
                    counts["failed"] += 1
                    return
            await self._sink.save(answer.items)
            counts["brought"] += len(answer.items)
            for at, trades in answer.trades.items():
                if trades is None:
                    counts["absent"] += 1
                    self._never[instrument.symbol, interval, at] += 1

        async with asyncio.TaskGroup() as group:
            for (_, interval), (instrument, opens) in lacking.items():
                group.create_task(bring(instrument, interval, opens))
        self.brought += counts["brought"]
        self.absent += counts["absent"]
        if not counts["failed"]:
            self._good_ms[market] = window.end_ms
        self._never = Counter({key: count for key, count in self._never.items() if key[2] >= self._oldest(now_ms)})
        found = Patrolled(
            sum(len(opens) for _, opens in lacking.values()), counts["brought"], counts["absent"], counts["failed"]
        )
        if found.brought or found.failed:
            self._say(
                f"patrol of {market} bars: {found.lacking} were lacking in MySQL, {found.brought} brought from REST, "
                f"{found.absent} that the exchange has not, {found.failed} series not answered"
            )
        return found

    def _window(self, now_ms: int, good_ms: int | None) -> Window:
        """Of the ends of bars: the usual stretch, and what searches before this one did not come through."""
        end = now_ms - int(self._settings.patrol_grace_s * 1000)
        usual = end - int(self._settings.patrol_window_s * 1000)
        oldest = self._oldest(now_ms)
        return Window(max(oldest, min(usual, oldest if good_ms is None else good_ms)), end)

    def _oldest(self, now_ms: int) -> int:
        return now_ms - int((self._settings.patrol_grace_s + self._settings.patrol_longest_s) * 1000)

    def _expected(self, instrument: Instrument, interval: Interval, window: Window) -> list[int]:
        since = instrument.listed_ms or 0
        opens = interval.completing(window)
        return [at for at in opens if at >= since and self._never[instrument.symbol, interval, at] < _ABSENT_TWICE]

    async def _stored(
        self, instruments: Sequence[Instrument], interval: Interval, window: Window
    ) -> dict[str, set[int]]:
        opens = interval.completing(window)
        if not opens:
            return {}
        symbols = [each.symbol for each in instruments]
        spanned = Window(opens[0], opens[-1] + interval.ms)
        return await self._sink.thread.do(read_opens_by_symbol, self._db, EXCHANGE, symbols, interval, spanned)
