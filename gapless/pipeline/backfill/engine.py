"""The engine: downloads run ahead of parsing, parsing ahead of the stores, every stage bounded; one writer in front of
each store, whose work is in the order of the plan.

    feed -> take (download, parse, prove: many at once) -> in order -> sink (one unit at a time) -> books

A piece is at work or waits for its turn while it holds a place; there are few places, so what is in memory is bounded
by them whatever is asked for. A unit that is at rest is entered into the books at once; nothing of an unfinished one
counts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gapless.domain.datasets import Dataset
from gapless.pipeline.backfill.accounts import Accounts
from gapless.pipeline.backfill.bars import take_bars
from gapless.pipeline.backfill.derivatives import take_funding, take_metrics
from gapless.pipeline.backfill.desk import Desk, open_desk
from gapless.pipeline.backfill.outcome import Outcome
from gapless.pipeline.backfill.pieces import Piece, Unit
from gapless.pipeline.backfill.request import BackfillRequest, Watch
from gapless.pipeline.backfill.sinks import Sink, open_sink, stored_opens
from gapless.pipeline.runtime import Runtime

PLACES_A_WORKER = 4
CLOSING = 2
"""Units whose object or load is being finished while the next one is filled."""

_TAKERS = {Dataset.OHLCV: take_bars, Dataset.FUNDING: take_funding, Dataset.METRICS: take_metrics}


@dataclass
class Engine:
    """One run over some units.

    Attributes:
        accounts: takes in what became of every unit; survives an interruption.
    """

    rt: Runtime
    request: BackfillRequest
    watch: Watch
    accounts: Accounts
    now_ms: int
    _open: Sink | None = field(default=None, init=False)
    _added: list[Outcome] = field(default_factory=list, init=False)
    _adding: asyncio.Future[None] | None = field(default=None, init=False)

    @property
    def workers(self) -> int:
        return self.request.workers or os.cpu_count() or 1

    async def run(self, units: Sequence[Unit]) -> None:
        """Take all units. What the exchange or the archive refuses costs its own pieces; they are in the accounts.

        When cancelled (Ctrl-C), what was read of the unit at hand is still put at rest and entered into the books.

        Raises:
            StorageError: a store failed for longer than it is waited for; what was at rest by then is in the books.
        """
        sinks = ThreadPoolExecutor(CLOSING + 1, "sink")
        with ThreadPoolExecutor(self.workers, "parse") as threads:
            try:
                async with self._desk(threads) as desk:
                    await self._flow(desk, units, sinks)
            finally:
                sinks.shutdown(wait=True)

    @asynccontextmanager
    async def _desk(self, threads: ThreadPoolExecutor) -> AsyncIterator[Desk]:
        async with open_desk(self.rt, threads, self.request.source, self.watch, self.now_ms) as desk:
            try:
                yield desk
            finally:
                self.accounts.spent(desk.requests, desk.weight)

    async def _flow(self, desk: Desk, units: Sequence[Unit], sinks: ThreadPoolExecutor) -> None:
        places = asyncio.Semaphore(max(8, self.workers * PLACES_A_WORKER))
        ready: asyncio.Queue[tuple[Unit, asyncio.Task[Outcome]] | None] = asyncio.Queue()
        tasks: set[asyncio.Task[Outcome]] = set()

        async def feed() -> None:
            for unit in units:
                for piece in unit.pieces:
                    await places.acquire()
                    task = asyncio.create_task(self._take(desk, piece))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    ready.put_nowait((unit, task))  # bounded by the places
            ready.put_nowait(None)

        feeder = asyncio.create_task(feed())
        closing: list[asyncio.Task[None]] = []
        try:
            await self._drain(ready, places, closing, sinks)
            await feeder
            await asyncio.gather(*closing)
        except asyncio.CancelledError:
            feeder.cancel()
            await asyncio.shield(self._wind_up(closing, sinks))
            raise
        finally:
            left = [feeder, *tasks]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, *closing, return_exceptions=True)
            if self._open is not None:
                self._open.drop()

    async def _take(self, desk: Desk, piece: Piece) -> Outcome:
        def stored(of: Piece) -> object:
            return stored_opens(self.rt, of)

        take: Callable[..., Awaitable[Outcome]] = _TAKERS[piece.series.dataset]
        return await take(desk, piece, stored)

    async def _drain(
        self,
        ready: asyncio.Queue[tuple[Unit, asyncio.Task[Outcome]] | None],
        places: asyncio.Semaphore,
        closing: list[asyncio.Task[None]],
        sinks: ThreadPoolExecutor,
    ) -> None:
        """Pieces in order into their unit's sink; a full unit is finished beside the next."""
        current: Unit | None = None
        while True:
            item = await ready.get()
            unit = item[0] if item else None
            if current is not None and unit is not current:
                await self._close(current, closing, sinks)
                current = None
            if item is None or unit is None:
                return
            outcome = await item[1]
            await self._in_sink(sinks, unit, outcome, new=current is None)
            current = unit
            self.watch.waiting(None)
            if unit.store == "lake":
                outcome.forget_rows()  # they are in the spool
            places.release()

    async def _in_sink(self, sinks: ThreadPoolExecutor, unit: Unit, outcome: Outcome, *, new: bool) -> None:
        """Add to the open sink, in a thread; when cancelled, the thread is left to end and is waited for later."""

        def add() -> None:
            if new:
                self._open, self._added = open_sink(self.rt, unit), []
            assert self._open is not None  # noqa: S101 - opened with its unit
            self._open.add(outcome)
            self._added.append(outcome)

        self._adding = asyncio.get_running_loop().run_in_executor(sinks, add)
        await asyncio.shield(self._adding)

    async def _close(self, unit: Unit, closing: list[asyncio.Task[None]], sinks: ThreadPoolExecutor) -> None:
        """Finish the open sink beside what comes next; at most `CLOSING` at once."""
        while len(closing) >= CLOSING:
            await asyncio.wait(closing[:1])  # cancelled here, the one that is waited for goes on
            closing.pop(0).result()
        sink, added, self._open = self._open, self._added, None
        assert sink is not None  # noqa: S101 - a unit that is closed was opened
        closing.append(asyncio.create_task(self._finish(unit, sink, added, sinks)))

    async def _finish(self, unit: Unit, sink: Sink, added: list[Outcome], sinks: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()

        def rest() -> int:
            try:
                done = sink.finish()
            except BaseException:
                sink.drop()
                raise
            self.accounts.enter(unit, added, done)
            return done.loaded

        await loop.run_in_executor(sinks, rest)
        self.watch.rows_done(sum(outcome.row_count for outcome in added))

    async def _wind_up(self, closing: list[asyncio.Task[None]], sinks: ThreadPoolExecutor) -> None:
        """Interrupted: what was read of the unit at hand is put at rest, so that it need not be read again."""
        if self._adding is not None:
            await asyncio.gather(self._adding, return_exceptions=True)
        if self._open is not None and self._added:
            sink, added, self._open = self._open, self._added, None
            unit = Unit(added[0].piece.store, added[0].piece.month_ms, "interrupted", tuple(o.piece for o in added))
            if unit.store == "mysql":
                sink.drop()  # a symbol's month is one load, whole or not at all
            else:
                closing.append(asyncio.create_task(self._finish(unit, sink, added, sinks)))
        await asyncio.gather(*closing, return_exceptions=True)
