"""Rows of a month into the lake: each object merged, read back, and entered into the books."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.totals import SeriesKey
from gapless.pipeline.export.request import Watch
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import ObjectReceipt, layout, uri_of
from gapless.storage.lake.arriving import Arrival
from gapless.storage.mysql import log_lake_restatements, put_archive_receipts
from gapless.storage.mysql.archive import archived_bytes
from gapless.storage.mysql.departing import Mark, MonthRows
from gapless.storage.mysql.partitions import Month

_WRITERS = 2
"""Objects that are under way at the same time."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What a pass over the rows did to the lake.

    Attributes:
        objects: those that hold rows of the month.
    """

    objects: tuple[ObjectReceipt, ...]

    @property
    def written(self) -> int:
        """How many of them were made or replaced."""
        return sum(receipt.written for receipt in self.objects)


def lake_months(dataset: Dataset, month: Month, series: Collection[SeriesKey]) -> dict[layout.Month, tuple[str, ...]]:
    """The lake's months that series lie in, with the symbols of each: bars of each interval have one of their own."""
    found: dict[layout.Month, set[str]] = defaultdict(set)
    for exchange, symbol, label in series:
        interval = Interval(label) if dataset is Dataset.OHLCV else None
        found[layout.Month(dataset, exchange, interval, month.start_ms)].add(symbol)
    return {each: tuple(sorted(symbols)) for each, symbols in sorted(found.items(), key=lambda pair: pair[0].prefix)}


@contextmanager
def side_by_side(rt: Runtime, rows: MonthRows, dataset: Dataset, month: Month, mark: Mark) -> Iterator[list[MonthRows]]:
    """A second reader of the same rows, where it can be had: its own snapshot, which sees the same mark.

    Args:
        rows: a snapshot of the month's partition. mark: what it sees.
    """
    with MonthRows.open(rt.db, dataset, month) as other:
        yield [rows, other] if other.mark() == mark else [rows]


def bring(
    rt: Runtime,
    readers: Sequence[MonthRows],
    dataset: Dataset,
    month: Month,
    series: Mapping[SeriesKey, int],
    watch: Watch,
    *,
    damaged: Collection[str] = (),
) -> Brought:
    """Merge the rows of some series into the lake, object by object. Done again, it writes nothing.

    An object that holds all of them already is compared row by row and left as it is; any other is replaced whole and
    read back. Values that change in the lake, and those of lesser sources that it refuses, are in `restatement`.

    Args:
        readers: the month as one snapshot has it; several (`side_by_side`) see the same rows and are read at once.
        series: which of its series, and how many rows each has.
        damaged: addresses of objects that cannot be read: they are kept aside and made anew. `series` must be all then.

    Raises:
        LakeShrink: an object would lose rows. Damaged: one cannot be read.
        StorageError: a store is away, or the spool's disk is full. Objects that were written stay; MySQL is as it was.
    """
    known = archived_bytes(rt.db, str(dataset), month.window)
    total, done = sum(series.values()), 0
    found: list[ObjectReceipt] = []
    free: SimpleQueue[MonthRows] = SimpleQueue()
    for reader in readers:
        free.put(reader)

    def one(lake_month: layout.Month, arrival: Arrival) -> ObjectReceipt | None:
        uri = uri_of(rt.lake.store, arrival.target.key)
        with _Turns(free, lake_month, arrival) as turns:
            return rt.lake.bring(
                arrival,
                turns.pieces,
                known_sha256=known.get(uri),
                spool_dir=rt.settings.spool_dir,
                on_replaced=partial(_note, rt, dataset, applied=True),
                on_outranked=partial(_note, rt, dataset, applied=False),
                mend=uri in damaged,
            )

    def told(receipt: ObjectReceipt | None) -> int:
        more = _entered(rt, dataset, receipt, found)
        if more:
            watch.rows(done + more, total)
        return more

    with ThreadPoolExecutor(_WRITERS, "bring") as pool:
        running: deque[Future[ObjectReceipt | None]] = deque()
        try:
            for pair in _arrivals(rt, dataset, month, series):
                running.append(pool.submit(one, *pair))
                if len(running) > _WRITERS:
                    done += told(running.popleft().result())
            while running:
                done += told(running.popleft().result())
        except BaseException:
            for future in running:
                future.cancel()
            raise
    return Brought(tuple(found))


def _arrivals(
    rt: Runtime, dataset: Dataset, month: Month, series: Collection[SeriesKey]
) -> Iterator[tuple[layout.Month, Arrival]]:
    for lake_month, symbols in lake_months(dataset, month, series).items():
        for arrival in rt.lake.arrivals(lake_month, symbols):
            yield lake_month, arrival


class _Turns:
    """The rows of one object, as often as they are asked for, by a reader that nobody else uses meanwhile. With one
    reader for all, the next object is read while the last rows of this one are written and read back."""

    def __init__(self, free: SimpleQueue[MonthRows], month: layout.Month, arrival: Arrival) -> None:
        self._free, self._month, self._arrival = free, month, arrival
        self._last: Generator[pa.Table] | None = None

    def __enter__(self) -> _Turns:
        return self

    def __exit__(self, *_: object) -> None:
        """An error in the middle must not keep the reader: its traceback would hold the reading that holds it."""
        if self._last is not None:
            self._last.close()

    def pieces(self) -> Iterator[pa.Table]:
        """The rows anew."""
        self.__exit__()
        self._last = self._read()
        return self._last

    def _read(self) -> Generator[pa.Table]:
        month, target = self._month, self._arrival.target
        rows = self._free.get()
        try:
            yield from rows.pieces(month.exchange, self._arrival.symbols, month.interval, target.window)
        finally:
            self._free.put(rows)


def _entered(rt: Runtime, dataset: Dataset, receipt: ObjectReceipt | None, found: list[ObjectReceipt]) -> int:
    """Enter an object into the books; how many rows were brought."""
    if receipt is None:
        return 0
    if receipt.written or receipt.series:
        put_archive_receipts(rt.db, [receipt], dataset=str(dataset))
    found.append(receipt)
    new = receipt.added + receipt.replaced + receipt.filled + receipt.confirmed
    return new + receipt.unchanged + receipt.outranked


def _note(rt: Runtime, dataset: Dataset, old: pa.Table, new: pa.Table, *, applied: bool) -> None:
    log_lake_restatements(rt.db, old, new, dataset=dataset, applied=applied)
