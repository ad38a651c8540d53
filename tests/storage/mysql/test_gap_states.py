"""The gap log's rules: what a new look at a stretch does to what is on record, against one state a minute."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.window import HOUR_MS, Window, parse_time
from gapless.errors import ValidationError
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.gap_states import FILLED, OPEN, STATES, UNFILLABLE, Entry, Gap, look_again, step_of

MINUTE = 60_000
NOW = moment(parse_time("2026-11-20"))
LONG_AGO = NOW - timedelta(days=9)

Spans = list[tuple[int, int, str]]
"""Start and end in minutes, and a state; disjoint."""


@st.composite
def spans(draw: st.DrawFn) -> Spans:
    cuts = sorted(draw(st.sets(st.integers(0, 24), max_size=8)))
    return [(first, last, draw(st.sampled_from(STATES))) for first, last in pairwise(cuts) if draw(st.booleans())]


def windows(found: Spans) -> list[Window]:
    return [Window(first * MINUTE, last * MINUTE) for first, last, _ in found]


def gap(first: int, last: int, state: str = OPEN, cause: str = "", attempts: int = 0) -> Gap:
    window = Window(first * MINUTE, last * MINUTE)
    return Gap("binance", "A/USDT", "ohlcv", "1m", window, last - first, state, cause, attempts)


def entry(number: int, first: int, last: int, state: str = OPEN, **changes: object) -> Entry:
    one = Entry(number, Window(first * MINUTE, last * MINUTE), last - first, state, "", 1, LONG_AGO, None)
    return replace(one, **changes)  # type: ignore[arg-type]


def minutes(log: list[Entry]) -> dict[int, str]:
    held: dict[int, str] = {}
    for one in log:
        for at in range(one.window.start_ms // MINUTE, one.window.end_ms // MINUTE):
            assert at not in held, "no moment is in two entries"
            held[at] = one.state
    return held


def told(log: list[Entry]) -> list[tuple[int, int, str]]:
    return [(one.window.start_ms // MINUTE, one.window.end_ms // MINUTE, one.state) for one in log]


@given(before=spans(), found=spans(), looked=spans())
def test_each_minute_has_the_state_a_dictionary_says(before: Spans, found: Spans, looked: Spans) -> None:
    log = [entry(number, *span) for number, span in enumerate(before)]
    expected = minutes(log)
    for window in [*windows(looked), *windows(found)]:
        for at in range(window.start_ms // MINUTE, window.end_ms // MINUTE):
            if at in expected:
                expected[at] = FILLED
    expected |= minutes([entry(0, *span) for span in found])
    gaps = [gap(*span) for span in found]
    after = look_again(log, gaps, windows(looked), MINUTE, NOW)
    assert minutes(after) == expected
    assert all(one.bars == one.window.length_ms // MINUTE for one in after)
    numbers = [one.id for one in after if one.id is not None]
    assert len(numbers) == len(set(numbers))
    assert look_again(after, gaps, windows(looked), MINUTE, NOW + timedelta(hours=1)) == after


def test_what_is_not_found_again_is_filled_and_keeps_its_history() -> None:
    log = [entry(7, 0, 10, UNFILLABLE, cause="halt", attempts=3, page_sent_at=NOW)]
    [after] = look_again(log, [], [Window(0, 10 * MINUTE)], MINUTE, NOW)
    assert after == replace(log[0], state=FILLED)


def test_a_gap_that_shrinks_goes_on_and_its_ends_are_filled() -> None:
    log = [entry(7, 0, 10, cause="halt", attempts=3, page_sent_at=NOW)]
    after = look_again(log, [gap(3, 5, UNFILLABLE, attempts=4)], [Window(0, 10 * MINUTE)], MINUTE, NOW)
    assert told(after) == [(0, 3, FILLED), (3, 5, UNFILLABLE), (5, 10, FILLED)]
    middle = after[1]
    assert (middle.cause, middle.attempts, middle.noticed_at, middle.page_sent_at) == ("halt", 4, LONG_AGO, NOW)
    assert sorted(one.id for one in after if one.id is not None) == [7]


def test_a_gap_that_grew_takes_the_older_ones_in() -> None:
    log = [entry(1, 2, 4), entry(2, 6, 7, attempts=2)]
    [after] = look_again(log, [gap(0, 9)], [Window(0, 9 * MINUTE)], MINUTE, NOW)
    assert (after.id, after.bars, after.attempts, after.noticed_at) == (1, 9, 2, LONG_AGO)


def test_a_gap_beyond_the_stretch_stands_where_nobody_looked() -> None:
    after = look_again([entry(1, 0, 10)], [], [Window(4 * MINUTE, 6 * MINUTE)], MINUTE, NOW)
    assert told(after) == [(0, 4, OPEN), (4, 6, FILLED), (6, 10, OPEN)]


def test_a_hole_that_opens_again_is_a_new_one() -> None:
    [after] = look_again([entry(1, 0, 5, FILLED, attempts=3)], [gap(0, 5)], [], MINUTE, NOW)
    assert (after.state, after.attempts, after.noticed_at, after.id) == (OPEN, 0, NOW, None)


def test_halves_of_a_gap_found_month_by_month_are_one() -> None:
    log = look_again([], [gap(0, 5, cause="halt")], [Window(0, 5 * MINUTE)], MINUTE, NOW)
    log = look_again(log, [gap(5, 9, cause="halt")], [Window(5 * MINUTE, 20 * MINUTE)], MINUTE, NOW)
    assert told(log) == [(0, 9, OPEN)]
    again = look_again(log, [gap(0, 5, cause="halt")], [Window(0, 5 * MINUTE)], MINUTE, NOW)
    assert again == log
    log = look_again(log, [gap(9, 11, cause="another")], [Window(9 * MINUTE, 20 * MINUTE)], MINUTE, NOW)
    assert told(log) == [(0, 9, OPEN), (9, 11, OPEN)]


def test_stretches_between_grid_points_mean_the_bars_that_open_in_them() -> None:
    log = [entry(1, 0, 10)]
    after = look_again(log, [], [Window(1, 5 * MINUTE + 1)], MINUTE, NOW)
    assert told(after) == [(0, 1, OPEN), (1, 6, FILLED), (6, 10, OPEN)]
    assert look_again(log, [], [Window(1, 2)], MINUTE, NOW) == log


def test_rows_without_a_grid_are_shared_out_by_length() -> None:
    day = Window(0, 24 * HOUR_MS)
    log = [Entry(1, day, 3, OPEN, "", 0, LONG_AGO, None)]
    after = look_again(log, [], [Window(0, 8 * HOUR_MS)], step_of("funding_rate", ""), NOW)
    assert [(one.bars, one.state) for one in after] == [(1, FILLED), (2, OPEN)]
    assert step_of("futures_metrics", "") == 5 * MINUTE
    assert step_of("ohlcv", "4h") == 4 * HOUR_MS


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ([gap(0, 5), gap(4, 6)], "two gaps of A/USDT 1m overlap"),
        ([gap(0, 5, "lost")], "no such state: 'lost'"),
        ([replace(gap(0, 5), bars=0)], "has no rows"),
        ([replace(gap(0, 5), window=Window(1, 2))], "has no rows"),
    ],
)
def test_gaps_that_make_no_sense_are_refused(gaps: list[Gap], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        look_again([], gaps, [], MINUTE, NOW)
