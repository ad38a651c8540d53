"""Closed bars: which are awaited, which come again or otherwise, and what REST's answer makes of the others."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.interval import Interval
from gapless.domain.live import GapEvent, Kind
from gapless.exchanges.binance.streams.messages import KlineBar
from streamer.continuity.bars import DIFFERS, BarWatch, Came, Wanted
from streamer.continuity.moment import Moment
from streamer.continuity.settings import ContinuitySettings

START = 1_763_700_000_000 // 60_000 * 60_000
MINUTE = 60_000


def bar(minute: int, *, close: str = "1.10", trades: int = 3) -> KlineBar:
    open_ms = START + minute * MINUTE
    return KlineBar(t=open_ms, T=open_ms + MINUTE - 1, i="1m", f=1, L=3, o="1.0", c=close, h="1.2", l="0.9", v="5",
                    n=trades, x=True, q="5.5", V="1", Q="1.1")  # fmt: skip


class Desk:
    def __init__(self, *, kept: bool = True, **changed: int) -> None:
        self.told: list[GapEvent] = []
        settings = msgspec.structs.replace(ContinuitySettings(bar_grace_ms=10_000), **changed)
        self.watch = BarWatch(settings, self.told.append, kept=kept)
        self.watch.track("A/B", Interval.M1, self.at(0))

    def at(self, seconds: float) -> Moment:
        ms = START + int(seconds * 1000)
        return Moment(int(seconds * 1e9), ms * 1_000_000, ms)

    def closed(self, minute: int, seconds: float, **changed: str) -> Came:
        return self.watch.closed("A/B", bar(minute, **changed), self.at(seconds))  # type: ignore[arg-type]

    def wanted(self, seconds: float) -> list[int]:
        return [(open_ms - START) // MINUTE for each in self.watch.wanted(self.at(seconds)) for open_ms in each.opens]

    def confirm(self, seconds: float, **trades: int | None) -> None:
        said = {START + int(name[1:]) * MINUTE: count for name, count in trades.items()}
        self.watch.confirmed("A/B", Interval.M1, said, self.at(seconds))

    def lines(self) -> list[tuple[int, int, int, bool]]:
        return [
            ((int(each.first) - START) // MINUTE, (int(each.last) - START) // MINUTE, each.count, each.repaired)
            for each in self.told
        ]


def test_bars_that_close_in_time_are_not_asked_for() -> None:
    desk = Desk()
    for minute in range(5):
        assert desk.closed(minute, 60 * minute + 61) is Came.NEW
        assert desk.wanted(60 * minute + 71) == []
    assert desk.told == []


def test_a_bar_that_is_over_by_the_grace_is_wanted_even_the_first_and_when_nothing_else_comes() -> None:
    desk = Desk()
    assert desk.wanted(69.9) == []
    assert desk.watch.wanted(desk.at(70)) == [Wanted("A/B", Interval.M1, (START,))]
    assert desk.wanted(71) == []


def test_a_bar_without_trades_is_no_loss() -> None:
    desk = Desk()
    desk.wanted(70)
    desk.confirm(71, m0=0)
    assert desk.told == []
    assert desk.watch.tally.quiet == 1
    assert desk.wanted(500) == [1, 2, 3, 4, 5, 6, 7]


def test_bars_with_trades_that_the_stream_did_not_send_are_told_a_run_at_a_time() -> None:
    desk = Desk()
    desk.closed(3, 241)
    assert desk.wanted(251) == [0, 1, 2]
    desk.confirm(252, m0=4, m1=5, m2=0)
    assert desk.lines() == [(0, 1, 2, True)]
    assert (desk.told[0].kind, desk.told[0].reason, desk.told[0].detail) == (
        Kind.KLINES, "hole", "1m closed: not sent; stored from REST",
    )  # fmt: skip


def test_without_a_store_what_only_rest_has_stays_missing_and_a_bar_without_trades_is_no_loss() -> None:
    desk = Desk(kept=False)
    assert desk.wanted(131) == [0, 1]
    desk.confirm(132, m0=0, m1=3)
    assert desk.lines() == [(1, 1, 1, False)]
    assert desk.told[0].detail == "1m closed: not sent; REST has it, no database is there to keep it"
    assert desk.wanted(10_000)[:1] == [2]


def test_a_bar_that_comes_late_is_new_and_no_longer_wanted() -> None:
    desk = Desk()
    desk.closed(1, 121)
    assert desk.closed(0, 122) is Came.NEW
    assert desk.wanted(200) == [2]
    desk.confirm(201, m2=7)
    assert desk.closed(2, 210) is Came.NEW
    assert desk.closed(2, 211) is Came.AGAIN


def test_a_bar_that_comes_again_is_the_same_or_told_with_both() -> None:
    desk = Desk()
    assert [desk.closed(0, 61), desk.closed(0, 62)] == [Came.NEW, Came.AGAIN]
    assert desk.closed(0, 63, close="1.15") is Came.OTHERWISE
    assert desk.closed(0, 64, close="1.15") is Came.AGAIN
    (told,) = desk.told
    assert (told.reason, told.count) == (DIFFERS, 0)
    assert told.detail == "1m closed: closed twice: 1.0/1.2/0.9/1.10/5/5.5/3/1/1.1, then 1.0/1.2/0.9/1.15/5/5.5/3/1/1.1"


def test_a_bar_of_before_the_beginning_is_not_new() -> None:
    desk = Desk()
    assert desk.closed(-1, 1) is Came.AGAIN


def test_what_rest_does_not_answer_is_wanted_again_later_and_told_at_the_bound() -> None:
    desk = Desk(bar_attempts=3)
    asked = [second for second in range(60, 131) if 0 in desk.wanted(second)]
    assert asked == [70, 80, 100]
    assert desk.lines()[0] == (0, 0, 1, False)
    assert desk.watch.tally.unanswered == 1


def test_a_bar_that_the_exchange_has_not_counts_as_absent_after_the_last_time() -> None:
    desk = Desk(bar_attempts=2)
    for second in range(70, 90):
        if 0 in desk.wanted(second):
            desk.confirm(second, m0=None)
    assert desk.lines() == [(0, 0, 0, True)]
    assert desk.watch.tally.absent == 1


def test_after_a_long_sleep_of_the_host_what_is_awaited_is_bounded_and_the_rest_told() -> None:
    desk = Desk()
    assert len(desk.wanted(86_400 * 3)) == 1_500
    assert desk.lines() == [(0, 4_320 - 1 - 1_500 - 1, 4_320 - 1 - 1_500, False)]


def test_what_is_awaited_stays_bounded_while_rest_does_not_answer() -> None:
    desk = Desk()
    desk.wanted(86_400)
    desk.wanted(86_400 * 2)
    assert desk.watch.tally.wanted == 1_439 + 1_440
    assert sum(event.count for event in desk.told) == desk.watch.tally.unanswered == 1_439 + 1_440 - 1_500
    desk.watch.untrack("A/B", Interval.M1)
    desk.confirm(86_400 * 2, m2879=1)
    assert desk.wanted(86_400 * 3) == []


@given(st.lists(st.integers(0, 30), max_size=60), st.lists(st.integers(0, 30), max_size=30))
def test_each_bar_is_new_once_or_wanted(came: list[int], confirmed: list[int]) -> None:
    desk = Desk(bar_attempts=1_000)
    new = [minute for minute in came if desk.closed(minute, 31 * 60) is Came.NEW]
    assert sorted(new) == sorted(set(came))
    wanted = desk.wanted(31 * 60 + 10)
    assert sorted({*new, *wanted}) == list(range(31))
    assert not set(new) & set(wanted)
    desk.confirm(31 * 60 + 11, **{f"m{minute}": 1 for minute in confirmed})
    told = {minute for first, last, _, _ in desk.lines() for minute in range(first, last + 1)}
    assert told == set(confirmed) & set(wanted)
    assert set(desk.wanted(40 * 60)) >= set(wanted) - set(confirmed)
