"""Funding over REST: real answers to the last digit, pages complete, windows exact, the pool of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gapless.domain.instrument import Market
from gapless.domain.schema import Source
from gapless.domain.window import HOUR_MS, Window, parse_time, to_ms
from gapless.errors import BadSymbol, ConfigError, ExchangeError
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.funding import ParsedRows
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import FUNDING_PAGE, fetch_funding
from tests.exchanges.binance.stage import Stage, error, page, staged
from tests.exchanges.pacing.world import World

SYMBOL = "BTC/USDT:USDT"
MAY = parse_time("2026-05-01")
Row = dict[str, Any]


def settlement(at_ms: int, late_ms: int = 3, **changes: Any) -> Row:
    return {
        "symbol": "BTCUSDT",
        "fundingTime": at_ms + late_ms,
        "fundingRate": "-0.00010000",
        "markPrice": "1.5",
    } | changes


class Exchange:
    """Answers as `/fapi/v1/fundingRate` does: both times inclusive, from startTime on, at most `limit`."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = sorted(rows, key=lambda row: int(row["fundingTime"]))

    def __call__(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        first, last = int(query["startTime"]), int(query["endTime"])
        assert first > 0, "the exchange reads past startTime=0"
        found = [row for row in self.rows if first <= row["fundingTime"] <= last]
        return web.json_response(found[: int(query["limit"])])


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(World()) as playing:
        yield playing


@pytest.fixture
async def rest(stage: Stage, tmp_path: Path) -> AsyncIterator[BinanceRest]:
    async with connected(stage, tmp_path) as client:
        yield client


def connected(stage: Stage, tmp_path: Path, market: Market = Market.UM) -> BinanceRest:
    return connect(market, stage.url, control_url=None, var_dir=tmp_path, budget_share=0.8, max_wait_s=5.0, attempts=1)


async def fetch(stage: Stage, rest: BinanceRest, rows: list[Row], window: Window) -> ParsedRows:
    stage.usual = Exchange(rows)
    return await fetch_funding(rest, "BTCUSDT", SYMBOL, window)


def times(parsed: ParsedRows) -> list[int]:
    return [to_ms(at) for at in parsed.rows["ts"].to_pylist()]


def reasons(parsed: ParsedRows) -> list[str]:
    return [each.reason for each in parsed.rejected]


@pytest.mark.parametrize(
    ("name", "raw_symbol", "count"),
    [
        ("20260704T044945Z_fapi-v1-fundingRate-TSLAUSDT-limit3.json", "TSLAUSDT", 3),
        ("20260704T155543Z_fapi-v1-fundingRate-BNBUSDT-limit20.json", "BNBUSDT", 20),
        ("20260704T155543Z_fapi-v1-fundingRate-DOGEUSDT-limit20.json", "DOGEUSDT", 20),
        ("20260710T061419Z_fapi-v1-fundingRate-BTCUSDT-limit1000.json", "BTCUSDT", 90),
        ("20260815_fapi-v1-fundingRate-BTCUSDT.json", "BTCUSDT", 2),
    ],
)
async def test_a_real_answer_comes_out_to_the_last_digit(
    stage: Stage, rest: BinanceRest, recordings: Path, name: str, raw_symbol: str, count: int
) -> None:
    body = (recordings / "funding" / "rest" / name).read_text()
    stage.script = [page(body=body)]
    parsed = await fetch_funding(rest, raw_symbol, "X/USDT:USDT", Window.of("2026-06-01", "2026-09-01"))
    assert (parsed.read, parsed.rejected, parsed.rows.num_rows) == (count, [], count)
    for row, said in zip(parsed.rows.to_pylist(), json.loads(body), strict=True):
        assert to_ms(row["exchange_ts"]) == said["fundingTime"]
        assert to_ms(row["ts"]) == said["fundingTime"] // HOUR_MS * HOUR_MS
        assert (row["rate"], row["mark_price"]) == (Decimal(said["fundingRate"]), Decimal(said["markPrice"]))
        assert (row["rate_type"], row["interval_hours"], row["source"]) == ("Regular", None, Source.REST)
        assert (row["exchange"], row["symbol"]) == ("binance", "X/USDT:USDT")


async def test_pages_follow_each_other_until_all_is_there(stage: Stage, rest: BinanceRest) -> None:
    count = 2 * FUNDING_PAGE + 7
    rows = [settlement(MAY + hour * HOUR_MS, hour % 20) for hour in range(count)]
    parsed = await fetch(stage, rest, rows, Window(MAY, MAY + count * HOUR_MS))
    assert times(parsed) == [MAY + hour * HOUR_MS for hour in range(count)]
    assert (parsed.read, parsed.rejected, len(stage.asked)) == (count, [], 3)


async def test_a_full_last_page_is_followed_up(stage: Stage, rest: BinanceRest) -> None:
    rows = [settlement(MAY + hour * HOUR_MS) for hour in range(FUNDING_PAGE)]
    parsed = await fetch(stage, rest, rows, Window(MAY, MAY + 5000 * HOUR_MS))
    assert (parsed.rows.num_rows, parsed.read, parsed.rejected) == (FUNDING_PAGE, FUNDING_PAGE, [])


async def test_two_settlements_of_one_moment_survive_the_end_of_a_page(stage: Stage, rest: BinanceRest) -> None:
    rows = [settlement(MAY + hour * HOUR_MS) for hour in range(FUNDING_PAGE + 10)]
    special = settlement(MAY + (FUNDING_PAGE - 1) * HOUR_MS, rateType="Special", fundingRate="0.5")
    parsed = await fetch(stage, rest, [*rows, special], Window(MAY, MAY + 5000 * HOUR_MS))
    assert parsed.rows.num_rows == parsed.read == FUNDING_PAGE + 11
    assert parsed.rows["rate_type"].to_pylist().count("Special") == 1
    assert parsed.rejected == []


async def test_a_full_page_of_one_moment_is_passed(stage: Stage, rest: BinanceRest) -> None:
    rows = [settlement(MAY, rateType=f"Kind{number}") for number in range(FUNDING_PAGE)]
    parsed = await fetch(stage, rest, [*rows, settlement(MAY + HOUR_MS)], Window(MAY, MAY + 2 * HOUR_MS))
    assert parsed.rows.num_rows == FUNDING_PAGE + 1


async def test_the_window_is_of_nominal_times(stage: Stage, rest: BinanceRest) -> None:
    """A settlement noted late belongs to its nominal moment; those at the window's end belong to the next window."""
    rows = [settlement(MAY - 8 * HOUR_MS), settlement(MAY, -5), settlement(MAY + 8 * HOUR_MS, 19)]
    parsed = await fetch(stage, rest, [*rows, settlement(MAY + 16 * HOUR_MS)], Window(MAY, MAY + 8 * HOUR_MS))
    assert times(parsed) == [MAY]
    after = await fetch(stage, rest, rows, Window(MAY + 8 * HOUR_MS, MAY + 16 * HOUR_MS))
    assert times(after) == [MAY + 8 * HOUR_MS]
    assert parsed.rejected == after.rejected == []


async def test_the_beginning_of_time_is_asked_for_with_a_real_start(stage: Stage, rest: BinanceRest) -> None:
    assert times(await fetch(stage, rest, [settlement(MAY)], Window(0, MAY + 1))) == [MAY]
    assert stage.asked[0]["startTime"] == "1"


async def test_rows_that_were_not_asked_for_are_booked_not_stored(stage: Stage, rest: BinanceRest) -> None:
    rows = [settlement(MAY), settlement(MAY + 900 * HOUR_MS)]
    stage.script = [page(body=json.dumps(rows))]
    parsed = await fetch_funding(rest, "BTCUSDT", SYMBOL, Window(MAY, MAY + HOUR_MS))
    assert (times(parsed), reasons(parsed), parsed.read) == ([MAY], ["period"], 2)


async def test_an_exchange_that_does_not_heed_the_start_is_not_asked_for_ever(stage: Stage, rest: BinanceRest) -> None:
    rows = [settlement(MAY + hour * HOUR_MS) for hour in range(FUNDING_PAGE)]
    stage.usual = page(body=json.dumps(rows))
    with pytest.raises(ExchangeError, match=r"funding of BTCUSDT .*try again later"):
        await fetch_funding(rest, "BTCUSDT", SYMBOL, Window(MAY, MAY + 5000 * HOUR_MS))
    assert len(stage.asked) == 3  # the page, its last row asked for again, and what should have come after


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fundingRate": "0.0000000000001"}, "precision"),
        ({"fundingRate": ""}, "type"),
        ({"markPrice": "0.000000001"}, "precision"),
        ({"fundingTime": "soon"}, "type"),
        ({"symbol": "ETHUSDT"}, "symbol"),
    ],
)
async def test_a_row_that_cannot_be_taken_is_booked(stage: Stage, rest: BinanceRest, changes: Row, reason: str) -> None:
    body = json.dumps([settlement(MAY), settlement(MAY + HOUR_MS) | changes])
    stage.script = [page(body=body)]
    parsed = await fetch_funding(rest, "BTCUSDT", SYMBOL, Window(MAY, MAY + 2 * HOUR_MS))
    assert (times(parsed), reasons(parsed)) == ([MAY], [reason])
    assert json.loads(parsed.rejected[0].raw) == settlement(MAY + HOUR_MS) | changes


