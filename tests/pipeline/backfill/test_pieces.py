"""How a backfill is cut: months, what is left of them, and where each goes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import Dataset
from gapless.domain.grid import runs
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import DAY_MS, HOUR_MS, Window, hot_since_ms, month_start, parse_time
from gapless.pipeline.backfill.bars import spans
from gapless.pipeline.backfill.pieces import (
    FOR_EVER_MS,
    Series,
    Settled,
    count_expected,
    cut_series,
    expected_opens,
    units_of,
)

QUARTER = Window.of("2024-01-01", "2024-04-01")
JANUARY, FEBRUARY, MARCH = (parse_time(f"2024-0{n}-01") for n in (1, 2, 3))
NONE = (0, 0, 0, 0)


def series(
    *lives: Window, interval: Interval = Interval.M1, symbol: str = "BTC/USDT:USDT", raw: str = "BTCUSDT"
) -> Series:
    lives = lives or (Window(0, FOR_EVER_MS),)
    return Series(Dataset.OHLCV, Market.UM, symbol, interval, lives, (raw,) * len(lives))


def test_a_life_begins_in_the_bar_that_holds_its_first_moment_and_ends_before_its_last() -> None:
    life = Window.of("2024-01-10T17:55", "2024-01-20T09:00")
    hours = expected_opens(series(life, interval=Interval.H1), QUARTER)
    assert (hours[0], hours[-1]) == (parse_time("2024-01-10T17:00"), parse_time("2024-01-20T08:00"))
    days = expected_opens(series(life, interval=Interval.D1), QUARTER)
    assert (days[0], days[-1]) == (parse_time("2024-01-10"), parse_time("2024-01-20"))


@given(
    st.sampled_from(ALL_INTERVALS),
    st.lists(st.tuples(st.integers(0, 20 * DAY_MS), st.integers(1, 9 * DAY_MS)), min_size=1, max_size=3),
    st.tuples(st.integers(0, 20 * DAY_MS), st.integers(1, 10 * DAY_MS)),
)
def test_counting_agrees_with_making(interval: Interval, lives: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    one = series(*(Window(start, start + length) for start, length in lives), interval=interval)
    window = Window(asked[0], asked[0] + asked[1])
    assert count_expected(one, window) == len(expected_opens(one, window))


@given(st.sets(st.integers(0, 60), max_size=40))
def test_runs_hold_exactly_the_points(points: set[int]) -> None:
    opens = np.array(sorted(points), np.int64) * 60_000
    found = runs(opens, 60_000)
    assert sorted(at for run in found for at in range(run.start_ms, run.end_ms, 60_000)) == opens.tolist()
    assert all(one.end_ms < other.start_ms for one, other in itertools.pairwise(found))


def test_a_new_request_is_cut_at_months_and_skips_those_without_a_life() -> None:
    pieces = cut_series(series(Window(FEBRUARY + HOUR_MS, FOR_EVER_MS)), QUARTER, store_of="lake", settled={})
    assert [piece.month_ms for piece in pieces] == [FEBRUARY, MARCH]
    assert pieces[0].window == pieces[0].settled == Window.of("2024-02-01", "2024-03-01")


def test_a_settled_month_is_done_and_only_in_its_own_store() -> None:
    settled = {(JANUARY, "lake"): Settled(Window.of("2024-01-01", "2024-02-01"), NONE, True)}
    assert len(cut_series(series(), QUARTER, store_of="lake", settled=settled)) == 2
    assert len(cut_series(series(), QUARTER, store_of="mysql", settled=settled)) == 3
    assert len(cut_series(series(), QUARTER, store_of="mysql", settled=settled, either_store=True)) == 2


def test_a_month_that_grew_is_gone_on_with_where_it_ended() -> None:
    settled = {(MARCH, "mysql"): Settled(Window.of("2024-03-01", "2024-03-11"), (14_400, 14_398, 2, 0), True)}
    (piece,) = cut_series(series(), Window.of("2024-03-05", "2024-03-21"), store_of="mysql", settled=settled)
    assert piece.window == Window.of("2024-03-11", "2024-03-21")
    assert piece.settled == Window.of("2024-03-01", "2024-03-21")
    assert piece.before == (14_400, 14_398, 2, 0)


@pytest.mark.parametrize("asked", [("2024-03-01", "2024-03-15"), ("2024-03-25", "2024-04-01")])
def test_what_lies_before_or_apart_from_the_settled_part_is_read_with_it(asked: tuple[str, str]) -> None:
    known = Window.of("2024-03-10", "2024-03-20")
    (piece,) = cut_series(
        series(), Window.of(*asked), store_of="lake", settled={(MARCH, "lake"): Settled(known, (9, 9, 0, 0), True)}
    )
    assert piece.window == piece.settled
    assert piece.window.covers(known)
    assert piece.window.covers(Window.of(*asked))
    assert piece.before == NONE


def test_a_month_that_was_not_settled_whole_is_read_again() -> None:
    known = Settled(Window.of("2024-03-01", "2024-04-01"), (44_640, 44_000, 0, 0), False)
    (piece,) = cut_series(series(), Window.of("2024-03-10", "2024-03-11"), store_of="lake",
                          settled={(MARCH, "lake"): known})  # fmt: skip
    assert piece.window == known.window


def test_a_ticker_that_lived_twice_is_asked_for_by_the_name_of_its_life() -> None:
    lives = (Window(0, parse_time("2024-01-20")), Window(parse_time("2024-03-05"), FOR_EVER_MS))
    one = Series(Dataset.OHLCV, Market.UM, "X/USDT:USDT", Interval.M1, lives, ("XUSDT", "XUSDT_2"))
    pieces = cut_series(one, QUARTER, store_of="lake", settled={})
    assert [(piece.month_ms, piece.raw_symbol) for piece in pieces] == [(JANUARY, "XUSDT"), (MARCH, "XUSDT_2")]


def test_units_are_a_symbols_month_in_mysql_and_an_object_in_the_lake() -> None:
    symbols = ("B/USDT:USDT", "A/USDT:USDT", "ß/USDT:USDT")
    buckets = {symbols[0]: 3, symbols[1]: 3, symbols[2]: 9}
    every = [series(interval=interval, symbol=symbol) for symbol in symbols for interval in (Interval.M1, Interval.H1)]
    january = Window.of("2024-01-01", "2024-02-01")
    lake = [piece for one in every for piece in cut_series(one, january, store_of="lake", settled={})]
    units = units_of(lake, buckets, coarse=frozenset({"1h"}))
    assert [(unit.group, [piece.series.symbol for piece in unit.pieces]) for unit in units] == [
        ("1h", ["A/USDT:USDT", "B/USDT:USDT", "ß/USDT:USDT"]),
        ("1m.03", ["A/USDT:USDT", "B/USDT:USDT"]),
        ("1m.09", ["ß/USDT:USDT"]),
    ]
    hot = [piece for one in every for piece in cut_series(one, january, store_of="mysql", settled={})]
    assert [len(unit.pieces) for unit in units_of(hot, buckets, coarse=frozenset({"1h"}))] == [2, 2, 2]


def test_hot_months_count_the_current_one() -> None:
    now_ms = parse_time("2024-03-15T12:00")
    assert [hot_since_ms(now_ms, months) for months in (1, 2, 3)] == [MARCH, FEBRUARY, JANUARY]
    assert month_start(hot_since_ms(now_ms, 12)) == parse_time("2023-04-01")


def test_holes_that_one_page_holds_are_asked_for_together() -> None:
    minutes = np.array([0, 1, 2, 300, 301, 600, 5000, *range(6000, 7500)], np.int64) * 60_000
    found = [(span.start_ms // 60_000, span.end_ms // 60_000) for span in spans(minutes, 60_000, 499)]
    assert found == [(0, 302), (600, 601), (5000, 5001), (6000, 7500)]
