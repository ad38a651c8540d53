"""Searches for missing trades: what is asked, what an answer means, when one is given up, and what is told."""

from __future__ import annotations

from typing import Any

from gapless.domain.live import GapEvent, GapReason
from streamer.continuity.backfill import left_open
from streamer.continuity.holes import Range
from streamer.continuity.line import Line
from streamer.continuity.moment import Moment
from streamer.continuity.search import Ask, Found, Tracked
from streamer.continuity.searches import Searches
from streamer.continuity.settings import ContinuitySettings

NOW_MS = 1_763_700_000_000
HOUR_MS = 3_600_000


class Desk:
    """One symbol, its searches, and a clock moved by hand."""

    def __init__(self, **changed: Any) -> None:
        self.ms = 0
        self.out: list[int] = []
        self.told: list[GapEvent] = []
        self.settings = ContinuitySettings(**changed)
        self.line: Line[int] = Line(self.settings)
        self.of = Tracked("BTC/USDT", "BTCUSDT", self.line, self.out.extend)
        self.searches: Searches[int] = Searches(self.settings, "binance", self.told.append, lambda: 1.0)

    @property
    def now(self) -> Moment:
        return Moment(self.ms * 1_000_000, (NOW_MS + self.ms) * 1_000_000, NOW_MS + self.ms)

    def take(self, *ids: int) -> None:
        for id in ids:
            self.out += self.line.irregular(id, id, 0)

    def look(self, after_ms: int = 0) -> None:
        """A look now, and one when so much time has passed."""
        self.searches.look(self.of, self.now)
        if after_ms:
            self.ms += after_ms
            self.searches.look(self.of, self.now)

    def ask(self) -> Ask[int]:
        found = self.searches.next_ask(self.now)
        assert found is not None
        return found

    def answer(self, *ids: int, ask: Ask[int] | None = None, age_ms: int = 0, void: tuple[int, ...] = ()) -> None:
        rows = [Found(id, NOW_MS - age_ms, None if id in void else id) for id in ids]
        self.searches.answered(ask or self.ask(), rows, self.now)

    def lines(self) -> list[tuple[str, str, int, bool]]:
        return [(event.first, event.last, event.count, event.repaired) for event in self.told]


def test_a_hole_is_told_when_the_patience_is_over_and_again_when_it_is_filled() -> None:
    desk = Desk()
    desk.take(1, 2, 6)
    desk.look(299)
    assert desk.told == []
    desk.look(1)
    assert desk.lines() == [("3", "5", 3, False)]
    ask = desk.ask()
    assert (ask.first, ask.limit) == (3, 4)
    assert desk.searches.next_ask(desk.now) is None
    desk.answer(3, 4, 5, 6, ask=ask)
    assert desk.out == [1, 2, 3, 4, 5, 6]
    assert desk.lines()[1:] == [("3", "5", 3, True)]
    assert desk.told[0].reason == GapReason.HOLE
    assert len(desk.searches) == 0


def test_what_another_connection_brings_within_the_patience_is_no_event() -> None:
    desk = Desk()
    desk.take(1, 3)
    desk.look(200)
    desk.take(2)
    desk.look(1_000)
    assert (desk.out, desk.told) == ([1, 2, 3], [])


def test_what_another_connection_brings_later_ends_the_search_without_a_request() -> None:
    desk = Desk()
    desk.take(1, 3)
    desk.look(300)
    desk.take(2)
    assert desk.searches.next_ask(desk.now) is None
    desk.look()
    assert desk.lines() == [("2", "2", 1, False), ("2", "2", 1, True)]


def test_a_burst_of_small_holes_is_one_event_and_one_request() -> None:
    desk = Desk()
    desk.take(*range(1, 400, 3))
    desk.look(300)
    assert desk.lines() == [("2", "396", 264, False)]
    assert desk.told[0].detail == "in 132 pieces"
    desk.answer(*range(2, 398))
    assert desk.out == list(range(1, 398))
    assert desk.lines()[1:] == [("2", "396", 264, True)]


