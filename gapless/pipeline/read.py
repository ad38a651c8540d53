"""Stored rows read back, MySQL and lake as one: where both hold a row, MySQL's counts."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.keys import opens_by_series, row_keys
from gapless.domain.schema import OHLCV
from gapless.domain.window import Window
from gapless.pipeline.holes import holes_of
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql.archive import read_archive_span
from gapless.storage.mysql.days import table_months
from gapless.storage.mysql.pieces import read_plain
from gapless.storage.mysql.span import read_span

_READERS = 3
"""Months that are read at the same time: while the server writes text for one, the other is parsed or decoded."""


def read_everywhere(
    rt: Runtime, dataset: Dataset, symbols: Collection[str], intervals: Iterable[Interval] | None, window: Window
) -> pa.Table:
    """The stored rows with a `ts` in the window, as the dataset's schema, in canonical order, each once.

    Right at every moment of a month's way from MySQL to the lake, or back: MySQL is asked first, and rows leave it only
    after the lake was proved to hold them. The lake is not asked for what MySQL holds every grid point of. The window
    is held in memory whole: for long ones take `iter_everywhere`.

    Args:
        intervals: of bars; None for datasets without.

    Raises:
        StorageError: MySQL or the lake is away, or an object of the lake is damaged.
    """
    hot, cold = read_apart(rt, dataset, symbols, intervals, window)
    return join_stores(hot, cold, SHAPES[dataset])


def read_apart(
    rt: Runtime, dataset: Dataset, symbols: Collection[str], intervals: Iterable[Interval] | None, window: Window
) -> tuple[pa.Table, pa.Table]:
    """What MySQL holds of the window, and what the lake holds where MySQL has holes; `join_stores` makes them one.

    The lake's may hold some that MySQL holds too. Both in no order.

    Raises:
        StorageError: MySQL or the lake is away, or an object of the lake is damaged.
    """
    pieces = list(_read_months(rt, _asked(dataset, symbols, intervals), window))
    return pa.concat_tables([hot for hot, _ in pieces]), pa.concat_tables([cold for _, cold in pieces])


def iter_everywhere(
    rt: Runtime, dataset: Dataset, symbols: Collection[str], intervals: Iterable[Interval] | None, window: Window
) -> Iterator[pa.Table]:
    """`read_everywhere` a month at a time, oldest first; months without any are left out. Memory: five months.

    Raises:
        StorageError: MySQL or the lake is away, or an object of the lake is damaged.
    """
    shape = SHAPES[dataset]
    for hot, cold in _read_months(rt, _asked(dataset, symbols, intervals), window):
        if hot.num_rows or cold.num_rows:
            yield join_stores(hot, cold, shape)


def iter_bars(rt: Runtime, symbol: str, interval: Interval, window: Window) -> Iterator[pa.Table]:
    """The same of the bars of one series.

    Only months between the first and the last stored bar are asked for, so the window may be as long as one likes.
    """
    span = stored_span(rt, symbol, interval)
    asked = span.intersect(window) if span else None
    if asked is not None:
        yield from iter_everywhere(rt, Dataset.OHLCV, [symbol], [interval], asked)


def read_newest(rt: Runtime, symbol: str, interval: Interval, limit: int, window: Window) -> pa.Table:
    """The newest `limit` stored bars of a series that open in the window, oldest first."""
    span = stored_span(rt, symbol, interval)
    asked = span.intersect(window) if span else None
    found: list[pa.Table] = []
    for month in reversed(list(asked.split_months())) if asked else ():
        found.insert(0, read_everywhere(rt, Dataset.OHLCV, [symbol], [interval], month))
        if sum(bars.num_rows for bars in found) >= limit:
            break
    bars = pa.concat_tables([OHLCV.empty_table(), *found])
    return bars.slice(max(0, bars.num_rows - limit))


def read_opens_everywhere(
    rt: Runtime, symbols: Sequence[str], interval: Interval, window: Window
) -> dict[str, npt.NDArray[np.int64]]:
    """The open times (ms, ascending, each once) that either store holds, of every symbol that has any."""
    bars = read_everywhere(rt, Dataset.OHLCV, symbols, [interval], window)
    return {symbol: opens for (symbol, _), opens in opens_by_series(SHAPES[Dataset.OHLCV], bars).items()}


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


def join_stores(hot: pa.Table, cold: pa.Table, shape: Shape = SHAPES[Dataset.OHLCV]) -> pa.Table:
    """All of `hot`, and of `cold` the rows that `hot` lacks, in canonical order. Pure; each has a row once.

    Args:
        hot, cold: of one exchange, in any order; further columns than the shape's are carried along.
    """
    held, kept = row_keys(shape, [hot, cold], f"{shape.dataset} of two stores", by_name=True)
    rows, keys = hot, held
    if len(kept):
        in_order = held if (held[1:] > held[:-1]).all() else np.sort(held)
        if len(held):
            lacking = in_order[np.minimum(np.searchsorted(in_order, kept), len(in_order) - 1)] != kept
            if not lacking.all():
                cold, kept = cold.filter(pa.array(lacking)), kept[lacking]
        # Most often one lies before the other: then nothing need be sorted.
        pair = [(hot, held), (cold, kept)]
        if len(held) and len(kept) and kept[-1] < held[0]:
            pair.reverse()
        rows, keys = pa.concat_tables([table for table, _ in pair]), np.concatenate([each for _, each in pair])
    if (keys[1:] > keys[:-1]).all():
        return rows
    return rows.combine_chunks().take(pa.array(np.argsort(keys, kind="stable")))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is read, of whatever window."""

    dataset: Dataset
    symbols: tuple[str, ...]
    intervals: tuple[Interval | None, ...]

    @property
    def shape(self) -> Shape:
        return SHAPES[self.dataset]


