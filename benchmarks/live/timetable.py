"""When each message of an endless feed is due: stretches of one pace each, in ticks of 200 us.

A message has its time whether or not the receiver was ready for it: what waits in the sender counts as latency, so
that a slow receiver cannot make itself look fast (no coordinated omission).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
TICK_NS = 200_000
_FAR = 1 << 60


@dataclass(frozen=True, slots=True)
class Stretch:
    """From one message on, one pace. Pace in messages a second: 0 nothing, -1 as fast as it is taken."""

    ordinal: int
    start_ns: int
    rate: float

    def due(self, now_ns: int) -> int:
        """How many messages of the whole feed are due: those with an ordinal below."""
        if self.rate <= 0:
            return _FAR if self.rate < 0 else self.ordinal
        ticks = (now_ns - self.start_ns) // TICK_NS
        return self.ordinal + int(ticks * TICK_NS * self.rate / 1e9)

    def times_ns(self, ordinals: Ints, now_ns: int) -> Ints:
        """When these are due; messages without a pace are due now."""
        if self.rate <= 0:
            return np.full(len(ordinals), now_ns, np.int64)
        ticks = np.ceil((ordinals - self.ordinal + 1) * 1e9 / self.rate / TICK_NS)
        return self.start_ns + ticks.astype(np.int64) * TICK_NS


class Timetable:
    """All stretches so far, on the monotonic clock."""

    def __init__(self, now_ns: int) -> None:
        self.stretches = [Stretch(0, now_ns, 0.0)]

    @property
    def now(self) -> Stretch:
        return self.stretches[-1]

    def change(self, rate: float, ordinal: int, now_ns: int) -> None:
        self.stretches.append(Stretch(ordinal, now_ns, rate))

    def times_ns(self, ordinals: Ints) -> Ints:
        """When each was due; -1 for those of a stretch without a pace."""
        firsts = np.array([each.ordinal for each in self.stretches])
        owner = np.searchsorted(firsts, ordinals, side="right") - 1
        found = np.full(len(ordinals), -1, np.int64)
        for i, each in enumerate(self.stretches):
            mine = owner == i
            if each.rate > 0 and mine.any():
                found[mine] = each.times_ns(ordinals[mine], 0)
        return found
