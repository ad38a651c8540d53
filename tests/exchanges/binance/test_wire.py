"""The way out: proxies of the environment are honoured, and what they do is told apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.errors import ExchangeError
from gapless.exchanges.binance.rest import BinanceRest
from tests.exchanges.binance.stage import Stage, page, staged
from tests.exchanges.pacing.world import World


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
