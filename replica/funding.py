"""Funding of the generated market: when each perpetual settles, and at what rate. A function of the seed alone.

Most settle every eight hours, some every four or one, and one (ADA) went from eight to four. A settlement is noted some
milliseconds late, the same for all symbols, as in recordings of 2026.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from replica.bars import MINUTE_MS
from replica.market import GeneratedMarket
from replica.noise import Ints, bits, smooth, stream_key, words
from replica.universe import Listing

HOUR_MS = 60 * MINUTE_MS
SWITCHED_MS = parse_time("2025-06-10")
"""From here on ADA settles every four hours."""

_HOURS = {"PEPE": 4, "LINK": 4, "币安人生": 1, "NOVA": 1}
_SWITCHED = "ADA"
_USUAL = 10_000
"""The rate of quiet hours, 0.01 %, in units of 10**-8."""

_LATEST_MS = 20


@dataclass(frozen=True, slots=True)
class Settlement:
    """One settlement of one perpetual.

    Attributes:
        nominal_ms: the full hour.
        time_ms: the exchange's own time, a few milliseconds later.
        hours: the funding interval in force from here on.
        rate: decimal text with eight places, often negative.
        mark_price: decimal text with eight places, or empty where it was not kept.
    """

    symbol: str
    nominal_ms: int
    time_ms: int
    hours: int
    rate: str
    mark_price: str


class GeneratedFunding:
    """The settlements of a generated market's perpetuals."""

    def __init__(self, market: GeneratedMarket, universe: Iterable[Listing]) -> None:
        self._market = market
        self._listings = {listing.raw_symbol: listing for listing in universe if listing.market is Market.UM}
        self._late_key = stream_key(market.seed, "funding", "late")

    def symbols(self) -> list[str]:
        """All perpetuals, the dead and the unborn included."""
        return list(self._listings)

    def hours(self, symbol: str, at_ms: int) -> int:
        """The funding interval in force."""
        return next(hours for from_ms, hours in reversed(_regimes(self._listings[symbol])) if from_ms <= at_ms)

    def times(self, symbol: str, start_ms: int, end_ms: int) -> Ints:
        """Nominal settlement times in `[start_ms, end_ms)`: after the listing, and up to the delisting."""
        listing = self._listings[symbol]
        start_ms = max(start_ms, listing.listed_ms + 1)
        if listing.delisted_ms is not None:
            end_ms = min(end_ms, listing.delisted_ms + 1)
        regimes = _regimes(listing)
        ends = [from_ms for from_ms, _ in regimes[1:]] + [end_ms]
        parts = []
        for (from_ms, hours), to_ms in zip(regimes, ends, strict=True):
            step = hours * HOUR_MS
            first, last = max(start_ms, from_ms), min(end_ms, to_ms)
            parts.append(np.arange(-(-first // step) * step, last, step, dtype=np.int64))
        return np.concatenate(parts)

    def late_ms(self, nominal_ms: Ints) -> Ints:
        """By how much the exchange notes each settlement late; half of them not at all."""
        draw = words(self._late_key, nominal_ms // HOUR_MS)
        return np.where(bits(draw, 0, 1) == 0, 0, bits(draw, 1, 16) % _LATEST_MS)

    def settlements(self, symbol: str, nominal_ms: Ints) -> list[Settlement]:
        """The settlements at these nominal times, which ascend."""
        if not len(nominal_ms):
            return []
        listing = self._listings[symbol]
        times = (nominal_ms + self.late_ms(nominal_ms)).tolist()
        marks = self._market.prices(listing, nominal_ms // MINUTE_MS).tolist()
        eighth = 10 ** (8 - listing.price_decimals)
        odd = bits(words(stream_key(self._market.seed, symbol, "mark"), nominal_ms // HOUR_MS), 0, 30).tolist()
        rates = self._rates(symbol, nominal_ms).tolist()
        return [
            Settlement(symbol, at, time, self.hours(symbol, at), _eight(rate), _eight(mark * eighth + draw % eighth))
            for at, time, rate, mark, draw in zip(nominal_ms.tolist(), times, rates, marks, odd, strict=True)
        ]

    def _rates(self, symbol: str, nominal_ms: Ints) -> Ints:
        """Slow moods and a little noise; near the usual rate it is exactly the usual rate, as on the exchange."""
        hours = nominal_ms // HOUR_MS
        seed = self._market.seed
        mood = smooth(stream_key(seed, symbol, "funding", "mood"), hours, 211) * 24_000 >> 15
        quick = bits(words(stream_key(seed, symbol, "funding", "rate"), hours), 0, 12) - 2048
        rates = 6_000 + mood + quick
        return np.where(abs(rates - _USUAL) < 2_500, _USUAL, rates)


def _regimes(listing: Listing) -> list[tuple[int, int]]:
    """From when on (ms) which funding interval (hours) is in force."""
    if listing.coin == _SWITCHED:
        return [(0, 8), (SWITCHED_MS, 4)]
    if listing.coin.startswith("GX"):
        return [(0, (8, 8, 4, 8)[int(listing.coin[2:]) % 4])]
    return [(0, _HOURS.get(listing.coin, 8))]


def _eight(units: int) -> str:
    whole, rest = divmod(abs(units), 10**8)
    return f"{'-' if units < 0 else ''}{whole}.{rest:08d}"
