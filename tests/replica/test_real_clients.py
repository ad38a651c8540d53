"""Clients that nobody here wrote read the replica: a shared misunderstanding would show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ccxt
import pytest

from gapless.domain.window import parse_time
from tests.fixtures.replica import ReplicaHandle, start_replica

NOW = parse_time("2026-11-15T12:30:30")


@pytest.fixture(scope="module")
def exchange() -> Iterator[ReplicaHandle]:
    handle = start_replica("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    yield handle
    handle.stop()


@pytest.fixture
def usdm(exchange: ReplicaHandle) -> Any:
    client = ccxt.binanceusdm({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["linear"]}}})
    client.urls["api"]["fapiPublic"] = f"{exchange.um_rest}/fapi/v1"
    return client


@pytest.fixture
def spot(exchange: ReplicaHandle) -> Any:
    client = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    client.urls["api"]["public"] = f"{exchange.spot_rest}/api/v3"
    return client


def test_ccxt_loads_both_markets(usdm: Any, spot: Any) -> None:
    futures, pairs = usdm.load_markets(), spot.load_markets()
    assert futures["BTC/USDT:USDT"]["swap"]
    assert futures["BTC/USDT:USDT"]["linear"]
    assert futures["1000PEPE/USDT:USDT"]["precision"]["price"] == 1e-7
    assert futures["币安人生/USDT:USDT"]["active"]
    assert not futures["OMG/USDT:USDT"]["active"]
    assert pairs["BTC/USDT"]["spot"]
    assert pairs["BTC/USDT"]["precision"]["amount"] == 1e-5
    assert "WAVES/USDT" not in pairs


@pytest.mark.parametrize("timeframe", ["1m", "5m", "15m", "1h", "4h", "1d"])
def test_ccxt_reads_the_bars_of_both_markets(usdm: Any, spot: Any, exchange: ReplicaHandle, timeframe: str) -> None:
    for client, symbol, path in ((usdm, "币安人生/USDT:USDT", "/fapi/v1"), (spot, "币安人生/USDT", "/api/v3")):
        bars = client.fetch_ohlcv(symbol, timeframe, limit=20)
        raw = exchange.get(f"{path}/klines", symbol="币安人生USDT", interval=timeframe, limit=20)
        assert bars == [[row[0], *(float(value) for value in row[1:6])] for row in raw]
        assert len(bars) == 20


def test_ccxt_pages_with_since_and_until(usdm: Any) -> None:
    start = parse_time("2026-11-14T00:00")
    bars = usdm.fetch_ohlcv("BTC/USDT:USDT", "1m", since=start, params={"until": start + 3_599_999})
    assert [bar[0] for bar in bars] == list(range(start, start + 3_600_000, 60_000))


def test_ccxt_reads_server_time_and_raises_for_a_wrong_symbol(usdm: Any, spot: Any) -> None:
    assert usdm.fetch_time() == spot.fetch_time() == NOW
    for call in (usdm.fapiPublicGetKlines, spot.publicGetKlines):
        with pytest.raises(ccxt.BadSymbol, match="-1121"):
            call({"symbol": "NOPEUSDT", "interval": "1m"})


def test_ccxt_takes_a_spent_budget_and_a_ban_for_what_they_are(spot: Any, exchange: ReplicaHandle) -> None:
    exchange.limits(spot={"weight_per_minute": 2, "ban_after": 1})
    try:
        query = {"symbol": "BTCUSDT", "interval": "1m", "limit": 1}
        spot.publicGetKlines(query)
        with pytest.raises(ccxt.DDoSProtection, match="429"):
            spot.publicGetKlines(query)
        assert spot.last_response_headers["Retry-After"] == "30"
        with pytest.raises(ccxt.DDoSProtection, match=f"IP banned until {NOW + 120_000}"):
            spot.publicGetKlines(query)
    finally:
        exchange.limits(spot={"weight_per_minute": 6000, "ban_after": 10})
