"""The algebra of windows, held against the plain idea behind it: a window is a set of moments."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.window import (
    DAY_MS,
    HOUR_MS,
    Window,
    from_ms,
    iso,
    merge,
    month_start,
    next_month,
    parse_time,
    to_ms,
)
from gapless.errors import ConfigError

small = st.builds(lambda start, length: Window(start, start + length), st.integers(0, 60), st.integers(1, 30))
moments = st.integers(-(10**11), 4 * 10**12)
windows = st.builds(lambda start, length: Window(start, start + length), moments, st.integers(1, 400 * DAY_MS))


def inside(*some: Window) -> set[int]:
    return {at for window in some for at in range(window.start_ms, window.end_ms)}


@given(small, small)
def test_intersection_holds_the_moments_that_both_hold(a: Window, b: Window) -> None:
    common = a.intersect(b)
    assert (inside(common) if common else set()) == inside(a) & inside(b)


@given(small, st.lists(small, max_size=6))
def test_subtraction_leaves_exactly_the_moments_that_no_other_holds(window: Window, others: list[Window]) -> None:
    rest = window.subtract(others)
    assert inside(*rest) == inside(window) - inside(*others)
    assert all(a.end_ms < b.start_ms for a, b in itertools.pairwise(rest))


@given(st.lists(small, max_size=8))
def test_merged_windows_hold_the_same_moments_apart_and_in_order(some: list[Window]) -> None:
    joined = merge(some)
    assert inside(*joined) == inside(*some)
    assert all(a.end_ms < b.start_ms for a, b in itertools.pairwise(joined))


@given(windows, st.sampled_from([HOUR_MS, DAY_MS]))
def test_pieces_of_a_split_join_to_the_whole_and_none_crosses_a_cut(window: Window, step: int) -> None:
    pieces = list(window.split(step))
    assert merge(pieces) == [window]
    assert all((piece.end_ms - 1) // step == piece.start_ms // step for piece in pieces)


@given(windows)
def test_months_are_cut_at_the_first_of_each(window: Window) -> None:
    pieces = list(window.split_months())
    assert merge(pieces) == [window]
    for piece in pieces:
        first, last = piece.start, from_ms(piece.end_ms - 1)
        assert (first.year, first.month) == (last.year, last.month)
    assert all(piece.end.day == 1 and piece.end.hour == 0 for piece in pieces[:-1])


@given(moments)
def test_a_moment_lies_between_its_month_and_the_next(at: int) -> None:
    assert month_start(at) <= at < next_month(at)
    assert month_start(next_month(at)) == next_month(at)
    assert next_month(month_start(at)) == next_month(at)


@given(moments)
def test_iso_text_and_milliseconds_are_the_same_moment(at: int) -> None:
    assert parse_time(iso(at)) == at == to_ms(from_ms(at))


def test_a_time_without_an_offset_is_utc_and_with_one_is_converted() -> None:
    assert parse_time("2026-11-20") == to_ms(datetime(2026, 11, 20, tzinfo=UTC))
    assert parse_time("2026-11-20T03:00+03:00") == parse_time("2026-11-20T00:00Z")
    cet = timezone(timedelta(hours=1))
    assert Window.of(datetime(2026, 1, 1, 1, tzinfo=cet), "2026-01-02").start_ms == parse_time("2026-01-01")


@pytest.mark.parametrize(("start", "end"), [("2026-11-20", "2026-11-20"), ("2026-11-21", "2026-11-20")])
def test_a_window_that_ends_before_it_starts_is_refused(start: str, end: str) -> None:
    with pytest.raises(ConfigError, match="empty window"):
        Window.of(start, end)


@pytest.mark.parametrize("text", ["yesterday", "20/11/2026", "", "2026-13-01"])
def test_a_text_that_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="ISO 8601"):
        parse_time(text)
