"""Holes between bars, and opens that do not go on from the close before."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.quality.daily.columns import Columns
from gapless.quality.daily.continuity import check_holes, check_opens
from gapless.quality.daily.findings import CRITICAL, WARNING, Verdict
from gapless.quality.daily.thresholds import Continuity
from tests.quality.daily.rows import DAY, calm, change, columns, untraded, without

MINUTE = 60_000
BEFORE = 120
BTC, ETH = "BTC/USDT", "ETH/USDT"


def minute(number: int) -> int:
    return DAY.start_ms + number * MINUTE


def holes(bars: Columns, **options: dict[str, list[Window]]) -> list[tuple[str, str, str]]:
    found = check_holes(bars, options.get("lives", {}), options.get("known", {}), 100)
    assert sum(found.counts.values()) == len(found.findings)
    assert all(each.severity == CRITICAL for each in found.findings)
    return [(each.symbol, each.ts[11:16], each.measured) for each in found.findings]


def opens(bars: Columns, limits: Continuity | None = None, most: int = 100) -> Verdict:
    return check_opens(bars, limits or Continuity(), np.zeros(len(bars), bool), most)


def test_bars_one_after_another_have_no_hole() -> None:
    assert holes(columns(calm(), calm(ETH, before=7))) == []
    assert holes(columns()) == []


def test_a_hole_that_nothing_explains_is_critical_and_counted_in_bars() -> None:
    bars = columns(without(calm(), BEFORE + 60, BEFORE + 61, BEFORE + 90), calm(ETH))
    assert holes(bars) == [(BTC, "01:00", "2 bars missing"), (BTC, "01:30", "1 bar missing")]


def test_a_hole_over_midnight_belongs_to_the_day_it_ends_in_and_to_no_other() -> None:
    bars = without(calm(), *range(BEFORE - 5, BEFORE + 3))
    assert holes(columns(bars)) == [(BTC, "23:55", "8 bars missing")]
    assert holes(columns(bars, day=Window(DAY.start_ms - 86_400_000, DAY.start_ms))) == []


def test_what_the_gap_log_knows_is_no_finding_and_the_rest_of_the_hole_is() -> None:
    bars = columns(without(calm(), *range(BEFORE + 60, BEFORE + 70)))
    assert holes(bars, known={BTC: [Window(minute(50), minute(80))]}) == []
    halves = {BTC: [Window(minute(0), minute(10)), Window(minute(60), minute(63)), Window(minute(66), minute(70))]}
    assert holes(bars, known=halves) == [(BTC, "01:03", "3 bars missing")]


def test_between_two_lives_of_a_ticker_nothing_is_missing() -> None:
    bars = columns(without(calm(), *range(BEFORE + 60, BEFORE + 70)))
    first, second = Window(0, minute(62) + 5_000), Window(minute(68) - 5_000, 1 << 50)
    found = holes(bars, lives={BTC: [first, second]})
    assert found == [(BTC, "01:00", "3 bars missing"), (BTC, "01:07", "3 bars missing")], "bars of both edges count"


@given(st.sets(st.integers(1, 198), max_size=60))
def test_holes_are_exactly_the_bars_between_others_that_are_not_there(gone: set[int]) -> None:
    window = Window(DAY.start_ms, minute(200))
    bars = columns(without(calm(window=window, before=0), *gone), day=window)
    found = check_holes(bars, {}, {}, 1_000).findings
    assert sum(int(each.measured.split()[0]) for each in found) == len(gone)
    assert len(found) == sum(number - 1 not in gone for number in gone)


def test_a_calm_market_opens_where_it_closed() -> None:
    assert opens(columns(calm())).counts == {}
    assert opens(columns()).counts == {}


def test_an_open_far_from_the_close_before_is_a_warning_that_says_both() -> None:
    row = BEFORE + 100
    bars = change(calm(), row, open=lambda v: v + 2, high=lambda v: v + 3)
    (found,) = opens(columns(bars)).findings
    assert (found.rule, found.severity, found.ts) == ("continuity", WARNING, "2026-11-14T01:40:00Z")
    assert f"opens at {bars['open'][row].as_py():f}".rstrip("0") in found.text
    assert found.allowed == "0.5 %"


def test_a_market_that_moves_in_coarse_ticks_may_open_some_ticks_away() -> None:
    bars = change(calm(price=1, move=0.0001), BEFORE + 100, open=lambda v: v + Decimal("0.04"), high=Decimal(2))
    assert opens(columns(bars)).counts == {}, "4 ticks of 0.01 are 4 %"
    bars = change(bars, BEFORE + 100, open=lambda v: v + Decimal("0.03"))
    assert opens(columns(bars)).counts == {WARNING: 1}


def test_a_wild_market_may_open_further_away_than_a_calm_one() -> None:
    wild = calm(move=0.01)
    row = BEFORE + 100
    apart = change(wild, row, open=lambda v: v * Decimal("1.04"), high=lambda v: v * Decimal("1.1"))
    assert opens(columns(apart)).counts == {}
    assert opens(columns(apart), Continuity(ranges=1)).counts == {WARNING: 1}


def test_after_a_pause_a_market_may_open_anywhere_and_a_bar_without_trades_may_not() -> None:
    row = BEFORE + 100
    moved = untraded(calm(), row - 1)
    moved = change(moved, row, open=lambda v: v + 3, high=lambda v: v + 4)
    assert opens(columns(moved)).counts == {}
    leapt = untraded(calm(), row)
    leapt = change(leapt, row, open=Decimal(200), high=Decimal(200), low=Decimal(200), close=Decimal(200))
    (found,) = opens(columns(leapt)).findings
    assert found.text.endswith("though nothing was traded")


def test_bars_with_a_hole_between_them_and_rows_outside_the_day_are_not_judged() -> None:
    row = BEFORE + 100
    apart = change(calm(), row, open=lambda v: v + 3, high=lambda v: v + 4)
    assert opens(columns(without(apart, row - 1))).counts == {}
    assert opens(columns(apart, day=Window(minute(200), minute(300)))).counts == {}


def test_what_is_exempt_is_not_judged_and_what_is_not_listed_is_counted() -> None:
    bars = calm()
    for row in range(BEFORE, BEFORE + 40, 2):
        bars = change(bars, row, open=lambda v: v + 3, high=lambda v: v + 4)
    found = columns(bars)
    judged = opens(found, most=5)
    assert (len(judged.findings), judged.counts) == (5, {WARNING: 20})
    assert check_opens(found, Continuity(), np.ones(len(found), bool), 5).counts == {}


def test_longer_bars_are_judged_on_their_own_grid() -> None:
    bars = calm(interval=Interval.H1, before=5)
    found = columns(without(bars, 10), day=DAY, interval=Interval.H1)
    assert [each.measured for each in check_holes(found, {}, {}, 10).findings] == ["1 bar missing"]
