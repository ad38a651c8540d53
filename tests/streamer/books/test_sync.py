"""A symbol's book through its states, case by case."""

from __future__ import annotations

import msgspec
import pytest

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import Snapshot
from gapless.exchanges.binance.streams.messages import Depth
from streamer.books.outcome import NOTHING, BookState, Gap, Outcome, Why
from streamer.books.settings import BookSettings
from streamer.books.sync import BookSync
from tests.streamer.books.oracle import Oracle, unread

MS = 1_000_000
LEVELS = 100


class Scene:
    """A book and the exchange it follows; time passes only when told."""

    def __init__(self, market: Market = Market.UM, **changes: int) -> None:
        self.oracle = Oracle(market, 5)
        self.sync = BookSync(market, BookSettings(**changes))
        self.now_ns = 0

    def diff(self) -> Depth:
        return self.oracle.diff()

    def take(self, diff: Depth) -> Outcome:
        assert not self.sync.regular(*unread(diff), 0)
        return self.sync.take(diff, b"raw", 7, self.now_ns)

    def snapshot(self, taken: Snapshot | None = None) -> Outcome:
        return self.sync.snapshot(taken or self.oracle.snapshot(LEVELS), LEVELS, self.now_ns)

    def live(self) -> None:
        self.take(self.diff())
        self.snapshot()
        assert self.sync.state is BookState.LIVE
        self.right()

    def right(self) -> None:
        assert self.sync.book is not None
        assert self.oracle.agrees(self.sync.book, self.sync.id)


@pytest.fixture(params=list(Market))
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


def test_the_first_diff_is_passed_on_and_wants_a_snapshot(scene: Scene) -> None:
    diff = scene.diff()
    outcome = scene.take(diff)
    assert (outcome.became, outcome.ask) == (BookState.BUFFERING, Why.STARTED)
    assert [item.diff for item in outcome.publish] == [diff]


def test_a_snapshot_amidst_the_buffered_diffs_makes_the_book_live_at_the_last(scene: Scene) -> None:
    scene.take(scene.diff())
    taken = scene.oracle.snapshot(LEVELS)
    for _ in range(20):
        scene.take(scene.diff())
    assert scene.snapshot(taken).became is BookState.LIVE
    assert scene.sync.id == scene.oracle.last
    scene.right()


def test_a_snapshot_ahead_of_all_diffs_waits_for_them(scene: Scene) -> None:
    scene.take(scene.diff())
    late = [scene.diff(), scene.diff()]
    assert scene.snapshot() == NOTHING
    assert scene.sync.joining
    assert scene.take(late[0]).became is None
    assert scene.take(late[1]).became is BookState.LIVE
    scene.right()


def test_the_buffer_survives_a_snapshot_that_is_too_old(scene: Scene) -> None:
    old = scene.oracle.snapshot(LEVELS)
    scene.diff()
    scene.take(scene.diff())
    newer = scene.oracle.snapshot(LEVELS)
    scene.take(scene.diff())
    assert scene.snapshot(old).ask is Why.TOO_OLD
    assert scene.snapshot(newer).became is BookState.LIVE
    scene.right()


def test_a_snapshot_in_an_id_hole_is_refused_though_it_may_be_right() -> None:
    scene = Scene(Market.UM)
    first, second = scene.diff(), scene.diff()
    scene.take(first)
    assert second.pu is not None
    moved = changed(second, U=second.U + 10, u=second.u + 10)
    scene.take(moved)
    outcome = scene.snapshot(Snapshot(first.u + 1, [("1.00", "1")], [("2.00", "1")]))
    assert outcome.ask is Why.HOLE


def changed(diff: Depth, **changes: int | None) -> Depth:
    return msgspec.structs.replace(diff, **changes)


def test_a_regular_diff_of_a_live_book_is_applied_without_more_ado(scene: Scene) -> None:
    scene.live()
    for _ in range(5):
        assert scene.sync.regular(*unread(scene.diff()), 0)
        scene.right()


def test_a_diff_that_overtook_another_waits_for_it_and_both_come_in_order(scene: Scene) -> None:
    scene.live()
    first, second = scene.diff(), scene.diff()
    assert scene.take(second) == NOTHING
    assert scene.sync.waiting
    outcome = scene.take(first)
    assert [item.diff for item in outcome.publish] == [first, second]
    assert scene.sync.state is BookState.LIVE
    assert scene.sync.regular(*unread(scene.diff()), 0)
    scene.right()


