"""Funding of all symbols at once: the same rows as one by one, and no trust in an exchange that answers otherwise."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, HOUR_MS, Window, parse_time, to_ms
from gapless.errors import ConfigError, NotInBulk
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.funding import ParsedRows
from gapless.exchanges.binance.funding_of_all import STRAYS, bulk_pays, bulk_requests, fetch_funding_of_all
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import FUNDING_PAGE, fetch_funding
from tests.exchanges.binance.stage import Stage, page, staged
from tests.exchanges.pacing.world import World
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle

MAY = parse_time("2026-05-01")
DAY = Window(MAY, MAY + DAY_MS)
Row = dict[str, Any]


def raw(number: int) -> str:
    return f"GX{number:04}USDT"


def wanted(*numbers: int) -> dict[str, str]:
    return {raw(number): f"GX{number:04}/USDT:USDT" for number in numbers}


def settlement(number: int, at_ms: int, late_ms: int = 3, **changes: Any) -> Row:
    told = {"symbol": raw(number), "fundingTime": at_ms + late_ms, "fundingRate": "0.00010000", "markPrice": "1.5"}
    return told | changes


def market(symbols: int, times: int, step_ms: int = 8 * HOUR_MS) -> list[Row]:
    """Settlements in order of time, those of one moment in no order of names."""
    return [settlement(number, MAY + at * step_ms) for at in range(times) for number in reversed(range(symbols))]


class Exchange:
    """Answers as `/fapi/v1/fundingRate` is documented to: a symbol or all, times inclusive, ascending, at most `limit`.

    Attributes:
        most: rows in a page, whatever is asked for.
    """

    def __init__(self, rows: list[Row], *, most: int = FUNDING_PAGE) -> None:
        self.rows, self.most = rows, most

    def __call__(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        first, last = int(query["startTime"]), int(query["endTime"])
        symbol = query.get("symbol")
        found = [row for row in self.rows if first <= row["fundingTime"] <= last and symbol in (None, row["symbol"])]
        return web.json_response(found[: min(self.most, int(query["limit"]))])


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(World()) as playing:
        yield playing


@pytest.fixture
async def rest(stage: Stage, tmp_path: Path) -> AsyncIterator[BinanceRest]:
    async with connected(stage.url, tmp_path) as client:
        yield client


def connected(url: str, tmp_path: Path, market: Market = Market.UM) -> BinanceRest:
    return connect(market, url, control_url=None, var_dir=tmp_path, budget_share=0.8, max_wait_s=5.0, attempts=1)


def times(parsed: ParsedRows) -> list[int]:
    return [to_ms(at) for at in parsed.rows["ts"].to_pylist()]


async def test_each_symbol_has_what_it_has_by_itself(stage: Stage, rest: BinanceRest) -> None:
    stage.usual = Exchange(market(600, 3))
    symbols = wanted(*range(0, 600, 7))
    found = await fetch_funding_of_all(rest, symbols, DAY)
    in_bulk = len(stage.asked)
    assert found.keys() == symbols.keys()
    assert in_bulk == 4, "1,800 settlements: a page a moment, and the end seen"
    for raw_symbol, symbol in list(symbols.items())[:5]:
        alone = await fetch_funding(rest, raw_symbol, symbol, DAY)
        assert alone.rows.num_rows == 3
        assert found[raw_symbol] == alone


async def test_a_moment_on_both_sides_of_a_pages_end_is_whole(stage: Stage, rest: BinanceRest) -> None:
    """Pages of 1,000 end inside each moment of 600, whose rows come in another order than names."""
    stage.usual = Exchange(market(600, 24, HOUR_MS))
    symbols = wanted(*range(600))
    found = await fetch_funding_of_all(rest, symbols, DAY)
    assert all(times(parsed) == list(range(DAY.start_ms, DAY.end_ms, HOUR_MS)) for parsed in found.values())
    assert all(parsed.rejected == [] and parsed.read == 24 for parsed in found.values())


async def test_symbols_that_are_not_asked_for_are_passed_over(stage: Stage, rest: BinanceRest) -> None:
    stage.usual = Exchange(market(5, 3))
    found = await fetch_funding_of_all(rest, wanted(2, 99), DAY)
    assert (times(found[raw(2)]), found[raw(99)].rows.num_rows) == ([MAY, MAY + 8 * HOUR_MS, MAY + 16 * HOUR_MS], 0)
    assert found.keys() == {raw(2), raw(99)}


async def test_more_settlements_of_one_moment_than_a_page_holds_cannot_be_paged(
    stage: Stage, rest: BinanceRest
) -> None:
    stage.usual = Exchange(market(FUNDING_PAGE + 1, 3))
    with pytest.raises(NotInBulk, match="1000 settlements at 2026-05-01T00:00:00"):
        await fetch_funding_of_all(rest, wanted(1, 2), DAY)
    assert len(stage.asked) == 1


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([settlement(1, MAY + HOUR_MS), settlement(2, MAY)], "do not ascend"),
        ([settlement(1, MAY - DAY_MS), settlement(2, MAY)], "2026-04-30.* was not asked for"),
        ([settlement(1, MAY), settlement(2, MAY + 2 * DAY_MS)], "2026-05-03.* was not asked for"),
        ([settlement(1, MAY), settlement(1, MAY + 8 * HOUR_MS)], "only GX0001USDT was answered"),
        ([settlement(1, MAY + at) for at in range(FUNDING_PAGE)], "a full page of GX0001USDT alone"),
        ([], "2 symbols were asked for, and none"),
    ],
)
async def test_an_exchange_that_does_not_answer_for_all_is_not_believed(
    stage: Stage, rest: BinanceRest, rows: list[Row], why: str
) -> None:
    stage.script = [page(body=json.dumps(rows)), page()]
    with pytest.raises(NotInBulk, match=why):
        await fetch_funding_of_all(rest, wanted(1, 2), DAY)


async def test_pages_shorter_than_asked_for_are_noticed(stage: Stage, rest: BinanceRest) -> None:
    """An exchange that gives 200 rows whatever the limit would seem to have no more than those."""
    stage.usual = Exchange(market(150, 3), most=200)
    with pytest.raises(NotInBulk, match="was not the last"):
        await fetch_funding_of_all(rest, wanted(1, 2), DAY)


async def test_one_symbol_alone_may_be_answered_alone(stage: Stage, rest: BinanceRest) -> None:
    stage.usual = Exchange(market(1, 3))
    assert len(times((await fetch_funding_of_all(rest, wanted(0), DAY))[raw(0)])) == 3


async def test_rows_that_cannot_be_taken_are_booked_with_their_symbol_or_apart(stage: Stage, rest: BinanceRest) -> None:
    nobody = {"fundingTime": MAY + 4, "fundingRate": "0.1"}
    rows = [settlement(1, MAY), settlement(2, MAY, fundingRate="much"), nobody, 7, settlement(3, MAY, 5)]
    stage.script = [page(body=json.dumps(rows)), page()]
    found = await fetch_funding_of_all(rest, wanted(1, 2), DAY)
    assert times(found[raw(1)]) == [MAY]
    assert [(each.reason, each.ts, each.symbol) for each in found[raw(2)].rejected] == [
        ("type", MAY, "GX0002/USDT:USDT")
    ]
    assert [(each.reason, each.ts, each.symbol) for each in found[STRAYS].rejected] == [
        ("columns", MAY, ""),
        ("type", None, ""),
    ]


async def test_it_counts_in_the_pool_of_funding_and_weighs_nothing(stage: Stage, rest: BinanceRest) -> None:
    weight = rest.weight
    stage.usual = Exchange(market(3, 3))
    await fetch_funding_of_all(rest, wanted(1, 2), DAY)
    assert rest.weight == weight
    assert (await rest._pacer.standing()).spent["FUNDING"] == len(stage.asked) == 2


async def test_spot_has_none(stage: Stage, tmp_path: Path) -> None:
    async with connected(stage.url, tmp_path, Market.SPOT) as spot:
        with pytest.raises(ConfigError, match="--market um"):
            await fetch_funding_of_all(spot, wanted(1), DAY)


async def test_a_day_of_six_hundred_perpetuals_is_a_few_requests(
    start_exchange: ReplicaFactory, tmp_path: Path
) -> None:
    """Listed, unlisted and delisted ones, intervals of 1, 4 and 8 hours: the same as each by itself."""
    replica: ReplicaHandle = start_exchange(
        "--generate", "7", "--symbols", "600", "--speed", "0", "--start", "2026-11-15T12:30:30"
    )
    names = [row["symbol"] for row in replica.get("/fapi/v1/exchangeInfo")["symbols"]]
    symbols = {name: f"{name.removesuffix('USDT')}/USDT:USDT" for name in names}
    day = Window.of("2026-11-14", "2026-11-15")
    async with connected(replica.um_rest, tmp_path) as rest:
        replica.reset_stats()
        found = await fetch_funding_of_all(rest, symbols, day)
        requests = replica.stats()["um"]["requests"]["fundingRate"]
        assert requests == bulk_requests(600, day) == 5
        assert sum(parsed.rows.num_rows for parsed in found.values()) > 1800
        for name in ["BTCUSDT", "1000PEPEUSDT", "币安人生USDT", "NOVAUSDT", "OMGUSDT", *names[20:30]]:
            assert found[name] == await fetch_funding(rest, name, symbols[name], day), name
    assert {len(times(found[name])) for name in names} == {0, 3, 6, 24}


def test_asking_for_all_pays_for_a_day_of_many_and_not_for_one() -> None:
    assert bulk_pays(600, 600, DAY)
    assert bulk_pays(20, 600, DAY)
    assert not bulk_pays(1, 600, DAY)
    year = Window(MAY, MAY + 365 * DAY_MS)
    assert not bulk_pays(10, 600, year)
    assert bulk_pays(600, 600, Window(MAY, MAY + 31 * DAY_MS))
    assert not bulk_pays(600, 600, year), "two pages of each symbol are fewer"
    assert not bulk_pays(2000, 2000, DAY), "one moment may fill a page"
