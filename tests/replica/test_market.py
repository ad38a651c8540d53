"""The generated market: a pure function of (seed, market, symbol, minute), exact and consistent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from replica.bars import DAY_MS, INTERVAL_MS, MINUTE_MS, Bars, aggregate
from replica.market import GeneratedMarket
from replica.universe import Listing, default_universe, large_universe

DAY = 20_700  # 2026-09-04
UNIVERSE = default_universe()
LISTED = {(listing.market, listing.raw_symbol): listing for listing in UNIVERSE}
BTC = LISTED[Market.UM, "BTCUSDT"]
GOLDEN_BTC = [1788480000000, 7871990, 7873740, 7868770, 7868770, 5109, 40214212360, 111, 3993, 31428157880]


def same(left: Bars, right: Bars) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left.columns(), right.columns(), strict=True))


@pytest.fixture(scope="module")
def market() -> GeneratedMarket:
    return GeneratedMarket("7")


def test_the_market_of_a_seed_never_changes(market: GeneratedMarket) -> None:
    """Anyone who compares two installations by digest relies on these numbers; integers make them the same anywhere."""
    bars = market.bars(BTC, MINUTE_MS, DAY * DAY_MS, DAY * DAY_MS + MINUTE_MS)
    assert [int(column[0]) for column in bars.columns()] == GOLDEN_BTC


def test_another_process_or_order_of_asking_makes_no_difference(market: GeneratedMarket) -> None:
    whole = market.bars(BTC, MINUTE_MS, DAY * DAY_MS, (DAY + 3) * DAY_MS)
    other = GeneratedMarket("7")
    start = (DAY + 1) * DAY_MS + 77 * MINUTE_MS
    assert same(other.bars(BTC, MINUTE_MS, start, start + 9 * MINUTE_MS), whole.between(start, start + 9 * MINUTE_MS))


def test_another_seed_is_another_market(market: GeneratedMarket) -> None:
    one = market.bars(BTC, DAY_MS, DAY * DAY_MS, (DAY + 1) * DAY_MS)
    assert not same(one, GeneratedMarket("8").bars(BTC, DAY_MS, DAY * DAY_MS, (DAY + 1) * DAY_MS))


@pytest.mark.parametrize("listing", UNIVERSE, ids=lambda listing: f"{listing.market}-{listing.raw_symbol}")
@pytest.mark.parametrize("day", [DAY, 19_100, 20_786])
def test_every_bar_is_one_that_trades_could_make(market: GeneratedMarket, listing: Listing, day: int) -> None:
    bars = market.bars(listing, MINUTE_MS, day * DAY_MS, (day + 1) * DAY_MS)
    if not len(bars):
        assert listing.listed_ms >= (day + 1) * DAY_MS or listing.delisted_ms is not None
        return
    for price in (bars.open, bars.close):
        assert (bars.low <= price).all()
        assert (price <= bars.high).all()
    assert (bars.low > 0).all()
    assert (bars.low % listing.tick_units == 0).all()
    assert (bars.taker_volume <= bars.volume).all()
    assert (bars.low * bars.volume <= bars.quote_volume).all()
    assert (bars.quote_volume <= bars.high * bars.volume).all()
    assert (bars.taker_quote_volume <= bars.quote_volume).all()
    assert ((bars.trades > 0) == (bars.volume > 0)).all()
    assert (bars.trades <= bars.volume).all()
    idle = np.flatnonzero(bars.volume[1:] == 0) + 1
    for prices in (bars.open, bars.high, bars.low, bars.close):
        assert np.array_equal(prices[idle], bars.close[idle - 1]), "a bar without trades repeats the close before it"


@settings(max_examples=30, deadline=None)
@given(
    listing=st.sampled_from(UNIVERSE),
    interval=st.sampled_from(list(INTERVAL_MS)),
    start=st.integers(1_500_000_000_000, 1_800_000_000_000),
    length=st.integers(1, 3 * DAY_MS),
)
def test_longer_bars_are_the_exact_aggregates_of_minutes(
    listing: Listing, interval: str, start: int, length: int
) -> None:
    market = GeneratedMarket("property", cached_days=8)
    step = INTERVAL_MS[interval]
    first, end = start - start % step, start - start % step + -(-length // step) * step
    minutes = market.bars(listing, MINUTE_MS, first, end)
    long = market.bars(listing, step, first, end)
    assert same(long, aggregate(minutes, step))
    assert int(long.volume.sum()) == int(minutes.volume.sum())
    assert int(long.quote_volume.sum()) == int(minutes.quote_volume.sum())


def test_prices_stay_within_bounds_and_move(market: GeneratedMarket) -> None:
    days = market.bars(BTC, DAY_MS, (DAY - 700) * DAY_MS, DAY * DAY_MS)
    middle = BTC.base_ticks * BTC.tick_units
    assert days.low.min() > 0.28 * middle
    assert days.high.max() < 1.72 * middle
    assert days.close.max() > 1.2 * days.close.min()
    assert abs(np.diff(days.close) / days.close[:-1]).max() < 0.25


def halted_day(market: GeneratedMarket, of: Market) -> int:
    return next(day for day in range(DAY, DAY + 1000) if market.halt(of, day))


def test_a_spot_halt_leaves_no_bars_for_any_symbol(market: GeneratedMarket) -> None:
    day = halted_day(market, Market.SPOT)
    halt = market.halt(Market.SPOT, day)
    assert halt is not None
    for name in ("BTCUSDT", "PEPEUSDT"):
        bars = market.bars(LISTED[Market.SPOT, name], MINUTE_MS, day * DAY_MS, (day + 1) * DAY_MS)
        assert len(bars) == 1440 - halt.length_ms // MINUTE_MS
        assert not len(bars.between(halt.start_ms, halt.end_ms))
    assert len(market.bars(BTC, MINUTE_MS, halt.start_ms, halt.end_ms)) == halt.length_ms // MINUTE_MS


def test_a_futures_halt_leaves_flat_bars(market: GeneratedMarket) -> None:
    day = halted_day(market, Market.UM)
    halt = market.halt(Market.UM, day)
    assert halt is not None
    bars = market.bars(BTC, MINUTE_MS, halt.start_ms - MINUTE_MS, halt.end_ms)
    assert len(bars) == halt.length_ms // MINUTE_MS + 1
    assert not bars.volume[1:].any()
    assert (bars.high[1:] == bars.close[0]).all()


def test_a_settled_perpetual_goes_on_flat_and_a_delisted_pair_ends(market: GeneratedMarket) -> None:
    omg = LISTED[Market.UM, "OMGUSDT"]
    assert omg.delisted_ms is not None
    bars = market.bars(omg, MINUTE_MS, omg.delisted_ms - MINUTE_MS, omg.delisted_ms + 400 * DAY_MS // 100)
    assert bars.volume[0] > 0
    assert not bars.volume[1:].any()
    assert (bars.low[1:] == bars.close[0]).all()
    waves = LISTED[Market.SPOT, "WAVESUSDT"]
    assert waves.delisted_ms is not None
    last = market.bars(waves, MINUTE_MS, waves.delisted_ms - DAY_MS, waves.delisted_ms + 2 * DAY_MS)
    assert int(last.open_ms[-1]) == waves.delisted_ms - MINUTE_MS


def test_bars_begin_with_the_listing(market: GeneratedMarket) -> None:
    bars = market.bars(BTC, MINUTE_MS, 0, BTC.listed_ms + 5 * MINUTE_MS)
    assert bars.open_ms.tolist() == [BTC.listed_ms + minute * MINUTE_MS for minute in range(5)]
    assert bars.volume[0] > 0


def test_the_running_bar_grows_into_the_finished_one(market: GeneratedMarket) -> None:
    start = DAY * DAY_MS + 700 * MINUTE_MS
    final = market.bars(BTC, MINUTE_MS, start, start + MINUTE_MS)
    before = None
    for elapsed in (0, 1, 5_000, 15_000, 29_999, 30_000, 44_000, 59_999):
        now = market.open_bar(BTC, MINUTE_MS, start + elapsed)
        assert now.open[0] == final.open[0]
        assert final.low[0] <= now.low[0] <= now.high[0] <= final.high[0]
        assert now.low[0] * now.volume[0] <= now.quote_volume[0] <= now.high[0] * now.volume[0]
        assert now.taker_volume[0] <= now.volume[0]
        if before is not None:
            for name in ("volume", "quote_volume", "trades", "taker_volume", "high"):
                assert getattr(before, name)[0] <= getattr(now, name)[0] <= getattr(final, name)[0]
            assert now.low[0] <= before.low[0]
        before = now
    assert before is not None
    assert before.close[0] == final.close[0]


def test_a_running_long_bar_holds_its_finished_minutes(market: GeneratedMarket) -> None:
    now = DAY * DAY_MS + 700 * MINUTE_MS + 30_000
    running = market.open_bar(BTC, INTERVAL_MS["4h"], now)
    start = now - now % INTERVAL_MS["4h"]
    minutes = market.bars(BTC, MINUTE_MS, start, now - now % MINUTE_MS)
    part = market.open_bar(BTC, MINUTE_MS, now)
    assert int(running.volume[0]) == int(minutes.volume.sum()) + int(part.volume[0])
    assert running.open[0] == minutes.open[0]
    assert running.close[0] == part.close[0]


def test_a_load_universe_has_the_perpetuals_asked_for() -> None:
    universe = large_universe(600)
    perpetuals = [listing for listing in universe if listing.market is Market.UM and listing.delisted_ms is None]
    assert len(perpetuals) == 600
    assert sum(not listing.raw_symbol.isascii() for listing in perpetuals) == 3
    assert len({(listing.market, listing.raw_symbol) for listing in universe}) == len(universe)
    assert sum(listing.market is Market.SPOT for listing in universe) > 50
    for listing in universe:
        assert listing.price_decimals + listing.quantity_decimals <= 8, "its quote volume fits DECIMAL(28,8) exactly"
