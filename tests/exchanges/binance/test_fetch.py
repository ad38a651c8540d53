"""Many series at once: every page once, failures apart, memory bounded, nothing left running."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from aiohttp import web

from gapless.domain.interval import Interval
from gapless.errors import BadSymbol
from gapless.exchanges.binance.fetch import Failed, Fetched, Series, fetch_klines
from gapless.exchanges.binance.rest import BinanceRest
from tests.exchanges.binance.stage import HOUR, Stage, bars, error, staged
from tests.exchanges.pacing.world import NOON, World

START = 1_786_816_800_000


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(World(exchange_ms=NOON)) as playing:
        yield playing


@pytest.fixture
async def rest(stage: Stage, tmp_path: Path) -> AsyncIterator[BinanceRest]:
    async with stage.client(stage.world.file(tmp_path), concurrency=4) as client:
        yield client


def hours(name: str, count: int) -> Series:
    return Series(f"{name}/USDT:USDT", f"{name}USDT", Interval.H1, range(START, START + count * HOUR, HOUR))


async def test_every_page_of_every_series_comes_once(stage: Stage, rest: BinanceRest) -> None:
    series = [hours(name, count) for name, count in (("A", 1200), ("币安人生", 3), ("C", 499), ("D", 0))]
    got = [result async for result in fetch_klines(rest, series)]
    assert all(isinstance(result, Fetched) for result in got)
    pages = Counter((result.series.symbol, result.page.start_ms, result.page.limit) for result in got)
    assert set(pages.values()) == {1}
    assert sum(limit for _, _, limit in pages) == 1200 + 3 + 499
    assert {query["symbol"] for query in stage.asked} == {"AUSDT", "币安人生USDT", "CUSDT"}


async def test_a_series_that_fails_is_reported_once_and_stops_nobody(stage: Stage, rest: BinanceRest) -> None:
    def delisted(request: web.Request) -> web.StreamResponse:
        answer = error(400, -1121) if request.query["symbol"] == "BADUSDT" else bars
        response = answer(request)
        assert isinstance(response, web.StreamResponse)
        return response

    stage.usual = delisted
    got = [result async for result in fetch_klines(rest, [hours("A", 900), hours("BAD", 5000), hours("C", 900)])]
    failed = [result for result in got if isinstance(result, Failed)]
    assert [(each.series.symbol, type(each.error)) for each in failed] == [("BAD/USDT:USDT", BadSymbol)]
    assert sum(result.page.limit for result in got if isinstance(result, Fetched)) == 1800
    assert Counter(query["symbol"] for query in stage.asked)["BADUSDT"] <= rest.concurrency


async def test_series_are_drawn_and_bodies_made_only_as_the_consumer_takes_them(
    stage: Stage, rest: BinanceRest
) -> None:
    drawn = 0

    def endless() -> Iterator[Series]:
        nonlocal drawn
        while True:
            drawn += 1
            yield hours(f"S{drawn}", 1)

    async with aclosing(fetch_klines(rest, endless())) as results:
        for _ in range(10):
            await anext(results)
        await asyncio.sleep(0.05)
    assert drawn <= 10 + 3 * rest.concurrency
    asked = len(stage.asked)
    await asyncio.sleep(0.05)
    assert len(stage.asked) == asked
    assert [task for task in asyncio.all_tasks() if "_work" in repr(task)] == []


async def test_a_defect_of_ours_is_raised_and_not_swallowed(rest: BinanceRest) -> None:
    def broken() -> Iterator[Series]:
        yield hours("A", 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async for _ in fetch_klines(rest, broken()):
            pass
