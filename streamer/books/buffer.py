"""The diffs since a moment, kept for a snapshot that is on its way. Pure.

Quantities are absolute, so diffs that follow each other need not be kept one by one: the last quantity of each price
says it all, also where a snapshot falls amidst them (a price that did not change after the snapshot has in the diffs
what it has in the snapshot). Only where each diff begins and ends is kept besides, to judge whether a snapshot joins.
So ten minutes of a busy symbol take the room of the prices it touched.

Bounded by two halves: when the younger one is full, the older one goes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from gapless.exchanges.binance.streams.messages import Levels
from gapless.exchanges.binance.streams.sequence import Meeting, Sequence, Span


class _Half:
    __slots__ = ("asks", "before", "bids", "firsts", "lasts")

    def __init__(self, before: int) -> None:
        self.before = before
        self.firsts = array("q")
        self.lasts = array("q")
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}


class DiffBuffer:
    """Diffs of one symbol, each the next of the one before; whoever adds sees to that.

    Attributes:
        shortened: how often the older half had to go.
    """

    __slots__ = ("_diffs", "_halves", "_prices", "_rules", "shortened")

    def __init__(self, rules: Sequence, *, diffs: int, prices: int) -> None:
        self._rules = rules
        self._diffs = max(1, diffs // 2)
        self._prices = max(1, prices // 2)
        self._halves: list[_Half] = []
        self.shortened = 0

    def __len__(self) -> int:
        return sum(len(half.firsts) for half in self._halves)

    def clear(self) -> None:
        """Forget all: what comes next does not follow."""
        self._halves.clear()

    def add(self, span: Span, bids: Levels, asks: Levels) -> None:
        """The next diff."""
        halves = self._halves
        if not halves:
            halves.append(_Half(span.before))
        half = halves[-1]
        if len(half.firsts) >= self._diffs or len(half.bids) + len(half.asks) >= self._prices:
            half = _Half(span.before)
            halves.append(half)
            if len(halves) > 2:
                del halves[0]
                self.shortened += 1
        half.firsts.append(span.first)
        half.lasts.append(span.last)
        half.bids.update(bids)
        half.asks.update(asks)

    def meeting(self, snapshot_id: int) -> Meeting:
        """Whether a snapshot and all that is here make a book; `OLDER`: the snapshot is ahead of all that is here."""
        for position, half in enumerate(self._halves):
            # From the last diff that ends before the snapshot: which side of the border counts is the market's rule.
            for index in range(max(0, bisect_left(half.lasts, snapshot_id) - 1), len(half.lasts)):
                meeting = self._rules.meeting(self._span(position, index), snapshot_id)
                if meeting is not Meeting.OLDER:
                    return meeting
        return Meeting.OLDER

    def updates(self) -> tuple[Levels, Levels]:
        """All that is here as one diff."""
        bids: dict[str, str] = {}
        asks: dict[str, str] = {}
        for half in self._halves:
            bids.update(half.bids)
            asks.update(half.asks)
        return list(bids.items()), list(asks.items())

    def _span(self, position: int, index: int) -> Span:
        half = self._halves[position]
        before = half.lasts[index - 1] if index else half.before
        return Span(half.firsts[index], half.lasts[index], before)
