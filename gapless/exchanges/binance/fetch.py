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
    client's concurrency of bodies wait for the consumer. Close the iterator (`contextlib.aclosing`) when leaving early.
    """
    pages = ((each, page) for each in series for page in plan_pages(rest.market, each.opens))
    results: asyncio.Queue[Fetched | Failed | None] = asyncio.Queue(maxsize=rest.concurrency)
    given_up: set[tuple[str, Interval]] = set()
    workers = [asyncio.create_task(_work(rest, pages, results, given_up)) for _ in range(rest.concurrency)]
    try:
        running = len(workers)
        while running:
            result = await results.get()
            if result is None:
                running -= 1
            else:
                yield result
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _work(
    rest: BinanceRest,
    pages: Iterator[tuple[Series, Page]],
    results: asyncio.Queue[Fetched | Failed | None],
    given_up: set[tuple[str, Interval]],
) -> None:
    try:
        for series, page in pages:
            key = (series.symbol, series.interval)
            if key in given_up:
                continue
            try:
                body = await rest.klines(series.raw_symbol, series.interval, page.start_ms, page.end_ms, page.limit)
            except ExchangeError as error:
                if key not in given_up:
                    given_up.add(key)
                    await results.put(Failed(series, page, error))
            else:
                await results.put(Fetched(series, page, body))
    finally:
        await results.put(None)
