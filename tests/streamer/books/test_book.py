"""A book's levels: exact, in order, and never more than is known."""

from __future__ import annotations

import time
import tracemalloc
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.exchanges.binance.streams.messages import Levels
from streamer.books.book import ZEROS, Book, Side, crossed

_prices = st.integers(1, 60).map(lambda n: f"{n * 5 // 100}.{n * 5 % 100:02d}000000")
_quantities = st.sampled_from(["0.00000000", "0.00000000", "1.00000000", "0.00000001", "250.00000000"])
_diffs = st.lists(st.lists(st.tuples(_prices, _quantities), max_size=8), max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    asks=st.booleans(),
    start=st.lists(st.tuples(_prices, _quantities.filter(lambda q: q not in ZEROS)), max_size=30),
    diffs=_diffs,
    whole=st.booleans(),
    depth=st.sampled_from((4, 1000)),
    look=st.integers(1, 12),
)
def test_a_side_is_a_dict_of_decimals_sorted_as_far_as_it_is_known(
    asks: bool, start: Levels, diffs: list[Levels], whole: bool, depth: int, look: int
) -> None:
    side = Side(asks, start, whole=whole, depth=depth)
    truth = {Decimal(price): (price, quantity) for price, quantity in start}
    for index, diff in enumerate(diffs):
        side.update(diff)
        truth.update({Decimal(price): (price, quantity) for price, quantity in diff})
        if index % look:
            continue
        live = sorted((price for price, (_, quantity) in truth.items() if Decimal(quantity)), reverse=not asks)
        best = side.best(look)
        assert best == [truth[price] for price in live if side.knows(truth[price][0])][:look]
        whole_side = side.all()  # cuts what is too long: it may know less from then on
        assert whole_side == [truth[price] for price in live if side.knows(truth[price][0])]
    assert len(side.levels) <= max(2 * depth, 60)


def test_prices_that_floats_cannot_tell_apart_are_ordered_by_their_decimals() -> None:
    close = [f"9007199254740993.{digit:02d}" for digit in (4, 1, 3, 2)]
    assert len({float(price) for price in close}) == 1
    side = Side(asks=True, levels=[(price, "1") for price in close], whole=True, depth=100)
    assert [price for price, _ in side.best(3)] == sorted(close)[:3]
    assert crossed([(close[0], "1")], [(close[1], "1")])
    assert not crossed([(close[1], "1")], [(close[0], "1")])


def test_a_full_snapshot_is_known_to_its_worst_level_and_a_short_one_to_the_end() -> None:
    bids, asks = [("9.9", "1"), ("9.8", "1")], [("10.1", "1")]
    book = Book(bids, asks, levels=2, depth=10)
    assert (book.bids.known_to, book.asks.known_to) == ("9.8", None)
    book.apply([("9.7", "5"), ("9.85", "2"), ("9.9", "0.000")], [("50.0", "7")])
    assert book.top(5) == ([("9.85", "2"), ("9.8", "1")], [("10.1", "1"), ("50.0", "7")])


def test_a_side_that_outgrew_twice_its_depth_knows_less_far() -> None:
    asks = [(f"{10 + step}.0", "1") for step in range(5)]
    side = Side(asks=True, levels=asks, whole=True, depth=5)
    side.update([(f"{20 + step}.0", "1") for step in range(400)])
    assert len(side.levels) <= 10
    assert side.known_to == "14.0"
    assert side.all() == asks


def test_a_crossed_book_is_seen() -> None:
    book = Book([("9.9", "1")], [("10.1", "1")], levels=5, depth=10)
    assert not book.crossed()
    book.apply([("10.1", "1")], [])
    assert book.crossed()
    book.apply([("10.1", "0.00")], [])
    assert not book.crossed()


def test_removing_a_level_that_is_not_there_is_normal() -> None:
    book = Book([("9.9", "1")], [("10.1", "1")], levels=5, depth=10)
    book.apply([("9.5", "0.00000000")], [("11.0", "0")])
    assert book.top(5) == ([("9.9", "1")], [("10.1", "1")])


@pytest.fixture(scope="module")
def deep() -> tuple[Levels, Levels]:
    return (
        [(f"{60_000 - step // 10}.{9 - step % 10}0", f"{step % 97}.{step:03d}") for step in range(1000)],
        [(f"{60_001 + step // 10}.{step % 10}0", f"{step % 89}.{step:03d}") for step in range(1000)],
    )


def test_books_of_a_thousand_levels_a_side_take_under_400_kb(deep: tuple[Levels, Levels]) -> None:
    """600 of them: under 240 MB, which is what a process of them may take."""
    tracemalloc.start()
    try:
        books = [
            Book(*([("1" + price, quantity) for price, quantity in side] for side in deep), levels=1000, depth=1000)
            for _ in range(5)
        ]
        each = tracemalloc.get_traced_memory()[0] / len(books)
    finally:
        tracemalloc.stop()
    assert each < 400_000


def test_a_diff_of_45_levels_and_a_top_of_20_take_microseconds(deep: tuple[Levels, Levels]) -> None:
    """Far more than they take on a quiet machine (4 and 40 us): only a mistake of order would be seen here."""
    book = Book(*deep, levels=1000, depth=1000)
    diffs = [([(deep[0][n * 7 % 1000][0], f"{k}.{n:03d}") for n in range(k, k + 45)]) for k in range(50)]
    started = time.thread_time()
    for diff in diffs * 10:
        book.apply(diff, [])
    applied = (time.thread_time() - started) / 500
    started = time.thread_time()
    for _ in range(200):
        book.top(20)
    topped = (time.thread_time() - started) / 200
    assert applied < 100e-6
    assert topped < 800e-6
