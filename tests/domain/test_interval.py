"""The grid of open times, and which bars belong to a window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.interval import ALL_INTERVALS, Interval, parse_intervals
from gapless.domain.window import DAY_MS, HOUR_MS, Window, iso
from gapless.errors import ConfigError

intervals = st.sampled_from(ALL_INTERVALS)
windows = st.builds(lambda s, n: Window(s, s + n), st.integers(0, 10 * DAY_MS), st.integers(1, 3 * DAY_MS))


@given(intervals, windows)
def test_completing_bars_are_those_that_close_within_the_window(interval: Interval, window: Window) -> None:
    wanted = [
        at
        for at in range(interval.floor(window.start_ms) - interval.ms, window.end_ms + interval.ms, interval.ms)
        if window.start_ms < at + interval.ms <= window.end_ms
    ]
    assert list(interval.completing(window)) == wanted


@given(intervals, windows)
def test_opening_bars_are_the_grid_points_of_the_window(interval: Interval, window: Window) -> None:
    opens = interval.opens(window)
    assert all(at in window and at % interval.ms == 0 for at in opens)
    assert len(opens) == sum(1 for at in range(0, window.end_ms, interval.ms) if at >= window.start_ms)


@given(intervals, windows, st.integers(1, DAY_MS))
def test_adjacent_windows_share_no_completing_bar_and_lose_none(interval: Interval, window: Window, more: int) -> None:
    following = Window(window.end_ms, window.end_ms + more)
    together = Window(window.start_ms, following.end_ms)
    assert [*interval.completing(window), *interval.completing(following)] == list(interval.completing(together))


@pytest.mark.parametrize(
    ("hour", "counts"),
    [
        ("2026-11-20T16:00", {"1m": 60, "5m": 12, "15m": 4, "1h": 1, "4h": 0, "1d": 0}),
        ("2026-11-20T15:00", {"1m": 60, "5m": 12, "15m": 4, "1h": 1, "4h": 1, "1d": 0}),
        ("2026-11-20T23:00", {"1m": 60, "5m": 12, "15m": 4, "1h": 1, "4h": 1, "1d": 1}),
    ],
)
def test_an_hour_completes_long_bars_only_at_their_close(hour: str, counts: dict[str, int]) -> None:
    start = Window.of(hour, "2027-01-01").start_ms
    window = Window(start, start + HOUR_MS)
    assert {str(i): len(i.completing(window)) for i in ALL_INTERVALS} == counts


def test_the_day_bar_is_taken_by_the_hour_that_ends_at_midnight() -> None:
    window = Window.of("2026-11-20T23:00", "2026-11-21T00:00")
    assert [iso(at) for at in Interval.D1.completing(window)] == ["2026-11-20T00:00:00Z"]


def test_interval_lists_are_ordered_once_each_and_case_sensitive() -> None:
    assert parse_intervals("1h,1m,1h") == (Interval.M1, Interval.H1)
    assert parse_intervals(None) == parse_intervals("all") == ALL_INTERVALS
    with pytest.raises(ConfigError, match="1M"):
        parse_intervals("1M")
    with pytest.raises(ConfigError, match="choose from 1m"):
        parse_intervals(" , ")