def _asked(dataset: Dataset, symbols: Collection[str], intervals: Iterable[Interval] | None) -> _Asked:
    wanted: tuple[Interval | None, ...] = (None,) if intervals is None else tuple(dict.fromkeys(intervals))
    return _Asked(dataset, tuple(sorted(set(symbols))), wanted)


def _read_months(rt: Runtime, asked: _Asked, window: Window) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Both stores' rows of each month that the window touches, oldest first; no month is read far ahead."""
    pieces = list(_pieces(rt, asked, window)) if asked.symbols and asked.intervals else []
    if not pieces:
        yield asked.shape.schema.empty_table(), asked.shape.schema.empty_table()
    if len(pieces) <= 1:
        yield from (_both(rt, asked, *piece) for piece in pieces)
        return
    with ThreadPoolExecutor(_READERS, "read") as pool:
        running: deque[Future[tuple[pa.Table, pa.Table]]] = deque()
        for piece in pieces:
            running.append(pool.submit(_both, rt, asked, *piece))
            if len(running) > _READERS:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _pieces(rt: Runtime, asked: _Asked, window: Window) -> Iterator[tuple[Window, pa.Table | None]]:
    """The window by months, each with MySQL's rows where they were asked for together.

    Before the table's oldest month and beyond its newest there is one partition each, empty but for an accident: one
    question for all of their months.
    """
    for part in table_months(rt.db, asked.dataset, window):
        months = list(part.split_months())
        hot = _hot(rt, asked, part) if len(months) > 1 else None
        for month in months:
            yield month, None if hot is None else _within(hot, month)


def _both(rt: Runtime, asked: _Asked, window: Window, hot: pa.Table | None) -> tuple[pa.Table, pa.Table]:
    # MySQL first: rows only ever leave it for the lake, after the lake was verified, so that a row on its way is seen
    # in one of the two, never in neither.
    if hot is None:
        hot = _hot(rt, asked, window)
    parts = [asked.shape.schema.empty_table()]
    for interval in asked.intervals:
        mine = hot if len(asked.intervals) == 1 else hot.filter(pc.equal(hot["interval"], str(interval)))
        step_ms = interval.ms if interval is not None else asked.shape.step_ms
        for stretch, symbols in holes_of(mine, asked.symbols, step_ms, window):
            parts.append(_cold(rt, asked.dataset, symbols, interval, stretch))
    return hot, pa.concat_tables(parts)


def _hot(rt: Runtime, asked: _Asked, window: Window) -> pa.Table:
    return read_plain(rt.db, asked.shape, EXCHANGE, asked.symbols, asked.intervals, window)


def _cold(rt: Runtime, dataset: Dataset, symbols: Sequence[str], interval: Interval | None, window: Window) -> pa.Table:
    if interval is None:
        return rt.lake.read_rows(dataset, window, symbols, exchange=EXCHANGE)
    return rt.lake.read(window, symbols=symbols, intervals=[interval], exchange=EXCHANGE)


def _within(rows: pa.Table, window: Window) -> pa.Table:
    if not rows.num_rows:
        return rows
    ts = rows["ts"].cast(pa.int64())
    return rows.filter(pc.and_(pc.greater_equal(ts, window.start_ms), pc.less(ts, window.end_ms)))
