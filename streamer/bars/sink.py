"""Closed bars and liquidations on their way to MySQL: gathered, put on disk, loaded, and only then let go.

Every batch goes by the disk, MySQL away or not: there is one way, it is tried all the time, and a kill at any moment
loses at most what was gathered since the last batch, which the patrol brings. The disk is left out only where it
takes nothing; then batches wait in memory, up to a bound.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.live import GapEvent
from gapless.domain.schema import Source
from gapless.errors import StorageError, ValidationError
from gapless.exchanges.binance.streams.messages import ForceOrder, Kline
from gapless.monitoring.exposition import Distribution
from gapless.monitoring.live_catalogue import DELAY_BOUNDS_MS
from gapless.storage.mysql import MySql
from streamer.bars.items import BarItem, Item, bar_of_stream, liquidation_of_stream
from streamer.bars.loading import Loaded, load_items
from streamer.bars.losses import Losses
from streamer.bars.settings import BarSettings
from streamer.bars.spool import BarSpool
from streamer.bars.thread import OneThread

_INTERVALS = frozenset(Interval)


class BarState(msgspec.Struct, frozen=True, kw_only=True):
    """How the sink stands.

    Attributes:
        connected: whether MySQL took the last batch. said: why it did not.
        stored: bars that are in MySQL by this process. liquidations: new ones. refused: what went to quarantine.
        memory: what waits in memory; disk, disk_bytes: on disk. shed: what was let go at the bound.
        lag_s: from the close of a bar to MySQL having it, the longest of the last batch; None: no batch yet.
        durations: of the loads, ms.
    """

    connected: bool
    said: str
    stored: int
    liquidations: int
    refused: int
    memory: int
    disk: int
    disk_bytes: int
    shed: int
    lag_s: float | None
    durations: Distribution


class BarSink:
    """Takes bars and liquidations without ever waiting; `run` brings them to MySQL.

    Args:
        db: used by one thread, `thread`, which patrols share.
        folder: of the spool; nobody else's.
        shard: this process's, for the receipts.
        tell: takes the events of `md.gaps`. now_ms: the exchange's clock.

    Raises:
        StorageError: the folder cannot be used.
    """

    def __init__(
        self,
        db: MySql,
        folder: Path,
        settings: BarSettings,
        *,
        shard: str,
        tell: Callable[[GapEvent], None],
        now_ms: Callable[[Market], int],
        say: Callable[[str], None],
    ) -> None:
        self.thread = OneThread("bars-mysql")
        self._disk = OneThread("bars-disk")
        self._db = db
        self._settings = settings
        self._shard = shard
        self._tell = tell
        self._now_ms = now_ms
        self._say = say
        self._spool = BarSpool(folder, settings.spool_bytes)
        self._pending: list[Item] = []
        self._accepted = self._safe = 0
        self._lost = Losses()
        self._arrived, self._work, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._progress = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._disk_said = self._said = ""
        self._stored = self._liquidations = self._refused = self._damaged = 0
        self._lag_s: float | None = None
        self._counts = [0] * (len(DELAY_BOUNDS_MS) + 1)
        self._total_ms = 0.0
        if self._spool.rows:
            say(f"{self._spool.rows} bars of an earlier run wait on disk for MySQL")
            self._work.set()

    # ---- what comes in -----------------------------------------------------------------------------------------------

    def closed(self, symbol: str, market: Market, kline: Kline, received_ns: int) -> None:
        """A bar of the stream; one that is not closed, or of an interval that is not kept, is none of ours."""
        bar = kline.k
        if bar.x and bar.i in _INTERVALS:
            self._take(bar_of_stream(symbol, market, bar, received_ns))

    def liquidation(self, symbol: str, order: ForceOrder, received_ns: int) -> None:
        """A liquidation of the stream."""
        self._take(liquidation_of_stream(symbol, order, received_ns))

    async def save(self, items: Iterable[Item]) -> None:
        """Items that REST gave, some hundreds; returns when they are on disk or in MySQL.

        They wait for room first: what can be asked for again must not push out what cannot.
        """
        await self.room()
        for item in items:
            self._take(item)
        until = self._accepted
        async with self._progress:
            await self._progress.wait_for(lambda: self._safe >= until)

    @property
    def has_room(self) -> bool:
        """Whether less than a load waits: who brings many bars must not make the newest ones wait behind them."""
        return len(self._pending) + self._spool.rows < self._settings.batch_rows

    async def room(self) -> None:
        """Wait until there is room."""
        async with self._progress:
            await self._progress.wait_for(lambda: self.has_room)

    def _take(self, item: Item) -> None:
        if len(self._pending) >= self._settings.memory_rows:
            self._lost.add(item)
        else:
            self._pending.append(item)
            self._accepted += 1
        self._arrived.set()

    # ---- at work -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._gather())
                group.create_task(self._load())
        finally:
            self.thread.close()
            self._disk.close()
            self._spool.close()

    async def drain(self, timeout_s: float) -> bool:
        """Store what waits, without gathering. False: some of it waits on disk, or in memory where that is full."""
        self._hurry.set()
        self._arrived.set()
        try:
            async with asyncio.timeout(timeout_s), self._progress:
                await self._progress.wait_for(lambda: not self._pending and not self._spool.rows)
        except TimeoutError:
            return False
        return True

    @property
    def behind(self) -> bool:
        """Whether more waits than what was gathered just now: MySQL was away."""
        return bool(self._said) or self._spool.rows > self._settings.batch_rows

    def state(self) -> BarState:
        return BarState(
            connected=not self._said,
            said=self._said,
            stored=self._stored,
            liquidations=self._liquidations,
            refused=self._refused,
            memory=len(self._pending),
            disk=self._spool.rows,
            disk_bytes=self._spool.bytes,
            shed=self._lost.count,
            lag_s=self._lag_s,
            durations=Distribution(DELAY_BOUNDS_MS, self._below(), self._total_ms),
        )

    async def _gather(self) -> None:
        while True:
            await self._arrived.wait()
            try:
                async with asyncio.timeout(self._settings.batch_s):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._arrived.clear()
            for event in self._lost.take(time.time_ns() // 1_000_000):
                self._tell(event)
            if self._pending and not await self._write():
                self._arrived.set()
                await asyncio.sleep(
                    self._settings.first_pause_s
                )  # in a hurry too: the disk will not be asked in a ring

    async def _write(self) -> bool:
        async with self._writing:
            items = self._pending[:]
            if not items:
                return True
            try:
                await self._disk.do(self._spool.write, items)
            except StorageError as error:
                if not self._disk_said:
                    self._say(f"{error}; {len(items)} wait in memory")
                self._disk_said = str(error)
                self._work.set()
                return False
            if self._disk_said:
                self._say("bars for MySQL go by the disk again")
            self._disk_said = ""
            await self._settled(len(items))
            self._work.set()
            return True

    async def _settled(self, count: int) -> None:
        del self._pending[:count]
        self._safe += count
        await self._told()

    async def _told(self) -> None:
        async with self._progress:
            self._progress.notify_all()

    async def _load(self) -> None:
        pause_s = self._settings.first_pause_s
        while True:
            await self._work.wait()
            self._work.clear()
            if await self._load_all():
                pause_s = self._settings.first_pause_s
                continue
            self._work.set()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, self._settings.longest_pause_s)

    async def _load_all(self) -> bool:
        """Load what is on disk, then what the disk does not take. False: MySQL does not take it now."""
        while True:
            items, files = await self._disk.do(self._spool.read, self._settings.batch_rows)
            if self._spool.damaged > self._damaged:
                self._damaged = self._spool.damaged
                self._say("a file of bars that waited on disk could not be read; it is kept as *.damaged")
            if files:
                if not await self._store(items):
                    return False
                await self._disk.do(self._spool.remove, files)
                await self._told()
                continue
            if not self._disk_said:
                return True
            async with self._writing:
                items = self._pending[: self._settings.batch_rows]
                if not items:
                    return True
                if not await self._store(items):
                    return False
                await self._settled(len(items))

    async def _store(self, items: Sequence[Item]) -> bool:
        began = time.monotonic()
        wait_s = self._settings.lock_wait_s
        try:
            done = await self.thread.do(load_items, self._db, items, shard=self._shard, lock_wait_s=wait_s)
        except StorageError as error:
            if not self._said:
                self._say(f"bars wait on disk until MySQL takes them, which is tried again and again: {error}")
            self._said = str(error)
            return False
        except ValidationError as error:
            # No batch of the exchange's own is like that; whatever made it, those behind it must not wait for ever.
            self._say(f"a batch of {len(items)} bars is not what MySQL takes, and is kept as *.refused: {error}")
            await self._disk.do(self._spool.keep_refused, items)
            done = Loaded(refused=len(items))
        if self._said:
            self._say("MySQL takes bars again")
        self._said = ""
        self._count(items, done, (time.monotonic() - began) * 1000)
        return True

    def _count(self, items: Sequence[Item], done: Loaded, took_ms: float) -> None:
        self._stored += done.bars
        self._liquidations += done.liquidations
        self._refused += done.refused
        self._counts[bisect_left(DELAY_BOUNDS_MS, took_ms)] += 1
        self._total_ms += took_ms
        lags = [
            self._now_ms(item.market) - item.open_ms - Interval(item.interval).ms
            for item in items
            if isinstance(item, BarItem) and item.source == Source.STREAM
        ]
        if lags:
            self._lag_s = max(0, *lags) / 1000

    def _below(self) -> tuple[int, ...]:
        below, so_far = [], 0
        for count in self._counts:
            so_far += count
            below.append(so_far)
        return tuple(below)
