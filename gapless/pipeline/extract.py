"""Asking the exchange for the pages of a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass

from gapless.domain.receipts import Batch, Failure
from gapless.domain.window import Window, iso
from gapless.errors import BadSymbol, RateLimited, RegionRefused
from gapless.exchanges.binance.clock import ExchangeClock
from gapless.exchanges.binance.fetch import Failed, Series, fetch_klines
from gapless.exchanges.binance.rest import BinanceRest
from gapless.pipeline.normalise import Page
from gapless.pipeline.runtime import Runtime

SETTLE_MS = 15_000
"""How far the exchange's clock must be past a window's end: its closed bars are final a few seconds late."""

PATIENCE_MS = 60_000
"""A window whose end is nearer than this is waited for; a later one is read as far as it has come."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What the exchange answered for a batch: pages in order of series and time, and the series that failed."""

    pages: tuple[Page, ...]
    failures: tuple[Failure, ...]
    server_ms: int
    requests: int
    weight: int


async def extract_pages(rt: Runtime, batch: Batch) -> Extracted:
    """All pages of the batch's bars that are closed by the exchange's clock.

    A series is whole or a failure: pages of one that failed half-way are left out.

    Raises:
        RateLimited, Banned, RegionRefused: nobody is answered any more; trying the other series would only make it
            worse. ExchangeError: the exchange's clock could not be read.
    """
    pages: list[Page] = []
    failures = list(_unnameable(batch))
    async with rt.exchange(batch.market) as rest:
        await _settle(rest, batch.window, rt)
        server_ms = rest.clock.now_ms()
        async with aclosing(fetch_klines(rest, _series(batch, server_ms))) as results:
            async for result in results:
                series, page = result.series, result.page
                if not isinstance(result, Failed):
                    pages.append(Page(series.symbol, series.interval, page.start_ms, page.end_ms, result.body))
                elif isinstance(result.error, RateLimited | RegionRefused):
                    raise result.error
                else:
                    window = str(batch.window)
                    failures.append(
                        Failure(series.symbol, series.interval, window, result.error.kind, str(result.error))
                    )
        requests, weight = rest.requests, rest.weight
    return Extracted(_whole(batch, pages, failures), _ordered(batch, failures), server_ms, requests, weight)


def settle_wait_s(clock: ExchangeClock, window: Window) -> float:
    """Seconds until the window is settled, if that is near; 0 when it is, or when its end is a minute and more away."""
    now_ms = clock.now_ms()
    if window.end_ms - now_ms >= PATIENCE_MS:
        return 0.0
    return max(0.0, (window.end_ms + SETTLE_MS - now_ms) / 1000)


async def _settle(rest: BinanceRest, window: Window, rt: Runtime) -> None:
    wait_s = settle_wait_s(rest.clock, window)
    if wait_s > 0:
        rt.say(f"waiting {wait_s:.0f} s for {window} to settle by the exchange's clock, {iso(rest.clock.now_ms())}")
        await asyncio.sleep(wait_s)
        await rest.server_time()


def _series(batch: Batch, server_ms: int) -> Iterator[Series]:
    """The batch's series as far as their bars can be closed; the exchange's own names only."""
    for symbol, raw_symbol in batch.symbols:
        for interval in batch.intervals:
            opens = interval.completing(batch.window)
            closed = range(opens.start, min(opens.stop, server_ms - interval.ms + 1), opens.step)
            if closed and "/" in symbol:
                yield Series(symbol, raw_symbol, interval, closed)


def _unnameable(batch: Batch) -> Iterator[Failure]:
    """Raw names that exchangeInfo does not list: without base and quote their bars could not be filed."""
    for symbol, _ in batch.symbols:
        if "/" not in symbol:
            message = f"{batch.exchange} {batch.market} {symbol} {batch.window}: not listed; write it as BASE/QUOTE"
            for interval in batch.intervals:
                if interval.completing(batch.window):
                    yield Failure(symbol, interval, str(batch.window), BadSymbol.kind, message)


def _whole(batch: Batch, pages: list[Page], failures: list[Failure]) -> tuple[Page, ...]:
    failed = {(failure.symbol, failure.interval) for failure in failures}
    place = {symbol: number for number, (symbol, _) in enumerate(batch.symbols)}
    order = {str(interval): number for number, interval in enumerate(batch.intervals)}
    kept = [page for page in pages if (page.symbol, page.interval) not in failed]
    return tuple(sorted(kept, key=lambda page: (place[page.symbol], order[page.interval], page.start_ms)))


def _ordered(batch: Batch, failures: list[Failure]) -> tuple[Failure, ...]:
    place = {symbol: number for number, (symbol, _) in enumerate(batch.symbols)}
    order = {str(interval): number for number, interval in enumerate(batch.intervals)}
    return tuple(sorted(failures, key=lambda failure: (place[failure.symbol], order[failure.interval])))
