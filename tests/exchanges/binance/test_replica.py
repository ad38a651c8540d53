"""The whole client against the replica in its own process: real time, real weights, real bans."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import Banned, RateLimited
from gapless.exchanges.binance.connect import connect, pacer_for
from gapless.exchanges.binance.fetch import Fetched, Series, fetch_klines
from gapless.exchanges.binance.payloads import parse_klines
from gapless.exchanges.binance.rest import BinanceRest
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle


def client(url: str, folder: Path, market: Market = Market.UM, wait_s: float = 0.0) -> BinanceRest:
    return connect(market, url, control_url=None, var_dir=folder, budget_share=0.8, max_wait_s=wait_s)


@pytest.mark.parametrize("market", list(Market))
async def test_every_instrument_of_a_generated_market_is_read(
    replica: ReplicaHandle, tmp_path: Path, market: Market
) -> None:
    async with client(replica.url, tmp_path, market) as rest:
        info = await rest.instruments()
        assert info.origin == replica.origin == "replica:7"
        now = rest.clock.now_ms()
        window = Window(now - 600 * 60_000, now)
        series = [Series(i.symbol, i.raw_symbol, Interval.M1, Interval.M1.completing(window)) for i in info.instruments]
        got = [result async for result in fetch_klines(rest, series)]
    bodies = [("binance", r.series.symbol, "1m", r.body) for r in got if isinstance(r, Fetched)]
    bars, rejected = parse_klines(bodies, 1)
    assert rejected == []
    assert bars.num_rows > 500 * (len(series) // 2)
    assert any(not symbol.isascii() for symbol in bars["symbol"].unique().to_pylist())
    stats = replica.stats()
    assert stats


def _spend(url: str, folder: str) -> int:
    async def run() -> int:
        sent = 0
        async with client(url, Path(folder)) as rest:
            try:
                while True:
                    await rest.klines("BTCUSDT", "1m", 1_790_000_000_000, 1_790_000_059_999, 1)
                    sent += 1
            except (RateLimited, Banned):
                return sent

    return asyncio.run(run())


def test_two_processes_stay_inside_one_budget_and_are_never_refused(
    start_exchange: ReplicaFactory, tmp_path: Path
) -> None:
    replica = start_exchange("--generate", "7", "--um-weight", "100")

    async def read_limits() -> None:
        async with client(replica.url, tmp_path, wait_s=70) as rest:
            await rest.instruments()

    asyncio.run(read_limits())
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        sent = processes.starmap(_spend, [(replica.url, str(tmp_path))] * 2)
    assert 60 <= sum(sent) <= 160  # 80 % of 100, less the other requests; twice that when the minute turned
    refused = {code: n for code, n in _statuses(replica).items() if code in ("429", "418")}
    assert refused == {}


def _statuses(replica: ReplicaHandle) -> dict[str, int]:
    stats = replica.stats()
    found: dict[str, int] = {}

    def walk(value: object, key: str = "") -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, str(name))
        elif isinstance(value, int) and key.isdigit():
            found[key] = found.get(key, 0) + value

    walk(stats)
    assert found, stats
    return found


async def test_a_ban_is_waited_out_in_real_time(start_exchange: ReplicaFactory, tmp_path: Path) -> None:
    replica = start_exchange("--generate", "7")
    replica.faults(
        {
            "match": {"path": "*/klines", "times": 1},
            "action": {"status": {"code": 418, "ban_s": 2, "retry_after": False}},
        }
    )
    async with client(replica.url, tmp_path, wait_s=30) as rest:
        body = await rest.klines("BTCUSDT", "1m", 1_790_000_000_000, 1_790_000_059_999, 1)
        assert body.startswith("[")
    pacer = pacer_for(Market.UM, replica.url, control_url=None, var_dir=tmp_path, budget_share=0.8)
    standing = await pacer.standing()
    assert standing.spent["REQUEST_WEIGHT"] >= 3
    await pacer.close()
