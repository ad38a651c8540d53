"""exchangeInfo becomes instruments: names, lives, multipliers, limits, origin."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.instrument import Market
from gapless.errors import ExchangeError
from gapless.exchanges.binance.symbols import RateLimit, contract_multiplier, parse_exchange_info

NEVER = 4133404800000


def perpetual(symbol: str, base: str, **changes: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "status": "TRADING",
        "contractType": "PERPETUAL",
        "baseAsset": base,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "onboardDate": 1_600_000_000_000,
        "deliveryDate": NEVER,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.10"},
            {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        ],
        **changes,
    }


def body(*symbols: dict[str, Any], **top: Any) -> str:
    return json.dumps({"serverTime": 5, "rateLimits": [], "symbols": list(symbols), **top})


@pytest.fixture(scope="module")
def real(recordings: Path) -> bytes:
    return (recordings / "rest_responses" / "20260703T051738Z_fapi-v1-exchangeInfo.json").read_bytes()


def test_every_real_perpetual_becomes_an_instrument(real: bytes) -> None:
    info = parse_exchange_info(real, Market.UM)
    assert len(info.instruments) == 814
    assert info.left_out == {"CURRENT_QUARTER": 2, "NEXT_QUARTER": 2}
    assert info.earlier_lives == ()
    assert info.rate_limits == (RateLimit("REQUEST_WEIGHT", 60_000, 2400),)
    assert info.origin == "binance"
    by_raw = {each.raw_symbol: each for each in info.instruments}
    assert by_raw["BTCUSDT"].symbol == "BTC/USDT:USDT"
    assert by_raw["BTCUSDT"].tick_size == Decimal("0.10")
    assert by_raw["BTCUSDT"].step_size == Decimal("0.001")
    assert by_raw["BTCUSDT"].listed_ms == 1567965300000
    assert by_raw["BTCUSDT"].delisted_ms is None
    assert by_raw["OMGUSDT"].status == "SETTLING"
    assert by_raw["OMGUSDT"].delisted_ms == 1738314000000
    assert sum(each.delisted_ms is not None for each in info.instruments) == 123
    assert {each.symbol for each in info.instruments if not each.symbol.isascii()} == {
        "币安人生/USDT:USDT",
        "我踏马来了/USDT:USDT",
        "龙虾/USDT:USDT",
    }


def test_real_multipliers_are_read_from_names_and_real_coins_are_left_alone(real: bytes) -> None:
    named = {each.base: each.contract_multiplier for each in parse_exchange_info(real, Market.UM).instruments}
    multiplied = {base: factor for base, factor in named.items() if factor != 1}
    thousands = sorted(base for base, factor in multiplied.items() if factor == 1000)
    coins = "BONK CAT CHEEMS FLOKI LUNC PEPE RATS SATS SHIB WHY X XEC"
    assert " ".join(base.removeprefix("1000") for base in thousands) == coins
    assert {base for base, factor in multiplied.items() if factor == 1_000_000} == {
        "1MBABYDOGE",
        "1000000MOG",
        "1000000BOB",
    }
    assert {base for base in named if base[0].isdigit()} - set(multiplied) == {"1INCH", "0G", "2Z", "4", "42"}


@pytest.mark.parametrize(
    ("base", "factor"),
    [("1000", 1), ("100X", 1), ("1M", 1), ("1MX", 1), ("10000LADYS", 10_000), ("10000001", 1), ("1INCH", 1)],
)
def test_a_name_is_a_factor_only_before_something_else(base: str, factor: int) -> None:
    assert contract_multiplier(base) == factor


def test_every_real_spot_symbol_becomes_an_instrument_without_a_listing_date(recordings: Path) -> None:
    text = (recordings / "ws_recordings/cryptofeed/BINANCE.0").read_text().splitlines()[0]
    info = parse_exchange_info(text[text.index("{") :], Market.SPOT)
    assert len(info.instruments) == 1695
    assert {each.listed_ms for each in info.instruments} == {None}
    assert sum(each.trading for each in info.instruments) == 1262
    assert info.rate_limits == (RateLimit("REQUEST_WEIGHT", 60_000, 1200), RateLimit("RAW_REQUESTS", 300_000, 6100))
    assert info.instruments[0].symbol == "ETH/BTC"


def test_a_stock_perpetual_counts_and_an_unnamed_contract_is_left_out() -> None:
    info = parse_exchange_info(
        body(
            perpetual("TSLAUSDT", "TSLA", contractType="TRADIFI_PERPETUAL"),
            perpetual("XUSDT", "X", contractType=""),
            perpetual("BTCUSDC", "BTC", quoteAsset="USDC", marginAsset="USDC"),
        ),
        Market.UM,
    )
    assert [each.symbol for each in info.instruments] == ["TSLA/USDT:USDT", "BTC/USDC:USDC"]
    assert info.left_out == {"unnamed": 1}


@pytest.mark.parametrize("turned", [False, True])
def test_a_ticker_that_lives_twice_belongs_to_the_one_that_trades(turned: bool) -> None:
    old = perpetual("LUNAUSDT_OLD", "LUNA", status="SETTLING", deliveryDate=1_650_000_000_000)
    new = perpetual("LUNAUSDT", "LUNA", onboardDate=1_660_000_000_000)
    symbols = [new, old] if turned else [old, new]
    info = parse_exchange_info(body(*symbols), Market.UM)
    assert [each.raw_symbol for each in info.instruments] == ["LUNAUSDT"]
    assert [each.raw_symbol for each in info.earlier_lives] == ["LUNAUSDT_OLD"]
    assert info.earlier_lives[0].delisted_ms == 1_650_000_000_000


@pytest.mark.parametrize(
    ("mark", "origin"),
    [(7, "replica:7"), ("load", "replica:load"), ({"seed": 7, "version": 1}, "replica:7"), ({}, "replica:unnamed")],
)
def test_the_replicas_mark_names_the_origin(mark: object, origin: str) -> None:
    assert parse_exchange_info(body(gaplessReplica=mark), Market.UM).origin == origin


def test_a_step_of_zero_is_no_step() -> None:
    filters = [{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}]
    [found] = parse_exchange_info(body(perpetual("A", "A", filters=filters)), Market.UM).instruments
    assert found.tick_size is None
    assert found.step_size is None


@pytest.mark.parametrize("field", ["symbol", "status", "baseAsset", "quoteAsset", "contractType"])
def test_a_missing_field_is_an_error_that_names_it(field: str) -> None:
    symbol = perpetual("A", "A")
    del symbol[field]
    with pytest.raises(ExchangeError, match=rf"binance um: exchangeInfo .*{field}"):
        parse_exchange_info(body(symbol), Market.UM)


def test_what_can_be_done_without_may_be_missing() -> None:
    bare = {"symbol": "AUSDT", "status": "TRADING", "baseAsset": "A", "quoteAsset": "USDT", "contractType": "PERPETUAL"}
    info = parse_exchange_info(json.dumps({"symbols": [bare]}), Market.UM)
    [found] = info.instruments
    assert (found.symbol, found.listed_ms, found.delisted_ms, found.tick_size) == ("A/USDT:USDT", None, None, None)
    assert info.rate_limits == ()


def test_half_a_body_is_an_error() -> None:
    with pytest.raises(ExchangeError, match="exchangeInfo"):
        parse_exchange_info(body(perpetual("A", "A"))[:-20], Market.UM)
