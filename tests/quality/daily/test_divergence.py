"""Spot and perpetual of one coin, whatever unit the perpetual is quoted in."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from gapless.exchanges.binance.symbols import contract_multiplier
from gapless.quality.daily.divergence import Pair, check_divergence, coin_of, pairs_of
from gapless.quality.daily.findings import WARNING, Finding
from gapless.quality.daily.thresholds import Divergence
from tests.quality.daily.rows import DAY, calm, columns, instrument, untraded, without

SPOT, UM = instrument("PEPE/USDT"), instrument("1000PEPE/USDT:USDT", multiplier=1000)
PAIR = Pair(SPOT, UM)
LIMITS = Divergence(relative=0.03, bars=15)
MARKET = calm(SPOT.symbol, before=30)


def perpetual(factor: float = 1000, *, off: range = range(0), by: float = 1.05) -> pa.Table:
    """The spot market's closes times a factor, some of them further off."""
    close = MARKET["close"].to_pylist()
    moved = [
        round(value * Decimal(str(factor)) * (Decimal(str(by)) if row - 30 in off else 1), 2)
        for row, value in enumerate(close)
    ]
    table = MARKET.set_column(1, MARKET.schema.field(1), pa.repeat(UM.symbol, len(MARKET)))
    return table.set_column(
        table.schema.get_field_index("close"), table.schema.field("close"), pa.array(moved, table["close"].type)
    )


def found(spot: pa.Table, um: pa.Table, limits: Divergence = LIMITS) -> tuple[Finding, ...]:
    verdict = check_divergence(columns(spot, um, instruments=[SPOT, UM]), [PAIR], limits)
    assert sum(verdict.counts.values()) == len(verdict.findings)
    return verdict.findings


@pytest.mark.parametrize(
    ("symbol", "coin"),
    [
        ("BTC/USDT:USDT", "BTC"), ("1000PEPE/USDT:USDT", "PEPE"), ("1000000MOG/USDT:USDT", "MOG"),
        ("1MBABYDOGE/USDT:USDT", "BABYDOGE"), ("1INCH/USDT", "1INCH"), ("1000SATS/USDT", "SATS"),
        ("币安人生/USDT", "币安人生"),
    ],
)  # fmt: skip
def test_a_coin_is_what_is_left_without_the_multiplier(symbol: str, coin: str) -> None:
    base = symbol.partition("/")[0]
    assert coin_of(instrument(symbol, multiplier=contract_multiplier(base))) == (coin, "USDT")


def test_a_multiplier_that_the_name_does_not_show_leaves_the_name() -> None:
    assert coin_of(instrument("SHIB/USDT:USDT", multiplier=1000)) == ("SHIB", "USDT")


def test_pairs_are_of_one_coin_and_one_quote() -> None:
    others = [instrument(name) for name in ("BTC/USDT", "BTC/USDC:USDC", "ETH/USDT:USDT", "TSLA/USDT:USDT")]
    both = [instrument("BTC/USDT:USDT"), instrument("BTC/USDC")]
    assert pairs_of([UM, *others, SPOT]) == [PAIR]
    named = {(pair.spot.symbol, pair.perpetual.symbol) for pair in pairs_of([*others, *both])}
    assert named == {("BTC/USDT", "BTC/USDT:USDT"), ("BTC/USDC", "BTC/USDC:USDC")}


def test_the_same_price_in_another_unit_is_the_same_price() -> None:
    assert found(MARKET, perpetual()) == ()


def test_apart_for_long_is_one_warning_a_run() -> None:
    (one,) = found(MARKET, perpetual(off=range(100, 130)))
    assert (one.severity, one.symbol, one.ts) == (WARNING, UM.symbol, "2026-11-14T01:40:00Z")
    assert one.measured == "5 % for 30 bars"
    assert one.allowed == "3 % for 15 bars"
    assert "above PEPE/USDT" in one.text
    assert "from 2026-11-14T01:40:00Z to 2026-11-14T02:10:00Z" in one.text


def test_apart_for_a_moment_or_by_little_is_not() -> None:
    assert found(MARKET, perpetual(off=range(100, 114))) == ()
    assert found(MARKET, perpetual(off=range(100, 900), by=1.02)) == ()
    assert found(MARKET, perpetual(), Divergence(relative=0.001, bars=1)) == ()


def test_a_wrong_unit_is_seen_all_day() -> None:
    (one,) = found(MARKET, perpetual(1))
    assert one.measured == "99.9 % for 1,440 bars"
    assert "below" in one.text


def test_bars_without_trades_or_without_a_counterpart_neither_make_nor_end_a_run() -> None:
    um = perpetual(off=range(100, 130))
    spot = untraded(without(MARKET, 30 + 110), 30 + 105)
    (one,) = found(spot, um)
    assert one.measured == "5 % for 28 bars"
    flat = MARKET
    for row in range(30 + 100, 30 + 130):
        flat = untraded(flat, row)
    assert found(flat, um) == (), "a market that stood still says nothing"


def test_only_the_day_counts_and_one_that_is_absent_is_no_finding() -> None:
    assert found(MARKET, perpetual(off=range(-30, 14))) == (), "14 of them are today"
    assert found(MARKET, MARKET.slice(0, 0)) == ()
    assert check_divergence(columns(), [PAIR], LIMITS).findings == ()
    assert DAY.length_ms == 86_400_000
