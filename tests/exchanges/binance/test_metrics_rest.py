"""Metrics over REST: five endpoints with two kinds of labels become rows by start; 30 days and no further."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Market
from gapless.domain.schema import Source
from gapless.domain.window import DAY_MS, HOUR_MS, Window, to_ms
from gapless.errors import BadSymbol, ConfigError, ExchangeError
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.metrics import ENDPOINTS, STEP_MS, ParsedRows, read_points
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import fetch_metrics
from gapless.exchanges.binance.series_rows import Ledger
from tests.exchanges.binance.stage import Stage, error, staged
from tests.exchanges.pacing.world import NOON, World

SYMBOL = "BTC/USDT:USDT"
NOW = NOON - NOON % STEP_MS + STEP_MS + 70_000
"""A moment 70 s into five minutes."""
OVER = NOW - NOW % STEP_MS
POINTS = {
    "openInterestHist": {"sumOpenInterest": "1.5", "sumOpenInterestValue": "2.5", "CMCCirculatingSupply": "9"},
    "topLongShortAccountRatio": {"longShortRatio": "3.1", "longAccount": "0.7", "shortAccount": "0.3"},
    "topLongShortPositionRatio": {"longShortRatio": "4.1", "longAccount": "0.7", "shortAccount": "0.3"},
    "globalLongShortAccountRatio": {"longShortRatio": "5.1", "longAccount": "0.7", "shortAccount": "0.3"},
    "takerlongshortRatio": {"buySellRatio": "6.1", "buyVol": "1", "sellVol": "2"},
}


class Exchange:
    """Answers as `/futures/data/` does: labels as documented, both times inclusive, 30 days kept.

    Attributes:
        without: endpoint -> starts of five minutes that it lacks.
        changes: (endpoint, start) -> other values.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, int, int]] = []
        self.without: dict[str, set[int]] = {}
        self.changes: dict[tuple[str, int], dict[str, Any]] = {}
        self.late_ms = 0

    def __call__(self, request: web.Request) -> web.StreamResponse:
        endpoint, query = request.path.rpartition("/")[2], request.query
        assert request.path.startswith("/futures/data/")
        assert query["period"] == "5m"
        first, last, limit = (int(query[name]) for name in ("startTime", "endTime", "limit"))
        self.asked.append((endpoint, first, last, limit))
        if first < NOW + self.late_ms - 30 * DAY_MS:
            return web.json_response({"code": -1130, "msg": "parameter 'startTime' is invalid."}, status=400)
        shift = 0 if endpoint == "takerlongshortRatio" else STEP_MS
        points = []
        for label in range(-(-first // STEP_MS) * STEP_MS, last + 1, STEP_MS):
            start = label - shift
            if start in self.without.get(endpoint, ()) or start + STEP_MS > NOW:
                continue
            point: dict[str, Any] = {} if endpoint == "takerlongshortRatio" else {"symbol": query["symbol"]}
            point |= POINTS[endpoint] | {"timestamp": label} | self.changes.get((endpoint, start), {})
            points.append(point)
        return web.json_response(points[:limit])


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(World(exchange_ms=NOW)) as playing:
        playing.usual = Exchange()
        yield playing


@pytest.fixture
def exchange(stage: Stage) -> Exchange:
    assert isinstance(stage.usual, Exchange)
    return stage.usual


@pytest.fixture
async def rest(stage: Stage, tmp_path: Path) -> AsyncIterator[BinanceRest]:
    async with connected(stage, tmp_path) as client:
        yield client


def connected(stage: Stage, tmp_path: Path, market: Market = Market.UM) -> BinanceRest:
    return connect(market, stage.url, control_url=None, var_dir=tmp_path, budget_share=0.8, max_wait_s=5.0, attempts=1)


async def fetch(rest: BinanceRest, start_ms: int, end_ms: int) -> ParsedRows:
    return await fetch_metrics(rest, "BTCUSDT", SYMBOL, Window(start_ms, end_ms))


def starts(parsed: ParsedRows) -> list[int]:
    return [to_ms(at) for at in parsed.rows["ts"].to_pylist()]


async def test_five_endpoints_with_two_kinds_of_labels_join_by_start(rest: BinanceRest, exchange: Exchange) -> None:
    start = OVER - HOUR_MS
    for number, endpoint in enumerate(ENDPOINTS):
        name = next(iter(ENDPOINTS[endpoint]))
        exchange.changes[endpoint, start] = {name: f"10{number}"}
    parsed = await fetch(rest, start, start + 2 * STEP_MS)
    assert starts(parsed) == [start, start + STEP_MS]
    names = SHAPES[Dataset.METRICS].values
    first, second = parsed.rows.to_pylist()
    assert [first[name] for name in names] == [Decimal(text) for text in ("100", "2.5", "101", "102", "103", "104")]
    assert [second[name] for name in names] == [Decimal(text) for text in ("1.5", "2.5", "3.1", "4.1", "5.1", "6.1")]
    assert (first["exchange"], first["symbol"], first["source"]) == ("binance", SYMBOL, Source.REST)
    assert (parsed.rejected, parsed.read) == ([], 10)


def test_the_real_open_interest_is_labelled_by_its_end_and_exact(recordings: Path) -> None:
    body = (
        recordings / "open_interest" / "rest" / "20260930_futures-data-openInterestHist-BTCUSDT-5m_first48.json"
    ).read_text()
    said = json.loads(body)
    ledger = Ledger.of(SYMBOL)
    everything = Window(0, said[-1]["timestamp"] + 1)
    read_points(body, ledger, "openInterestHist", "BTCUSDT", everything)
    assert (ledger.read, ledger.rejected, len(ledger.taken)) == (48, [], 48)
    for row, point in zip(ledger.settle(), said, strict=True):
        assert row.ts == point["timestamp"] - STEP_MS
        assert row.values == (Decimal(point["sumOpenInterest"]), Decimal(point["sumOpenInterestValue"]))


async def test_what_an_endpoint_lacks_is_null(rest: BinanceRest, exchange: Exchange) -> None:
    start = OVER - HOUR_MS
    exchange.without = {"takerlongshortRatio": {start}, "openInterestHist": {start, start + STEP_MS}}
    exchange.changes["topLongShortAccountRatio", start + STEP_MS] = {"longShortRatio": ""}
    rows = (await fetch(rest, start, start + 3 * STEP_MS)).rows.to_pylist()
    assert [row["taker_buy_sell_ratio"] for row in rows] == [None, Decimal("6.1"), Decimal("6.1")]
    assert [row["open_interest"] for row in rows] == [None, None, Decimal("1.5")]
    assert [row["top_account_ratio"] for row in rows] == [Decimal("3.1"), None, Decimal("3.1")]


async def test_nothing_is_invented_where_no_endpoint_has_anything(rest: BinanceRest, exchange: Exchange) -> None:
    start = OVER - HOUR_MS
    exchange.without = {endpoint: {start + STEP_MS} for endpoint in ENDPOINTS}
    assert starts(await fetch(rest, start, start + 3 * STEP_MS)) == [start, start + 2 * STEP_MS]


async def test_five_minutes_that_are_not_over_are_not_asked_for(rest: BinanceRest, exchange: Exchange) -> None:
    parsed = await fetch(rest, OVER - STEP_MS, OVER + DAY_MS)
    assert starts(parsed) == [OVER - STEP_MS]
    assert {last for endpoint, _, last, _ in exchange.asked if endpoint == "takerlongshortRatio"} == {OVER - STEP_MS}
    assert {last for endpoint, _, last, _ in exchange.asked if endpoint != "takerlongshortRatio"} == {OVER}


async def test_ten_years_give_what_is_kept_and_no_error(rest: BinanceRest, exchange: Exchange) -> None:
    parsed = await fetch(rest, NOW - 3650 * DAY_MS, NOW)
    found = starts(parsed)
    assert found == list(range(found[0], OVER, STEP_MS))
    assert NOW - 30 * DAY_MS < found[0] <= NOW - 30 * DAY_MS + 2 * STEP_MS
    assert all((last - first) // STEP_MS < limit <= 500 for _, first, last, limit in exchange.asked)
    assert len(exchange.asked) == 5 * 18
    assert parsed.rejected == []


async def test_what_is_no_longer_kept_is_not_asked_for(rest: BinanceRest, exchange: Exchange) -> None:
    parsed = await fetch(rest, NOW - 40 * DAY_MS, NOW - 30 * DAY_MS)
    assert (parsed.rows.num_rows, parsed.read, exchange.asked) == (0, 0, [])


async def test_what_fell_out_while_waiting_is_passed_over(rest: BinanceRest, exchange: Exchange) -> None:
    """The exchange's 30 days have moved on by two hours when the first request reaches it; our clock learns of it."""
    exchange.late_ms = 2 * HOUR_MS
    beginning = rest.clock.now_ms

    def later() -> int:
        return beginning() + (2 * HOUR_MS if exchange.asked else 0)

    rest.clock.now_ms = later  # type: ignore[method-assign]
    found = starts(await fetch(rest, NOW - 30 * DAY_MS, NOW - 29 * DAY_MS))
    assert found[0] <= NOW - 30 * DAY_MS + 3 * HOUR_MS + STEP_MS
    assert found == list(range(found[0], -(-(NOW - 29 * DAY_MS) // STEP_MS) * STEP_MS, STEP_MS))


async def test_a_refusal_of_what_should_be_kept_is_an_error(rest: BinanceRest, exchange: Exchange) -> None:
    exchange.late_ms = 20 * DAY_MS
    with pytest.raises(ExchangeError, match=r"-1130|of BTCUSDT"):
        await fetch(rest, NOW - 29 * DAY_MS, NOW - 28 * DAY_MS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sumOpenInterest": "1.000000000000001"}, "precision"),
        ({"sumOpenInterest": "many"}, "type"),
        ({"timestamp": OVER - HOUR_MS + 90_000}, "grid"),
        ({"symbol": "ETHUSDT"}, "symbol"),
        ({"timestamp": OVER - 20 * DAY_MS}, "period"),
        ({"sumOpenInterest": "", "sumOpenInterestValue": None}, "blank"),
    ],
)
async def test_a_point_that_cannot_be_taken_is_booked_with_its_endpoint(
    rest: BinanceRest, exchange: Exchange, change: dict[str, Any], reason: str
) -> None:
    start = OVER - HOUR_MS
    exchange.changes["openInterestHist", start] = change
    parsed = await fetch(rest, start, start + 2 * STEP_MS)
    (rejected,) = parsed.rejected
    endpoint, _, raw = rejected.raw.partition(" ")
    assert (rejected.reason, endpoint) == (reason, "openInterestHist")
    assert json.loads(raw).items() >= change.items()
    assert parsed.rows["open_interest"].to_pylist() == [None, Decimal("1.5")]
    assert parsed.rows["top_account_ratio"].to_pylist() == [Decimal("3.1")] * 2


async def test_timestamps_may_be_texts(rest: BinanceRest, exchange: Exchange) -> None:
    start = OVER - HOUR_MS
    exchange.changes["openInterestHist", start] = {"timestamp": str(start + STEP_MS)}
    parsed = await fetch(rest, start, start + STEP_MS)
    assert (starts(parsed), parsed.rejected) == ([start], [])


async def test_points_that_contradict_each_other_are_not_taken(rest: BinanceRest, exchange: Exchange) -> None:
    start = OVER - HOUR_MS
    exchange.changes["openInterestHist", start] = {"timestamp": start + 2 * STEP_MS, "sumOpenInterest": "7"}
    parsed = await fetch(rest, start, start + 2 * STEP_MS)
    assert [each.reason for each in parsed.rejected] == ["conflict", "conflict"]
    assert parsed.rows["open_interest"].to_pylist() == [None, None]


async def test_an_unknown_symbol_is_one(stage: Stage, rest: BinanceRest) -> None:
    stage.usual = error(400, -1121, "Invalid symbol.")
    with pytest.raises(BadSymbol, match="of NOSUCH"):
        await fetch_metrics(rest, "NOSUCH", SYMBOL, Window(OVER - DAY_MS, OVER))


async def test_requests_count_in_the_pool_of_futures_data_and_weigh_nothing(
    rest: BinanceRest, exchange: Exchange
) -> None:
    weight = rest.weight
    await fetch(rest, OVER - HOUR_MS, OVER)
    assert rest.weight == weight
    assert (await rest._pacer.standing()).spent["FUTURES_DATA"] == len(exchange.asked) == 5


async def test_spot_has_no_metrics(stage: Stage, tmp_path: Path) -> None:
    async with connected(stage, tmp_path, Market.SPOT) as spot:
        with pytest.raises(ConfigError, match="--market um"):
            await fetch_metrics(spot, "BTCUSDT", "BTC/USDT", Window(OVER - HOUR_MS, OVER))