def test_holes_far_apart_are_searched_for_apart_the_oldest_first() -> None:
    desk = Desk()
    desk.take(1, *range(3, 1_500), 3_500)
    desk.look(300)
    assert desk.lines() == [("2", "2", 1, False), ("1500", "3499", 2_000, False)]
    one, other = desk.ask(), desk.ask()
    assert [(each.first, each.limit) for each in (one, other)] == [(2, 2), (1_500, 1_000)]


def test_holes_that_open_during_a_search_wait_for_one_search_of_their_own() -> None:
    desk = Desk(gather_ms=5_000, hold_ms=60_000)
    desk.take(1, 3)
    desk.look(300)
    for id in range(5, 21, 2):
        desk.take(id)
        desk.look(300)
    assert len(desk.told) == 1
    desk.look(5_000)
    assert desk.lines()[1:] == [("4", "18", 8, False)]


def test_a_long_hole_is_brought_page_by_page_and_goes_on_as_it_comes() -> None:
    desk = Desk()
    desk.take(0, 2_500)
    desk.look(300)
    desk.answer(*range(1, 1_001))
    assert desk.out[-1] == 1_000
    desk.answer(*range(1_001, 2_001))
    assert desk.ask().limit == 500


def test_trades_that_rest_does_not_have_yet_are_asked_for_again_later_each_time() -> None:
    desk = Desk(first_pause_s=0.5)
    desk.take(1, 3)
    desk.look(300)
    waits = []
    for _ in range(4):
        desk.answer()
        at = desk.searches.next_ns()
        assert at is not None
        waits.append(at / 1e6 - desk.ms)
        desk.ms = at // 1_000_000
    assert waits == [500, 1_000, 2_000, 4_000]
    desk.answer(2, 3)
    assert desk.out == [1, 2, 3]


def test_ids_that_rest_leaves_out_twice_were_never_given_and_are_no_loss() -> None:
    desk = Desk(confirm_ms=2_000)
    desk.take(1, 6)
    desk.look(300)
    desk.answer(2, 5, 6)
    assert desk.out == [1, 2]
    assert desk.searches.next_ask(desk.now) is None
    desk.ms += 2_000
    desk.answer(6)
    assert desk.out == [1, 2, 5, 6]
    assert desk.lines()[1:] == [("2", "5", 2, True), ("3", "4", 0, True)]
    assert desk.told[-1].detail == "the exchange has no trades of these ids"
    assert desk.searches.tally.lost == 0


def test_an_id_that_rest_left_out_once_and_has_later_is_brought() -> None:
    desk = Desk(confirm_ms=2_000)
    desk.take(1, 4)
    desk.look(300)
    desk.answer(2, 4)
    desk.ms += 2_000
    desk.answer(3, 4)
    assert desk.out == [1, 2, 3, 4]


def test_rows_that_the_exchange_declared_void_are_not_passed_on_and_none_beyond_the_hole_is_counted() -> None:
    desk = Desk()
    desk.take(1, 4)
    desk.look(300)
    desk.answer(2, 3, 4, 5, void=(3, 5))
    assert desk.out == [1, 2, 4]
    assert desk.lines()[1:] == [("2", "3", 1, True), ("3", "3", 0, True)]


def test_what_is_older_than_rest_serves_is_lost_and_told_with_its_ids() -> None:
    desk = Desk()
    desk.take(1, 10)
    desk.look(300)
    desk.answer(7, 8, 9, 10, age_ms=48 * HOUR_MS)
    assert desk.out == [1, 7, 8, 9, 10]
    assert desk.lines()[1:] == [("2", "9", 3, True), ("2", "6", 5, False)]
    assert desk.told[-1].detail == "older than what the exchange serves by REST"


