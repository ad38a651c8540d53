"""Which object each row belongs to: rows cut by month, and a month's by its form. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS
from gapless.storage.lake import layout
from gapless.storage.lake.layout import Form, LakeObject, Month
from gapless.storage.lake.merge import times


def usual_form(month: Month) -> Form:
    """The form in which a month grows hour by hour."""
    return month.forms[0]


def months_of(dataset: Dataset, table: pa.Table) -> Iterator[tuple[Month, pa.Table]]:
    """Cut rows (or keys) in canonical order by the month they belong to."""
    days = (times(table) // DAY_MS).astype("datetime64[D]")
    starts = days.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) * DAY_MS
    labels = table["interval"] if dataset is Dataset.OHLCV else None
    for exchange in table["exchange"].unique().to_pylist():
        of_exchange = np.asarray(pc.equal(table["exchange"], exchange))
        for name in [None] if labels is None else sorted(labels.unique().to_pylist()):
            chosen = of_exchange if labels is None else of_exchange & np.asarray(pc.equal(labels, name))
            rows = np.flatnonzero(chosen)
            for start in np.unique(starts[rows]).tolist():
                interval = None if name is None else Interval(name)
                yield Month(dataset, exchange, interval, start), table.take(rows[starts[rows] == start])


def parts_of(month: Month, form: Form, table: pa.Table) -> Iterator[tuple[LakeObject, pa.Table]]:
    """Cut the rows (or keys) of a month by the object they belong to."""
    if form is Form.WHOLE:
        yield month.whole(), table
        return
    numbers = times(table) // DAY_MS if form is Form.DAYS else _buckets(table)
    for number in np.unique(numbers).tolist():
        target = month.day(number * DAY_MS) if form is Form.DAYS else month.bucket(number)
        yield target, table.filter(pa.array(numbers == number))


def _buckets(table: pa.Table) -> npt.NDArray[np.int64]:
    """The bucket of each row."""
    coded = table["symbol"].combine_chunks().dictionary_encode()
    coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
    buckets = np.array([layout.bucket_of(symbol) for symbol in coded.dictionary.to_pylist()], np.int64)
    found: npt.NDArray[np.int64] = buckets[coded.indices.to_numpy(zero_copy_only=False)]
    return found
