"""The way out: proxies of the environment are honoured, and what they do is told apart."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gapless.domain.instrument import Market
from gapless.errors import ExchangeError
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.wire import NoReply, Wire
from tests.exchanges.binance.stage import Stage, page, staged
from tests.exchanges.pacing.world import World
from tests.fixtures.certificates import self_signed


@pytest.fixture
async def proxy(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with staged(World()) as stage:
        monkeypatch.setenv("HTTP_PROXY", stage.url)
        monkeypatch.setenv("HTTPS_PROXY", stage.url)
        yield stage


def client(stage: Stage, folder: Path, url: str) -> BinanceRest:
    stage_url, stage.url = stage.url, url
    try:
        return stage.client(stage.world.file(folder))
    finally:
        stage.url = stage_url


async def test_requests_go_through_the_proxy_of_the_environment(proxy: Stage, tmp_path: Path) -> None:
    async with client(proxy, tmp_path, "http://exchange.invalid") as rest:
        assert rest.clock.now_ms() == proxy.world.now_ms()
    assert proxy.times == 1


async def test_no_proxy_is_honoured(proxy: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with staged(proxy.world) as direct:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        async with direct.client(direct.world.file(tmp_path), Market.SPOT):
            pass
        assert (direct.times, proxy.times) == (1, 0)


async def test_a_proxy_that_declines_is_named_and_not_asked_again(proxy: Stage, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match=r"the exchange's clock: the proxy declined the connection"):
        async with client(proxy, tmp_path, "https://exchange.invalid"):
            pass
    assert proxy.world.slept == []


async def test_a_redirect_page_of_a_captive_network_is_no_time(proxy: Stage, tmp_path: Path) -> None:
    proxy.time_script = [page(body="<html>log in</html>", kind="text/html")] * 4
    with pytest.raises(ExchangeError, match="an HTML page instead of an answer"):
        async with client(proxy, tmp_path, "http://exchange.invalid"):
            pass


async def test_only_a_trustworthy_exchange_is_read_over_tls(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)

    async def time(request: web.Request) -> web.Response:
        return web.json_response({"serverTime": 1})

    app = web.Application()
    app.router.add_get("/api/v3/time", time)
    server = TestServer(app, scheme="https", host="127.0.0.1")
    await server.start_server(ssl=serving)
    async with server:
        url = f"https://127.0.0.1:{server.port}"
        careful, trusting = Wire(Market.SPOT, url), Wire(Market.SPOT, url)
        trusting._exchange.cafile = str(certificate)
        try:
            with pytest.raises(NoReply, match="not trustworthy") as refused:
                await careful.get("publicGetTime", {})
            assert refused.value.lasting
            assert (await trusting.get("publicGetTime", {})).body == '{"serverTime": 1}'
        finally:
            await careful.close()
            await trusting.close()


@pytest.mark.parametrize("failure", [ConnectionResetError("reset"), BrokenPipeError("pipe"), OSError(101, "no route")])
async def test_what_a_socket_raises_by_itself_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    async with staged(World()) as stage, stage.client(stage.world.file(tmp_path)) as rest:

        async def fail(*args: object) -> None:
            raise failure

        monkeypatch.setattr(rest._wire._exchange, "fetch", fail)
        with pytest.raises(ExchangeError, match="gave up after 4 attempts"):
            await rest.exchange_info()