def test_a_hole_that_is_lost_whole_is_told_once_more_and_never_as_repaired() -> None:
    desk = Desk()
    desk.take(1, 4)
    desk.look(300)
    desk.searches.failed(desk.ask(), "code -1121", desk.now, lasting=True)
    assert desk.out == [1, 4]
    assert desk.lines() == [("2", "3", 2, False), ("2", "3", 2, False)]
    assert desk.told[-1].detail == "code -1121"


def test_while_rest_is_away_trades_go_on_after_the_hold_and_are_lost_at_the_deadline() -> None:
    desk = Desk(hold_ms=5_000, deadline_s=60.0)
    desk.take(1, 4)
    desk.look(300)
    desk.searches.failed(desk.ask(), "away", desk.now, lasting=False, wait_s=7.0)
    assert desk.searches.next_ns() == 7_300_000_000
    desk.look(4_700)
    assert desk.out == [1, 4]
    assert desk.told[-1].detail == "what follows waits no longer: they come out of order"
    desk.take(5)
    desk.look(60_000)
    assert desk.out == [1, 4, 5]
    assert desk.lines()[-1] == ("2", "3", 2, False)
    assert desk.told[-1].detail == "not brought in 60 s: away"
    assert len(desk.searches) == 0


def test_of_a_hole_too_large_the_newest_part_is_brought() -> None:
    desk = Desk(ids=3)
    desk.take(1, 11)
    desk.look(300)
    ask = desk.ask()
    assert ask.first == 8
    desk.answer(8, 9, 10, ask=ask)
    assert desk.out == [1, 8, 9, 10, 11]
    assert desk.lines()[1:] == [("2", "10", 3, True), ("2", "7", 6, False)]


def test_a_hole_over_a_restart_too_long_ago_is_lost() -> None:
    desk = Desk()
    desk.line.resume(5)
    desk.of.too_old = 6
    desk.take(9)
    desk.look(300)
    assert desk.out == [9]
    assert desk.lines()[-1] == ("6", "8", 3, False)


def test_many_lost_pieces_are_told_in_bounded_events_that_count_each() -> None:
    desk = Desk(hold_ms=60_000, confirm_ms=0)
    desk.take(*range(0, 200, 2))
    desk.look(300)
    desk.searches.failed(desk.ask(), "no", desk.now, lasting=True)
    lost = [event for event in desk.told if event.detail.endswith("no")]
    assert len(lost) == 20
    assert sum(event.count for event in lost) == 99


def test_beyond_the_bound_of_searches_holes_wait_in_their_line() -> None:
    desk = Desk(searches=1, gather_ms=0)
    desk.take(1, 3)
    desk.look(300)
    desk.take(5)
    desk.look(300)
    assert len(desk.searches) == 1
    desk.answer(2, 3)
    desk.look()
    desk.answer(4, 5)
    assert desk.out == [1, 2, 3, 4, 5]


def test_what_was_left_open_at_an_orderly_end_is_searched_for_after_the_restart() -> None:
    desk = Desk()
    desk.take(1, 4, 6)
    desk.look(300)
    desk.take(9)
    desk.searches.drop(desk.of, desk.now, "the writer stopped")
    assert desk.out == [1, 4, 6, 9]
    left = left_open(desk.told)
    assert left == {"BTC/USDT": [Range(2, 3), Range(5, 5), Range(7, 8)]}
    after = Desk()
    after.line.resume(9)
    after.of.began = 10
    after.searches.reopen(after.of, left["BTC/USDT"], after.now)
    after.answer(2, 3, 4)
    after.answer(5, 6)
    after.answer(7, 8, 9)
    assert after.out == [2, 3, 5, 7, 8]
    assert left_open([*desk.told, *after.told]) == {}


def test_a_hole_is_told_with_the_cause_that_was_known_before_it_showed() -> None:
    desk = Desk()
    desk.take(1)
    desk.of.reason, desk.of.reason_at = GapReason.RECONNECT, 2
    desk.take(4)
    desk.look(300)
    desk.answer(2, 3)
    desk.take(6)
    desk.look(300)
    assert [event.reason for event in desk.told] == ["reconnect", "reconnect", "hole"]
