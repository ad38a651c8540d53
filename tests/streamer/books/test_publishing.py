"""Which books are written when, and what stands in their keys."""

from __future__ import annotations

import json
from collections import Counter

from gapless.domain.instrument import Market
from streamer.books.outcome import BookState, Why
from streamer.books.publishing import TopSchedule, full_text
from streamer.books.settings import BookSettings
from streamer.books.sync import BookSync
from tests.streamer.books.oracle import Oracle, unread

MS = 1_000_000
SETTINGS = BookSettings(top_every_ms=1000, refresh_ms=5000, top_levels=3)


def _live(seed: int = 1, levels: int = 100) -> tuple[Oracle, BookSync]:
    oracle, sync = Oracle(Market.SPOT, seed), BookSync(Market.SPOT, SETTINGS)
    sync.take(oracle.diff(), b"", 11, 0)
    sync.snapshot(oracle.snapshot(levels), levels, 0)
    assert sync.state is BookState.LIVE
    return oracle, sync


def test_a_top_says_when_what_and_how_far_it_can_be_believed() -> None:
    oracle, sync = _live()
    schedule = TopSchedule(SETTINGS)
    schedule.add("BTC/USDT", sync, 0)
    (due,) = schedule.due(1000 * MS)
    bids, asks = oracle.levels(sync.id)
    assert due.payload is not None
    assert json.loads(due.payload) == {
        "event_ms": oracle.now_ms,
        "received_ns": 11,
        "state": "live",
        "id": sync.id,
        "bids": [list(level) for level in bids[:3]],
        "asks": [list(level) for level in asks[:3]],
    }
    assert due.payload.startswith(b'{"event_ms":')


def test_books_that_change_come_once_an_interval_and_quiet_ones_to_be_refreshed() -> None:
    oracle, busy = _live()
    _, quiet = _live(2)
    never = BookSync(Market.SPOT, SETTINGS)
    schedule = TopSchedule(SETTINGS)
    for symbol, sync in (("busy", busy), ("quiet", quiet), ("never", never)):
        schedule.add(symbol, sync, 0)
    seen = Counter[str]()
    for now_ms in range(0, 20_000, 100):
        assert busy.regular(*unread(oracle.diff()), 0)
        seen.update(due.symbol for due in schedule.due(now_ms * MS))
    assert seen == {"busy": 20, "quiet": 4}


def test_600_books_are_spread_over_the_interval() -> None:
    schedule = TopSchedule(SETTINGS)
    _, sync = _live()
    for number in range(600):
        schedule.add(str(number), sync, 0)
    counts = [len(list(schedule.due(now_ms * MS))) for now_ms in range(50, 1050, 50)]
    assert sum(counts) == 600
    assert max(counts) <= 40


def test_turns_that_were_missed_are_not_made_up_for() -> None:
    oracle, sync = _live()
    schedule = TopSchedule(SETTINGS)
    schedule.add("a", sync, 0)
    sync.regular(*unread(oracle.diff()), 0)
    assert len(list(schedule.due(60_000 * MS))) == 1
    sync.regular(*unread(oracle.diff()), 0)
    assert list(schedule.due(60_001 * MS)) == []
    assert len(list(schedule.due(61_001 * MS))) == 1


def test_a_stale_book_is_written_once_as_such_with_the_levels_and_the_id_it_had() -> None:
    oracle, sync = _live()
    schedule = TopSchedule(SETTINGS)
    schedule.add("a", sync, 0)
    (before,) = schedule.due(1000 * MS)
    sync.resync(Why.ASKED, 0)
    for _ in range(3):
        sync.take(oracle.diff(), b"", 0, 0)
    (due,) = schedule.due(2000 * MS)
    assert before.payload
    assert due.payload
    assert json.loads(due.payload) == {**json.loads(before.payload), "state": "stale"}
    assert list(schedule.due(3000 * MS)) == []


def test_a_crossed_book_is_not_written_but_told() -> None:
    oracle, sync = _live()
    schedule = TopSchedule(SETTINGS)
    schedule.add("a", sync, 0)
    diff = oracle.diff()
    diff.b = [("900.00", "1")]
    sync.regular(*unread(diff), 0)
    (due,) = schedule.due(1000 * MS)
    assert (due.payload, due.outcome.ask) == (None, Why.CROSSED)


def test_a_book_that_knows_too_few_levels_is_thin() -> None:
    _, deep = _live()
    _, shallow = _live(levels=2)
    schedule = TopSchedule(SETTINGS)
    schedule.add("deep", deep, 0)
    schedule.add("shallow", shallow, 0)
    assert {due.symbol: due.thin for due in schedule.due(1000 * MS)} == {"deep": False, "shallow": True}


def test_a_book_that_runs_out_of_levels_is_deepened_before_its_top_is_short() -> None:
    settings = BookSettings(top_levels=3, depth=100)
    _, sync = _live(levels=8)
    schedule = TopSchedule(settings)
    schedule.add("a", sync, 0)
    (due,) = schedule.due(5000 * MS)
    assert due.payload is not None
    assert len(json.loads(due.payload)["bids"]) == 3
    assert due.thin


def test_a_removed_book_has_no_turn_and_one_added_again_has_one() -> None:
    _, sync = _live()
    schedule = TopSchedule(SETTINGS)
    schedule.add("a", sync, 0)
    schedule.remove("a")
    schedule.add("a", sync, 0)
    assert len(list(schedule.due(2000 * MS))) == 1


def test_all_levels_on_demand() -> None:
    oracle, sync = _live()
    text, outcome = full_text(sync, 0)
    assert text is not None
    assert outcome.ask is None
    assert json.loads(text)["asks"] == [list(level) for level in oracle.levels(sync.id)[1]]
    assert full_text(BookSync(Market.SPOT, SETTINGS), 0)[0] is None
