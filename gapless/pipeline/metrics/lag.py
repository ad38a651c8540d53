"""How far the stored bars are behind the exchange: the age of the oldest closed bar that is not stored.

What is looked at: the bars that closed in the last 48 hours (what the hourly run still catches up by itself), and where
nothing is stored at that border, the whole run of missing bars that crosses it. A hole that lies wholly before is a
gap, which the gap log knows and other metrics tell; it says nothing of how recent the store is (docs/decisions/0096).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.universe import resolve
from gapless.domain.window import HOUR_MS, Window, merge
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.pipeline.watchlist import read_watchlist
from gapless.storage.mysql import read_gaps, read_instruments
from gapless.storage.mysql.gap_states import UNFILLABLE
from gapless.storage.mysql.runs import Run, read_newest_before, read_opens_by_symbol, read_runs

HORIZON_MS = 48 * HOUR_MS

_Unfillable = Mapping[tuple[str, Interval], Sequence[Window]]


@dataclass(frozen=True, slots=True)
class Lag:
    """The worst of a market's bars of one interval.

    Attributes:
        lag_ms: since the close of the oldest bar that is not stored; 0 when all are.
        symbol: whose bar that is; empty when there is none.
        series: how many were looked at.
    """

    market: Market
    interval: Interval
    lag_ms: int
    symbol: str
    series: int


class LagWatch:
    """Remembers which bar of each series is due next, so that a look at 3,600 series asks only for those bars."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, Interval], int] = {}

    def measure(self, rt: Runtime, now_ms: int) -> list[Lag]:
        """The lag of the trading instruments of the watchlist, by market and interval.

        Args:
            now_ms: the exchange's clock.

        Raises:
            ConfigError: the watchlist cannot be read.
            StorageError: MySQL is away.
        """
        watched = read_watchlist(rt.settings.symbols_file)
        known = read_instruments(rt.db, EXCHANGE)
        followed = {
            market: [each for each in resolve(spec, known, market)[0] if each.trading]
            for market, spec in watched.symbols.items()
        }
        everyone = [each for group in followed.values() for each in group]
        unfillable = _unfillable(rt, now_ms)
        standing = {(each.symbol, interval) for each in everyone for interval in watched.intervals}
        self._due = {key: due for key, due in self._due.items() if key in standing}
        for interval in watched.intervals:
            self._look(rt, everyone, interval, now_ms, unfillable)
        return [
            self._worst(market, interval, group, now_ms)
            for market, group in followed.items()
            for interval in watched.intervals
            if group
        ]

    def _worst(self, market: Market, interval: Interval, group: Sequence[Instrument], now_ms: int) -> Lag:
        due_ms, symbol = min((self._due[each.symbol, interval], each.symbol) for each in group)
        lag_ms = now_ms - (due_ms + interval.ms)
        behind = lag_ms >= 0 and due_ms < interval.floor(now_ms)
        return Lag(market, interval, lag_ms if behind else 0, symbol if behind else "", len(group))

    def _look(
        self, rt: Runtime, everyone: Sequence[Instrument], interval: Interval, now_ms: int, unfillable: _Unfillable
    ) -> None:
        """Move every series' due bar to the oldest one that is closed and not stored, or to the next to close."""
        border, closed = interval.ceil(now_ms - HORIZON_MS - interval.ms), interval.floor(now_ms)
        due = {symbol: at for (symbol, each), at in self._due.items() if each is interval}
        fresh = [each for each in everyone if each.symbol not in due]
        due |= _begin(rt, fresh, interval, border, closed)
        due |= _crossing(rt, {symbol: at for symbol, at in due.items() if at < border}, interval, border)
        moving = due
        while moving:
            skipped = {
                symbol: _skip(at, interval, unfillable.get((symbol, interval), ())) for symbol, at in moving.items()
            }
            due |= skipped
            moving = _advance(rt, {s: at for s, at in skipped.items() if at < closed}, interval, closed)
            due |= moving
        for symbol, at in due.items():
            self._due[symbol, interval] = at


