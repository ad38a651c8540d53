"""Rows of a month into the lake: each object merged, read back, and entered into the books."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.totals import SeriesKey
from gapless.pipeline.export.request import Watch
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import ObjectReceipt, layout, uri_of
from gapless.storage.mysql import log_lake_restatements, put_archive_receipts
from gapless.storage.mysql.archive import archived_bytes
from gapless.storage.mysql.departing import MonthRows
from gapless.storage.mysql.partitions import Month


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


def bring(
    rt: Runtime,
    rows: MonthRows,
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
        rows: the month as one snapshot has it. series: which of its series, and how many rows each has.
        damaged: addresses of objects that cannot be read: they are kept aside and made anew. `series` must be all then.

    Raises:
        LakeShrink: an object would lose rows. Damaged: one cannot be read.
        StorageError: a store is away, or the spool's disk is full. Objects that were written stay; MySQL is as it was.
    """
    known = archived_bytes(rt.db, str(dataset), month.window)
    total, done = sum(series.values()), 0
    found: list[ObjectReceipt] = []
    for lake_month, symbols in lake_months(dataset, month, series).items():
        for arrival in rt.lake.arrivals(lake_month, symbols):
            uri = uri_of(rt.lake.store, arrival.target.key)
            receipt = rt.lake.bring(
                arrival,
                partial(rows.pieces, lake_month.exchange, arrival.symbols, lake_month.interval, arrival.target.window),
                known_sha256=known.get(uri),
                spool_dir=rt.settings.spool_dir,
                on_replaced=partial(_note, rt, dataset, applied=True),
                on_outranked=partial(_note, rt, dataset, applied=False),
                mend=uri in damaged,
            )
            if receipt is None:
                continue
            if receipt.written or receipt.series:
                put_archive_receipts(rt.db, [receipt], dataset=str(dataset))
            found.append(receipt)
            done += receipt.added + receipt.replaced + receipt.filled + receipt.confirmed
            done += receipt.unchanged + receipt.outranked
            watch.rows(done, total)
    return Brought(tuple(found))


def _note(rt: Runtime, dataset: Dataset, old: pa.Table, new: pa.Table, *, applied: bool) -> None:
    log_lake_restatements(rt.db, old, new, dataset=dataset, applied=applied)
