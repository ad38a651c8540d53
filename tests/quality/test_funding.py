"""Missing settlements: every planted one is found, and none is where nothing is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.window import HOUR_MS, Window, parse_time
from gapless.quality.funding import count_missing_settlements, missing_settlements

DAY = parse_time("2026-05-01")
ALWAYS = Window.of("2019-09-01", "2030-01-01")


def at(*hours: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([DAY + round(hour * HOUR_MS) for hour in hours], np.int64)


def window(start: float, end: float) -> Window:
    return Window(DAY + round(start * HOUR_MS), DAY + round(end * HOUR_MS))


def hours(*values: int | None) -> np.ma.MaskedArray:
    return np.ma.masked_equal(np.array([value or 0 for value in values], np.int64), 0)


@dataclass(frozen=True)
class Schedule:
    """Settlements of several regimes, aligned to UTC as the exchange's are."""

    times: list[int]
    intervals: list[int]
    regimes: list[int]


@st.composite
def schedules(draw: st.DrawFn, shortest: int = 2) -> Schedule:
    """Settlements from midnight on; a row's interval is that before it, or that after it: either may be how it is."""
    plan = draw(st.lists(st.tuples(st.sampled_from([1, 4, 8]), st.integers(shortest, 12)), min_size=1, max_size=5))
    steps = [(step, number) for number, (step, count) in enumerate(plan) for _ in range(count)]
    times = [0]
    for step, _ in steps:
        times.append((times[-1] // step + 1) * step)
    before = [steps[0], *steps]
    labels = [step for step, _ in (before if draw(st.booleans()) else [*steps, steps[-1]])]
    return Schedule([DAY + each * HOUR_MS for each in times], labels, [number for _, number in before])


def judged(schedule: Schedule) -> Window:
    return Window(schedule.times[0], schedule.times[-1] + 1)


def known(schedule: Schedule, upto: int) -> np.ma.MaskedArray:
    """Intervals as the archive says them, and unknown from a row on, as REST has it."""
    return np.ma.masked_array(schedule.intervals, mask=np.arange(len(schedule.intervals)) >= upto)


def late(data: st.DataObject, schedule: Schedule) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The settlements up to five minutes late."""
    count = len(schedule.times) - 1
    delays = data.draw(st.lists(st.integers(0, 300_000), min_size=count, max_size=count))
    return np.array([time + delay for time, delay in zip(schedule.times, [0, *delays], strict=True)], np.int64)


@given(st.data())
def test_a_complete_series_of_changing_intervals_has_no_hole(data: st.DataObject) -> None:
    schedule = data.draw(schedules(shortest=1))
    times = late(data, schedule)
    assert missing_settlements(times, known(schedule, len(times)), judged(schedule), ALWAYS) == []


@given(st.data())
def test_a_complete_series_has_no_hole_where_intervals_are_not_known(data: st.DataObject) -> None:
    """Each interval lasts for two whole distances at least; the first may be shorter, until UTC's grid is met."""
    schedule = data.draw(schedules(shortest=3))
    times = late(data, schedule)
    assert (
        missing_settlements(times, known(schedule, data.draw(st.integers(0, len(times)))), judged(schedule), ALWAYS)
        == []
    )


@given(st.data())
def test_every_planted_hole_is_found_and_holds_nothing_that_is_there(data: st.DataObject) -> None:
    schedule = data.draw(schedules())
    first = data.draw(st.integers(1, len(schedule.times) - 1))
    removed = range(first, min(first + data.draw(st.integers(1, 6)), len(schedule.times)))
    kept = [place for place in range(len(schedule.times)) if place not in removed]
    times, intervals = np.array(schedule.times)[kept], np.ma.masked_array(schedule.intervals)[kept]
    holes = missing_settlements(times, intervals, judged(schedule), ALWAYS)
    count = count_missing_settlements(times, intervals, judged(schedule), ALWAYS)
    around = [first - 1, *([removed.stop] if removed.stop < len(schedule.times) else [])]
    longest = max(schedule.intervals[place] for place in around)
    end = schedule.times[removed.stop] if len(around) == 2 else judged(schedule).end_ms
    if len(around) == 2 and end - schedule.times[first - 1] <= longest * HOUR_MS:
        assert holes == []  # looks just like a change of the interval at another settlement
        return
    if len(around) == 1 and schedule.regimes[first - 1] != schedule.regimes[-1]:
        return  # the interval changed within what is missing at the end: nothing there can tell
    assert len(holes) == 1
    shortest = min(schedule.intervals[place] for place in around)
    if all(schedule.intervals[place] >= shortest for place in removed):
        assert all(schedule.times[place] in holes[0] for place in removed)
    assert not any(schedule.times[place] in holes[0] for place in kept)
    assert count >= 1
    if all(schedule.intervals[place] <= longest for place in removed):
        assert count <= len(removed)


@given(st.data())
def test_the_count_is_exact_where_the_interval_does_not_change(data: st.DataObject) -> None:
    step, length = data.draw(st.sampled_from([1, 4, 8])), data.draw(st.integers(5, 40))
    times = at(*range(0, length * step, step))
    removed = set(data.draw(st.lists(st.integers(0, length - 1), max_size=length - 1)))
    kept = [place for place in range(length) if place not in removed]
    intervals = np.ma.masked_array(np.full(len(kept), step))
    whole = window(0, length * step)
    holes = missing_settlements(times[kept], intervals, whole, ALWAYS)
    assert count_missing_settlements(times[kept], intervals, whole, ALWAYS) == len(removed)
    assert {place for place in range(length) if any(int(times[place]) in hole for hole in holes)} == removed


@given(st.data())
def test_holes_within_a_regime_are_found_without_known_intervals(data: st.DataObject) -> None:
    step, length = data.draw(st.sampled_from([1, 4, 8])), data.draw(st.integers(6, 40))
    times = at(*range(0, length * step, step))
    first = data.draw(st.integers(2, length - 3))
    removed = range(first, data.draw(st.integers(first + 1, length - 2)))
    kept = [place for place in range(length) if place not in removed]
    holes = missing_settlements(times[kept], None, window(0, length * step), ALWAYS)
    assert holes == [Window(int(times[removed[0]]), int(times[removed[-1] + 1]))]
    assert count_missing_settlements(times[kept], None, window(0, length * step), ALWAYS) == len(removed)


def test_eight_to_four_to_eight_hours_is_complete() -> None:
    times = at(0, 8, 16, 20, 24, 28, 32, 40, 48)
    assert missing_settlements(times, hours(8, 8, 4, 4, 4, 4, 8, 8, 8), window(0, 49), ALWAYS) == []
    assert missing_settlements(times, hours(8, 8, 8, 4, 4, 4, 4, 8, 8), window(0, 49), ALWAYS) == []
    assert missing_settlements(times, None, window(0, 49), ALWAYS) == []


def test_the_way_to_the_grid_of_a_longer_interval_is_no_measure_of_it() -> None:
    """From hourly to eight-hourly at 01:00: the first distance is seven hours, the next eight."""
    assert missing_settlements(at(0, 1, 8, 16, 17, 18), None, window(0, 19), ALWAYS) == []


def test_the_first_and_last_settlement_of_a_window_are_missed() -> None:
    assert missing_settlements(at(8, 16), hours(8, 8), window(0, 32), ALWAYS) == [window(0, 8), window(24, 32)]
    assert missing_settlements(at(8, 16), hours(8, 8), window(0, 24), ALWAYS) == [window(0, 8)]
    assert missing_settlements(at(8, 16), hours(8, 8), window(0, 24.1), ALWAYS)[-1] == window(24, 24.1)


def test_rows_around_the_window_make_neighbours() -> None:
    times, intervals = at(-8, 0, 8, 12, 16), hours(8, 8, 4, 4, 4)
    assert missing_settlements(times, intervals, window(4, 8), ALWAYS) == []
    assert missing_settlements(at(4, 6), hours(1, 1), window(5, 6), ALWAYS) == [window(5, 6)]
    assert missing_settlements(at(0, 24), hours(8, 8), window(17, 20), ALWAYS) == []
    assert missing_settlements(at(0, 24), hours(8, 8), window(12, 20), ALWAYS) == [window(12, 20)]


@pytest.mark.parametrize(
    ("life", "end", "holes"),
    [
        (window(2, 100), 24, [window(8, 16)]),  # listed at 02:00: 08:00 was the first
        (window(8, 100), 24, []),  # listed with the settlement of 08:00: that is none of its own
        (window(7.5, 100), 24, [window(8, 16)]),
        (window(9, 24), 200, []),  # delisted before the settlement of 24:00
        (window(9, 24.5), 200, [window(24, 24.5)]),
    ],
)
def test_edges_are_judged_by_the_life(life: Window, end: float, holes: list[Window]) -> None:
    assert missing_settlements(at(16), hours(8), window(-100, end), life) == holes


def test_a_window_without_rows_lacks_what_an_eight_hour_schedule_has() -> None:
    nothing = at()
    assert missing_settlements(nothing, None, window(1, 25), ALWAYS) == [window(8, 25)]
    assert count_missing_settlements(nothing, None, window(1, 25), ALWAYS) == 3
    assert missing_settlements(nothing, None, window(1, 8), ALWAYS) == []
    assert missing_settlements(nothing, None, window(0, 24), window(48, 96)) == []


def test_rows_of_another_life_of_the_ticker_are_no_neighbours() -> None:
    """Listed again with the settlement of 792:00, which is none of its own; the first is at 800:00."""
    assert missing_settlements(at(0, 800, 808), hours(8, 8, 8), window(-10, 810), window(792, 2000)) == []


def test_order_and_repeats_do_not_matter() -> None:
    assert missing_settlements(at(16, 0, 8, 0), hours(8, 8, 8, 8), window(0, 24), ALWAYS) == []
