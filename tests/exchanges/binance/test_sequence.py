"""The exchange's rules for the diffs of a book, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.exchanges.binance.streams.sequence import (
    FuturesSequence,
    Meeting,
    Span,
    SpotSequence,
    Step,
    sequence_of,
)

SPOT, UM = SpotSequence(), FuturesSequence()


@pytest.mark.parametrize(
    ("first", "last", "step"),
    [
        (101, 105, Step.NEXT),  # the usual case
        (101, 101, Step.NEXT),
        (99, 105, Step.NEXT),  # an overlap is no gap
        (100, 101, Step.NEXT),
        (102, 105, Step.FUTURE),  # 101 is missing
        (90, 99, Step.OLD),
        (95, 100, Step.OLD),  # ends with the id: nothing new in it
    ],
)
def test_spot_diff_against_id_100(first: int, last: int, step: Step) -> None:
    span = SPOT.span(first, last, None)
    assert SPOT.step(span, 100) is step
    assert SPOT.regular(first, None, 100) is (first == 101)


@pytest.mark.parametrize(
    ("before", "first", "last", "step"),
    [
        (100, 101, 105, Step.NEXT),
        (100, 140, 150, Step.NEXT),  # ids have holes: only pu links
        (99, 101, 105, Step.FUTURE),  # U would follow, pu does not
        (103, 105, 109, Step.FUTURE),
        (80, 90, 100, Step.OLD),
        (80, 90, 95, Step.OLD),
    ],
)
def test_futures_diff_against_id_100(before: int, first: int, last: int, step: Step) -> None:
    span = UM.span(first, last, before)
    assert UM.step(span, 100) is step
    assert UM.regular(first, before, 100) is (before == 100)


@pytest.mark.parametrize(
    ("first", "last", "meeting"),
    [
        (90, 99, Meeting.OLDER),
        (90, 100, Meeting.OLDER),  # u <= L is dropped
        (90, 101, Meeting.MEETS),
        (101, 110, Meeting.MEETS),  # begins right after
        (100, 110, Meeting.MEETS),
        (102, 110, Meeting.NEWER),  # the snapshot is too old
    ],
)
def test_spot_diff_against_a_snapshot_of_100(first: int, last: int, meeting: Meeting) -> None:
    assert SPOT.meeting(SPOT.span(first, last, None), 100) is meeting


@pytest.mark.parametrize(
    ("before", "first", "last", "meeting"),
    [
        (80, 90, 99, Meeting.OLDER),  # u < L is dropped
        (80, 90, 100, Meeting.MEETS),  # u == L is not
        (80, 90, 110, Meeting.MEETS),
        (95, 100, 110, Meeting.MEETS),
        (100, 104, 110, Meeting.MEETS),  # follows the snapshot as it would follow a diff
        (95, 104, 110, Meeting.HOLE),
        (101, 104, 110, Meeting.NEWER),
    ],
)
def test_futures_diff_against_a_snapshot_of_100(before: int, first: int, last: int, meeting: Meeting) -> None:
    assert UM.meeting(UM.span(first, last, before), 100) is meeting


def test_what_is_missing_is_named_by_its_ids() -> None:
    assert SPOT.missing(Span(105, 109, 104), 100) == (101, 104)
    assert UM.missing(Span(107, 109, 104), 100) == (101, 104)


def test_a_futures_diff_without_pu_is_refused() -> None:
    with pytest.raises(ValueError, match=r"105\.\.109 .* no pu"):
        UM.span(105, 109, None)


def test_each_market_has_its_own_rules() -> None:
    assert isinstance(sequence_of(Market.SPOT), SpotSequence)
    assert isinstance(sequence_of(Market.UM), FuturesSequence)


@given(
    market=st.sampled_from(Market),
    at=st.integers(0, 50),
    before=st.integers(0, 50),
    first=st.integers(1, 4),
    more=st.integers(0, 9),
)
def test_what_is_regular_is_next_and_what_meets_a_snapshot_follows_it_or_holds_its_id(
    market: Market, at: int, before: int, first: int, more: int
) -> None:
    rules = sequence_of(market)
    gap = first if market is Market.UM else 1
    span = rules.span(before + gap, before + gap + more, before)
    if rules.regular(span.first, span.before, at):
        assert rules.step(span, at) is Step.NEXT
    if rules.meeting(span, at) is Meeting.MEETS:
        assert rules.step(span, at) is Step.NEXT or span.first <= at <= span.last
    if rules.step(span, at) is Step.NEXT:
        assert rules.meeting(span, at) is Meeting.MEETS
