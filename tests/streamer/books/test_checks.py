"""The comparison of a book with a snapshot, and whose turn it is."""

from __future__ import annotations

from streamer.books.book import Book
from streamer.books.checks import CheckPlan, differences

SECOND = 1_000_000_000


def test_levels_are_compared_where_both_books_know_all() -> None:
    deep = Book([("9.9", "1"), ("9.8", "2"), ("9.7", "3")], [("10.1", "1")], levels=5, depth=10)
    shallow = Book([("9.9", "1"), ("9.8", "2")], [("10.1", "1")], levels=2, depth=10)
    assert differences(deep, shallow) == differences(shallow, deep) == 0
    shallow.apply([("9.8", "0"), ("9.85", "1")], [("10.1", "5")])
    assert differences(deep, shallow) == 3
    shallow.apply([("9.7", "77")], [])
    assert differences(deep, shallow) == 3


def test_live_books_take_turns_so_many_a_minute() -> None:
    plan = CheckPlan(2, 0)
    live = ["b", "a", "c"]
    assert plan.due(live, 29 * SECOND) is None
    assert [plan.due(live, at * SECOND) for at in (30, 31, 60, 90, 120)] == ["a", None, "b", "c", "a"]
    assert plan.due([], 200 * SECOND) is None
    assert plan.due(["x"], 201 * SECOND) == "x"


def test_no_checks_when_none_are_wanted() -> None:
    assert CheckPlan(0, 0).due(["a"], 10**18) is None
