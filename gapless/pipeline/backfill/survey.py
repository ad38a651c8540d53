"""What a request means today: which series, how long they lived, what of them is left to do."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gapless.config import BINANCE_VISION
from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import Failure
from gapless.domain.universe import by_market, resolve
from gapless.domain.window import Window, from_ms, month_start, next_month, to_ms
from gapless.errors import BadSymbol, ConfigError, OriginMismatch
from gapless.pipeline.backfill.pieces import FOR_EVER_MS, Piece, Series, Settled, Store, cut_series
from gapless.pipeline.backfill.request import BackfillRequest
from gapless.pipeline.retention.rules import hot_since
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.pipeline.watchlist import read_watchlist
from gapless.storage.mysql import (
    Life,
    SeriesMonth,
    read_instruments,
    read_lives,
    read_series_months,
)
from gapless.storage.mysql.exports import restored_months
from gapless.storage.mysql.instruments import last_seen_ms

# The exchange's and the archive's clients are imported where they are needed: a run that finds nothing to do is done
# before they would be.

METRICS_BEGIN_MS = to_ms(from_ms(0).replace(year=2020, month=9))
"""The first day of metrics in the archive (reference 10.1)."""

SETTLE_MS = {Dataset.OHLCV: 15_000, Dataset.FUNDING: 60_000, Dataset.METRICS: 900_000}
"""How far the exchange's clock must be past a row: bars are final seconds late, metrics appear minutes late."""


