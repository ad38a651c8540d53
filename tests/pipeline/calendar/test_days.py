"""Days of many series summed by market and interval, and months of days."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.grid import points, points_by_day
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, merge, parse_time
from gapless.pipeline.calendar import Allowance, Ledger, months_of, trimmed
from gapless.pipeline.counting import DayCounts

H4 = Interval.H4
SIXTH = Allowance(0.05)
NOVEMBER = Window.of("2026-11-01", "2026-12-01")
FIRST = NOVEMBER.start_ms // DAY_MS


def counts(first: int, expected: list[int], present: list[int], unfillable: list[int] | None = None) -> DayCounts:
    arrays = [np.array(each, np.int64) for each in (expected, present, unfillable or [0] * len(expected))]
    return DayCounts(first, *arrays)


def test_series_of_a_market_and_interval_are_summed_and_the_worst_is_named() -> None:
    ledger = Ledger(NOVEMBER)
    ledger.add("BTC/USDT:USDT", H4, counts(FIRST, [6, 6, 6], [6, 5, 5], [0, 0, 1]))
    ledger.add("ETH/USDT:USDT", H4, counts(FIRST + 1, [6, 6], [3, 6]))
    ledger.add("BTC/USDT", H4, counts(FIRST, [6], [0]))
    spot, um = ledger.panels()
    assert (spot.market, um.market, um.series) == ("spot", "um", 2)
    assert um.expected[:4].tolist() == [6, 12, 12, 0]
    assert um.missing[:4].tolist() == [0, 4, 0, 0]
    assert um.unfillable[:4].tolist() == [0, 0, 1, 0]
    assert um.lacking[:3].tolist() == [0, 2, 0]
    assert um.worst == {FIRST + 1: "ETH/USDT:USDT"}
    assert spot.missing.sum() == 6


def test_days_outside_the_window_are_cut_and_a_symbol_of_no_market_is_left_out() -> None:
    ledger = Ledger(NOVEMBER)
    ledger.add("BTC/USDT", H4, counts(FIRST - 2, [6] * 40, [6] * 40))
    ledger.add("BTCUSDT", H4, counts(FIRST, [6], [0]))
    ledger.add("ETH/USDT", H4, counts(FIRST + 100, [6], [0]))
    (panel,) = ledger.panels()
    assert (panel.series, panel.expected.sum(), len(panel.expected)) == (2, 180, 30)


def test_panels_are_trimmed_to_the_months_in_which_anything_is_expected_of_any() -> None:
    window = Window.of("2017-01-01", "2026-11-16")
    ledger = Ledger(window)
    first = parse_time("2026-09-20") // DAY_MS
    ledger.add("BTC/USDT", H4, counts(first, [6] * 20, [6] * 20))
    ledger.add("BTC/USDT:USDT", H4, counts(first + 30, [6] * 2, [6] * 2))
    ledger.add("BTC/USDT:USDT", Interval.D1, counts(0, [], []))
    panels = trimmed(ledger.panels())
    assert {panel.window for panel in panels} == {Window.of("2026-09-01", "2026-11-01")}
    assert trimmed(Ledger(window).panels()) == ()


def test_months_are_utc_months_and_a_missing_bar_is_never_rounded_away() -> None:
    window = Window.of("2026-10-01", "2026-12-01")
    ledger = Ledger(window)
    first = window.start_ms // DAY_MS
    bars = [1_000_000_000] * 31 + [2] * 30
    present = [1_000_000_000] * 30 + [999_999_999] + [2] * 28 + [1, 1]
    ledger.add("BTC/USDT", Interval.M1, counts(first, bars, present, [0] * 60 + [1]))
    october, november = months_of(ledger.panels(), SIXTH)
    assert (october.month, october.missing, october.missing_percent, october.within) == ("2026-10", 1, 0.000001, True)
    assert october.percent == 99.999999
    assert (november.month, november.expected, november.unfillable, november.missing) == ("2026-11", 60, 1, 1)
    assert november.missing_percent == 1.694916
    assert not november.within


@pytest.mark.parametrize(
    ("missing", "fillable", "holds"), [(0, 0, True), (5, 10_000, True), (6, 10_000, False), (1, 1, False)]
)
def test_the_allowance_is_a_share_of_what_the_exchange_has(missing: int, fillable: int, holds: bool) -> None:
    assert SIXTH.holds(missing, fillable) is holds


def test_a_month_that_nobody_has_is_whole() -> None:
    ledger = Ledger(NOVEMBER)
    ledger.add("BTC/USDT", H4, counts(FIRST, [6], [0], [6]))
    (row,) = months_of(ledger.panels(), SIXTH)
    assert (row.percent, row.missing_percent, row.within) == (100.0, 0.0, True)


_HOUR = Interval.H1.ms
_BOUNDS = st.tuples(st.integers(0, 240), st.integers(0, 240)).filter(lambda pair: pair[0] < pair[1])


@given(st.lists(_BOUNDS, max_size=6), st.integers(-2, 4), st.integers(1, 12))
def test_points_by_day_are_the_points_of_each_day(pairs: list[tuple[int, int]], first: int, days: int) -> None:
    stretches = merge(Window(a * _HOUR, b * _HOUR) for a, b in pairs)
    found = points_by_day(stretches, _HOUR, first, first + days)
    each = points(stretches, _HOUR) // DAY_MS
    assert found.tolist() == [int((each == day).sum()) for day in range(first, first + days)]
