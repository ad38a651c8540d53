"""Stored bars read back, MySQL and lake as one: where both hold a bar, MySQL's counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.keys import row_keys
from gapless.domain.schema import OHLCV, sort_bars
from gapless.domain.window import Window
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import read_bars
from gapless.storage.mysql.archive import read_archive_span
from gapless.storage.mysql.span import read_span


def read_bars_everywhere(
    rt: Runtime, symbols: Sequence[str], intervals: Iterable[Interval], window: Window
) -> pa.Table:
    """The stored bars that open in the window, as `gapless.domain.schema.OHLCV`, in canonical order, each once.

    The window is held in memory whole: for long ones take `iter_bars`.

    Raises:
        StorageError: MySQL or the lake is away, or an object of the lake is damaged.
    """
    wanted = list(dict.fromkeys(intervals))
    months = [_both(rt, symbols, wanted, month) for month in window.split_months()]
    return sort_bars(pa.concat_tables(months)) if len(months) > 1 else months[0]


def iter_bars(rt: Runtime, symbol: str, interval: Interval, window: Window) -> Iterator[pa.Table]:
    """The same of one series, a month at a time, oldest first; months without any are left out.

    Only months between the first and the last stored bar are asked for, so the window may be as long as one likes.
    """
    span = stored_span(rt, symbol, interval)
    asked = span.intersect(window) if span else None
    for month in asked.split_months() if asked else ():
        bars = _both(rt, [symbol], [interval], month)
        if bars.num_rows:
            yield bars


def read_newest(rt: Runtime, symbol: str, interval: Interval, limit: int, window: Window) -> pa.Table:
    """The newest `limit` stored bars of a series that open in the window, oldest first."""
    span = stored_span(rt, symbol, interval)
    asked = span.intersect(window) if span else None
    found: list[pa.Table] = []
    for month in reversed(list(asked.split_months())) if asked else ():
        found.insert(0, _both(rt, [symbol], [interval], month))
        if sum(bars.num_rows for bars in found) >= limit:
            break
    bars = pa.concat_tables([OHLCV.empty_table(), *found])
    return bars.slice(max(0, bars.num_rows - limit))


def read_opens_everywhere(
    rt: Runtime, symbols: Sequence[str], interval: Interval, window: Window
) -> dict[str, npt.NDArray[np.int64]]:
    """The open times (ms, ascending, each once) that either store holds, of every symbol that has any."""
    bars = _both(rt, symbols, [interval], window)
    names, ts = bars["symbol"].combine_chunks(), bars["ts"].cast(pa.int64()).to_numpy()
    if not len(names):
        return {}
    order = names.dictionary_encode()
    codes = np.asarray(order.indices)
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))  # canonical order: symbols lie together
    return {
        order.dictionary[int(codes[start])].as_py(): part
        for start, part in zip(starts, np.split(ts, starts[1:]), strict=True)
    }


def stored_span(rt: Runtime, symbol: str, interval: Interval) -> Window | None:
    """From the first to the last stored bar of a series, in the lake by whole days; None: none is stored."""
    spans = (
        read_span(rt.db, EXCHANGE, symbol, interval),
        read_archive_span(rt.db, "ohlcv", EXCHANGE, symbol, str(interval)),
    )
    found = [span for span in spans if span is not None]
    if not found:
        return None
    return Window(min(span.start_ms for span in found), max(span.end_ms for span in found))


def _both(rt: Runtime, symbols: Sequence[str], intervals: Sequence[Interval], window: Window) -> pa.Table:
    # MySQL first: rows only ever leave it for the lake, after the lake was verified, so that a bar on its way is seen
    # in one of the two, never in neither.
    hot = read_bars(rt.db, symbols, intervals, window, exchange=EXCHANGE)
    cold = rt.lake.read(window, symbols=symbols, intervals=intervals, exchange=EXCHANGE)
    return join_stores(hot, cold)


def join_stores(hot: pa.Table, cold: pa.Table, shape: Shape = SHAPES[Dataset.OHLCV]) -> pa.Table:
    """All of `hot`, and of `cold` the rows that `hot` lacks, in canonical order. Pure; each has a row once."""
    if cold.num_rows == 0:
        return hot
    held, kept = row_keys(shape, [hot, cold], "stores")
    if len(held):
        in_order = np.sort(held)
        lacking = in_order[np.minimum(np.searchsorted(in_order, kept), len(in_order) - 1)] != kept
        if not lacking.any():
            return hot
        cold = cold.filter(pa.array(lacking))
    return pa.concat_tables([hot, cold]).sort_by([(name, "ascending") for name in shape.key])
