"""The book and the tape by themselves, as properties."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.window import parse_time
from replica.live.book import Book
from replica.live.path import PricePath
from replica.live.tape import EPOCH_MS, Tape
from replica.market import GeneratedMarket
from replica.universe import default_universe

AT_MS = parse_time("2026-11-15")
PATH = PricePath(GeneratedMarket("tape"), default_universe()[0])

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(-12, 12)),
        st.tuples(st.just("move"), st.sampled_from([-400, 400])),
        st.tuples(st.just("stir"), st.integers(0, 12)),
        st.tuples(st.just("trade"), st.integers(1, 500)),
    ),
    max_size=40,
)


@given(MOVES, st.integers(2, 40), st.booleans(), st.integers(2, 60))
def test_a_book_is_whole_after_every_change_and_can_be_told_back(
    moves: list[tuple[str, int]], levels: int, holes: bool, cell: int
) -> None:
    book = Book(7, cell, AT_MS, holes=holes, unit=100, levels=levels)
    seen = [(book.update_id, dict(book.bids), dict(book.asks))]
    for what, amount in moves:
        if what == "move":
            book.move(max(2, book.cell + amount))
        elif what == "stir":
            book.stir(amount)
        else:
            book.trade(amount, sold=amount % 2 == 0)
        assert max(book.bids) == book.cell
        assert min(book.asks) == book.cell + 1
        assert min(book.bids) >= 1
        assert min((*book.bids.values(), *book.asks.values())) > 0
        assert max(len(book.bids), len(book.asks)) <= max(2, levels * 4 // 3) + 2
        seen.append((book.update_id, dict(book.bids), dict(book.asks)))
    assert [each[0] for each in seen] == sorted(each[0] for each in seen)
    for update_id, bids, asks in seen:
        assert book.at(update_id) == (update_id, bids, asks)
    assert book.at(book.oldest_id - 1) is None


def test_what_is_forgotten_is_forgotten_in_bounds() -> None:
    book = Book(7, 500, AT_MS, holes=False, unit=100, levels=50)
    begun = book.update_id
    for step in range(4000):
        book.stir(10)
        book.noted(AT_MS + step)
    assert book.oldest_id > begun
    assert book.at(book.oldest_id) is not None
    assert book.at(begun) is None
    assert book.id_at(AT_MS - 1000) == book.oldest_id
    assert book.id_at(AT_MS + 5000) == book.update_id


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.sampled_from([0.0, 0.3, 7.0, 150.0])), min_size=1, max_size=8),
    st.integers(0, 5_000),
)
def test_trades_have_one_time_each_and_the_newest_at_a_moment_is_found(
    paces: list[tuple[int, float]], later_ms: int
) -> None:
    tape, at_ms = Tape(PATH, 11, 50, AT_MS, 5.0), AT_MS
    for wait_ms, per_s in paces:
        at_ms += wait_ms
        tape.pace(at_ms, per_s)
    at_ms += later_ms
    last = tape.last_id(at_ms)
    first = tape.first_id
    times = [tape.trade(each).time_ms for each in range(first - 50, last + 1)]
    assert all(former <= latter for former, latter in pairwise(times))
    assert tape.time_us(last) // 1000 <= at_ms < tape.time_us(last + 1) // 1000
    for moment in (AT_MS - 100, AT_MS + 10, (AT_MS + at_ms) // 2):
        newest = tape.last_id(moment)
        assert tape.time_us(newest) // 1000 <= moment
        assert newest == last or tape.time_us(newest + 1) // 1000 > moment or moment > at_ms


@given(st.integers(0, 2_000), st.integers(1, 5_000), st.sampled_from([0.0, 3.0, 90.0]))
def test_between_a_stop_and_a_later_start_nothing_trades(stop_ms: int, still_ms: int, per_s: float) -> None:
    tape = Tape(PATH, 11, 50, AT_MS, 40.0)
    last = tape.last_id(AT_MS + stop_ms)
    tape.restart(last + 1, AT_MS + stop_ms + still_ms, per_s)
    assert tape.last_id(AT_MS + stop_ms + still_ms - 1) == last
    assert tape.from_time(AT_MS + stop_ms + 1, AT_MS + stop_ms + still_ms - 1) == last + 1
    if per_s:
        assert tape.trade(last + 1).time_ms >= AT_MS + stop_ms + still_ms


def test_the_ids_of_old_are_a_function_of_time_alone() -> None:
    first, later = Tape(PATH, 11, 50, AT_MS, 5.0), Tape(PATH, 11, 50, AT_MS + 86_400_000, 80.0)
    for back_ms in (1, 1000, 48 * 3_600_000):
        newest = first.last_id(AT_MS - back_ms)
        assert newest == later.last_id(AT_MS - back_ms)
        assert first.trade(newest) == later.trade(newest)
    assert first.first_id in range((AT_MS - EPOCH_MS) // 200 - 1, (AT_MS - EPOCH_MS) // 200 + 2)