async def test_a_row_without_its_fields_is_booked(stage: Stage, rest: BinanceRest) -> None:
    stage.script = [page(body=f'[{{"symbol":"BTCUSDT","fundingTime":{MAY}}},7]')]
    parsed = await fetch_funding(rest, "BTCUSDT", SYMBOL, Window(MAY, MAY + HOUR_MS))
    assert [(each.reason, each.ts) for each in parsed.rejected] == [("columns", MAY), ("type", None)]


async def test_times_may_be_texts_and_marks_and_types_may_lack(stage: Stage, rest: BinanceRest) -> None:
    rows = [
        settlement(MAY, fundingTime=str(MAY), markPrice=""),
        {"symbol": "BTCUSDT", "fundingTime": MAY + HOUR_MS, "fundingRate": "0"},
        settlement(MAY + 2 * HOUR_MS, markPrice=None, rateType=None, somethingNew=[1]),
    ]
    stage.script = [page(body=json.dumps(rows))]
    parsed = await fetch_funding(rest, "BTCUSDT", SYMBOL, Window(MAY, MAY + 3 * HOUR_MS))
    assert parsed.rejected == []
    assert parsed.rows["mark_price"].to_pylist() == [None] * 3
    assert parsed.rows["rate_type"].to_pylist() == ["Regular"] * 3


