"""What passes is tried again, an absent network is waited for, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.errors import ExchangeError, RateLimited, RegionRefused
from gapless.exchanges.binance.vision.archive import Archive, Checksum
from gapless.exchanges.binance.vision.objects import KLINES, day_object
from tests.exchanges.binance.stage import reset
from tests.exchanges.binance.vision.files import DAY, line, zipped
from tests.exchanges.binance.vision.shelf import Answer, Shelf, body, cut, opened

DATA = zipped("\n".join(line(hour) for hour in range(24)))
DAYS = [day_object(Market.UM, KLINES, "BTCUSDT", Interval.H1, DAY.start_ms + n * 86_400_000) for n in range(10)]


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    async with opened() as serving:
        for day in DAYS:
            serving.put(day, DATA)
        yield serving


@pytest.fixture
async def archive(shelf: Shelf) -> AsyncIterator[Archive]:
    async with shelf.archive() as client:
        yield client


def zips(shelf: Shelf) -> int:
    return shelf.asked.count(DAY.path)


@pytest.mark.parametrize(
    "passing",
    [
        body("oops", 500),
        body("<html>Bad Gateway</html>", 502),
        body("SlowDown", 503),
        body("", 504),
        body("", 408),
        body("", 429),
        cut(DATA, 100),
        cut(DATA, 0),
        body(DATA, Content_Encoding="gzip"),
    ],
    ids=["500", "502", "503", "504", "408", "429", "cut", "nothing", "compressed"],
)
async def test_what_passes_is_tried_again(shelf: Shelf, archive: Archive, passing: Answer) -> None:
    shelf.scripts[DAY.path] = [passing] * 4
    got = await archive.fetch(DAY)
    assert got is not None
    assert (got.data, got.checksum) == (DATA, Checksum.VERIFIED)
    assert zips(shelf) == 5
    assert shelf.told == []  # the network was there
    assert archive.requests == len(shelf.asked)


async def test_pauses_between_attempts_grow_and_are_spread(shelf: Shelf) -> None:
    shelf.scripts[DAY.path] = [body("", 500)] * 7
    async with shelf.archive(attempts=8, jitter=lambda: 0.5) as client:
        assert await client.fetch(DAY) is not None
    assert shelf.world.slept == [0.375, 0.75, 1.5, 3.0, 6.0, 6.0, 6.0]


@pytest.mark.parametrize("passing", [body("oops", 503), reset, cut(DATA, 100)], ids=["503", "reset", "cut"])
async def test_a_sick_object_is_given_up_after_its_attempts_though_the_network_is_there(
    shelf: Shelf, archive: Archive, passing: Answer
) -> None:
    shelf.scripts[DAY.path] = [passing] * 20  # aiohttp repeats a GET by itself when a kept connection is reset
    with pytest.raises(ExchangeError, match="gave up after 5 attempts") as caught:
        await archive.fetch(DAY)
    assert DAY.path in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
    assert sum(shelf.world.slept) == 7.5  # four pauses
    assert shelf.told == []


async def test_silence_is_bounded(shelf: Shelf) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async def stalled(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
        await response.prepare(request)
        await response.write(DATA[:50])
        await asyncio.sleep(30)
        return response

    shelf.scripts[DAY.path] = [silent, stalled]
    async with shelf.archive(timeout_s=0.3) as client:
        got = await client.fetch(DAY)
    assert got is not None
    assert got.data == DATA
    shelf.scripts[DAY.path] = [silent] * 9
    async with shelf.archive(timeout_s=0.3, attempts=2) as client:
        with pytest.raises(ExchangeError, match=r"no answer within 0.3 s; gave up after 2 attempts"):
            await client.fetch(DAY)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (body("no", 400), "HTTP 400: no"),
        (body("", 416), "an empty body"),
        (body("", 302, Location="http://portal.example/login"), "redirection to http://portal.example/login"),
        (body("x" * 500, 405), "x{160} \\.\\.\\.;"),
    ],
)
async def test_an_answer_that_repeating_cannot_change_ends_it(
    shelf: Shelf, archive: Archive, answer: Answer, says: str
) -> None:
    shelf.scripts[DAY.path] = [answer]
    with pytest.raises(ExchangeError, match=says) as caught:
        await archive.fetch(DAY)
    assert DAY.path in str(caught.value)
    assert zips(shelf) == 1


async def test_a_reset_connection_is_tried_again(shelf: Shelf, archive: Archive) -> None:
    shelf.scripts[DAY.path] = [reset] * 3
    got = await archive.fetch(DAY)
    assert got is not None
    assert got.checksum is Checksum.VERIFIED
    assert shelf.told == []


@pytest.mark.parametrize("status", [403, 451])
async def test_a_refusal_of_the_address_says_which_way_is_left(shelf: Shelf, archive: Archive, status: int) -> None:
    shelf.scripts["*"] = [body("blocked", status)] * 2
    with pytest.raises(RegionRefused, match=f"HTTP {status}: blocked.*another network.*GAPLESS_BINANCE_VISION_URL"):
        await archive.fetch(DAY)
    assert len(shelf.asked) == 2


async def test_everybody_keeps_the_pause_the_server_asks_for(shelf: Shelf, archive: Archive) -> None:
    shelf.scripts[DAY.path] = [body("slow down", 429, Retry_After="40")]
    started_s = shelf.world.elapsed_s
    assert await archive.fetch(DAY) is not None
    assert 40 <= shelf.world.elapsed_s - started_s < 50
    [told] = shelf.told
    assert "a pause of 40 s" in told


async def test_a_longer_pause_than_anybody_makes_is_the_callers_to_make(shelf: Shelf, archive: Archive) -> None:
    shelf.scripts["*"] = [body("", 503, Retry_After="3600")] * 2
    with pytest.raises(RateLimited, match=f"{DAY.name} at .*asks for 3600 s") as caught:
        await archive.fetch(DAY)
    assert caught.value.retry_after_s == 3600


# A network that is away


async def test_a_network_cut_for_five_minutes_is_waited_for_and_told_once(shelf: Shelf, archive: Archive) -> None:
    assert await archive.fetch(DAYS[0]) is not None
    shelf.away_until_s = shelf.world.elapsed_s + 300
    got = await asyncio.gather(*(archive.fetch(day) for day in DAYS))
    assert [each.checksum for each in got if each] == [Checksum.VERIFIED] * 10
    assert 300 <= shelf.world.elapsed_s - 1000 < 600
    away, back = shelf.told
    assert "the network seems to be away, waiting for it up to 600 s" in away
    assert "the network is back after 30" in back
    # While it was away one task alone asked, every eight seconds in the end; everybody else once before and once after
    # (aiohttp repeats each by itself when the connection is reset).
    assert shelf.asked.count("HEAD") < 2 * 45
    assert len(shelf.asked) - shelf.asked.count("HEAD") < 2 + 2 * 20 + 2 * 20


async def test_a_cut_in_the_middle_of_bodies_is_waited_for(shelf: Shelf, archive: Archive) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        shelf.away_until_s = shelf.world.elapsed_s + 300
        response = cut(DATA, 200)(request)
        assert not isinstance(response, web.StreamResponse)
        return await response

    shelf.scripts[DAY.path] = [broken]
    got = await asyncio.gather(*(archive.fetch(day) for day in DAYS))
    assert [each.data for each in got if each] == [DATA] * 10
    assert "is back after" in shelf.told[-1]


async def test_a_network_that_stays_away_ends_every_call_once_and_together(shelf: Shelf, archive: Archive) -> None:
    shelf.away_until_s = float("inf")
    started_s = shelf.world.elapsed_s
    got = await asyncio.gather(*(archive.fetch(day) for day in DAYS), return_exceptions=True)
    for day, error in zip(DAYS, got, strict=True):
        assert isinstance(error, ExchangeError)
        assert day.name in str(error)
        assert "has been away for 60" in str(error)
        assert "run the same again" in str(error)
    assert 600 <= shelf.world.elapsed_s - started_s < 620  # not once per object
    assert len(shelf.told) == 1


async def test_a_network_that_comes_and_goes_is_not_waited_for_without_end(shelf: Shelf, archive: Archive) -> None:
    def gone_again(request: web.Request) -> web.StreamResponse:
        shelf.away_until_s = shelf.world.elapsed_s + 100
        return reset(request)

    shelf.scripts[DAY.path] = [gone_again] * 50
    with pytest.raises(ExchangeError, match="the network came and went for 6"):
        await archive.fetch(DAY)


async def test_an_outage_does_not_use_up_the_attempts(shelf: Shelf) -> None:
    shelf.away_until_s = shelf.world.elapsed_s + 100
    async with shelf.archive(attempts=1) as client:
        assert await client.fetch(DAY) is not None


async def test_after_a_given_up_outage_the_client_works_again(shelf: Shelf, archive: Archive) -> None:
    shelf.away_until_s = shelf.world.elapsed_s + 700
    with pytest.raises(ExchangeError, match="has been away"):
        await archive.fetch(DAY)
    shelf.world.pass_s(200)
    assert await archive.fetch(DAY) is not None
    assert "is back after 800 s" in shelf.told[-1]
    shelf.away_until_s = shelf.world.elapsed_s + 300
    assert await archive.fetch(DAY) is not None
    assert "is back after 30" in shelf.told[-1]


async def test_nobody_at_the_address_is_an_absent_network_too(shelf: Shelf) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with shelf.archive(base_url=f"http://127.0.0.1:{free.getsockname()[1]}", patience_s=30.0) as client:
            with pytest.raises(ExchangeError, match=r"BTCUSDT-1h-2024-09-01.zip.* has been away for 3\d s"):
                await client.fetch(DAY)
    assert shelf.asked == []


async def test_cancelling_leaves_no_request_behind(shelf: Shelf) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        started.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.set()
        return web.Response()

    shelf.scripts[DAY.path] = [silent]
    async with shelf.archive() as client:
        task = asyncio.create_task(client.fetch(DAY))
        await asyncio.wait_for(started.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [each for each in asyncio.all_tasks() if "Transport.get" in repr(each)] == []
        assert await client.fetch(DAYS[1]) is not None


async def test_a_client_that_was_not_entered_says_so(shelf: Shelf) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await shelf.archive().fetch(DAY)


async def test_a_line_that_does_not_speak_tls_is_an_error_at_once(shelf: Shelf) -> None:
    async with shelf.archive(base_url=shelf.url.replace("http:", "https:")) as client:
        with pytest.raises(ExchangeError, match="the connection is not trustworthy"):
            await client.fetch(DAY)
    assert (shelf.told, shelf.world.slept) == ([], [])


async def test_a_line_cut_within_the_tls_handshake_is_an_absent_network(shelf: Shelf) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with shelf.archive(base_url=f"https://127.0.0.1:{port}", patience_s=30.0) as client:
            with pytest.raises(ExchangeError, match="has been away"):
                await client.fetch(DAY)


@pytest.mark.parametrize("address", ["ftp://archive.example", "archive.example", "http://"])
async def test_what_is_no_address_names_the_setting(shelf: Shelf, address: str) -> None:
    async with shelf.archive(base_url=address) as client:
        with pytest.raises(ExchangeError, match="set GAPLESS_BINANCE_VISION_URL"):
            await client.fetch(DAY)
    assert shelf.told == []


# Proxies of the environment


@pytest.fixture
def proxied(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, shelf.url)
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return shelf


async def test_the_proxy_of_the_environment_is_used(proxied: Shelf) -> None:
    async with proxied.archive(base_url="http://archive.invalid/vision") as client:
        got = await client.fetch(DAY)
    assert got is not None
    assert got.checksum is Checksum.VERIFIED


async def test_no_proxy_is_honoured(proxied: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with proxied.archive() as client:
        assert await client.fetch(DAY) is not None


async def test_a_proxy_that_declines_is_an_error_at_once(proxied: Shelf) -> None:
    proxied.scripts["*"] = [body("not allowed", 403)] * 2
    async with proxied.archive(base_url="https://archive.invalid") as client:
        with pytest.raises(ExchangeError, match="the proxy declined the connection"):
            await client.fetch(DAY)
    assert proxied.told == []
