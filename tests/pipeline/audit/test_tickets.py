"""Every stored bar has exactly one ticket, and a draw of tickets is fair and can be repeated."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, month_start
from gapless.pipeline.audit.tickets import Tickets, shuffled
from gapless.pipeline.stored import SeriesMonth
from gapless.storage.mysql.days import EVER

NOVEMBER = month_start(Window.of("2026-11-20", "2026-11-21").start_ms)


def month(symbol: str, interval: str, days: int) -> SeriesMonth:
    return SeriesMonth(symbol, interval, NOVEMBER, days, 0)


def test_tickets_are_the_grid_points_of_the_days_that_hold_anything() -> None:
    tickets = Tickets([month("A/B", "4h", 0b101), month("A/B", "1d", 0b10)], EVER)
    assert len(tickets) == 6 + 6 + 1
    drawn = [tickets[number] for number in range(len(tickets))]
    assert [(ticket.month.interval, (ticket.day.start_ms - NOVEMBER) // DAY_MS, ticket.index) for ticket in drawn] == [
        *(("4h", 0, index) for index in range(6)),
        *(("4h", 2, index) for index in range(6)),
        ("1d", 1, 0),
    ]
    with pytest.raises(IndexError):
        tickets[13]


@given(
    days=st.lists(st.integers(0, (1 << 30) - 1), min_size=1, max_size=4),
    bounds=st.tuples(st.integers(-5, 31 * 24), st.integers(-5, 31 * 24)).filter(lambda pair: pair[0] < pair[1]),
    minute=st.integers(0, 59),
)
def test_a_window_leaves_tickets_to_the_grid_points_inside_it(
    days: list[int], bounds: tuple[int, int], minute: int
) -> None:
    window = Window(*(NOVEMBER + hour * 3_600_000 + minute * 60_000 for hour in bounds))
    months = [month(f"S{place}/B", "1h", held) for place, held in enumerate(days)]
    tickets = Tickets(months, window)
    points = Counter(
        (each.symbol, at - at % DAY_MS)
        for each in months
        for at in Interval.H1.opens(window)
        if 0 <= (at - NOVEMBER) // DAY_MS < 31 and each.days >> (at - NOVEMBER) // DAY_MS & 1
    )
    found = [tickets[number] for number in range(len(tickets))]
    assert Counter((t.month.symbol, t.day.start_ms - t.day.start_ms % DAY_MS) for t in found) == points
    assert len({(t.month.symbol, t.day, t.index) for t in found}) == len(found)


@given(st.integers(0, 200), st.integers())
def test_shuffled_gives_every_number_once(count: int, seed: int) -> None:
    assert sorted(shuffled(count, seed)) == list(range(count))


def test_the_same_seed_gives_the_same_order_and_another_one_another() -> None:
    assert list(shuffled(1000, 7)) == list(shuffled(1000, 7)) != list(shuffled(1000, 8))
    assert list(islice(shuffled(10**12, 7), 3)) == list(islice(shuffled(10**12, 7), 5))[:3]


def test_every_order_of_a_few_is_as_likely() -> None:
    seen = Counter(tuple(shuffled(4, seed)) for seed in range(24_000))
    assert len(seen) == 24
    chi_square = sum((count - 1000) ** 2 / 1000 for count in seen.values())
    assert chi_square < 49.7, "0.1 % of fair draws go beyond 49.7 with 23 degrees of freedom"
