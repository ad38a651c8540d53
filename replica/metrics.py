"""Open interest and ratios of the generated market's perpetuals, five minutes each. A function of the seed alone.

All series are kept by the **start** of the five minutes here; how each wire labels them is the wire's matter.
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

STEP_MS = 5 * MINUTE_MS
SINCE_MS = parse_time("2020-09-01")
"""The exchange keeps these series from here on."""

VALUE_DECIMALS = 14
_SHARE = 10_000
_MARK_DECIMALS = 11


@dataclass(frozen=True, slots=True)
class Metrics:
    """Columns of one length, ascending by `start_ms`.

    Attributes:
        start_ms: start of the five minutes.
        open_interest: base asset, decimal text.
        open_interest_value: quote asset, decimal text with up to 14 places.
        top_account, top_position, global_account: share of the longs, in ten-thousandths.
        taker_buy, taker_sell: base asset, in ten-thousandths.
        supply: circulating coins.
    """

    start_ms: list[int]
    open_interest: list[str]
    open_interest_value: list[str]
    top_account: list[int]
    top_position: list[int]
    global_account: list[int]
    taker_buy: list[int]
    taker_sell: list[int]
    supply: int


class GeneratedMetrics:
    """The five-minute series of a generated market's perpetuals."""

    def __init__(self, market: GeneratedMarket, universe: Iterable[Listing]) -> None:
        self._market = market
        self._listings = {listing.raw_symbol: listing for listing in universe if listing.market is Market.UM}

    def knows(self, symbol: str) -> bool:
        """Whether it is a perpetual of this market, dead or alive."""
        return symbol in self._listings

    def read(self, symbol: str, start_ms: int, end_ms: int) -> Metrics:
        """The five minutes that start in `[start_ms, end_ms)` and lie inside the perpetual's life."""
        listing = self._listings[symbol]
        first = max(start_ms, listing.listed_ms, SINCE_MS)
        last = end_ms if listing.delisted_ms is None else min(end_ms, listing.delisted_ms - STEP_MS + 1)
        starts = np.arange(-(-first // STEP_MS) * STEP_MS, last, STEP_MS, dtype=np.int64)
        if not len(starts):
            return Metrics([], [], [], [], [], [], [], [], 0)
        steps = starts // STEP_MS
        interest = self._interest(listing, steps)
        marks = self._marks(listing, starts)
        scale = 10 ** (VALUE_DECIMALS - _MARK_DECIMALS - listing.quantity_decimals)
        values = [units * mark * scale for units, mark in zip(interest.tolist(), marks, strict=True)]
        return Metrics(
            starts.tolist(),
            [decimal_text(units, listing.quantity_decimals) for units in interest.tolist()],
            [decimal_text(value, VALUE_DECIMALS) for value in values],
            self._share(symbol, "top account", steps),
            self._share(symbol, "top position", steps),
            self._share(symbol, "global account", steps),
            self._taker(listing, "taker buy", steps),
            self._taker(listing, "taker sell", steps),
            listing.typical_volume * 10_000,
        )

    def _interest(self, listing: Listing, steps: Ints) -> Ints:
        slow = smooth(stream_key(self._market.seed, listing.raw_symbol, "open interest"), steps, 1009)
        quick = bits(words(stream_key(self._market.seed, listing.raw_symbol, "contracts"), steps), 0, 14)
        middle = listing.typical_volume * 10**listing.quantity_decimals * 500
        interest: Ints = middle + (middle * slow >> 17) + quick
        return interest

    def _marks(self, listing: Listing, starts: Ints) -> list[int]:
        """Mark prices at the end of each five minutes, with eleven decimals."""
        ends = (starts + STEP_MS) // MINUTE_MS
        fine = 10 ** (_MARK_DECIMALS - listing.price_decimals)
        odd = bits(words(stream_key(self._market.seed, listing.raw_symbol, "mark"), ends), 0, 40).tolist()
        prices = self._market.prices(listing, ends).tolist()
        return [price * fine + draw % fine for price, draw in zip(prices, odd, strict=True)]

    def _share(self, symbol: str, name: str, steps: Ints) -> list[int]:
        slow = smooth(stream_key(self._market.seed, symbol, name), steps, 577) * 1_800 >> 15
        quick = bits(words(stream_key(self._market.seed, symbol, name, "quick"), steps), 0, 6)
        shares: list[int] = (5_200 + slow + quick).tolist()
        return shares

    def _taker(self, listing: Listing, name: str, steps: Ints) -> list[int]:
        draw = bits(words(stream_key(self._market.seed, listing.raw_symbol, name), steps), 0, 16)
        volumes: list[int] = (1 + draw * listing.typical_volume // 7 * 5).tolist()
        return volumes


def ratio(part: int, other: int) -> str:
    """`part / other` with four decimals, half up."""
    return decimal_text((2 * part * _SHARE + other) // (2 * other), 4, least=4)


def decimal_text(units: int, decimals: int, *, least: int = 8) -> str:
    """An integer of `10**-decimals` as decimal text without zeros at its end beyond `least` places."""
    whole, rest = divmod(units, 10**decimals)
    digits = f"{rest:0{decimals}d}" if decimals else ""
    return f"{whole}.{digits.rstrip('0').ljust(least, '0')}"
