"""The client against a scripted exchange: each kind of answer ends as the design says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.errors import BadSymbol, Banned, ExchangeError, RateLimited, RegionRefused
from gapless.exchanges.binance.rest import BinanceRest
from tests.exchanges.binance.stage import HOUR, Answer, Stage, bars, error, page, reset, staged
from tests.exchanges.pacing.world import MINUTE, NOON, World

START = 1_786_816_800_000


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged(World(exchange_ms=NOON + 10_000)) as playing:
        yield playing


@pytest.fixture
async def rest(stage: Stage, tmp_path: Path) -> AsyncIterator[BinanceRest]:
    async with stage.client(stage.world.file(tmp_path)) as client:
        yield client


async def klines(rest: BinanceRest, symbol: str = "BTCUSDT") -> str:
    return await rest.klines(symbol, Interval.H1, START, START + 2 * HOUR - 1, 2)


async def test_a_body_comes_back_to_the_byte(stage: Stage, rest: BinanceRest) -> None:
    body = ' [[1786816800000,"1.10",  "0"],\n["\\u5e01", 1.00]] '
    stage.script = [page(body=body)]
    assert await klines(rest, "币安人生USDT") == body
    assert stage.asked == [
        {
            "symbol": "币安人生USDT",
            "interval": "1h",
            "startTime": str(START),
            "endTime": str(START + 2 * HOUR - 1),
            "limit": "2",
        }
    ]
    assert (rest.requests, rest.weight) == (2, 2)


@pytest.mark.parametrize(
    "passing",
    [
        page(500, "oops", "text/plain"),
        page(502, "<html>Bad Gateway</html>", "text/html"),
        page(503, "Service Unavailable."),
        page(504, ""),
        page(408, '{"code":-1007,"msg":"Timeout waiting for response from backend server."}'),
        error(400, -1000),
        error(400, -1001),
        error(400, -1006),
        error(400, -1008),
        error(400, -1016, "This service is under maintenance."),
        page(200, '{"239999": "maintenance"}'),
        page(400, '{"239999": "maintenance"}'),
        page(200, "<html>hello</html>", "text/html"),
        page(200, '[[1786816800000,"1.1"'),
        page(200, '[[1786816800000,"1.1"]'),
        page(200, ""),
    ],
)
async def test_what_passes_is_tried_again(stage: Stage, rest: BinanceRest, passing: Answer) -> None:
    stage.script = [passing, passing]
    assert len(json.loads(await klines(rest))) == 2
    assert len(stage.asked) == 3
    assert stage.world.slept == [0.25, 0.5]


async def test_a_reset_connection_is_tried_again(stage: Stage, rest: BinanceRest) -> None:
    stage.script = [reset] * 4
    assert len(json.loads(await klines(rest))) == 2


async def test_a_body_that_cannot_be_unpacked_is_tried_again(stage: Stage, rest: BinanceRest) -> None:
    stage.script = [lambda _: web.Response(body=b"[[178681680", headers={"Content-Encoding": "gzip"})]
    assert len(json.loads(await klines(rest))) == 2


async def test_silence_is_a_timeout_and_tried_again(stage: Stage, tmp_path: Path) -> None:
    over = asyncio.Event()

    async def silence(request: web.Request) -> web.StreamResponse:
        await over.wait()
        return bars(request)

    async with stage.client(stage.world.file(tmp_path), timeout_s=0.3) as client:
        stage.script = [silence]
        assert len(json.loads(await klines(client))) == 2
        over.set()
    assert len(stage.asked) == 2


async def test_patience_ends_and_the_message_says_what_where_and_what_to_do(stage: Stage, rest: BinanceRest) -> None:
    stage.usual = page(503, "Service Unavailable.")
    with pytest.raises(ExchangeError) as failed:
        await klines(rest)
    assert str(failed.value) == (
        "binance um BTCUSDT 1h 2026-08-15T18:00:00Z..2026-08-15T20:00:00Z: HTTP 503: Service Unavailable.; "
        "gave up after 4 attempts, try again later"
    )
    assert len(stage.asked) == 4
    assert stage.world.slept == [0.25, 0.5, 1.0]


async def test_nobody_listening_is_an_error_of_ours(stage: Stage, rest: BinanceRest) -> None:
    rest._wire._exchange.urls["api"]["fapiPublic"] = "http://127.0.0.1:1/fapi/v1"
    with pytest.raises(ExchangeError, match=r"BTCUSDT 1h .*gave up after 4 attempts"):
        await klines(rest)


async def test_a_symbol_the_market_does_not_know_is_said_at_once(stage: Stage, rest: BinanceRest) -> None:
    stage.script = [error(400, -1121, "Invalid symbol.")]
    with pytest.raises(BadSymbol, match=r"binance um 币安人生USDT 1h 2026-08-15T18:00:00Z\.\..*-1121"):
        await klines(rest, "币安人生USDT")
    assert len(stage.asked) == 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (error(400, -1120, "Invalid interval."), "code -1120: .*Invalid interval.*would not help"),
        (error(400, -1100, "Illegal characters"), "code -1100"),
        (page(404, "<html>Not Found</html>", "text/html"), "HTTP 404"),
        (page(200, '{"symbols": []}'), "not the JSON array"),
    ],
)
async def test_our_own_mistakes_are_not_repeated(stage: Stage, rest: BinanceRest, answer: Answer, text: str) -> None:
    stage.script = [answer]
    with pytest.raises(ExchangeError, match=text):
        await klines(rest)
    assert len(stage.asked) == 1


async def test_a_refused_region_is_said_at_once(stage: Stage, rest: BinanceRest) -> None:
    stage.script = [page(451, '{"code":0,"msg":"Service unavailable from a restricted location"}')]
    with pytest.raises(RegionRefused, match="451"):
        await klines(rest)
    assert len(stage.asked) == 1


async def test_too_many_requests_waits_as_told_then_succeeds(stage: Stage, rest: BinanceRest) -> None:
    stage.script = [error(429, -1003, "Too many requests.", Retry_After="7")]
    before = stage.world.elapsed_s
    assert len(json.loads(await klines(rest))) == 2
    assert 7 <= stage.world.elapsed_s - before < 10
    assert len(stage.asked) == 2


async def test_too_many_requests_without_a_header_waits_for_the_exchanges_next_minute(
    stage: Stage, rest: BinanceRest
) -> None:
    stage.script = [error(429, -1003)]
    await klines(rest)
    assert NOON + MINUTE <= stage.world.now_ms() < NOON + MINUTE + 3_000


@pytest.mark.parametrize("header", [True, False])
async def test_a_ban_is_waited_out_by_all_tasks(stage: Stage, rest: BinanceRest, header: bool) -> None:
    end = stage.world.now_ms() + 90_000
    text = f"Way too much request weight used; IP banned until {end}. Please use WebSocket Streams."
    stage.script = [error(418, -1003, text, **({"Retry_After": "90"} if header else {}))]
    first = asyncio.create_task(klines(rest))
    await stage.world.asleep.wait()
    bodies = await asyncio.gather(first, *(klines(rest) for _ in range(20)))
    assert all(len(json.loads(body)) == 2 for body in bodies)
    assert end <= stage.world.now_ms() < end + 3_000
    assert len(stage.asked) == 22
    assert stage.world.told == [("the exchange banned this address (HTTP 418)", end)]


async def test_a_ban_beyond_ones_patience_ends_at_once_and_nothing_more_is_sent(stage: Stage, tmp_path: Path) -> None:
    async with stage.client(stage.world.file(tmp_path), max_wait_s=60) as rest:
        stage.script = [error(418, -1003, f"IP banned until {stage.world.now_ms() + 3_600_000}.")]
        with pytest.raises(Banned, match=r"BTCUSDT 1h .*in 3600 s, at 2026-") as refused:
            await klines(rest)
        assert refused.value.retry_after_s == pytest.approx(3600)
        for _ in range(3):
            with pytest.raises(Banned, match="until 2026-"):
                await klines(rest)
    assert len(stage.asked) == 1


async def test_another_process_does_not_even_ask_the_time_during_a_ban(stage: Stage, tmp_path: Path) -> None:
    async with stage.client(stage.world.file(tmp_path), max_wait_s=60) as rest:
        stage.script = [error(418, -1003, Retry_After="3600")]
        with pytest.raises(Banned):
            await klines(rest)
    asked = stage.times
    with pytest.raises(Banned):
        async with stage.client(stage.world.file(tmp_path), max_wait_s=60):
            pass
    assert stage.times == asked


async def test_a_firewall_is_waited_out_for_minutes_or_named(stage: Stage, tmp_path: Path) -> None:
    wall = page(403, "<html>403 Forbidden</html>", "text/html")
    async with stage.client(stage.world.file(tmp_path)) as rest:
        stage.script = [wall]
        before = stage.world.elapsed_s
        await klines(rest)
        assert 300 <= stage.world.elapsed_s - before < 303
        rest._max_wait_s = 60.0
        stage.script = [wall]
        with pytest.raises(RegionRefused, match=r"HTTP 403.*another network"):
            await klines(rest)


async def test_endless_429_ends_with_ones_patience(stage: Stage, tmp_path: Path) -> None:
    stage.usual = error(429, -1003, Retry_After="20")
    async with stage.client(stage.world.file(tmp_path), max_wait_s=100) as rest:
        with pytest.raises(RateLimited, match="HTTP 429"):
            await klines(rest)
    assert 3 <= len(stage.asked) <= 6


async def test_the_exchanges_count_overrules_ours(stage: Stage, tmp_path: Path) -> None:
    async with stage.client(stage.world.file(tmp_path), limit=2400) as rest:
        stage.used = 2_399
        await klines(rest)
        assert stage.world.slept == []
        await klines(rest)
        await klines(rest)
    assert stage.world.now_ms() >= NOON + MINUTE


async def test_the_count_of_an_endpoint_that_miscounts_is_ignored(stage: Stage, rest: BinanceRest) -> None:
    stage.used = 2_399
    stage.usual = page(body="{}")
    for _ in range(3):
        await rest.call("fapiPublicGetTickerBookTicker", {}, weight=5, about="book tickers", expects="object")
    assert stage.world.slept == []


async def test_concurrent_answers_are_never_mixed_up(stage: Stage, rest: BinanceRest) -> None:
    def echo(request: web.Request) -> web.StreamResponse:
        return web.json_response([request.query["symbol"]])

    stage.usual = echo
    names = [f"S{n}" for n in range(200)]
    bodies = await asyncio.gather(*(klines(rest, name) for name in names))
    assert [json.loads(body) for body in bodies] == [[name] for name in names]


async def test_no_more_than_the_concurrency_is_under_way(stage: Stage, tmp_path: Path) -> None:
    under_way = most = 0
    gate = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 3:
            gate.set()
        await gate.wait()
        under_way -= 1
        return bars(request)

    stage.usual = slow
    async with stage.client(stage.world.file(tmp_path), concurrency=3) as rest:
        await asyncio.gather(*(klines(rest) for _ in range(12)))
    assert most == 3


@pytest.mark.parametrize("ahead_s", [-300.0, 300.0])
async def test_the_clock_is_the_exchanges_whatever_the_host_says(tmp_path: Path, ahead_s: float) -> None:
    world = World(host_ahead_s=ahead_s)
    async with staged(world) as stage, stage.client(world.file(tmp_path)) as rest:
        assert rest.clock.now_ms() == world.now_ms()
        assert rest.clock.host_offset_ms == ahead_s * 1000


async def test_the_clock_is_read_again_before_it_drifts(stage: Stage, rest: BinanceRest) -> None:
    await klines(rest)
    assert stage.times == 1
    stage.world.pass_s(601)
    await asyncio.gather(klines(rest), klines(rest))
    assert stage.times == 2


async def test_a_time_that_is_none_is_an_error_and_leaves_nothing_open(stage: Stage, tmp_path: Path) -> None:
    stage.time_script = [page(body="{}")]
    client = stage.client(stage.world.file(tmp_path))
    with pytest.raises(ExchangeError, match="no time"):
        await client.__aenter__()
    assert client._wire._exchange.session is None


async def test_spot_uses_its_own_paths_and_its_flat_weight(stage: Stage, tmp_path: Path) -> None:
    async with stage.client(stage.world.file(tmp_path), Market.SPOT) as rest:
        await klines(rest)
        assert rest.weight == 1 + 2


async def test_limits_from_exchange_info_are_in_force(stage: Stage, rest: BinanceRest) -> None:
    limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 777}
    stage.info = json.dumps({"serverTime": 1, "rateLimits": [limit], "symbols": [], "gaplessReplica": 7})
    info = await rest.instruments()
    assert info.origin == "replica:7"
    assert rest._pacer.pools[0].limit == 777
