"""The stored bars of some symbols as the daily rules want them: the day, and as much beside it as they need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Instrument
from gapless.domain.interval import Interval
from gapless.domain.schema import sort_bars
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.read import join_stores
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.quality.daily.columns import Columns, Mask
from gapless.storage.mysql import read_bars
from gapless.storage.mysql.archive import read_archive_days

_LONGEST_MS = 30 * DAY_MS
"""How far a neighbourhood reaches back at most: 1d bars would ask for months of the lake."""


def read_beside(
    rt: Runtime,
    symbols: Sequence[str],
    interval: Interval,
    day: Window,
    instruments: Mapping[str, Instrument],
    *,
    before: int,
    after: int,
) -> Columns:
    """The bars of a day, with so many bars of neighbourhood before and after it."""
    step = interval.ms
    start = day.start_ms - min(before * step, max(_LONGEST_MS, step))
    window = Window(start, day.end_ms + min(after * step, DAY_MS))
    return Columns(read_stored_bars(rt, symbols, interval, window), interval, day, instruments)


def read_settling(
    rt: Runtime,
    symbols: Sequence[str],
    interval: Interval,
    day: Window,
    instruments: Mapping[str, Instrument],
    settle: Callable[[Columns], Mask],
    *,
    before: int,
    after: int,
) -> tuple[Columns, Mask]:
    """The same, where much may be settled: a neighbourhood comes only to symbols that need one.

    Args:
        settle: says which rows are made of bars that were judged. A symbol whose day is settled, and whose last bar
            before the day is stored, comes with that bar alone.

    Returns:
        The bars, and which of them are settled.
    """
    close_by = read_beside(rt, symbols, interval, day, instruments, before=1, after=0)
    settled = settle(close_by)
    done = _done(close_by, settled)
    rest = [symbol for symbol in symbols if symbol not in done]
    if not rest:
        return close_by, settled
    more = read_beside(rt, rest, interval, day, instruments, before=before, after=after)
    chosen = np.array([symbol in done for symbol in close_by.symbols], np.bool_)
    kept = close_by.bars.filter(pa.array(chosen[close_by.series])) if len(close_by) else close_by.bars
    both = Columns(sort_bars(pa.concat_tables([kept, more.bars])), interval, day, instruments)
    return both, settle(both)


def _done(bars: Columns, settled: Mask) -> set[str]:
    """Symbols with the bar before the day, and nothing unsettled in the day."""
    have_last = set(np.unique(bars.series[bars.ts < bars.day.start_ms]).tolist())
    unsettled = set(np.unique(bars.series[bars.today & ~settled]).tolist())
    return {bars.symbols[number] for number in have_last - unsettled}


def read_stored_bars(rt: Runtime, symbols: Collection[str], interval: Interval, window: Window) -> pa.Table:
    """`gapless.pipeline.read.read_everywhere` of bars, asking the lake only for what its books know of.

    A series that MySQL holds every bar of has no more of them in the lake; nor has one of which the books of the lake
    know nothing in these days.

    Raises:
        StorageError: MySQL or the lake is away, or an object of the lake is damaged.
    """
    parts = []
    for month in window.split_months():
        # MySQL first, as in reading everywhere: rows leave it for the lake only.
        hot = read_bars(rt.db, sorted(symbols), [interval], month, exchange=EXCHANGE)
        short = _short(hot, symbols, len(interval.opens(month)))
        if short:
            days = read_archive_days(rt.db, Dataset.OHLCV, EXCHANGE, month, short, [interval])
            short = sorted(set(days["symbol"].to_pylist()))
        if short:
            cold = rt.lake.read(month, symbols=short, intervals=[interval], exchange=EXCHANGE)
            hot = join_stores(hot, cold)
        parts.append(hot)
    return sort_bars(pa.concat_tables(parts)) if len(parts) > 1 else parts[0]


def _short(bars: pa.Table, symbols: Collection[str], whole: int) -> list[str]:
    counted = bars["symbol"].value_counts()
    rows = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    return [symbol for symbol in sorted(symbols) if rows.get(symbol, 0) < whole]
