"""Which instruments a specification names."""

from __future__ import annotations

import pytest

from gapless.domain.instrument import Instrument, Market
from gapless.domain.universe import resolve
from gapless.domain.window import Window
from gapless.errors import ConfigError


def um(base: str, quote: str = "USDT", listed: int | None = 0, delisted: int | None = None) -> Instrument:
    return Instrument(
        exchange="binance",
        symbol=f"{base}/{quote}:{quote}",
        market=Market.UM,
        raw_symbol=base + quote,
        base=base,
        quote=quote,
        status="SETTLING" if delisted else "TRADING",
        listed_ms=listed,
        delisted_ms=delisted,
    )


BTC, COIN, USDC = um("BTC"), um("币安人生", listed=5_000), um("BTC", "USDC")
OLD = um("OLD", listed=0, delisted=1_000)
SPOT = Instrument("binance", "BTC/USDT", Market.SPOT, "BTCUSDT", "BTC", "USDT", "TRADING")
EVERY = [BTC, COIN, USDC, OLD, SPOT]


def symbols(found: list[Instrument]) -> list[str]:
    return [each.symbol for each in found]


def test_names_are_taken_in_their_order_and_once() -> None:
    found, unknown = resolve("币安人生USDT, BTC/USDT:USDT,BTCUSDT,NOPEUSDT", EVERY, Market.UM)
    assert found == [COIN, BTC]
    assert unknown == ["NOPEUSDT"]


def test_a_raw_name_means_the_market_it_is_asked_for() -> None:
    assert resolve("BTCUSDT", EVERY, Market.SPOT) == ([SPOT], [])
    assert resolve("BTCUSDT", EVERY, Market.UM) == ([BTC], [])
    with pytest.raises(ConfigError, match="--market"):
        resolve("BTCUSDT", EVERY, None)


def test_a_unified_name_needs_no_market_and_is_unknown_in_the_other() -> None:
    assert resolve("BTC/USDT,BTC/USDT:USDT", EVERY, None) == ([SPOT, BTC], [])
    assert resolve("BTC/USDT", EVERY, Market.UM) == ([], ["BTC/USDT"])


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (Window(0, 500), [BTC, USDC, OLD]),
        (Window(999, 5_000), [BTC, USDC, OLD]),
        (Window(1_000, 5_001), [BTC, COIN, USDC]),
        (None, [BTC, COIN, USDC, OLD]),
    ],
)
def test_all_is_every_lifetime_that_meets_the_window(window: Window | None, expected: list[Instrument]) -> None:
    assert resolve("all", EVERY, Market.UM, window) == (expected, [])


def test_all_of_a_quote_and_names_beside_it_meet_once() -> None:
    assert symbols(resolve("OLDUSDT,all:USDC,BTC/USDC:USDC", EVERY, Market.UM)[0]) == ["OLD/USDT:USDT", "BTC/USDC:USDC"]


def test_a_quote_that_nothing_has_is_unknown_but_an_empty_window_is_not() -> None:
    assert resolve("all:DOGE", EVERY, Market.UM) == ([], ["all:DOGE"])
    assert resolve("all:USDT", [OLD], Market.UM, Window(5_000, 6_000)) == ([], [])


@pytest.mark.parametrize("spec", ["", " , "])
def test_nothing_named_is_wrong_usage(spec: str) -> None:
    with pytest.raises(ConfigError, match="no symbols"):
        resolve(spec, EVERY, Market.UM)
