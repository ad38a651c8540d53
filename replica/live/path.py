"""Where the top of an instrument's book stands: a function of seed and time, beside the bars' own price path.

Prices are counted in **cells**: bands of `spacing` ticks with one possible price each. A book has at most one level a
cell, so that a coin of a million ticks and one of a thousand have books of like depth.
"""

from __future__ import annotations

import numpy as np

from replica.bars import MINUTE_MS
from replica.market import GeneratedMarket
from replica.noise import stream_key
from replica.universe import Listing

MOVE_MS = 100
"""The top of a book moves at most this often."""

_CELLS = 200_000
"""A base price is about so many cells from zero, so that one is 0.05 basis points."""

_CHUNK = 64
_MASK = (1 << 64) - 1
_JITTER = (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, -1, 1, -1, 2)
_TEXTS = 20_000


def mix(key: int, position: int) -> int:
    """A 64-bit word for a position of a stream (the finaliser of splitmix64), as `noise.words` makes them."""
    mixed = (position * 0x9E3779B97F4A7C15 + key) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


class PricePath:
    """Cells by time, and the text of prices and quantities of one instrument."""

    def __init__(self, market: GeneratedMarket, listing: Listing) -> None:
        self._market = market
        self._listing = listing
        self._key = int(stream_key(market.seed, listing.market.value, listing.raw_symbol, "live"))
        self._spacing = max(1, listing.base_ticks // _CELLS)
        self._chunks: dict[int, list[int]] = {}
        self._texts: dict[int, str] = {}
        self._eights = int(listing.tick_units * 10 ** (8 - listing.price_decimals))
        scale = listing.scale
        self._price_one, self._price_form = _form(scale.price, scale.pad)
        self._quantity_one, self._quantity_form = _form(scale.quantity, scale.pad)
        self.phase_ms = self._key % MOVE_MS

    def cell(self, at_ms: int) -> int:
        """The cell of the best bid at a moment; the best ask is in the next."""
        step = (at_ms - self.phase_ms) // MOVE_MS
        at_ms = step * MOVE_MS + self.phase_ms
        return max(2, self._ticks(at_ms) // self._spacing + _JITTER[mix(self._key, step) & 15])

    def units(self, cell: int) -> int:
        """The price of a cell in units of the listing's price; it rises with the cell."""
        spacing = self._spacing
        return (cell * spacing + (cell * 0x9E3779B1 >> 8) % spacing) * self._listing.tick_units

    def price(self, cell: int) -> str:
        """The price of a cell, as on the wire."""
        text = self._texts.get(cell)
        if text is None:
            if len(self._texts) >= _TEXTS:
                self._texts.clear()
            text = self._texts[cell] = self.price_text(self.units(cell))
        return text

    def price_text(self, units: int) -> str:
        one = self._price_one
        return self._price_form % (divmod(units, one) if one > 1 else units)

    def quantity(self, units: int) -> str:
        """A quantity, as on the wire."""
        one = self._quantity_one
        return self._quantity_form % (divmod(units, one) if one > 1 else units)

    def mid_eight(self, at_ms: int) -> int:
        """The price between, in units of 10**-8."""
        return self._ticks(at_ms) * self._eights

    def _ticks(self, at_ms: int) -> int:
        minute, past_ms = divmod(at_ms, MINUTE_MS)
        chunk, at = divmod(minute, _CHUNK)
        opens = self._chunks.get(chunk)
        if opens is None:
            if len(self._chunks) >= 4:
                self._chunks.clear()
            minutes = np.arange(chunk * _CHUNK, (chunk + 1) * _CHUNK + 1, dtype=np.int64)
            opens = (self._market.prices(self._listing, minutes) // self._listing.tick_units).tolist()
            self._chunks[chunk] = opens
        return opens[at] + (opens[at + 1] - opens[at]) * past_ms // MINUTE_MS


def eight(units: int) -> str:
    """Units of 10**-8 as text with eight places."""
    whole, rest = divmod(units, 10**8)
    return f"{whole}.{rest:08d}"


def _form(decimals: int, pad: int) -> tuple[int, str]:
    """The number of units in one, and the template of their text."""
    if decimals == 0:
        return 1, "%d." + "0" * pad if pad else "%d"
    return 10**decimals, f"%d.%0{decimals}d" + "0" * (max(pad, decimals) - decimals)
