"""Funding of all symbols in one walk: `fundingRate` asked without a symbol, a few requests a day instead of hundreds.

That the endpoint answers for all symbols when none is named, ascending from startTime, is documented (its `symbol` is
optional) and was not observed here. So the answer is believed only while it behaves so, and whatever does not is
`NotInBulk`: the caller asks for each symbol by itself, which is the same truth for more requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from gapless.domain.schema import Source
from gapless.domain.window import DAY_MS, HOUR_MS, Window, iso
from gapless.errors import NotInBulk
from gapless.exchanges.binance.funding import FundingPage, ParsedRows, read_funding_page_of_all, settlements
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import (
    FUNDING_PAGE,
    add_page,
    ask_funding,
    funding_times,
    futures_only,
)
from gapless.exchanges.binance.series_rows import Ledger
from gapless.exchanges.binance.symbols import EXCHANGE

STRAYS = ""
"""The key of rows that name no symbol."""

_SETTLEMENTS_A_DAY = 4
"""Of a middling symbol: most settle every eight or four hours. For planning alone."""


async def fetch_funding_of_all(rest: BinanceRest, symbols: Mapping[str, str], window: Window) -> dict[str, ParsedRows]:
    """Every settlement of these symbols whose nominal time lies in the window, as `fetch_funding` gives each of them.

    Costs one request of the funding pool for each 1,000 settlements of **all** symbols of the exchange and one more to
    see the end, and no weight. Nothing is stored of what is asked for in vain: a settlement that is not in this answer
    is no proof that the exchange has none; before it is called unfillable, ask `fetch_funding` for its symbol.

    Args:
        symbols: unified symbols by raw symbol; rows of others are passed over.

    Returns:
        By raw symbol, all that were asked for; rows that name no symbol are rejected under `STRAYS`, where there are
        any.

    Raises:
        NotInBulk: more settlements of one moment than a page holds, or the exchange does not answer for all symbols at
            once. Ask for each symbol by itself.
        RateLimited, Banned, ExchangeError: as `BinanceRest.call`.
        ConfigError: spot has no funding.
    """
    futures_only(rest, "funding")
    asked = funding_times(window)
    ledgers = {raw_symbol: Ledger.of(symbol) for raw_symbol, symbol in symbols.items()}
    strays = Ledger.of(STRAYS)
    seen: set[str] = set()
    at, ended = asked.start_ms, False
    while at < asked.end_ms:
        rest_of = Window(at, asked.end_ms)
        about = f"funding of all symbols {rest_of}"
        page = read_funding_page_of_all(await ask_funding(rest, None, rest_of, about), symbols, rest_of)
        _expect_heeded(page, rest_of, f"binance {rest.market} {about}")
        seen |= page.symbols
        if ended and page.count:
            raise NotInBulk(f"binance {rest.market} {about}: a page of fewer than {FUNDING_PAGE} rows was not the last")
        if page.count < FUNDING_PAGE:
            _take(ledgers, strays, page)
            if not page.times:
                break
            at, ended = max(page.times) + 1, True  # asked once more: an exchange with shorter pages would go on here
            continue
        last = max(page.times)
        if last == min(page.times):
            raise NotInBulk(
                f"binance {rest.market} {about}: {page.count} settlements at {iso(last)} fill a page alone, and there "
                "is no way to ask for those beyond it"
            )
        _take(ledgers, strays, page, before_ms=last)
        at = last
    if len(symbols) > 1 and len(seen) < 2:
        raise NotInBulk(
            f"binance {rest.market} funding of all symbols {asked}: {len(symbols)} symbols were asked for, and "
            f"{'only ' + next(iter(seen)) if seen else 'none'} was answered"
        )
    found = {raw: settlements(ledger, EXCHANGE, Source.REST, window) for raw, ledger in ledgers.items()}
    if strays.rejected:
        found[STRAYS] = settlements(strays, EXCHANGE, Source.REST, window)
    return found


def bulk_pays(symbols: int, listed: int, window: Window) -> bool:
    """Whether asking for all of the exchange's `listed` symbols costs fewer requests than for these few by themselves.

    Pure; from what symbols usually settle (see `bulk_requests`). Never where one moment may fill a page.
    """
    return listed < FUNDING_PAGE and bulk_requests(listed, window) < symbols * _requests_of_one(window)


def bulk_requests(listed: int, window: Window) -> int:
    """About how many requests `fetch_funding_of_all` costs on an exchange with `listed` symbols, fewer than a page."""
    kept = max(1, FUNDING_PAGE - listed // 2)  # of a page: its last moment is asked for again
    return 2 + listed * max(1, _SETTLEMENTS_A_DAY * window.length_ms // DAY_MS) // kept


def _requests_of_one(window: Window) -> int:
    """How many requests one symbol costs by itself: of most, a settlement every eight hours."""
    return 1 + window.length_ms // (8 * HOUR_MS) // FUNDING_PAGE


def _expect_heeded(page: FundingPage, asked: Window, what: str) -> None:
    """Raise unless the page is what was asked for: in order, and of the time asked for."""
    if any(later < earlier for earlier, later in pairwise(page.times)):
        raise NotInBulk(f"{what}: the rows do not ascend in time")
    stray = next((at for at in page.times if at not in asked), None)
    if stray is not None:
        raise NotInBulk(f"{what}: a settlement of {iso(stray)} was not asked for")
    if page.count >= FUNDING_PAGE and (len(page.symbols) < 2 or not page.times):
        raise NotInBulk(f"{what}: a full page of {next(iter(page.symbols), 'nobody')} alone")


def _take(ledgers: Mapping[str, Ledger], strays: Ledger, page: FundingPage, before_ms: int | None = None) -> None:
    """Enter a page's rows; those at or after `before_ms` will come again."""
    for raw_symbol, part in page.ledgers.items():
        add_page(ledgers[raw_symbol], part, before_ms)
    add_page(strays, page.strays, before_ms)