@dataclass(frozen=True)
class Survey:
    """A request resolved.

    Attributes:
        window: the request's, as far as it has begun; None when it has not.
        closed_ms: bars that closed by then are taken.
        now_ms: the exchange's clock; of a survey of the books alone, when they were last told of it.
        series: everything asked for that lives in the window.
        pieces: what is left to do.
        settled: the ledger of those series, by series, month and store.
        failures: names that nothing answers to.
    """

    window: Window | None
    closed_ms: int
    now_ms: int
    series: tuple[Series, ...]
    pieces: tuple[Piece, ...]
    settled: dict[tuple[str, str], dict[tuple[int, Store], Settled]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    def window_of(self, series: Series) -> Window | None:
        """The open times that are asked for and over, of one series."""
        return None if self.window is None else _over(series, self.window, self.closed_ms)


def survey(rt: Runtime, request: BackfillRequest) -> Survey:
    """Resolve a request. What the books settle altogether costs the exchange no request.

    Raises:
        ConfigError: the request names nothing, or a market without the dataset.
        ExchangeError: the exchange had to be asked and did not answer. OriginMismatch: it is another one.
    """
    specs = _specs(rt, request)
    return _from_books(rt, request, specs) or _from_exchange(rt, request, specs)


def ledger_of(rt: Runtime, dataset: Dataset, market: Market, window: Window) -> list[SeriesMonth]:
    """The ledger's rows of the months that a window touches."""
    hull = Window(month_start(window.start_ms), next_month(window.end_ms - 1))
    return read_series_months(rt.db, str(dataset), EXCHANGE, market, hull)


def _specs(rt: Runtime, request: BackfillRequest) -> dict[Market, str]:
    market = request.market
    if request.dataset is not Dataset.OHLCV:
        if market is Market.SPOT:
            raise ConfigError(f"{request.dataset} exists for perpetuals alone: leave --market out, or say um")
        market = Market.UM
    if request.symbols:
        return by_market(request.symbols, market)
    listed = read_watchlist(rt.settings.symbols_file).symbols
    found = {name: spec for name, spec in listed.items() if market in (None, name)}
    if not found:
        raise ConfigError("the watchlist holds no symbols of this market: name some with --symbols")
    return found


def _from_books(rt: Runtime, request: BackfillRequest, specs: dict[Market, str]) -> Survey | None:
    """The survey if the books alone settle it: all of the window was looked at before, and nothing is left.

    Valid when the window ends before the market's instruments were last listed: no listing since then can meet it.
    """
    window = request.window
    oldest_ms = FOR_EVER_MS
    series: list[Series] = []
    settled: dict[tuple[str, str], dict[tuple[int, Store], Settled]] = {}
    for market, spec in specs.items():
        seen_ms = last_seen_ms(rt.db, EXCHANGE, market)
        if seen_ms is None or seen_ms < window.end_ms:
            return None
        oldest_ms = min(oldest_ms, seen_ms)
        chosen, unknown = resolve(spec, read_instruments(rt.db, EXCHANGE, market), market, window)
        lives = read_lives(rt.db, EXCHANGE, market)
        found = [each for one in chosen for each in _series_of(request, one, lives.get(one.symbol, ()))]
        if unknown or any(not each.first_known for each in found):
            return None
        series += found
        settled |= _settled(rt, request, market, window)
    every = [
        (each, over, settled.get((each.symbol, each.label), {}))
        for each in series
        if (over := _over(each, window, FOR_EVER_MS)) is not None
    ]
    if request.into == "auto":
        # Where a month belongs depends on the day; that it is whole somewhere is all that matters here.
        left = [piece for each, over, known in every for piece in _left_anywhere(each, over, known)]
    else:
        store: Store = request.into
        left = [piece for each, over, known in every for piece in cut_series(each, over, store_of=store, settled=known)]
    if left:
        return None
    return Survey(window, FOR_EVER_MS, oldest_ms, tuple(series), (), settled)


def _one_origin(rt: Runtime, origin: str) -> None:
    """A generated market and the exchange's own archive are never mixed; files carry no mark of where they are from.

    Raises:
        OriginMismatch: REST is a replica's and the archive is not.
    """
    if origin.startswith("replica:") and rt.settings.binance_vision_url == BINANCE_VISION:
        raise OriginMismatch(
            f"REST answers as {origin}, but the archive is the exchange's own ({BINANCE_VISION}): real bars would be "
            "mixed into generated ones. Set GAPLESS_BINANCE_VISION_URL to the replica's (its ready line names it), or "
            "use --source rest"
        )


def _over(series: Series, window: Window, closed_ms: int) -> Window | None:
    """Bars that open in the window and had closed by `closed_ms`; one that opens just before the end belongs to it."""
    step = series.step_ms or 1
    end_ms = min(window.end_ms + -window.end_ms % step, closed_ms - closed_ms % step)
    return Window(window.start_ms, end_ms) if end_ms > window.start_ms else None


def _left_anywhere(series: Series, window: Window, known: dict[tuple[int, Store], Settled]) -> list[Piece]:
    return cut_series(series, window, store_of="lake", settled=known, either_store=True)


def _from_exchange(rt: Runtime, request: BackfillRequest, specs: dict[Market, str]) -> Survey:
    from gapless.pipeline.backfill.lifetimes import find_the_dead, guess_instruments, learn_listings
    from gapless.pipeline.instruments import refresh_market

    series: list[Series] = []
    pieces: list[Piece] = []
    settled: dict[tuple[str, str], dict[tuple[int, Store], Settled]] = {}
    failures: list[Failure] = []
    now_ms = closed_ms = 0
    begun: Window | None = None
    for market, spec in specs.items():
        listing = refresh_market(rt, market)
        if request.source != "rest":
            _one_origin(rt, listing.origin)
        now_ms = listing.clock.now_ms()
        closed_ms = now_ms - SETTLE_MS[request.dataset]
        if closed_ms <= request.start_ms:
            continue
        window = begun = Window(request.start_ms, min(request.end_ms, closed_ms))
        if "all" in spec and request.source != "rest":
            asyncio.run(find_the_dead(rt, market, listing.instruments))
        known = read_instruments(rt.db, EXCHANGE, market)
        chosen, unknown = resolve(spec, known, market, window)
        guessed, unnameable = guess_instruments(unknown, market, known)
        failures += [_unknown(name, market, window) for name in unnameable]
        if request.source != "vision":
            asyncio.run(learn_listings(rt, market, chosen))
        lives = read_lives(rt.db, EXCHANGE, market)
        mine = [each for one in chosen for each in _series_of(request, one, lives.get(one.symbol, ()))]
        mine += [each for one in guessed for each in _series_of(request, one, ())]
        done = _settled(rt, request, market, window)
        windows = [(each, _over(each, request.window, closed_ms)) for each in mine]
        asked = [(each, over) for each, over in windows if over is not None]
        pieces += _pieces(rt, request, asked, done, now_ms)
        series += mine
        settled |= done
    return Survey(begun, closed_ms, now_ms, tuple(series), tuple(pieces), settled, tuple(failures))


def _pieces(
    rt: Runtime,
    request: BackfillRequest,
    asked: Sequence[tuple[Series, Window]],
    done: Mapping[tuple[str, str], dict[tuple[int, Store], Settled]],
    now_ms: int,
) -> Iterator[Piece]:
    """What each series' window is cut into, and which store each piece goes to."""
    hot_ms = hot_since(rt.settings, request.dataset, now_ms)
    # What was brought back counts in MySQL until it leaves again: a later value must not be hidden behind it.
    back = {month.start_ms for month in restored_months(rt.db, request.dataset)} if request.into == "auto" else set()
    for series, over in asked:
        settled = done.get((series.symbol, series.label), {})
        if request.into != "auto":
            yield from cut_series(series, over, store_of=request.into, settled=settled)
            continue
        months = [month_start(month.start_ms) for month in over.split_months()]
        stores: dict[int, Store] = {at: "mysql" if at >= hot_ms or at in back else "lake" for at in months}
        yield from cut_series(series, over, store_of=stores, settled=settled, either_store=True)


def _series_of(request: BackfillRequest, instrument: Instrument, lives: Sequence[Life]) -> list[Series]:
    known = [life for life in lives if life.listed_ms is not None or life.delisted_ms is not None]
    begin_ms = METRICS_BEGIN_MS if request.dataset is Dataset.METRICS else 0
    spans = [(max(begin_ms, life.listed_ms or 0), life.delisted_ms or FOR_EVER_MS, life.raw_symbol) for life in known]
    lived = [(Window(start_ms, end_ms), raw_symbol) for start_ms, end_ms, raw_symbol in spans if end_ms > start_ms]
    if known and not lived:
        return []
    first_known = bool(known) and known[0].listed_ms is not None
    last_known = bool(lives)
    intervals: Iterable[Interval | None] = request.intervals if request.dataset is Dataset.OHLCV else (None,)
    return [
        Series(
            request.dataset,
            instrument.market,
            instrument.symbol,
            interval,
            tuple(window for window, _ in lived) or (Window(begin_ms, FOR_EVER_MS),),
            tuple(raw_symbol for _, raw_symbol in lived) or (instrument.raw_symbol,),
            first_known,
            last_known,
        )
        for interval in intervals
    ]


def _settled(
    rt: Runtime, request: BackfillRequest, market: Market, window: Window
) -> dict[tuple[str, str], dict[tuple[int, Store], Settled]]:
    found: dict[tuple[str, str], dict[tuple[int, Store], Settled]] = defaultdict(dict)
    for row in ledger_of(rt, request.dataset, market, window):
        store: Store = "mysql" if row.store == "mysql" else "lake"
        counts = (row.expected, row.present, row.unfillable, row.outside)
        found[row.symbol, row.interval][row.month_ms, store] = Settled(row.window, counts, row.state == "whole")
    return dict(found)


def _unknown(name: str, market: Market, window: Window) -> Failure:
    message = f"{EXCHANGE} {market} {name} {window}: not listed, and no base and quote can be told; write BASE/QUOTE"
    return Failure(name, "", str(window), BadSymbol.kind, message)


__all__ = ["Survey", "ledger_of", "survey"]