def _begin(rt: Runtime, fresh: Sequence[Instrument], interval: Interval, border: int, closed: int) -> dict[str, int]:
    """The first bar to look for of series that were not followed yet.

    That of the border, or of the listing when that is younger. Where it is not stored: the one after the newest stored
    bar before it; where there is none either, the collection begins with the first bar that is stored.
    """
    due = {
        each.symbol: border if each.listed_ms is None else max(border, interval.floor(each.listed_ms)) for each in fresh
    }
    old = [symbol for symbol, at in due.items() if at == border]
    there = read_runs(rt.db, EXCHANGE, old, interval, Window(border, border + interval.ms))
    absent = [symbol for symbol in old if symbol not in there]
    before = read_newest_before(rt.db, EXCHANGE, absent, interval, border)
    later = read_runs(rt.db, EXCHANGE, set(absent) - set(before), interval, Window(border, closed))
    due |= {symbol: at + interval.ms for symbol, at in before.items()}
    due |= {symbol: run.first_ms for symbol, run in later.items()}
    return due


def _crossing(rt: Runtime, due: Mapping[str, int], interval: Interval, border: int) -> dict[str, int]:
    """Of bars due before the border: still the run of missing bars that crosses it, or nothing before it any more."""
    found: dict[str, int] = {}
    for at, symbols in _together(due):
        runs = read_runs(rt.db, EXCHANGE, symbols, interval, Window(at, border + interval.ms))
        found |= {symbol: min(run.last_ms + interval.ms, border) for symbol, run in runs.items()}
    return found


def _advance(rt: Runtime, due: Mapping[str, int], interval: Interval, closed: int) -> dict[str, int]:
    """The new due bar of those whose due bar is stored by now; the others are absent."""
    moved: dict[str, int] = {}
    for at, symbols in _together(due):
        stored = read_runs(rt.db, EXCHANGE, symbols, interval, Window(at, at + interval.ms))
        if not stored:
            continue
        window = Window(at, closed)
        runs = read_runs(rt.db, EXCHANGE, stored, interval, window)
        ragged = {symbol for symbol, run in runs.items() if not run.whole(interval.ms)}
        opens = read_opens_by_symbol(rt.db, EXCHANGE, ragged, interval, window)
        for symbol, run in runs.items():
            moved[symbol] = _first_hole(at, opens[symbol], interval) if symbol in ragged else _after(run, interval)
    return moved


def _after(run: Run, interval: Interval) -> int:
    return run.last_ms + interval.ms


def _first_hole(at: int, opens: Collection[int], interval: Interval) -> int:
    while at in opens:
        at += interval.ms
    return at


def _skip(at: int, interval: Interval, unfillable: Sequence[Window]) -> int:
    """The bar itself, or the first one after those that the exchange does not have."""
    number = bisect_right(unfillable, at, key=lambda window: window.start_ms) - 1
    inside = number >= 0 and at in unfillable[number]
    return interval.ceil(unfillable[number].end_ms) if inside else at


def _together(due: Mapping[str, int]) -> Iterator[tuple[int, list[str]]]:
    """Symbols whose due bars open at one time, oldest first."""
    groups: dict[int, list[str]] = defaultdict(list)
    for symbol, at in due.items():
        groups[at].append(symbol)
    yield from sorted(groups.items())


def _unfillable(rt: Runtime, now_ms: int) -> dict[tuple[str, Interval], list[Window]]:
    window = Window(now_ms - 2 * HORIZON_MS, now_ms)
    found: dict[tuple[str, Interval], list[Window]] = defaultdict(list)
    for gap in read_gaps(rt.db, EXCHANGE, Dataset.OHLCV, window, states=[UNFILLABLE]):
        found[gap.symbol, Interval(gap.interval)].append(gap.window)
    return {key: merge(windows) for key, windows in found.items()}
