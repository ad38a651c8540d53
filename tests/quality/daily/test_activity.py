"""A day as busy as those before, or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window
from gapless.quality.daily.activity import DayOfTrading, check_activity, days_of_trading, open_share
from gapless.quality.daily.findings import WARNING
from gapless.quality.daily.thresholds import Activity
from tests.quality.daily.rows import DAY, calm, columns

BTC = "BTC/USDT"
QUIET = [100.0, 110, 95, 105, 100, 98, 102]
NO_BOOKS: dict[str, list[Window]] = {}


def day(back: int) -> Window:
    return Window(DAY.start_ms - back * DAY_MS, DAY.end_ms - back * DAY_MS)


def trading(today: float, before: list[float], trades: float | None = None) -> dict[tuple[str, int], DayOfTrading]:
    """Volumes, yesterday first; as many trades unless said otherwise."""
    days = {(BTC, day(back + 1).start_ms): DayOfTrading(volume, volume) for back, volume in enumerate(before)}
    return days | {(BTC, DAY.start_ms): DayOfTrading(today, today if trades is None else trades)}


def judged(
    days: dict[tuple[str, int], DayOfTrading],
    lives: dict[str, list[Window]] = NO_BOOKS,
    known: dict[str, list[Window]] = NO_BOOKS,
) -> list[tuple[str, str]]:
    found = check_activity(DAY, Interval.D1, days, Activity(), lives=lives, known=known)
    assert all(each.severity == WARNING for each in found.findings)
    assert sum(found.counts.values()) == len(found.findings)
    return [(each.text.split(": ", 1)[1].split()[0], each.measured) for each in found.findings]


@pytest.mark.parametrize("today", [25.0, 60, 100, 200, 440])
def test_a_day_like_those_before_is_none(today: float) -> None:
    assert judged(trading(today, QUIET)) == []


def test_far_busier_or_quieter_is_a_warning_for_each_figure() -> None:
    assert judged(trading(1000, QUIET)) == [("volume", "9.87 times more"), ("trades", "9.87 times more")]
    assert judged(trading(10, QUIET, trades=100)) == [("volume", "10.1 times less")]


def test_a_market_that_swings_may_swing() -> None:
    assert judged(trading(1000, [10, 1000, 30, 500, 20, 800, 100])) == []


def test_none_at_all_where_there_always_was_some_is_a_warning() -> None:
    assert judged(trading(0, QUIET)) == [("no", "none"), ("no", "none")]
    assert judged(trading(0, [*QUIET[:6], 0])) == [], "a market that has days without trades may have another"
    assert judged(trading(100, [0, 0, 0, 0, 0, 0, 0])) == [], "nothing to hold it against"


def test_with_few_days_known_nothing_is_judged() -> None:
    assert judged(trading(1000, QUIET[:3])) == []
    assert judged(trading(1000, QUIET[:4])) != []
    assert judged({}) == []


def test_days_further_back_than_asked_for_do_not_count() -> None:
    assert judged(trading(1000, [*QUIET[:3], *[0.0] * 4, 1000, 1000, 1000])) == [], "three days with trades, of seven"


def test_a_halt_that_the_gap_log_knows_shortens_the_day() -> None:
    halted = [Window(DAY.start_ms, DAY.start_ms + 12 * 3_600_000)]
    assert judged(trading(12, QUIET)) != []
    assert judged(trading(12, QUIET), known={BTC: halted}) == [], "half a day, a quarter as busy"
    longer = [Window(DAY.start_ms, DAY.start_ms + 20 * 3_600_000)]
    assert judged(trading(0, QUIET), known={BTC: longer}) == [], "open for less than a quarter: it says nothing"


def test_listing_and_delisting_shorten_days() -> None:
    born = {BTC: [Window(day(4).start_ms + 18 * 3_600_000, 1 << 50)]}
    days = trading(100, [100, 100, 100, 25])
    assert judged(days, lives=born) == []
    assert open_share(day(4), born[BTC], ()) == 0.25
    assert open_share(day(5), born[BTC], ()) == 0
    dead = {BTC: [Window(0, DAY.start_ms + 6 * 3_600_000)]}
    assert judged(trading(25, QUIET), lives=dead) == []


def test_sums_are_by_symbol_and_day() -> None:
    hours = columns(
        calm(BTC, Interval.H1, before=30), calm("ETH/USDT", Interval.H1, before=0, seed=2), interval=Interval.H1
    )
    sums = days_of_trading(hours)
    assert sorted(sums) == [
        (BTC, day(2).start_ms),
        (BTC, day(1).start_ms),
        (BTC, DAY.start_ms),
        ("ETH/USDT", DAY.start_ms),
    ]
    volume, trades = hours.floats("volume"), hours.floats("trades")
    assert sums[BTC, day(2).start_ms].volume == pytest.approx(volume[:6].sum())
    assert sums["ETH/USDT", DAY.start_ms].trades == trades[54:].sum()
    assert days_of_trading(columns()) == {}


@given(st.lists(st.floats(1e-6, 1e12), min_size=4, max_size=7), st.floats(1e-6, 1e12))
def test_the_unit_of_volume_makes_no_difference(before: list[float], today: float) -> None:
    counts = [
        check_activity(
            DAY, Interval.D1, trading(today * unit, [v * unit for v in before]), Activity(), lives={}, known={}
        ).counts
        for unit in (1.0, 1024.0)
    ]
    assert counts[0] == counts[1]
