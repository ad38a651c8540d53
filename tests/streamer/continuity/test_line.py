"""A line of ids: what goes on, what waits, what is missing; and what happens at each bound."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from streamer.continuity.holes import Lost, Range
from streamer.continuity.line import Line, Room
from streamer.continuity.settings import ContinuitySettings

MS = 1_000_000


def line(room: Room | None = None, **changed: float) -> Line[int]:
    settings = ContinuitySettings(**changed)  # type: ignore[arg-type]
    return Line(settings, room=room, weigh=lambda item: 10)


def take(of: Line[int], *ids: int, now_ns: int = 0) -> list[int]:
    """As a channel does it."""
    found: list[int] = []
    for id in ids:
        if id == of.expected:
            of.expected = id + 1
            found.append(id)
        else:
            found += of.irregular(id, id, now_ns)
    return found


def fill(of: Line[int], *ids: int) -> Sequence[int]:
    return of.fill([(id, id) for id in ids])


def test_the_first_id_is_the_beginning_and_what_was_before_it_is_let_go() -> None:
    ids = line()
    assert take(ids, 7, 8, 6, 8, 9) == [7, 8, 9]
    assert (ids.duplicates, ids.troubled, ids.next_id) == (2, False, 10)


def test_what_follows_a_hole_waits_and_goes_on_in_order_once_it_is_closed() -> None:
    ids = line()
    assert take(ids, 1, 4, 6, 5) == [1]
    assert (ids.expected, ids.next_id, ids.held, ids.held_bytes) == (-1, 2, 3, 30)
    assert ids.missing(0, 10) == [Range(2, 3)]
    assert take(ids, 3) == []
    assert take(ids, 4, 2, 7) == [2, 3, 4, 5, 6, 7]
    assert (ids.expected, ids.held, ids.held_bytes, ids.duplicates, ids.reordered) == (8, 0, 0, 1, 3)


def test_a_hole_that_its_own_first_id_narrows_stays_open() -> None:
    ids = line()
    assert take(ids, 1, 5, 2) == [1, 2]
    assert ids.expected == -1
    assert take(ids, 4, 3) == [3, 4, 5]


def test_a_hole_is_due_once_after_the_patience_counted_from_the_first_look() -> None:
    ids = line(patience_ms=300)
    take(ids, 1, 4, 6)
    assert ids.due(5 * MS) == []
    assert ids.waiting_ns(105 * MS) == 100 * MS
    assert ids.due(305 * MS) == [Range(2, 3), Range(5, 5)]
    assert ids.due(900 * MS) == []
    assert ids.waiting_ns(900 * MS) == -1


def test_a_piece_of_a_hole_that_was_asked_for_is_not_asked_for_again() -> None:
    ids = line(patience_ms=0)
    take(ids, 1, 9)
    assert ids.due(0) == [Range(2, 8)]
    take(ids, 5)
    assert ids.due(0) == []
    assert ids.missing(0, 9) == [Range(2, 4), Range(6, 8)]


def test_what_is_brought_is_put_in_order_and_what_is_known_is_let_go() -> None:
    ids = line()
    take(ids, 1, 4, 7)
    assert list(fill(ids, 1, 2, 3, 4, 5)) == [2, 3, 4, 5]
    assert ids.filled == 3
    assert list(ids.give_up(6, 6)) == [7]
    assert (ids.expected, ids.troubled) == (8, False)


def test_a_hole_that_held_up_others_for_too_long_is_filled_out_of_order() -> None:
    ids = line(hold_ms=5_000)
    take(ids, 1, 4)
    assert ids.overdue(0) == []
    assert list(ids.overdue(5_000 * MS)) == [4]
    assert ids.deferred == [Range(2, 3)]
    assert take(ids, 5, 3, 3) == [5, 3]
    assert list(fill(ids, 2, 3)) == [2]
    assert ids.missing(0, 9) == []


def test_at_the_bound_of_count_bytes_or_room_the_oldest_hole_is_deferred() -> None:
    for ids in (line(held_trades=2), line(held_bytes=25), line(Room(25))):
        assert take(ids, 1, 3, 5) == [1]
        assert take(ids, 6) == [3]
        assert (ids.deferred, ids.held) == ([Range(2, 2)], 2)


def test_lines_share_their_room() -> None:
    room = Room(15)
    one, other = line(room), line(room)
    assert take(one, 1, 3) == [1]
    assert take(other, 1, 3) == [1, 3]
    assert other.deferred == [Range(2, 2)]
    assert list(one.finish()) == [3]
    assert room.used == 0


def test_beyond_the_bound_of_holes_the_oldest_is_lost_and_said_to_be() -> None:
    ids = line(holes=2)
    take(ids, 1, 3, 5, 7, 9, 11)
    assert ids.lost == [Lost(2, 2, "more than 2 holes at once")]
    assert ids.missing(0, 20) == [Range(4, 4), Range(6, 6), Range(8, 8), Range(10, 10)]


def test_a_hole_wider_than_all_numbers_that_can_be_walked_is_given_up_at_once() -> None:
    ids = line()
    take(ids, 1, 10**15, 10**15 + 1)
    assert list(ids.give_up(2, 10**15 - 1)) == [10**15, 10**15 + 1]


def test_after_a_restart_the_hole_since_the_last_id_is_open() -> None:
    ids = line(patience_ms=0)
    ids.resume(41)
    ids.reopen(30, 33)
    assert ids.due(0) == [Range(30, 33)]
    assert take(ids, 45) == []
    assert ids.due(0) == [Range(42, 44)]
    assert list(fill(ids, 30, 31, 42, 43, 44)) == [30, 31, 42, 43, 44, 45]
    ids.resume(99)
    assert ids.expected == 46


def test_numbers_that_stay_below_for_long_are_a_new_numbering_and_what_was_let_go_is_said() -> None:
    ids = line(renumbered_s=300)
    take(ids, 1_000, 1_001, 1_005, now_ns=0)
    minute = 60_000 * MS
    assert take(ids, 5, now_ns=minute) == []
    assert take(ids, 6, now_ns=2 * minute) == []
    assert take(ids, 6, now_ns=6 * minute) == []
    assert take(ids, 7, now_ns=6 * minute) == [1_005, 7]
    assert [(each.first, each.last) for each in ids.lost] == [(1_002, 1_004), (5, 6)]
    assert take(ids, 8, 9) == [8, 9]


def test_late_copies_never_make_a_new_numbering_while_others_go_on() -> None:
    ids = line(renumbered_s=300)
    take(ids, 100)
    for minute in range(20):
        assert take(ids, 50 + minute, now_ns=minute * 60_000 * MS) == []
        assert take(ids, 101 + minute, now_ns=minute * 60_000 * MS) == [101 + minute]


_ids = st.lists(st.integers(0, 40), min_size=1, max_size=120)


@given(_ids, st.lists(st.integers(0, 40), max_size=40))
def test_each_id_goes_on_once_in_order_and_what_did_not_is_missing(came: list[int], brought: list[int]) -> None:
    ids = line()
    out = take(ids, *came)
    out += fill(ids, *sorted(set(brought)))
    first, top = came[0], max(came)
    missing = {id for each in ids.missing(0, 100) for id in range(each.first, each.last + 1)}
    out += ids.give_up(0, 100)
    assert out == sorted(set(out))
    assert out[0] == first
    assert set(out) | missing == set(range(first, top + 1))
    assert not set(out) & missing
    assert (ids.expected, ids.held, ids.held_bytes) == (top + 1, 0, 0)