def test_what_does_not_come_within_the_patience_is_a_gap(scene: Scene) -> None:
    scene.live()
    at = scene.sync.id
    lost, kept = scene.diff(), scene.diff()
    scene.take(kept)
    assert scene.sync.due(scene.now_ns + 299 * MS) == NOTHING
    outcome = scene.sync.due(scene.now_ns + 300 * MS)
    last = lost.u if kept.pu is None else kept.pu
    assert outcome.gaps == (Gap(at + 1, last),)
    assert (outcome.became, outcome.why, outcome.ask) == (BookState.STALE, Why.GAP, Why.GAP)
    assert [item.diff for item in outcome.publish] == [kept]
    assert scene.sync.stands()[0] == at
    assert scene.snapshot().became is BookState.LIVE
    scene.right()


def test_more_than_the_bound_is_not_held(scene: Scene) -> None:
    scene = Scene(scene.oracle.market, held=3)
    scene.live()
    scene.diff()
    outcomes = [scene.take(scene.diff()) for _ in range(4)]
    assert outcomes[:3] == [NOTHING] * 3
    assert len(outcomes[3].gaps) == 1
    assert len(outcomes[3].publish) == 4
    assert not scene.sync.waiting


def test_a_duplicate_of_another_lane_is_counted_and_dropped(scene: Scene) -> None:
    scene.live()
    diff = scene.diff()
    assert scene.sync.regular(*unread(diff), 0)
    assert scene.take(diff) == NOTHING
    assert scene.sync.duplicates == 1
    scene.right()


def test_after_a_reconnect_that_missed_nothing_the_book_is_live_with_the_next_diff(scene: Scene) -> None:
    scene.live()
    outcome = scene.sync.lost(1)
    assert (outcome.became, outcome.why, outcome.ask) == (BookState.STALE, Why.LOST, None)
    assert scene.sync.lost(2) == NOTHING
    assert scene.take(scene.diff()).became is BookState.LIVE
    assert (scene.sync.snapshots, scene.sync.resyncs) == (1, 0)
    scene.right()


def test_after_a_reconnect_that_missed_some_the_gap_is_told_at_once(scene: Scene) -> None:
    scene.live()
    scene.sync.lost(1)
    scene.diff()
    outcome = scene.take(scene.diff())
    assert len(outcome.gaps) == 1
    assert outcome.ask is Why.GAP
    assert scene.sync.resyncs == 1


def test_what_was_missed_between_two_processes_is_a_gap_and_what_came_before_is_a_duplicate(scene: Scene) -> None:
    before = scene.diff()
    scene.sync.resume(before.u, before.E)
    assert scene.take(before) == NOTHING
    scene.diff()
    outcome = scene.take(scene.diff())
    assert (len(outcome.gaps), outcome.gaps[0].first, len(outcome.publish)) == (1, before.u + 1, 1)
    assert (outcome.became, outcome.ask is not None) == (BookState.BUFFERING, True)
    assert scene.snapshot().became is BookState.LIVE
    scene.right()


def test_nothing_missed_between_two_processes_is_no_gap(scene: Scene) -> None:
    before = scene.diff()
    scene.sync.resume(before.u, before.E)
    outcome = scene.take(scene.diff())
    assert (outcome.gaps, outcome.ask) == ((), Why.STARTED)


def test_a_reconnect_while_buffering_keeps_the_buffer_if_nothing_was_missed(scene: Scene) -> None:
    scene.take(scene.diff())
    taken = scene.oracle.snapshot(LEVELS)
    scene.sync.lost(1)
    scene.take(scene.diff())
    assert scene.snapshot(taken).became is BookState.LIVE
    scene.right()


def test_a_deeper_snapshot_joins_a_live_book_without_its_leaving_live(scene: Scene) -> None:
    scene.take(scene.diff())
    scene.sync.snapshot(scene.oracle.snapshot(3), 3, 0)
    assert scene.sync.book is not None
    assert len(scene.sync.book.asks.all()) <= 3
    scene.sync.expecting()
    scene.take(scene.diff())
    taken = scene.oracle.snapshot(LEVELS)
    scene.take(scene.diff())
    assert scene.snapshot(taken) == NOTHING
    assert (scene.sync.state, scene.sync.book.asks.known_to, scene.sync.resyncs) == (BookState.LIVE, None, 0)
    scene.right()
    assert scene.sync.regular(*unread(scene.diff()), 0)


