"""How a run of open times is asked for most cheaply: pages of klines, each with its request weight. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gapless.domain.instrument import Market

PAGE_ROWS = {Market.SPOT: 1000, Market.UM: 499}
"""Rows a page, cheapest by weight: spot charges 2 for any limit up to 1000, USD-M charges 2 for up to 499."""


@dataclass(frozen=True, slots=True)
class Page:
    """One klines request. `limit` is the number of grid points it spans, so that the answer cannot be cut short.

    Attributes:
        start_ms: open time of the first bar asked for.
        end_ms: last millisecond of the last bar; the exchange compares it with open times, inclusively.
    """

    start_ms: int
    end_ms: int
    limit: int
    weight: int


def kline_weight(market: Market, limit: int) -> int:
    """Request weight of one klines call: flat on spot, by limit on USD-M."""
    if market is Market.SPOT:
        return 2
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


def plan_pages(market: Market, opens: range) -> Iterator[Page]:
    """The pages that ask for every open time of `opens` (its step is the interval, in ms), in order."""
    rows = PAGE_ROWS[market]
    for first in range(0, len(opens), rows):
        part = opens[first : first + rows]
        yield Page(part[0], part[-1] + opens.step - 1, len(part), kline_weight(market, len(part)))
