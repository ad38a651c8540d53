"""The aggregate trades of one instrument: every trade a function of its id, so that any of them can be asked for again.

Ids run on without a hole. Their times lie on **stretches**: from a first id and a moment on, one trade every so many
microseconds, each at a random point of its own share. Before the instrument was first asked for lies the nominal
stretch, five trades a second since 2020; so the first live id is a function of time, and a replica that is started
again goes on above the ids it gave before, as long as it was asked for no more than that, which is the usual pace.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from replica.live.path import PricePath, mix

EPOCH_MS = 1_577_836_800_000  # 2020-01-01
NOMINAL_US = 200_000
FILLS = 2
"""Fills in each aggregate trade; their ids are contiguous too."""

_MOST_STRETCHES = 4096
_NEVER_US = 1 << 62


@dataclass(frozen=True, slots=True)
class _Stretch:
    first_id: int
    start_us: int
    period_us: int  # 0: no trade at all


class Trade(NamedTuple):
    """One aggregate trade; `cell` is its price, `quantity` in the listing's units, `maker`: the buyer rested."""

    id: int
    time_ms: int
    cell: int
    quantity: int
    maker: bool


class Tape:
    """The trades of one instrument.

    Args:
        start_ms: from when on its pace is as told; before, the nominal pace.
        per_s: trades a second, 0 for none.
        unit: what a large trade's quantity is about, in quantity units.
    """

    def __init__(self, path: PricePath, key: int, unit: int, start_ms: int, per_s: float) -> None:
        self._path, self._key, self._unit = path, key, unit
        self._stretches = [_Stretch(0, EPOCH_MS * 1000, NOMINAL_US)]
        self._firsts = [0]
        self.first_id = self.last_id(start_ms) + 1
        self.pace(start_ms, per_s)

    def pace(self, at_ms: int, per_s: float) -> None:
        """Trades come at another pace from a moment on, which is not before the present stretch."""
        self.restart(self.last_id(at_ms) + 1, at_ms, per_s)

    def restart(self, next_id: int, at_ms: int, per_s: float) -> None:
        """The trade `next_id` and those after it come from a moment on, later or earlier than the present stretch."""
        while self._firsts[-1] >= next_id > 0:
            self._firsts.pop()
            self._stretches.pop()
        if len(self._firsts) >= _MOST_STRETCHES:
            # The oldest pace after the nominal one is forgotten: its trades read as if at the pace before it.
            del self._firsts[1], self._stretches[1]
        self._firsts.append(next_id)
        self._stretches.append(_Stretch(next_id, at_ms * 1000, max(1, round(1_000_000 / per_s)) if per_s else 0))

    def last_id(self, at_ms: int) -> int:
        """The newest trade at a moment: of those whose time has come, the one with the highest id."""
        at_us = at_ms * 1000 + 999
        for at in range(len(self._stretches) - 1, -1, -1):
            stretch = self._stretches[at]
            if at_us < stretch.start_us:
                continue
            if not stretch.period_us:
                return stretch.first_id - 1
            newest = stretch.first_id + (at_us - stretch.start_us) // stretch.period_us
            if at + 1 < len(self._stretches):
                newest = min(newest, self._firsts[at + 1] - 1)
            while newest >= stretch.first_id and self.time_us(newest) > at_us:
                newest -= 1
            return newest
        return -1

    def time_us(self, trade_id: int) -> int:
        """When a trade takes place, in µs; of one that no pace has yet: never (the far future)."""
        stretch = self._stretches[bisect_right(self._firsts, trade_id) - 1]
        period = stretch.period_us
        if not period:
            return _NEVER_US
        return stretch.start_us + (trade_id - stretch.first_id) * period + mix(self._key, ~trade_id) % period

    def trade(self, trade_id: int) -> Trade:
        """The trade of an id, whether its time has come or not."""
        time_ms = self.time_us(trade_id) // 1000
        draw = mix(self._key, trade_id)
        quantity = 1 + (((draw & 0xFFF) * (draw >> 12 & 0xFFF) >> 12) * self._unit >> 12)
        maker = bool(draw >> 24 & 1)
        cell = self._path.cell(time_ms)
        return Trade(trade_id, time_ms, cell if maker else cell + 1, quantity, maker)

    def from_time(self, at_ms: int, now_ms: int) -> int:
        """The first id at or after a moment, among those up to now."""
        return min(self.last_id(at_ms - 1), self.last_id(now_ms)) + 1
