"""What a run takes: the instruments it names, the hours they lack, cut into batches."""

from __future__ import annotations

from collections.abc import Sequence

from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import Batch
from gapless.domain.universe import by_market, resolve
from gapless.domain.window import HOUR_MS, Window, iso
from gapless.errors import NotYet
from gapless.exchanges.binance.clock import ExchangeClock
from gapless.pipeline.batches import cut, missing_windows
from gapless.pipeline.extract import SETTLE_MS
from gapless.pipeline.instruments import refresh_market
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.pipeline.watchlist import read_watchlist
from gapless.storage.mysql import load_coverage

UNKNOWN = "UNKNOWN"
"""The status of a name that exchangeInfo does not list. It is asked for all the same, so that the exchange says why."""


def plan_hour(rt: Runtime, window: Window, *, catch_up_hours: int) -> list[Batch]:
    """The batches of a scheduled run: the watchlist's series over `window` and what they lack of the hours before it.

    With `catch_up_hours` 0 the window alone is taken, whatever the receipts say.

    Raises:
        NotYet: the window is not over, or not yet settled, by the exchange's clock.
        ConfigError: the watchlist cannot be read.
    """
    watchlist = read_watchlist(rt.settings.symbols_file)
    batches: list[Batch] = []
    for market, spec in watchlist.symbols.items():
        info = refresh_market(rt, market)
        _require_settled(info.clock, market, window)
        instruments = choose(info.instruments, spec, market, window)
        if catch_up_hours:
            batches += _catch_up(rt, market, instruments, watchlist.intervals, window, catch_up_hours)
        else:
            batches += cut(market, instruments, watchlist.intervals, window)
    return sorted(batches, key=lambda batch: (batch.start_ms, batch.market, batch.symbols))


def plan_window(
    rt: Runtime, window: Window, *, market: Market | None, symbols: Sequence[str], intervals: Sequence[Interval] | None
) -> list[Batch]:
    """The batches of one window for named instruments, or for the watchlist when none are named.

    Args:
        market: the market of raw symbols, and the only one taken when given.
        symbols: unified or raw names, `all`, `all:USDT`.

    Raises:
        ConfigError: a raw symbol without a market, a symbol of another market, or an unreadable watchlist.
    """
    if symbols:
        specs = by_market(symbols, market)
        chosen = intervals or tuple(Interval)
    else:
        watchlist = read_watchlist(rt.settings.symbols_file)
        specs = {name: spec for name, spec in watchlist.symbols.items() if market in (None, name)}
        chosen = intervals or watchlist.intervals
    batches: list[Batch] = []
    for name, spec in specs.items():
        instruments = choose(refresh_market(rt, name).instruments, spec, name, window)
        batches += cut(name, instruments, chosen, window)
    return batches


def choose(known: Sequence[Instrument], spec: str, market: Market, window: Window) -> list[Instrument]:
    """The instruments that a specification names; a name nobody knows stays in, to end as a reported failure."""
    chosen, unknown = resolve(spec, known, market, window)
    return [*chosen, *(_unlisted(name, market) for name in unknown)]


def _unlisted(name: str, market: Market) -> Instrument:
    base, _, rest = name.partition("/")
    quote = rest.partition(":")[0]
    return Instrument(EXCHANGE, name, market, base + quote, base, quote, UNKNOWN)


def _catch_up(
    rt: Runtime,
    market: Market,
    instruments: Sequence[Instrument],
    intervals: Sequence[Interval],
    window: Window,
    hours: int,
) -> list[Batch]:
    wanted = Window(window.start_ms - hours * HOUR_MS, window.end_ms)
    receipts = load_coverage(rt.db, EXCHANGE, market, wanted, archived=True)
    by_symbol = {instrument.symbol: instrument for instrument in instruments}
    batches: list[Batch] = []
    for windows, symbols in missing_windows(wanted, by_symbol, intervals, receipts).items():
        lacking = [by_symbol[symbol] for symbol in symbols]
        for missing in windows:
            batches += cut(market, lacking, intervals, missing)
    return batches


def _require_settled(clock: ExchangeClock, market: Market, window: Window) -> None:
    early_ms = window.end_ms + SETTLE_MS - clock.now_ms()
    if early_ms > 0:
        raise NotYet(
            f"{market} {window} is not over: by the exchange's clock it is {iso(clock.now_ms())},"
            f" and bars are read {SETTLE_MS // 1000} s after they close",
            retry_after_s=early_ms / 1000,
        )
