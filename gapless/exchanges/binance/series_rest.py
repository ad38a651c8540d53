"""Funding and metrics of one instrument over REST, whole: pages asked for in turn, within the pools of their own.

Sources: reference 2.2 and 4. `fundingRate` takes startTime and endTime inclusively and, when there are more rows than
its limit, answers those from startTime on. The `/futures/data/` endpoints keep 30 days, refuse an older startTime
(-1130), and want both times with no more periods between than their limit.
"""

from __future__ import annotations

import asyncio

from gapless.domain.instrument import Market
from gapless.domain.schema import Source
from gapless.domain.window import DAY_MS, Window
from gapless.errors import ConfigError, ExchangeError
from gapless.exchanges.binance.funding import ParsedRows, read_funding_page, settlements
from gapless.exchanges.binance.metrics import ENDPOINTS, STEP_MS, end_labelled, join, read_points
from gapless.exchanges.binance.pools import FUNDING_POOL, FUTURES_DATA_POOL
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rows import Ledger
from gapless.exchanges.binance.symbols import EXCHANGE

FUNDING_PAGE = 1000
METRICS_PAGE = 500
METRICS_KEPT_MS = 30 * DAY_MS

_FUNDING = "fapiPublicGetFundingRate"
_CALLS = {name: f"fapiDataGet{name[0].upper()}{name[1:]}" for name in ENDPOINTS}
_JITTER_MS = 60_000  # asked for beyond the window on both sides, because a settlement's own time is not its nominal one
_MARGIN_MS = STEP_MS  # how far inside the 30 days a request begins: it takes a while to get there


async def fetch_funding(rest: BinanceRest, raw_symbol: str, symbol: str, window: Window) -> ParsedRows:
    """Every settlement whose nominal time lies in the window, special ones included; `interval_hours` is null.

    Costs one request of the funding pool for each 1,000 settlements, and no weight. A delivery contract has none.

    Raises:
        BadSymbol, RateLimited, Banned, ExchangeError: as `BinanceRest.call`.
        ConfigError: spot has no funding.
    """
    futures_only(rest, "funding")
    asked = funding_times(window)
    ledger = Ledger.of(symbol)
    at = asked.start_ms
    while at < asked.end_ms:
        rest_of = Window(at, asked.end_ms)
        about = f"funding of {raw_symbol} {rest_of}"
        page = Ledger.of(symbol)
        times, count = read_funding_page(await ask_funding(rest, raw_symbol, rest_of, about), page, raw_symbol, rest_of)
        if count < FUNDING_PAGE:
            add_page(ledger, page)
            break
        if not times:
            raise ExchangeError(
                f"binance {rest.market} {about}: a full page without one row of what was asked for; "
                "the exchange does not heed the request, try again later"
            )
        # Settlements of one moment (regular and special) may stand on both sides of the page's end: the last moment is
        # asked for again, unless it fills the page alone.
        last = max(times)
        again = last > min(times)
        add_page(ledger, page, before_ms=last if again else None)
        at = last if again else last + 1
    return settlements(ledger, EXCHANGE, Source.REST, window)


def funding_times(window: Window) -> Window:
    """The exchange's own times to ask for, so that no settlement is missed whose nominal time lies in the window."""
    # startTime=0 is ignored by the exchange, which then answers its newest rows
    return Window(max(1, window.start_ms - _JITTER_MS), max(2, window.end_ms + _JITTER_MS))


async def ask_funding(rest: BinanceRest, raw_symbol: str | None, asked: Window, about: str) -> str:
    """One page of settlements from the window's start on, of one symbol or (None) of all, as received."""
    named: dict[str, str | int] = {} if raw_symbol is None else {"symbol": raw_symbol}
    reply = await rest.call(
        _FUNDING,
        {**named, "startTime": asked.start_ms, "endTime": asked.end_ms - 1, "limit": FUNDING_PAGE},
        weight=0,
        also={FUNDING_POOL: 1},
        about=about,
        expects="array",
    )
    return reply.body


def add_page(ledger: Ledger, page: Ledger, before_ms: int | None = None) -> None:
    """Enter a page's rows; those at or after `before_ms` by the exchange's own time will come again."""
    rows = [row for row in page.taken if before_ms is None or row.sent_ms < before_ms]
    ledger.taken += rows
    ledger.rejected += page.rejected
    ledger.read += page.read - (len(page.taken) - len(rows))


async def fetch_metrics(rest: BinanceRest, raw_symbol: str, symbol: str, window: Window) -> ParsedRows:
    """What REST has of the five minutes that start in the window and are over, of the last 30 days.

    Five endpoints are read side by side and joined by the start of the five minutes; what one of them lacks is null.
    A window that lies outside the 30 days gives no rows and costs nothing. Costs a request of the pool for each 500
    five minutes and endpoint, and no weight.

    Raises:
        BadSymbol, RateLimited, Banned, ExchangeError: as `BinanceRest.call`.
        ConfigError: spot has no such metrics.
    """
    futures_only(rest, "metrics")
    ledgers = {endpoint: Ledger.of(symbol, endpoint) for endpoint in ENDPOINTS}
    tasks = [
        asyncio.create_task(_read_endpoint(rest, endpoint, raw_symbol, window, ledger))
        for endpoint, ledger in ledgers.items()
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return join(ledgers, EXCHANGE, symbol)


async def _read_endpoint(rest: BinanceRest, endpoint: str, raw_symbol: str, window: Window, ledger: Ledger) -> None:
    shift = STEP_MS if end_labelled(endpoint) else 0
    over_ms = _last_over(rest)
    at = _grid_up(window.start_ms)
    while True:
        at = max(at, _grid_up(rest.clock.now_ms() - METRICS_KEPT_MS + _MARGIN_MS))
        end = min(_grid_up(window.end_ms), over_ms, at + METRICS_PAGE * STEP_MS)
        if at >= end:
            return
        page = Window(at, end)
        try:
            reply = await rest.call(
                _CALLS[endpoint],
                {
                    "symbol": raw_symbol,
                    "period": "5m",
                    "startTime": at + shift,
                    "endTime": end - STEP_MS + shift,
                    "limit": METRICS_PAGE,
                },
                weight=0,
                also={FUTURES_DATA_POOL: 1},
                about=f"{endpoint} of {raw_symbol} {page}",
                expects="array",
            )
        except ExchangeError as error:
            # Waiting for the budget can outlast the margin; then the exchange no longer keeps what was asked for.
            if type(error) is ExchangeError and at + shift < rest.clock.now_ms() - METRICS_KEPT_MS:
                continue
            raise
        read_points(reply.body, ledger, endpoint, raw_symbol, page)
        at = end


def _last_over(rest: BinanceRest) -> int:
    """The end of the last five minutes that are over by the exchange's clock."""
    now = rest.clock.now_ms()
    return now - now % STEP_MS


def _grid_up(at_ms: int) -> int:
    return -(-at_ms // STEP_MS) * STEP_MS


def futures_only(rest: BinanceRest, what: str) -> None:
    """Raise ConfigError on spot, which has neither funding nor metrics."""
    if rest.market is not Market.UM:
        raise ConfigError(f"{what} exists on USD-M futures alone, not on {rest.market}: use --market um")
