"""Is every row of the month in the lake, as the lake reads back? Sums first; what they do not settle, row by row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.keys import millis_of
from gapless.domain.schema import knowledge
from gapless.domain.totals import SeriesKey, SeriesTotals, disagreeing
from gapless.pipeline.export.bring import lake_months
from gapless.pipeline.runtime import Runtime
from gapless.quality.compare import compare
from gapless.storage.lake.totals import MonthContents
from gapless.storage.mysql.departing import MonthRows
from gapless.storage.mysql.partitions import Month
from gapless.storage.mysql.restatements import restated_since


@dataclass(frozen=True, slots=True)
class Proof:
    """The lake's answer.

    Attributes:
        contents: the month's objects as they were read back, one entry an interval.
        totals: of every series that the lake holds of the month.
        held: of every series that the server holds, in the same snapshot.
        beside: rows of these series that the lake holds and the server does not.
        outranked: rows of which the lake keeps a better source's word, or a later one.
        lacking: series of which a row is not in the lake, or not as it should be.
    """

    contents: tuple[MonthContents, ...]
    totals: Mapping[SeriesKey, SeriesTotals]
    held: Mapping[SeriesKey, SeriesTotals]
    beside: int
    outranked: int
    lacking: tuple[SeriesKey, ...]

    @property
    def rows(self) -> int:
        """How many rows the server holds."""
        return sum(totals.rows for totals in self.held.values())


def prove(
    rt: Runtime,
    rows: MonthRows,
    dataset: Dataset,
    month: Month,
    series: Collection[SeriesKey],
    *,
    since_ms: int,
) -> Proof:
    """Read the month's objects back from the store and hold them against the server's own sums of the same snapshot.

    A series whose count, bounds and exact sums are the same is proved. One that differs is read from both and compared
    row by row: the lake may hold more, know better, or have been told of a later value.

    Args:
        series: those that the server holds.
        since_ms: when the export began. A value that was restated since is the lake's to say.

    Raises:
        Damaged: an object of the lake cannot be read; `uri` says which.
        StorageError: a store is away.
    """
    lake: dict[SeriesKey, SeriesTotals] = {}
    contents = []
    with ThreadPoolExecutor(1, "totals") as server:
        adding = server.submit(rows.totals)  # the server adds up while the lake is read
        for lake_month in lake_months(dataset, month, series):
            found = rt.lake.read_back(lake_month)
            contents.append(found)
            lake.update(found.totals)
        held = adding.result()
    beside = outranked = 0
    lacking = []
    for key in disagreeing(held, lake):
        settled = _row_by_row(rt, rows, SHAPES[dataset], month, key, since_ms)
        beside, outranked = beside + settled.beside, outranked + settled.outranked
        if not settled.whole:
            lacking.append(key)
    return Proof(tuple(contents), lake, held, beside, outranked, tuple(lacking))


@dataclass(frozen=True, slots=True)
class _Settled:
    whole: bool
    beside: int
    outranked: int


def _row_by_row(rt: Runtime, rows: MonthRows, shape: Shape, month: Month, key: SeriesKey, since_ms: int) -> _Settled:
    exchange, symbol, label = key
    if shape.dataset is Dataset.OHLCV:
        interval = Interval(label)
        ours = _all(shape, rows.pieces(exchange, [symbol], interval, month.window))
        theirs = rt.lake.read(month.window, symbols=[symbol], intervals=[interval], exchange=exchange)
    else:
        ours = _all(shape, rows.pieces(exchange, [symbol], None, month.window))
        theirs = rt.lake.read_rows(shape.dataset, month.window, [symbol], exchange=exchange)
        if shape.label:
            ours, theirs = (table.filter(pc.equal(table[shape.label], label)) for table in (ours, theirs))
    found = compare(shape, theirs, ours)
    better = _ranks(theirs, found.stored_as) > _ranks(ours, found.different)
    if not better.all():
        later = restated_since(rt.db, shape.dataset, exchange, symbol, label, month.window, since_ms)
        times = millis_of(ours["ts"])[found.different]
        better |= np.isin(times, np.array(sorted(later), np.int64))
    whole = not len(found.missing) and not len(found.told) and bool(better.all())
    return _Settled(whole, len(found.extra), int(better.sum()))


def _all(shape: Shape, pieces: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([shape.schema.empty_table(), *pieces])


def _ranks(rows: pa.Table, places: np.ndarray) -> np.ndarray:
    codes = rows["source"].take(pa.array(places)).to_pylist()
    return np.array([knowledge(code) for code in codes], np.int64)
