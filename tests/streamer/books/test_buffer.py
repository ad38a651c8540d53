"""Diffs kept for a snapshot that is on its way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.exchanges.binance.streams.sequence import Meeting, Span, sequence_of
from streamer.books.book import Book
from streamer.books.buffer import DiffBuffer
from tests.streamer.books.oracle import Oracle


@settings(max_examples=150, deadline=None)
@given(
    market=st.sampled_from(Market),
    seed=st.integers(0, 1 << 16),
    before=st.integers(0, 6),
    count=st.integers(1, 40),
    back=st.integers(0, 120),
    bound=st.sampled_from((6, 1000)),
)
def test_whatever_meets_is_the_exchanges_book_and_the_oldest_go_at_the_bound(
    market: Market, seed: int, before: int, count: int, back: int, bound: int
) -> None:
    oracle = Oracle(market, seed)
    for _ in range(before):
        oracle.diff()
    rules = sequence_of(market)
    buffer = DiffBuffer(rules, diffs=bound, prices=10_000)
    spans: list[Span] = []
    for _ in range(count):
        diff = oracle.diff()
        spans.append(rules.span(diff.U, diff.u, diff.pu))
        buffer.add(spans[-1], diff.b, diff.a)
    snapshot = oracle.snapshot(1000, back)
    meeting = buffer.meeting(snapshot.last_update_id)
    kept = spans[-len(buffer) :]
    judged = [rules.meeting(span, snapshot.last_update_id) for span in kept]
    assert meeting is next((each for each in judged if each is not Meeting.OLDER), Meeting.OLDER)
    assert len(buffer) == min(count, len(kept))
    assert buffer.shortened == max(0, (count - 1) // (bound // 2) - 1)
    if meeting is Meeting.MEETS:
        book = Book(snapshot.bids, snapshot.asks, levels=2000, depth=2000)
        book.apply(*buffer.updates())
        assert oracle.agrees(book, oracle.last)


def test_the_bound_of_prices_holds_too() -> None:
    buffer = DiffBuffer(sequence_of(Market.SPOT), diffs=1000, prices=20)
    for step in range(100):
        buffer.add(Span(step, step, step - 1), [(f"{step}.0", "1")], [])
        assert len(buffer.updates()[0]) <= 20
    assert buffer.shortened > 0
    assert buffer.meeting(50) is Meeting.NEWER
    assert buffer.meeting(95) is Meeting.MEETS


def test_cleared_it_remembers_nothing() -> None:
    buffer = DiffBuffer(sequence_of(Market.SPOT), diffs=10, prices=20)
    buffer.add(Span(1, 2, 0), [("1.0", "1")], [])
    buffer.clear()
    assert (len(buffer), buffer.updates(), buffer.meeting(1)) == (0, ([], []), Meeting.OLDER)
