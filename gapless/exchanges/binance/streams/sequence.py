"""How the diffs of a book follow each other and join a snapshot: each market's own rules, on numbers alone. Pure.

Spot (reference 9.1; spot-api-docs, wording of 2025-11-12), a diff holds the updates `U` to `u`:

1. An event with `u` not above the book's id is old: ignored.
2. `U` above id + 1: events were lost. Else the levels are applied and the id is `u`. Ids are contiguous, so a regular
   diff has `U` == id + 1; one that overlaps is as good, because quantities are absolute.
3. Join: of the diffs received drop those with `u` <= L (the snapshot's id); the first that is left must contain L + 1.
   Does it begin later, the snapshot is too old.

USD-M (reference 9.2), where ids have holes and `pu` is the `u` of the diff before:

1. Every diff must have `pu` == id; `u` not above the id is old. Anything else: events were lost.
2. Join: drop those with `u` < L (strictly); the first that is left must have `U` <= L.
   One with `pu` == L follows the snapshot as it would follow a diff that ended with it: joined too.
   `pu` < L < `U`: L fell into a hole between two diffs. The documents do not allow it: another snapshot.
   `pu` > L: the snapshot is too old.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from gapless.domain.instrument import Market


class Span(NamedTuple):
    """What a diff says of itself. `before` is `pu`; on spot, which has none, `first` - 1."""

    first: int
    last: int
    before: int


class Step(Enum):
    """How a diff stands to a book's id, or to the diff before it."""

    OLD = "old"  # all of it is known
    NEXT = "next"
    FUTURE = "future"  # something is missing between: lost, or still under way


class Meeting(Enum):
    """How a diff stands to a snapshot."""

    OLDER = "older"  # the snapshot holds all of it
    MEETS = "meets"  # the snapshot, this diff and all that follow it make a book
    HOLE = "hole"  # the snapshot's id lies between two diffs: ask for another
    NEWER = "newer"  # the snapshot is too old: ask for another


class Sequence(Protocol):
    """One market's rules."""

    def span(self, first: int, last: int, before: int | None) -> Span:
        """`U`, `u` and `pu` as a span.

        Raises:
            ValueError: the market needs `pu`, and there is none.
        """

    def regular(self, first: int, before: int | None, id: int) -> bool:
        """Whether a diff of this `U` and `pu` is just the next one: the usual case, known fast."""

    def step(self, span: Span, id: int) -> Step:
        """How a diff stands to the id of the book, or of the diff before."""

    def meeting(self, span: Span, snapshot_id: int) -> Meeting:
        """How a diff stands to a snapshot."""

    def missing(self, span: Span, id: int) -> tuple[int, int]:
        """The first and the last id that may be missing between an id and a diff that is `FUTURE` to it."""


class SpotSequence:
    """See the rules above."""

    def span(self, first: int, last: int, before: int | None) -> Span:
        """`before` is not looked at."""
        return Span(first, last, first - 1)

    def regular(self, first: int, before: int | None, id: int) -> bool:
        """By `U`."""
        return first == id + 1

    def step(self, span: Span, id: int) -> Step:
        """Rules 1 and 2."""
        if span.last <= id:
            return Step.OLD
        return Step.NEXT if span.first <= id + 1 else Step.FUTURE

    def meeting(self, span: Span, snapshot_id: int) -> Meeting:
        """Rule 3."""
        if span.last <= snapshot_id:
            return Meeting.OLDER
        return Meeting.MEETS if span.first <= snapshot_id + 1 else Meeting.NEWER

    def missing(self, span: Span, id: int) -> tuple[int, int]:
        """Exactly those."""
        return id + 1, span.first - 1


class FuturesSequence:
    """See the rules above."""

    def span(self, first: int, last: int, before: int | None) -> Span:
        """`pu` is what links diffs here."""
        if before is None:
            raise ValueError(f"diff {first}..{last} of a futures book has no pu")
        return Span(first, last, before)

    def regular(self, first: int, before: int | None, id: int) -> bool:
        """By `pu`."""
        return before == id

    def step(self, span: Span, id: int) -> Step:
        """Rule 1."""
        if span.last <= id:
            return Step.OLD
        return Step.NEXT if span.before == id else Step.FUTURE

    def meeting(self, span: Span, snapshot_id: int) -> Meeting:
        """Rule 2."""
        if span.last < snapshot_id:
            return Meeting.OLDER
        if span.first <= snapshot_id or span.before == snapshot_id:
            return Meeting.MEETS
        return Meeting.HOLE if span.before < snapshot_id else Meeting.NEWER

    def missing(self, span: Span, id: int) -> tuple[int, int]:
        """Up to `pu`: the ids between are not all of this book. A `pu` below the id says nothing: one id is named."""
        return id + 1, max(span.before, id + 1)


def sequence_of(market: Market) -> Sequence:
    """The rules of a market."""
    return SpotSequence() if market is Market.SPOT else FuturesSequence()
