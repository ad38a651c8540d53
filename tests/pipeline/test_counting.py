"""Coverage counted from day counts must be what counting bar by bar says."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.grid import runs
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, iso
from gapless.pipeline.counting import Covered, CoveredSeries, StoredDays, examine, percent

MONDAY = Window.of("2026-11-02", "2026-11-03")
H4 = Interval.H4


@dataclass(frozen=True)
class Known:
    window: Window
    state: str
    cause: str = "the exchange has none"


def days(opens: set[int]) -> tuple[np.ndarray, np.ndarray]:
    found, rows = np.unique(np.array(sorted(opens), np.int64) // DAY_MS, return_counts=True)
    return found, rows.astype(np.int64)


def examined(
    interval: Interval, window: Window, lives: list[Window], mysql: set[int], lake: set[int], gaps: list[Known]
) -> Covered:
    """As the pipeline does it: counts of whole days, open times of ragged ones only."""
    stored = StoredDays(*days(mysql), *days(lake))
    ragged = set(stored.split(interval)[1].tolist())
    opens = np.array(sorted(at for at in mysql | lake if at // DAY_MS in ragged), np.int64)
    return examine(interval, window, lives=lives, stored=stored, ragged=opens, gaps=gaps)


def covered(
    interval: Interval, window: Window, lives: list[Window], mysql: set[int], lake: set[int], gaps: list[Known]
) -> CoveredSeries:
    return examined(interval, window, lives, mysql, lake, gaps).series("X/USDT")


def opens(window: Window, interval: Interval = H4) -> set[int]:
    return set(interval.opens(window))


def test_a_whole_store_is_a_hundred_percent() -> None:
    found = covered(H4, MONDAY, [MONDAY], opens(MONDAY), set(), [])
    assert (found.expected, found.present, found.missing, found.percent, found.gaps) == (6, 6, 0, 100.0, ())
    assert found.why == ""


def test_two_stores_with_half_a_day_each_make_a_whole_one_and_a_shared_bar_counts_once() -> None:
    all_six = sorted(opens(MONDAY))
    found = covered(H4, MONDAY, [MONDAY], set(all_six[:4]), set(all_six[2:]), [])
    assert (found.present, found.missing, found.outside) == (6, 0, 0)


def test_missing_bars_are_named_as_runs_with_what_is_known_of_each() -> None:
    all_six = sorted(opens(MONDAY))
    halt = Known(Window(all_six[1], all_six[2]), "unfillable")
    found = covered(H4, MONDAY, [MONDAY], {all_six[0], all_six[4]}, set(), [halt])
    assert [(gap.start, gap.bars, gap.state) for gap in found.gaps] == [
        ("2026-11-02T04:00:00Z", 1, "unfillable"),
        ("2026-11-02T08:00:00Z", 2, "open"),
        ("2026-11-02T20:00:00Z", 1, "open"),
    ]
    assert (found.expected, found.present, found.unfillable, found.missing) == (6, 2, 1, 3)
    assert found.percent == 40.0
    assert found.why.startswith("open: ")
    assert "unfillable: the exchange has none (1 bars in 1 gap)" in found.why


def test_a_bar_that_is_stored_is_not_unfillable_whatever_the_log_says() -> None:
    found = covered(H4, MONDAY, [MONDAY], opens(MONDAY), set(), [Known(MONDAY, "unfillable")])
    assert (found.present, found.unfillable) == (6, 0)


def test_a_gap_that_was_filled_and_is_missing_again_is_open() -> None:
    found = covered(H4, MONDAY, [MONDAY], set(), set(), [Known(MONDAY, "filled")])
    assert [(gap.bars, gap.state) for gap in found.gaps] == [(6, "open")]


def test_a_life_begins_in_the_bar_that_holds_its_first_moment() -> None:
    life = Window.of("2026-11-02T09:30", "2026-11-02T16:00")
    found = covered(H4, MONDAY, [life], opens(MONDAY), set(), [])
    assert (found.expected, found.present, found.outside) == (2, 2, 4), "08:00 and 12:00"


def test_nothing_stored_in_no_life_is_nothing_expected() -> None:
    found = covered(H4, MONDAY, [], set(), set(), [])
    assert (found.expected, found.percent) == (0, 100.0)


def test_a_window_without_an_open_time_expects_nothing() -> None:
    window = Window.of("2026-11-02T01:00", "2026-11-02T03:00")
    assert covered(H4, window, [MONDAY], opens(MONDAY), set(), []).expected == 0


@pytest.mark.parametrize(
    ("expected", "present", "unfillable", "told"),
    [
        (3, 3, 0, 100.0),
        (3, 2, 0, 66.666666),
        (1_000_000_000, 999_999_999, 0, 99.999999),
        (10, 9, 1, 100.0),
        (10, 0, 0, 0.0),
        (5, 0, 5, 100.0),
        (0, 0, 0, 100.0),
    ],
)
def test_percent_is_cut_and_never_rounded_up(expected: int, present: int, unfillable: int, told: float) -> None:
    assert percent(expected, present, unfillable) == told


def test_runs_are_maximal() -> None:
    step = H4.ms
    assert runs(np.array([0, step, 3 * step]), step) == [Window(0, 2 * step), Window(3 * step, 4 * step)]
    assert runs(np.empty(0, np.int64), step) == []


_STEP = Interval.H1.ms
_HOURS = st.integers(0, 24 * 6)
_STRETCH = st.tuples(_HOURS, _HOURS).filter(lambda pair: pair[0] < pair[1])
BASE = MONDAY.start_ms


def stretch(pair: tuple[int, int], minutes: int = 0) -> Window:
    return Window(BASE + pair[0] * _STEP + minutes * 60_000, BASE + pair[1] * _STEP + minutes * 60_000)


@given(
    window=_STRETCH,
    offset=st.integers(0, 59),
    lives=st.lists(_HOURS, min_size=2, max_size=4, unique=True).map(sorted),
    mysql=st.lists(_STRETCH, max_size=4),
    lake=st.lists(_STRETCH, max_size=4),
    logged=st.lists(_HOURS, max_size=6, unique=True).map(sorted),
)
def test_counting_by_days_agrees_with_counting_bars(
    window: tuple[int, int],
    offset: int,
    lives: list[int],
    mysql: list[tuple[int, int]],
    lake: list[tuple[int, int]],
    logged: list[int],
) -> None:
    asked = stretch(window, offset)
    alive = [stretch(pair, offset) for pair in list(pairwise(lives))[::2]]
    hot, cold = ({at for pair in held for at in Interval.H1.opens(stretch(pair))} for held in (mysql, lake))
    gaps = [Known(stretch(pair), "unfillable" if pair[0] % 2 else "open") for pair in pairwise(logged)]
    whole = examined(Interval.H1, asked, alive, hot, cold, gaps)
    found = whole.series("X/USDT")

    due = {
        at
        for at in Interval.H1.opens(asked)
        if any(Interval.H1.floor(life.start_ms) <= at < life.end_ms for life in alive)
    }
    stored = {at for at in hot | cold if at in asked}
    lost = {at for at in due - stored if any(gap.state == "unfillable" and at in gap.window for gap in gaps)}
    assert found.expected == len(due)
    assert found.present == len(due & stored)
    assert found.outside == len(stored - due)
    assert found.unfillable == len(lost)
    assert found.missing == len(due - stored - lost)
    named = {at for gap in found.gaps for at in Interval.H1.opens(Window.of(gap.start, gap.end))}
    assert named == due - stored
    assert sum(gap.bars for gap in found.gaps) == len(named)
    assert [gap.start for gap in found.gaps] == sorted(gap.start for gap in found.gaps)
    assert all(gap.end > gap.start >= iso(Interval.H1.ceil(asked.start_ms)) for gap in found.gaps)

    by_day = whole.days()
    for number, counts in enumerate(zip(by_day.expected, by_day.present, by_day.unfillable, strict=True)):
        on_day = [
            {at for at in each if at // DAY_MS == by_day.first_day + number} for each in (due, due & stored, lost)
        ]
        assert tuple(counts) == tuple(map(len, on_day))
    assert int(by_day.expected.sum()) == len(due), "and no other day has any"
