"""Mark and index prices and the running funding rate of the generated perpetuals: functions of seed and time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from replica.funding import HOUR_MS, GeneratedFunding
from replica.live.path import PricePath, eight, mix
from replica.market import GeneratedMarket
from replica.universe import Listing

_SECOND_MS = 1000


class Mark(NamedTuple):
    """As text with eight places; `spot` is the index price, `funding_ms` the next funding time, 0 if there is none."""

    mark: str
    spot: str
    settle: str
    rate: str
    funding_ms: int


class Marks:
    """The marks of all perpetuals."""

    def __init__(self, market: GeneratedMarket, universe: tuple[Listing, ...]) -> None:
        self._funding = GeneratedFunding(market, universe)
        self._next: dict[str, tuple[int, int, str]] = {}

    def mark(self, listing: Listing, path: PricePath, at_ms: int) -> Mark:
        """What is told at a moment."""
        second = at_ms // _SECOND_MS
        draw = mix(path.phase_ms, second)
        middle = path.mid_eight(second * _SECOND_MS)
        mark = middle + middle * (draw % 2001 - 1000) // 50_000_000
        index = middle - middle * (draw >> 20) % 97 // 200_000
        until_ms, funding_ms, rate = self._next.get(listing.raw_symbol, (0, 0, ""))
        if not until_ms - 8 * HOUR_MS <= at_ms < until_ms:
            until_ms, funding_ms, rate = self._settlement(listing, at_ms)
            self._next[listing.raw_symbol] = until_ms, funding_ms, rate
        return Mark(eight(mark), eight(index), eight((mark + index) // 2), rate, funding_ms)

    def _settlement(self, listing: Listing, at_ms: int) -> tuple[int, int, str]:
        """Until when it is the next one, when it is, and at what rate."""
        times = self._funding.times(listing.raw_symbol, at_ms + 1, at_ms + 8 * HOUR_MS + 1)
        if not len(times):
            return at_ms + HOUR_MS, 0, "0.00000000"
        nominal = int(times[0])
        row = self._funding.settlements(listing.raw_symbol, np.array([nominal], dtype=np.int64))[0]
        return nominal, nominal, row.rate
