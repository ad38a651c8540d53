"""exchangeInfo: the shape of real recordings, the marks of a replica."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from multidict import MultiDict

from gapless.domain.window import parse_time
from replica.clock import ReplicaClock
from replica.exchange import Call, Exchange
from replica.limits import EXCHANGE_LIMITS
from replica.market import GeneratedMarket
from replica.source import GeneratedSource
from replica.universe import default_universe

RECORDED = {
    "/api/v3/exchangeInfo": "20260703T051738Z_api-v3-exchangeInfo-curated-BTCETHXVG.json",
    "/fapi/v1/exchangeInfo": "20260703T051738Z_fapi-v1-exchangeInfo.json",
}
SPOT, UM = RECORDED


def info(path: str, at: str = "2026-11-15T12:30:30", /, **params: str) -> Any:
    source = GeneratedSource(GeneratedMarket("7"), default_universe())
    exchange = Exchange(source, ReplicaClock(parse_time(at), 0), dict(EXCHANGE_LIMITS))
    return json.loads(exchange.answer(Call(path, MultiDict(params), "127.0.0.1")).body)


def symbols(body: Any) -> dict[str, Any]:
    return {symbol["symbol"]: symbol for symbol in body["symbols"]}


def kinds(value: Any) -> Any:
    """The shape of a value: keys and types, whatever the numbers."""
    if isinstance(value, dict):
        return {key: kinds(inner) for key, inner in value.items()}
    return type(value).__name__


@pytest.mark.parametrize("path", [SPOT, UM])
def test_every_symbol_has_the_shape_that_the_exchange_sends(recordings: Path, path: str) -> None:
    real = json.loads((recordings / "rest_responses" / RECORDED[path]).read_text())
    body = info(path)
    assert set(body) - set(real) == {"gaplessReplica"}
    assert set(real) <= set(body)
    assert [kinds(limit) for limit in body["rateLimits"]] == [kinds(limit) for limit in real["rateLimits"]]
    assert body["rateLimits"] == real["rateLimits"]
    model = real["symbols"][0]
    for symbol in body["symbols"]:
        assert kinds(symbol) == kinds(model)
        filters = {entry["filterType"]: kinds(entry) for entry in symbol["filters"]}
        assert filters == {entry["filterType"]: kinds(entry) for entry in model["filters"]}


def test_the_same_coins_have_the_ticks_and_steps_of_the_real_ones(recordings: Path) -> None:
    for path in (SPOT, UM):
        real = symbols(json.loads((recordings / "rest_responses" / RECORDED[path]).read_text()))
        ours = symbols(info(path))
        shared = {name for name in set(real) & set(ours) if ours[name]["status"] == "TRADING"}
        assert len(shared) >= (2 if path == SPOT else 10)
        for name in shared:
            for kind, key in (("PRICE_FILTER", "tickSize"), ("LOT_SIZE", "stepSize")):
                found = [
                    next(entry[key] for entry in body[name]["filters"] if entry["filterType"] == kind)
                    for body in (ours, real)
                ]
                assert found[0] == found[1], f"{name} {key}"
            if path == UM:
                for key in ("pricePrecision", "quantityPrecision", "onboardDate"):
                    assert ours[name][key] == real[name][key], f"{name} {key}"


@pytest.mark.parametrize("path", [SPOT, UM])
def test_it_is_marked_as_a_replica_with_its_seed(path: str) -> None:
    assert info(path)["gaplessReplica"] == "7"


def test_statuses_follow_the_clock() -> None:
    now, then = symbols(info(UM)), symbols(info(UM, "2024-06-01"))
    assert (now["OMGUSDT"]["status"], then["OMGUSDT"]["status"]) == ("SETTLING", "TRADING")
    assert now["OMGUSDT"]["deliveryDate"] == parse_time("2025-01-31T09:00")
    assert then["OMGUSDT"]["deliveryDate"] == now["BTCUSDT"]["deliveryDate"] == 4133404800000
    assert (now["NOVAUSDT"]["status"], then["NOVAUSDT"]["status"]) == ("TRADING", "PENDING_TRADING")
    assert "WAVESUSDT" in symbols(info(SPOT, "2024-06-01"))
    assert "WAVESUSDT" not in symbols(info(SPOT))


def test_a_chinese_name_stands_there_as_itself() -> None:
    for path in (SPOT, UM):
        assert symbols(info(path))["币安人生USDT"]["baseAsset"] == "币安人生"


def test_spot_answers_for_chosen_symbols() -> None:
    assert list(symbols(info(SPOT, symbol="ETHUSDT"))) == ["ETHUSDT"]
    assert list(symbols(info(SPOT, symbols='["BTCUSDT","币安人生USDT"]'))) == ["BTCUSDT", "币安人生USDT"]
    assert "permissionSets" not in info(SPOT, symbol="ETHUSDT", showPermissionSets="false")["symbols"][0]
    assert info(SPOT, symbolStatus="BREAK")["symbols"] == []
    assert info(SPOT, symbol="NOPE")["code"] == -1121
    assert info(SPOT, symbols="BTCUSDT")["code"] == -1100
    assert info(SPOT, symbol="ETHUSDT", symbolStatus="TRADING")["code"] == -1128
