"""Bars that the stream did not close, asked of REST one series at a time, kept if there is a store, and confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.errors import ExchangeError
from gapless.exchanges.binance.rest import BinanceRest
from streamer.bars.asking import ask_bars
from streamer.bars.items import BarItem
from streamer.bars.settings import BarSettings
from streamer.continuity.bars import Wanted

Save = Callable[[Sequence[BarItem]], Awaitable[None]]

_Key = tuple[Market, str, Interval]


async def save_nowhere(items: Sequence[BarItem]) -> None:
    """Without a database REST is asked all the same: whether a bar is lacking at all, only it can tell."""


class Confirmer:
    """Asks for wanted bars. One that cannot be had now is let go: who wants it asks again.

    Args:
        save: keeps what REST had; when it returns, that is on disk or in MySQL.
        rests: by market, entered; markets may be added.
        confirmed: told of each answer when what it brought is saved: market, symbol, interval, and what
            `streamer.continuity.bars.BarWatch.confirmed` takes.

    Attributes:
        brought: bars that REST had. failed: series of which it did not answer. beyond: series let go at the bound.
    """

    def __init__(
        self,
        save: Save,
        rests: Mapping[Market, BinanceRest],
        settings: BarSettings,
        confirmed: Callable[[Market, str, Interval, Mapping[int, int | None]], None],
    ) -> None:
        self.brought = self.failed = self.beyond = 0
        self._save = save
        self._rests = rests
        self._settings = settings
        self._confirmed = confirmed
        self._known: dict[tuple[Market, str], Instrument] = {}
        self._waiting: dict[_Key, set[int]] = {}
        self._room = asyncio.Semaphore(0)

    def follow(self, instruments: Iterable[Instrument]) -> None:
        """These are streamed now."""
        self._known = {(each.market, each.symbol): each for each in instruments}

    def want(self, market: Market, wanted: Sequence[Wanted]) -> None:
        """Ask for these; never waits."""
        for symbol, interval, opens in wanted:
            key = market, symbol, interval
            if (waiting := self._waiting.get(key)) is not None:
                waiting.update(opens)
            elif len(self._waiting) < self._settings.waiting_series:
                self._waiting[key] = set(opens)
                self._room.release()
            else:
                self.beyond += 1

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            await self._room.acquire()
            key = next(iter(self._waiting))
            opens = sorted(self._waiting.pop(key))
            market, symbol, interval = key
            instrument, rest = self._known.get((market, symbol)), self._rests.get(market)
            if instrument is None or rest is None:
                continue  # it is streamed no longer
            try:
                answer = await ask_bars(rest, instrument, interval, opens)
            except ExchangeError:
                self.failed += 1
                continue
            await self._save(answer.items)
            self.brought += len(answer.items)
            self._confirmed(market, symbol, interval, answer.trades)