def test_a_shallow_comparison_does_not_take_levels_away(scene: Scene) -> None:
    scene.live()
    scene.sync.expecting()
    assert scene.sync.snapshot(scene.oracle.snapshot(3), 3, 0) == NOTHING
    assert scene.sync.book is not None
    assert scene.sync.book.asks.known_to is None
    scene.right()


def test_a_book_that_differs_from_a_snapshot_is_built_anew(scene: Scene) -> None:
    scene.live()
    assert scene.sync.book is not None
    best, _ = scene.sync.book.bids.best(1)[0]
    scene.sync.book.bids.update([(best, "77.777")])
    outcome = scene.snapshot()
    assert (outcome.became, outcome.ask, outcome.why) == (BookState.STALE, Why.DIFFERS, Why.DIFFERS)
    assert (outcome.differences, scene.sync.differing) == (1, 1)
    assert scene.snapshot().became is BookState.LIVE
    scene.right()


def test_a_crossed_book_is_never_shown_and_built_anew(scene: Scene) -> None:
    scene.live()
    good = scene.diff()
    bad = changed(good)
    bad.b = [*bad.b, ("500.00", "1")]
    scene.sync.regular(*unread(bad), 0)
    bids, asks, outcome = scene.sync.top(5, 1)
    assert (bids, asks) == ([], [])
    assert (outcome.became, outcome.ask, scene.sync.crossings) == (BookState.STALE, Why.CROSSED, 1)
    assert scene.snapshot().became is BookState.LIVE
    scene.right()


def test_a_crossed_snapshot_is_refused(scene: Scene) -> None:
    scene.take(scene.diff())
    at = scene.oracle.snapshot(LEVELS)
    outcome = scene.snapshot(Snapshot(at.last_update_id, at.asks, at.bids))
    assert (outcome.ask, scene.sync.state) == (Why.CROSSED, BookState.BUFFERING)


def test_ids_that_begin_anew_are_not_taken_for_duplicates_for_ever(scene: Scene) -> None:
    scene.live()
    market = scene.oracle.market
    scene.oracle = Oracle(market, 6, last=10, now_ms=scene.oracle.now_ms + 60_000)
    outcome = scene.take(scene.diff())
    assert (outcome.became, outcome.ask, outcome.why) == (BookState.STALE, Why.BACKWARDS, Why.BACKWARDS)
    assert len(outcome.publish) == 1
    assert scene.snapshot().became is BookState.LIVE
    scene.right()


def test_a_book_given_up_by_its_owner_wants_a_snapshot(scene: Scene) -> None:
    assert scene.sync.resync(Why.ASKED, 0) == NOTHING
    scene.live()
    assert scene.sync.resync(Why.ASKED, 0).ask is Why.ASKED
    assert scene.sync.state is BookState.STALE


def test_no_snapshot_came_after_all(scene: Scene) -> None:
    scene.live()
    scene.sync.expecting()
    scene.sync.unexpected()
    assert scene.sync.regular(*unread(scene.diff()), 0)


def test_a_snapshot_of_a_quiet_book_joins_at_its_id(scene: Scene) -> None:
    scene.live()
    scene.sync.expecting()
    assert scene.snapshot() == NOTHING
    assert not scene.sync.joining
    assert scene.snapshot(scene.oracle.snapshot(LEVELS, back=1)).ask is Why.TOO_OLD
    assert scene.sync.state is BookState.LIVE


def test_a_futures_diff_without_pu_is_an_error_of_its_own() -> None:
    scene = Scene(Market.UM)
    scene.live()
    with pytest.raises(ValueError, match="no pu"):
        scene.sync.take(changed(scene.diff(), pu=None), b"", 0, 0)


def test_levels_that_cannot_be_read_end_the_book_when_somebody_looks(scene: Scene) -> None:
    scene.live()
    diff, size = unread(scene.diff())
    diff.b = msgspec.Raw(b'[["1.0"]]')
    assert scene.sync.regular(diff, size, 0)
    bids, asks, outcome = scene.sync.top(5, 1)
    assert (bids, asks, outcome.why, outcome.became) == ([], [], Why.GARBLED, BookState.STALE)
    assert outcome.ask is Why.GARBLED
    assert scene.snapshot().became is BookState.LIVE
    scene.right()
