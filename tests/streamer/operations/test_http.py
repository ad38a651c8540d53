"""Health, readiness and metrics over HTTP, as a load balancer, Prometheus and a rude client meet them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gapless.errors import ConfigError
from gapless.monitoring.exposition import Sample
from streamer.operations import http
from streamer.operations.http import HealthServer
from streamer.operations.metrics import delays_sample, samples_of
from streamer.operations.status import StreamerStatus
from tests.streamer.operations.samples import status


class Looked:
    """A probe that says what it is told to."""

    def __init__(self) -> None:
        self.well = (True, "ok")
        self.fit = (False, "3 of 5 books are live")
        self.broken = False

    def samples(self) -> Iterable[Sample]:
        if self.broken:
            raise ZeroDivisionError
        yield from samples_of(self.status(), ready=self.fit[0], most_symbols=10)
        yield delays_sample("event_end2end_latency_ms", range(1, 16), 123.5)

    def status(self) -> StreamerStatus:
        return status()

    def healthy(self) -> tuple[bool, str]:
        return self.well

    def ready(self) -> tuple[bool, str]:
        return self.fit


async def test_health_readiness_and_metrics_are_answered() -> None:
    probe = Looked()
    async with HealthServer(probe, "127.0.0.1", 0) as server, aiohttp.ClientSession() as client:
        async with client.get(f"{server.url}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with client.get(f"{server.url}/readyz?verbose") as answer:
            assert (answer.status, await answer.text()) == (503, "3 of 5 books are live\n")
        probe.fit = (True, "ready")
        async with client.head(f"{server.url}/readyz") as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, "6")
        async with client.get(f"{server.url}/") as answer:
            assert answer.status == 404
        async with client.post(f"{server.url}/metrics") as answer:
            assert answer.status == 405
        async with client.get(f"{server.url}/metrics") as answer:
            assert answer.content_type == "text/plain"
            families = {each.name: each for each in text_string_to_metric_families(await answer.text())}
    assert families["collector_in_msgs"].samples[0].labels == {"exchange": "binance", "symbol": "BTC/USDT:USDT"}
    assert families["collector_in_msgs"].samples[0].value == 15
    histogram = families["event_end2end_latency_ms"]
    assert histogram.type == "histogram"
    assert [s.value for s in histogram.samples if s.name.endswith("_sum")] == [123.5]
    assert histogram.samples[0].labels == {"le": "1.0"}


async def test_a_page_that_breaks_is_500_and_ends_nothing() -> None:
    probe = Looked()
    probe.broken = True
    async with HealthServer(probe, "127.0.0.1", 0) as server, aiohttp.ClientSession() as client:
        async with client.get(f"{server.url}/metrics") as answer:
            assert answer.status == 500
        async with client.get(f"{server.url}/healthz") as answer:
            assert answer.status == 200


async def test_a_taken_port_is_one_clear_line() -> None:
    async with HealthServer(Looked(), "127.0.0.1", 0) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"--port {port}: cannot listen on 127.0.0.1:{port}.*name another"):
            await HealthServer(Looked(), "127.0.0.1", port).__aenter__()


@pytest.mark.parametrize("said", [b"GET /healthz HTTP/1.1\r\n", b"x" * 100_000, b"\x00\xff\r\n\r\n", b""])
async def test_who_does_not_speak_http_or_never_ends_is_let_go(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_PATIENCE_S", 0.05)
    async with HealthServer(Looked(), "127.0.0.1", 0) as server, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(said)
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
        assert answer == b"" or answer.startswith(b"HTTP/1.1 405")
        writer.close()


async def test_more_askers_than_it_serves_at_once_are_refused_and_later_ones_served() -> None:
    async with HealthServer(Looked(), "127.0.0.1", 0) as server, asyncio.timeout(10):
        port = int(server.url.rpartition(":")[2])
        waiting = [await asyncio.open_connection("127.0.0.1", port) for _ in range(40)]
        refused = [await reader.read() for reader, _ in waiting[32:]]
        assert refused == [b""] * 8
        for _, writer in waiting[:32]:
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        answers = [await reader.read() for reader, _ in waiting[:32]]
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
        for _, writer in waiting:
            writer.close()