async def test_an_instrument_without_funding_has_no_rows(stage: Stage, rest: BinanceRest) -> None:
    parsed = await fetch(stage, rest, [], Window(MAY, MAY + HOUR_MS))
    assert (parsed.rows.num_rows, parsed.rejected, parsed.read) == (0, [], 0)


async def test_an_unknown_symbol_is_one(stage: Stage, rest: BinanceRest) -> None:
    stage.script = [error(400, -1121, "Invalid symbol.")]
    with pytest.raises(BadSymbol, match="funding of NOSUCH"):
        await fetch_funding(rest, "NOSUCH", SYMBOL, Window(MAY, MAY + HOUR_MS))


async def test_requests_count_in_the_pool_of_funding_and_weigh_nothing(stage: Stage, rest: BinanceRest) -> None:
    weight = rest.weight
    await fetch(stage, rest, [settlement(MAY)], Window(MAY, MAY + HOUR_MS))
    standing = await rest._pacer.standing()
    assert rest.weight == weight
    assert standing.spent["FUNDING"] == 1
    assert {pool.name: pool.usable for pool in standing.pools} == {
        "REQUEST_WEIGHT": 1920,
        "FUNDING": 400,
        "FUTURES_DATA": 800,
    }


async def test_spot_has_no_funding(stage: Stage, tmp_path: Path) -> None:
    async with connected(stage, tmp_path, Market.SPOT) as spot:
        with pytest.raises(ConfigError, match="--market um"):
            await fetch_funding(spot, "BTCUSDT", "BTC/USDT", Window(MAY, MAY + HOUR_MS))
    assert stage.asked == []
