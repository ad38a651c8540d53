"""Where the replica's bars come from: one interface over generated and recorded markets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window
from replica.bars import INTERVAL_MS, Bars, concat, render_rows
from replica.csv_text import kline_csv
from replica.info import Symbol, SymbolFacts, spot_symbol, um_symbol
from replica.market import GeneratedMarket
from replica.query import KlineQuery
from replica.refusal import invalid_symbol
from replica.series import GeneratedSeries, Series
from replica.universe import PERPETUAL_SENTINEL_MS, Listing

_FAR_MS = 4_102_444_800_000  # 2100-01-01


class Source(Protocol):
    """Bars and instruments of both markets at a moment of exchange time."""

    @property
    def mark(self) -> str:
        """What exchangeInfo carries under `gaplessReplica`: the seed, or `recorded`."""

    @property
    def series(self) -> Series:
        """Funding and the five-minute series."""

    def symbols(self, market: Market, now_ms: int) -> Mapping[str, Symbol]:
        """The symbol objects listed now, by raw symbol."""

    def archive_symbols(self, market: Market) -> list[str]:
        """Every raw symbol that the archive may have files of, the dead and the unborn included, sorted."""

    def archive_span(self, market: Market, symbol: str, interval: str) -> Window | None:
        """From the first to the last UTC day of which there are bars; a far future day where it goes on."""

    def archived(self, market: Market, symbol: str, interval: str, period: Window) -> bool:
        """Whether the archive has a file of this month or day, once it is published."""

    def archive_csv(self, market: Market, symbol: str, interval: str, period: Window, *, micros: bool) -> bytes:
        """The lines of a month's or day's file, without a header, as the exchange would have copied them when they were
        new: restatements are not in it."""

    def recorded_below(self, folder: str) -> list[str]:
        """The archive paths of recordings directly in a folder of the archive, sorted."""

    def recorded_zip(self, path: str) -> Path | None:
        """The recording of an archive file, where there is one to be served byte for byte."""

    def halts(self, market: Market, window: Window) -> list[Window]:
        """When the market's engine is known to have stood still, in order, as far as it meets the window."""

    def rows(self, query: KlineQuery, now_ms: int) -> list[str]:
        """The rows that answer a klines request, oldest first, as JSON text; the last may be the still-open bar.

        Raises:
            Refusal: -1121 for a symbol that the market does not know now.
        """


class GeneratedSource:
    """The generated market behind the interface."""

    def __init__(self, market: GeneratedMarket, universe: tuple[Listing, ...]) -> None:
        self.market, self.universe = market, universe
        self._market = market
        self.series: Series = GeneratedSeries(market, universe)
        self._listings = {(listing.market, listing.raw_symbol): listing for listing in universe}
        self._events = sorted(
            {at for listing in universe for at in (listing.listed_ms, listing.delisted_ms) if at is not None}
        )
        self._listed = lru_cache(maxsize=8)(self._symbols_after)

    @property
    def mark(self) -> str:
        return self._market.seed

    def symbols(self, market: Market, now_ms: int) -> Mapping[str, Symbol]:
        # Nothing changes between two listings or delistings, so the objects are made once for each such stretch.
        return self._listed(market, max((at for at in self._events if at <= now_ms), default=0))

    def halts(self, market: Market, window: Window) -> list[Window]:
        days = range(window.start_ms // DAY_MS, -(-window.end_ms // DAY_MS))
        found = (self._market.halt(market, day) for day in days)
        return [halt for halt in found if halt is not None and halt.intersect(window) is not None]

    def archive_symbols(self, market: Market) -> list[str]:
        return sorted(symbol for of, symbol in self._listings if of is market)

    def archive_span(self, market: Market, symbol: str, interval: str) -> Window | None:
        listing = self._listings.get((market, symbol))
        if listing is None:
            return None
        gone_ms = listing.delisted_ms if market is Market.SPOT else None
        end_ms = _FAR_MS if gone_ms is None else gone_ms
        return Window(listing.listed_ms // DAY_MS * DAY_MS, -(-end_ms // DAY_MS) * DAY_MS)

    def archived(self, market: Market, symbol: str, interval: str, period: Window) -> bool:
        span = self.archive_span(market, symbol, interval)
        return span is not None and span.intersect(period) is not None

    def archive_csv(self, market: Market, symbol: str, interval: str, period: Window, *, micros: bool) -> bytes:
        listing, step = self._listings[market, symbol], INTERVAL_MS[interval]
        bars = self._market.bars(listing, step, period.start_ms, period.end_ms)
        return kline_csv(bars, step, listing.scale, micros=micros)

    def recorded_below(self, folder: str) -> list[str]:
        return []

    def recorded_zip(self, path: str) -> Path | None:
        return None

    def rows(self, query: KlineQuery, now_ms: int) -> list[str]:
        listing = self._listings.get((query.market, query.symbol))
        if listing is None or not listing.exists(now_ms):
            raise invalid_symbol()
        step = query.interval_ms
        # Bars that have opened by now and whose open time lies in the bounds; the bar of this moment is still open.
        open_ms = now_ms - now_ms % step
        first = max(query.start_ms or 0, listing.listed_ms - listing.listed_ms % step)
        last = open_ms if query.end_ms is None else min(query.end_ms, open_ms)
        running = self._market.open_bar(listing, step, now_ms) if first <= open_ms <= last else None
        end = min(last + 1, open_ms)
        if query.start_ms is not None or first + query.limit * step >= end:
            bars = self._oldest(listing, step, first, end, query.limit)
            if query.start_ms is None:
                bars = bars.tail(query.limit)
        else:
            bars = self._newest(listing, step, first, end, query.limit)
        if running is not None:
            bars = concat((bars, running))
            bars = bars.head(query.limit) if query.start_ms is not None else bars.tail(query.limit)
        return render_rows(bars, step, listing.scale, micros=query.micros)

    def _oldest(self, listing: Listing, step: int, first: int, end: int, limit: int) -> Bars:
        parts: list[Bars] = []
        while first < end and limit > 0:
            stop = min(end, first + limit * step)
            part = self._market.bars(listing, step, first, stop).head(limit)
            parts.append(part)
            first, limit = stop, limit - len(part)
        return concat(parts)

    def _newest(self, listing: Listing, step: int, first: int, end: int, limit: int) -> Bars:
        parts: list[Bars] = []
        while first < end and limit > 0:
            start = max(first, end - limit * step)
            part = self._market.bars(listing, step, start, end).tail(limit)
            parts.insert(0, part)
            end, limit = start, limit - len(part)
        return concat(parts)

    def _symbols_after(self, market: Market, event_ms: int) -> dict[str, Symbol]:
        make = um_symbol if market is Market.UM else spot_symbol
        return {
            listing.raw_symbol: make(_facts(listing, event_ms))
            for (of, _), listing in self._listings.items()
            if of is market and listing.exists(event_ms)
        }


def _facts(listing: Listing, now_ms: int) -> SymbolFacts:
    status = listing.status(now_ms)
    settled = status == "SETTLING" and listing.delisted_ms is not None
    return SymbolFacts(
        raw_symbol=listing.raw_symbol,
        base=listing.base,
        quote=listing.quote,
        status=status,
        price_decimals=listing.price_decimals,
        tick_units=listing.tick_units,
        quantity_decimals=listing.quantity_decimals,
        onboard_ms=listing.listed_ms,
        delivery_ms=listing.delisted_ms if settled and listing.delisted_ms else PERPETUAL_SENTINEL_MS,
        underlying=listing.underlying,
    )
