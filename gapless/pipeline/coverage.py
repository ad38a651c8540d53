"""How complete the store is: MySQL and lake as one, counted by day where that is enough and bar by bar where not."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.grid import Opens
from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Failure
from gapless.domain.universe import by_market, resolve
from gapless.domain.window import DAY_MS, Window, from_ms, iso
from gapless.errors import ExchangeError
from gapless.exchanges.binance.connect import connect
from gapless.pipeline.calendar import Allowance, Ledger, MonthRow, Panel, months_of
from gapless.pipeline.counting import Covered, CoveredSeries, StoredDays, examine, percent
from gapless.pipeline.instruments import refresh_market
from gapless.pipeline.read import read_opens_everywhere, stored_span
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.pipeline.watchlist import read_watchlist
from gapless.storage.mysql import Gap, Life, count_days, read_gaps, read_instruments, read_lives
from gapless.storage.mysql.archive import read_archive_days
from gapless.storage.mysql.instruments import last_seen_ms

BEGINNING_MS = 1_483_228_800_000
"""2017-01-01: the exchange opened in July of that year."""

_FOR_EVER_MS = 1 << 52
_SYMBOLS_AT_ONCE = 50
_CLOCK_WAIT_S = 5.0


class CoverageReport(msgspec.Struct, frozen=True):
    """How complete the named series are, as the command line prints it.

    Attributes:
        until: bars that had closed by then, on the exchange's clock, are counted; ISO 8601.
        expected, present, unfillable, missing, outside: sums over the series.
        percent: of all of them together, cut to six decimals.
        months: the same bars by market, interval and month.
        errors: names that no instrument answers to.
    """

    until: str
    expected: int
    present: int
    unfillable: int
    missing: int
    percent: float
    outside: int
    series: tuple[CoveredSeries, ...]
    months: tuple[MonthRow, ...] = ()
    errors: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """What a coverage report was summed from, day by day.

    Attributes:
        panels: one a market and interval; all of the same days.
    """

    report: CoverageReport
    panels: tuple[Panel, ...]


def measure_coverage(
    rt: Runtime,
    *,
    market: Market | None = None,
    symbols: Sequence[str] = (),
    intervals: Sequence[Interval] = ALL_INTERVALS,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> CoverageReport:
    """Count what is stored of what should be; see `measure_days`, which this is without the days."""
    return measure_days(
        rt, market=market, symbols=symbols, intervals=intervals, start_ms=start_ms, end_ms=end_ms
    ).report


def measure_days(
    rt: Runtime,
    *,
    market: Market | None = None,
    symbols: Sequence[str] = (),
    intervals: Sequence[Interval] = ALL_INTERVALS,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> Picture:
    """Count what is stored of what should be, of each series, month and day, in one pass.

    Args:
        symbols: unified or raw names, `all`, `all:USDT`; empty: the watchlist and all else that anything is stored of.
        start_ms: None: each series from the beginning of its life.
        end_ms: None: until now by the exchange's clock. Bars that are not closed are never expected.

    Raises:
        ConfigError: a raw symbol without a market, or an unreadable watchlist.
        StorageError: MySQL or the lake is away.
    """
    until_ms = known_time(rt, market, enough_ms=end_ms)
    window = Window(BEGINNING_MS if start_ms is None else start_ms, until_ms if end_ms is None else end_ms)
    chosen, errors = _chosen(rt, symbols, market, window)
    ledger = Ledger(window)
    rows = []
    for symbol, covered in _series(rt, chosen, intervals, window, until_ms, whole_life=start_ms is None):
        ledger.add(symbol, covered.interval, covered.days())
        rows.append(covered.series(symbol))
    panels = ledger.panels()
    expected, present = sum(each.expected for each in rows), sum(each.present for each in rows)
    unfillable = sum(each.unfillable for each in rows)
    report = CoverageReport(
        until=iso(min(until_ms, window.end_ms)),
        expected=expected,
        present=present,
        unfillable=unfillable,
        missing=expected - present - unfillable,
        percent=percent(expected, present, unfillable),
        outside=sum(each.outside for each in rows),
        series=tuple(rows),
        months=months_of(panels, Allowance(rt.settings.missing_allowed_percent)),
        errors=tuple(errors),
    )
    return Picture(report, panels)


def known_time(rt: Runtime, market: Market | None, *, enough_ms: int | None) -> int:
    """The exchange's clock: asked where the books do not know enough, taken from them where it cannot be asked.

    Args:
        enough_ms: a moment that is known to be past when the books say a later one; None: now is wanted.
    """
    seen = [last_seen_ms(rt.db, EXCHANGE, each) for each in ([market] if market else Market)]
    recorded = max((each for each in seen if each is not None), default=None)
    if recorded is not None and enough_ms is not None and enough_ms <= recorded:
        return recorded
    try:
        return ask_clock(rt, market or Market.UM)
    except ExchangeError as error:
        if recorded is None:
            raise
        rt.say(f"the exchange's clock cannot be read ({error}); counted until {iso(recorded)}, when it was last asked")
        return recorded


def ask_clock(rt: Runtime, market: Market = Market.UM) -> int:
    """The exchange's time, ms; asked once, for a few seconds.

    Raises:
        ExchangeError: it did not answer, or this address is banned or has no budget left.
    """
    return asyncio.run(_ask_clock(rt, market))


async def _ask_clock(rt: Runtime, market: Market) -> int:
    client = connect(
        market,
        rt.settings.rest_url(market),
        control_url=rt.settings.control_url,
        var_dir=rt.settings.var_dir,
        budget_share=rt.settings.budget_share,
        max_wait_s=_CLOCK_WAIT_S,
        timeout_s=_CLOCK_WAIT_S,
        attempts=1,
    )
    async with client as rest:
        return rest.clock.now_ms()


def _chosen(
    rt: Runtime, symbols: Sequence[str], market: Market | None, window: Window
) -> tuple[dict[str, bool], list[Failure]]:
    """Symbols to look at, each with whether it is shown even when nothing is stored of it; and names unknown."""
    known = _instruments(rt, market)
    if symbols:
        specs = by_market(symbols, market)
    else:
        watched = read_watchlist(rt.settings.symbols_file).symbols
        specs = {name: spec for name, spec in watched.items() if market in (None, name)}
    chosen: dict[str, bool] = {}
    errors: list[Failure] = []
    for name, spec in specs.items():
        found, unknown = resolve(spec, known, name, window)
        chosen.update({each.symbol: True for each in found})
        errors += [
            Failure(each, "", str(window), "bad_symbol", f"{name} has no instrument of that name on record")
            for each in unknown
        ]
    if not symbols:
        chosen = {each.symbol: False for each in known if market in (None, each.market)} | chosen
    return chosen, errors


def _instruments(rt: Runtime, market: Market | None) -> list[Instrument]:
    known = read_instruments(rt.db, EXCHANGE, market)
    if known:
        return known
    return [each for name in ([market] if market else Market) for each in refresh_market(rt, name).instruments]


def _series(
    rt: Runtime,
    chosen: Mapping[str, bool],
    intervals: Sequence[Interval],
    window: Window,
    until_ms: int,
    *,
    whole_life: bool,
) -> Iterator[tuple[str, Covered]]:
    lives = read_lives(rt.db, EXCHANGE)
    ordered = sorted(chosen)
    for at in range(0, len(ordered), _SYMBOLS_AT_ONCE):
        symbols = ordered[at : at + _SYMBOLS_AT_ONCE]
        stored = _stored(rt, symbols, intervals, window)
        ragged = _ragged(rt, stored)
        gaps = _gaps(rt, symbols, intervals, window)
        for symbol in symbols:
            if not chosen[symbol] and not any((symbol, interval) in stored for interval in intervals):
                continue
            fallback = None if whole_life else window
            expected_in = _lives(rt, symbol, lives.get(symbol, ()), fallback)
            for interval in intervals:
                closed_ms = min(window.end_ms, interval.floor(until_ms))
                key = (symbol, interval)
                covered = examine(
                    interval,
                    Window(window.start_ms, closed_ms) if window.start_ms < closed_ms else None,
                    lives=expected_in,
                    stored=stored.get(key, StoredDays()),
                    ragged=ragged.get(key, np.empty(0, np.int64)),
                    gaps=gaps.get(key, ()),
                )
                yield symbol, covered


_Key = tuple[str, Interval]


def _stored(
    rt: Runtime, symbols: Sequence[str], intervals: Sequence[Interval], window: Window
) -> dict[_Key, StoredDays]:
    days = Window(window.start_ms - window.start_ms % DAY_MS, window.end_ms + -window.end_ms % DAY_MS)
    # MySQL first, as in reading bars: rows leave it for the lake only.
    hot = _by_series(count_days(rt.db, Dataset.OHLCV, EXCHANGE, days, symbols, intervals))
    cold = _by_series(read_archive_days(rt.db, Dataset.OHLCV, EXCHANGE, days, symbols, intervals))
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64))
    return {
        key: StoredDays(*hot.get(key, nothing), *cold.get(key, nothing)) for key in sorted(hot.keys() | cold.keys())
    }


def _by_series(days: pa.Table) -> dict[_Key, tuple[Opens, Opens]]:
    """Day numbers and rows of each series, by day."""
    if days.num_rows == 0:
        return {}
    days = days.sort_by([("symbol", "ascending"), ("interval", "ascending"), ("day", "ascending")]).combine_chunks()
    symbols, intervals = days["symbol"].to_pylist(), days["interval"].to_pylist()
    codes = np.asarray(days["symbol"].combine_chunks().dictionary_encode().indices)
    labels = np.asarray(days["interval"].combine_chunks().dictionary_encode().indices)
    new = np.concatenate(([True], (codes[1:] != codes[:-1]) | (labels[1:] != labels[:-1])))
    starts = np.flatnonzero(new).tolist()
    numbers = days["day"].cast(pa.int32()).cast(pa.int64()).to_numpy()
    rows = days["rows"].cast(pa.int64()).to_numpy()
    return {
        (symbols[start], Interval(intervals[start])): (numbers[start:end], rows[start:end])
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)
    }


def _ragged(rt: Runtime, stored: Mapping[_Key, StoredDays]) -> dict[_Key, Opens]:
    """The open times of the days that no store holds whole, read from both, a day of all symbols at a time."""
    wanted: dict[tuple[Interval, int], list[str]] = defaultdict(list)
    for (symbol, interval), days in stored.items():
        for day in days.split(interval)[1].tolist():
            wanted[interval, day].append(symbol)
    found: dict[_Key, list[Opens]] = defaultdict(list)
    for interval, stretch, symbols in _together(wanted):
        for symbol, opens in read_opens_everywhere(rt, symbols, interval, stretch).items():
            found[symbol, interval].append(opens)
    return {key: np.concatenate(parts) for key, parts in found.items()}


def _together(wanted: Mapping[tuple[Interval, int], list[str]]) -> Iterator[tuple[Interval, Window, list[str]]]:
    """Days one after another that the same symbols are wanted of, as one stretch inside a month; in order of time."""
    running: tuple[Interval, int, int, list[str]] | None = None
    for (interval, day), symbols in sorted(wanted.items(), key=lambda item: item[0]):
        if running is not None:
            before, first, last, names = running
            first_of_month = from_ms(day * DAY_MS).day == 1
            if before is interval and last + 1 == day and names == symbols and not first_of_month:
                running = (interval, first, day, names)
                continue
            yield before, Window(first * DAY_MS, (last + 1) * DAY_MS), names
        running = (interval, day, day, symbols)
    if running is not None:
        yield running[0], Window(running[1] * DAY_MS, (running[2] + 1) * DAY_MS), running[3]


def _gaps(rt: Runtime, symbols: Sequence[str], intervals: Sequence[Interval], window: Window) -> dict[_Key, list[Gap]]:
    found: dict[_Key, list[Gap]] = defaultdict(list)
    for gap in read_gaps(rt.db, EXCHANGE, Dataset.OHLCV, window, symbols, intervals):
        found[gap.symbol, Interval(gap.interval)].append(gap)
    return found


def _lives(rt: Runtime, symbol: str, lives: Iterable[Life], fallback: Window | None) -> list[Window]:
    """Where bars are expected. A beginning that the exchange does not tell is the first bar that is stored; where none
    is, all that was asked for (`fallback`), or nothing when no window was."""
    windows = []
    for life in lives:
        start_ms = life.listed_ms
        if start_ms is None:
            start_ms = _first_stored(rt, symbol)
        if start_ms is None:
            start_ms = None if fallback is None else fallback.start_ms
        end_ms = _FOR_EVER_MS if life.delisted_ms is None else life.delisted_ms
        if start_ms is not None and start_ms < end_ms:
            windows.append(Window(start_ms, end_ms))
    return windows


def _first_stored(rt: Runtime, symbol: str) -> int | None:
    """Open time of the first bar that is stored of any interval."""
    firsts = []
    for interval in ALL_INTERVALS:
        span = stored_span(rt, symbol, interval)
        if span is None:
            continue
        day = Window(span.start_ms, span.start_ms - span.start_ms % DAY_MS + DAY_MS)
        opens = read_opens_everywhere(rt, [symbol], interval, day).get(symbol)
        firsts.append(span.start_ms if opens is None else int(opens[0]))
    return min(firsts, default=None)
