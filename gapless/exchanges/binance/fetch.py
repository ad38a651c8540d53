"""Many kline series at once: pages in flight up to the client's concurrency, results as they come, memory bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass

from gapless.domain.interval import Interval
from gapless.errors import ExchangeError
from gapless.exchanges.binance.paging import Page, plan_pages
from gapless.exchanges.binance.rest import BinanceRest


@dataclass(frozen=True, slots=True)
class Series:
    """Bars to fetch: the open times of one symbol and interval.

    Attributes:
        symbol: unified; `raw_symbol` is what the exchange is asked for.
        opens: a range of open times in ms whose step is the interval.
    """

    symbol: str
    raw_symbol: str
    interval: Interval
    opens: range


@dataclass(frozen=True, slots=True)
class Fetched:
    """One page's body, as received."""

    series: Series
    page: Page
    body: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A series that could not be taken whole; pages of it may have come before. Reported once a series."""

    series: Series
    page: Page
    error: ExchangeError


async def fetch_klines(rest: BinanceRest, series: Iterable[Series]) -> AsyncGenerator[Fetched | Failed, None]:
    """Every page of every series, in the order the answers arrive; `series` is consumed as slots come free.

    A failure is a value and never stops the others; the rest of its own series is passed over. At most twice the
    client's concurrency of pages are under way or wait for the consumer. Close the iterator (`contextlib.aclosing`)
    when leaving early.
    """
    pages = ((each, page) for each in series for page in plan_pages(rest.market, each.opens))
    desk = _Desk(asyncio.Queue(), asyncio.Semaphore(2 * rest.concurrency), set())
    workers = [asyncio.create_task(_work(rest, pages, desk)) for _ in range(rest.concurrency)]
    try:
        running = len(workers)
        while running:
            result = await desk.results.get()
            if result is None:
                running -= 1
            else:
                desk.room.release()
                yield result
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Desk:
    """Between workers and consumer. The queue is bounded by `room`, which a page takes before it is asked for."""

    results: asyncio.Queue[Fetched | Failed | None]
    room: asyncio.Semaphore
    given_up: set[tuple[str, Interval]]


async def _work(rest: BinanceRest, pages: Iterator[tuple[Series, Page]], desk: _Desk) -> None:
    try:
        while True:
            await desk.room.acquire()
            series, page = next(pages, (None, None))
            if series is None or page is None:
                return
            result = await _ask(rest, series, page, desk.given_up)
            if result is None:
                desk.room.release()
            else:
                desk.results.put_nowait(result)
    finally:
        desk.results.put_nowait(None)  # never waits, so that a cancelled worker ends


async def _ask(
    rest: BinanceRest, series: Series, page: Page, given_up: set[tuple[str, Interval]]
) -> Fetched | Failed | None:
    """One page; None when its series was given up already."""
    key = (series.symbol, series.interval)
    if key in given_up:
        return None
    try:
        body = await rest.klines(series.raw_symbol, series.interval, page.start_ms, page.end_ms, page.limit)
    except ExchangeError as error:
        if key in given_up:
            return None
        given_up.add(key)
        return Failed(series, page, error)
    return Fetched(series, page, body)
