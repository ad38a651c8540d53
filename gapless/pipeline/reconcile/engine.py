"""One market's bars compared with the exchange, slab by slab: asked ahead, judged beside, a few slabs in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.schema import sort_bars
from gapless.errors import BadSymbol, ExchangeError, RateLimited, RegionRefused
from gapless.exchanges.binance.fetch import Series
from gapless.exchanges.binance.paging import Page as ExchangePage
from gapless.exchanges.binance.paging import plan_pages
from gapless.pipeline.normalise import Page
from gapless.pipeline.reconcile.bars import (
    Theirs,
    add_second_answers,
    ask_again,
    only,
    read_theirs,
    wanted_series,
)
from gapless.pipeline.reconcile.closing import SlabResult, known_gaps
from gapless.pipeline.reconcile.comparison import Comparison
from gapless.pipeline.reconcile.judgement import Judged, Key, SeriesFound, judge
from gapless.pipeline.reconcile.slabs import Slab
from gapless.pipeline.reconcile.stored import read_stored

SLABS_AT_ONCE = 3
"""Slabs in memory: one whose pages come in, and those that are judged meanwhile."""

_PAGES_ASKED_AGAIN_AT_ONCE = 8


@dataclass(slots=True)
class _Arriving:
    """A slab whose pages are coming in."""

    slab: Slab
    left: int
    pages: list[Page] = field(default_factory=list)
    failed: dict[Key, ExchangeError] = field(default_factory=dict)
    begun: bool = False


class BarComparison:
    """Compares slabs of bars of one market."""

    def __init__(self, work: Comparison) -> None:
        self._work = work
        self._room = asyncio.Semaphore(SLABS_AT_ONCE)
        self._closed: ExchangeError | None = None
        self._forgotten: dict[str, ExchangeError] = {}

    async def run(self, slabs: Sequence[Slab]) -> None:
        """Compare them all. A series that the exchange does not answer for is told as failed and stops no other.

        Raises:
            StorageError: a store failed; slabs that came to their end stay repaired and on record.
        """
        try:
            async with asyncio.TaskGroup() as group:
                pages, turn = self._pages(slabs), asyncio.Lock()
                for _ in range(self._work.rest.concurrency):
                    group.create_task(self._read(pages, turn, group))
        except* Exception as errors:
            raise errors.exceptions[0] from None

    def _pages(self, slabs: Sequence[Slab]) -> Iterator[tuple[_Arriving, Series | None, ExchangePage | None]]:
        """Every page of every slab, in order; a slab of which nothing is asked comes once, without a page."""
        for slab in slabs:
            wanted = [
                (series, page)
                for series in wanted_series(slab)
                for page in plan_pages(self._work.rest.market, series.opens)
            ]
            one = _Arriving(slab, max(1, len(wanted)))
            if not wanted:
                yield one, None, None
            for series, page in wanted:
                yield one, series, page

    async def _read(
        self,
        pages: Iterator[tuple[_Arriving, Series | None, ExchangePage | None]],
        turn: asyncio.Lock,
        group: asyncio.TaskGroup,
    ) -> None:
        while True:
            async with turn:  # whoever begins a slab waits for room, and all behind wait with it
                one, series, page = next(pages, (None, None, None))
                if one is None:
                    return
                if not one.begun:
                    await self._room.acquire()
                    one.begun = True
            if series is not None and page is not None:
                await self._ask(one, series, page)
            one.left -= 1
            if one.left == 0:
                group.create_task(self._judge(one))

    async def _ask(self, one: _Arriving, series: Series, page: ExchangePage) -> None:
        key = (series.symbol, str(series.interval))
        refused = self._closed or self._forgotten.get(series.raw_symbol) or one.failed.get(key)
        if refused is not None:  # nobody is answered any more, or this symbol is not known
            one.failed[key] = refused
            return
        try:
            body = await self._work.rest.klines(
                series.raw_symbol, series.interval, page.start_ms, page.end_ms, page.limit
            )
        except ExchangeError as error:
            self._note(series.raw_symbol, error)
            one.failed.setdefault(key, error)
        else:
            one.pages.append(Page(series.symbol, series.interval, page.start_ms, page.end_ms, body))

    def _note(self, raw_symbol: str, error: ExchangeError) -> None:
        if isinstance(error, RateLimited | RegionRefused):
            self._closed = self._closed or error
        if isinstance(error, BadSymbol):
            self._forgotten[raw_symbol] = error

    async def _judge(self, one: _Arriving) -> None:
        try:
            self._work.on_slab(one.slab, await self._result(one))
        finally:
            self._room.release()
            pa.default_memory_pool().release_unused()  # or what Arrow keeps grows with every slab

    async def _result(self, one: _Arriving) -> SlabResult:
        slab = one.slab
        theirs = await self._work.thread(lambda: read_theirs(slab, one.pages, one.failed))
        one.pages.clear()
        stored = await self._work.thread(lambda: read_stored(self._work.stores, slab, slab.window))
        judged = await self._work.thread(lambda: self._held_against(slab, stored.rows, theirs))
        judged = await self._doubt(slab, stored.rows, theirs, judged)
        return await self._work.close(slab, judged, theirs, stored)

    async def _doubt(self, slab: Slab, stored: pa.Table, theirs: Theirs, judged: Judged) -> Judged:
        """What the exchange seems not to have is asked for again before that is believed."""
        doubtful = [found for found in judged.series if len(found.denied) or len(found.extra)]
        if not doubtful:
            return judged
        known = await self._work.thread(lambda: known_gaps(self._work.stores, slab))
        at_once = asyncio.Semaphore(_PAGES_ASKED_AGAIN_AT_ONCE)
        pages: list[Page] = []

        async def again(found: SeriesFound) -> None:
            series = found.piece.series
            key = (series.symbol, series.label)
            proved = [gap.window for gap in known.get(key, ()) if gap.state == "unfillable"]
            async with at_once:
                try:
                    if self._closed is not None:
                        raise self._closed
                    pages.extend(await ask_again(self._work.rest, found, proved))
                except ExchangeError as error:
                    self._note(found.piece.raw_symbol, error)
                    theirs.failed[key] = error

        async with asyncio.TaskGroup() as asking:
            for found in doubtful:
                asking.create_task(again(found))
        await self._work.thread(lambda: add_second_answers(theirs, slab, pages))
        judged = await self._work.thread(lambda: self._held_against(slab, stored, theirs))
        if not judged.extras.num_rows:
            return judged
        await self._hear_witness(judged, theirs, slab)
        return await self._work.thread(lambda: self._held_against(slab, stored, theirs))

    async def _hear_witness(self, judged: Judged, theirs: Theirs, slab: Slab) -> None:
        """A stored row that the exchange's archive has is not extra, whatever REST says now."""
        if judged.extras.num_rows:
            attested, theirs.unheard = await self._work.witness.attests(slab, judged.extras)
            theirs.rows = sort_bars(pa.concat_tables([theirs.rows, attested])).combine_chunks()

    def _held_against(self, slab: Slab, stored: pa.Table, theirs: Theirs) -> Judged:
        pieces = [p for p in slab.pieces if (p.series.symbol, p.series.label) not in theirs.failed]
        if theirs.failed:
            wanted = {(piece.series.symbol, piece.series.label) for piece in pieces}
            stored, given = only(stored, wanted), only(theirs.rows, wanted)
        else:
            given = theirs.rows
        return judge(Dataset.OHLCV, pieces, stored, given, broken=theirs.broken)
