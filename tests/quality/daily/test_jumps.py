"""A wrong print stands out; a calm coin's tick, a real move and a listing's first hour do not."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.quality.daily.columns import Columns
from gapless.quality.daily.findings import REVIEW
from gapless.quality.daily.jumps import find_jumps
from gapless.quality.daily.thresholds import Jumps
from tests.quality.daily.rows import DAY, calm, change, columns, untraded, without

BEFORE = 120
BTC = "BTC/USDT"
MINUTE = 60_000
CALM = calm()


def flagged(bars: Columns, limits: Jumps | None = None, **began: int) -> list[int]:
    none = np.zeros(len(bars), bool)
    return [jump.row - BEFORE for jump in find_jumps(bars, limits or Jumps(), none, {BTC: 0} | began)]


def spike(bars: pa.Table, row: int, factor: str, *, whole: bool = False) -> pa.Table:
    """A bar whose high, or low, or whole body is off by a factor."""
    times = Decimal(factor)
    cents = Decimal("0.01")
    off = lambda v: (v * times).quantize(cents)  # noqa: E731
    if whole:
        return change(bars, row, open=off, high=off, low=off, close=off)
    return change(bars, row, **{"high" if times > 1 else "low": off})


@pytest.mark.parametrize("move", [0.00005, 0.0005, 0.005, 0.03])
@pytest.mark.parametrize("price", [0.5, 100.0, 60_000.0])
def test_a_market_that_goes_its_ways_is_never_flagged(move: float, price: float) -> None:
    assert flagged(columns(calm(move=move, price=price))) == []


def test_nothing_and_nothing_traded_are_never_flagged() -> None:
    assert flagged(columns()) == []
    still = CALM
    for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"):
        place = still.schema.get_field_index(name)
        still = still.set_column(place, still.schema.field(name), pa.array([Decimal(0)] * len(still), still[name].type))
    assert flagged(columns(still)) == []


@given(
    row=st.integers(0, 1439),
    factor=st.sampled_from(["0.01", "0.5", "0.9", "0.95", "1.05", "1.1", "2", "10", "1000"]),
    whole=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_planted_spike_is_found_and_nothing_beside_it(row: int, factor: str, whole: bool) -> None:
    assert flagged(columns(spike(CALM, BEFORE + row, factor, whole=whole))) == [row]


def test_a_finding_says_what_and_how_far_for_a_person() -> None:
    bars = columns(spike(CALM, BEFORE + 600, "1.1"))
    (jump,) = find_jumps(bars, Jumps(), np.zeros(len(bars), bool), {})
    found = jump.finding
    assert (found.rule, found.severity, found.ts) == ("jump", REVIEW, "2026-11-14T10:00:00Z")
    assert found.allowed == "2 %"
    assert 9 < float(found.measured.removesuffix(" %")) < 11
    assert "the close before was" in found.text


def test_a_price_that_stays_where_it_leapt_to_is_flagged_once() -> None:
    row = BEFORE + 600
    lifted = CALM
    for at in range(row, len(CALM)):
        if at < row + 30:
            lifted = spike(lifted, at, "1.2", whole=True)
    assert flagged(columns(lifted.slice(0, row + 30))) == [600]


def test_a_real_move_goes_on_and_is_not_flagged() -> None:
    row = BEFORE + 600
    hour = Window(DAY.start_ms + 600 * MINUTE, DAY.start_ms + 660 * MINUTE)
    after = calm(window=hour, before=0, price=float(CALM["close"][row - 1].as_py()), move=0.008)
    news = pa.concat_tables([CALM.slice(0, row), spike(after, 0, "1.04"), CALM.slice(row + 60)])
    assert flagged(columns(news.slice(0, row + 60))) == []
    alone = pa.concat_tables([CALM.slice(0, row), spike(CALM.slice(row, 60), 0, "1.04"), CALM.slice(row + 60)])
    assert flagged(columns(alone)) == [600]


def test_a_coin_of_few_ticks_may_move_some_of_them() -> None:
    coarse = calm(price=0.05, move=0.0, wicks=0)
    one_tick = change(coarse, BEFORE + 50, high=lambda v: v + Decimal("0.02"))
    assert flagged(columns(one_tick)) == [], "two ticks are 40 %"
    assert flagged(columns(change(one_tick, BEFORE + 50, high=lambda v: v + Decimal("0.10")))) == [50]


def test_the_first_hour_of_a_listing_is_not_judged_and_the_second_is() -> None:
    fresh = CALM.slice(BEFORE + 600)
    listed = DAY.start_ms + 600 * MINUTE
    early, late = spike(fresh, 30, "10"), spike(fresh, 90, "10")
    none = np.zeros(len(fresh), bool)
    assert find_jumps(columns(early), Jumps(), none, {BTC: listed}) == []
    assert find_jumps(columns(early), Jumps(), none, {}) == [], "unknown: the first bar tells"
    assert [jump.row for jump in find_jumps(columns(late), Jumps(), none, {BTC: listed})] == [90]


def test_after_a_long_silence_the_price_may_have_moved() -> None:
    silent = without(CALM, *range(BEFORE + 200, BEFORE + 400))
    lifted = silent
    for at in range(BEFORE + 200, len(silent)):
        lifted = spike(lifted, at, "1.06", whole=True) if at < BEFORE + 260 else lifted
    assert flagged(columns(lifted.slice(0, BEFORE + 260))) == []
    at_once = pa.concat_tables([CALM.slice(0, BEFORE + 200), lifted.slice(BEFORE + 200, 60)])
    assert at_once.num_rows == BEFORE + 260


def test_bars_without_trades_neither_calm_the_scale_nor_are_they_judged() -> None:
    thin = calm(move=0.003)
    for row in range(1, BEFORE + 300):
        if row % 3:
            thin = untraded(thin, row)
    assert flagged(columns(thin.slice(0, BEFORE + 300))) == []


def test_series_do_not_look_into_each_other() -> None:
    cheap, dear = calm("AAA/USDT", price=1.0), calm("BBB/USDT", price=50_000.0)
    bars = columns(cheap, dear)
    assert find_jumps(bars, Jumps(), np.zeros(len(bars), bool), {}) == []


def test_longer_bars_have_their_own_neighbourhood() -> None:
    hours = calm(interval=Interval.H1, move=0.004)
    bars = columns(spike(hours, BEFORE + 5, "1.5"), interval=Interval.H1)
    assert [jump.row for jump in find_jumps(bars, Jumps(), np.zeros(len(bars), bool), {})] == [BEFORE + 5]
    assert find_jumps(bars, Jumps(), np.ones(len(bars), bool), {}) == [], "exempt: made of judged minutes"
