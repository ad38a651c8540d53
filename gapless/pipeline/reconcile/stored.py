"""What the stores hold of a slab: as one, and what of a hot month the lake alone holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.window import Window, month_start
from gapless.pipeline.read import join_stores, read_apart
from gapless.pipeline.reconcile.bars import only
from gapless.pipeline.reconcile.repair import Stores
from gapless.pipeline.reconcile.slabs import Slab
from gapless.quality.compare import compare


@dataclass(frozen=True, slots=True)
class Stored:
    """Stored rows, canonical, in canonical order.

    Attributes:
        rows: of both stores as one: where both hold a row, MySQL's.
        beside: rows of a hot month that MySQL lacks, of series that it keeps. They are not missing, but whoever reads
            the table does not see them: a repair puts them there too.
    """

    rows: pa.Table
    beside: pa.Table


def read_stored(stores: Stores, slab: Slab, window: Window) -> Stored:
    """Both stores' rows of a slab's series in a window; blocking.

    Raises:
        StorageError: MySQL or the lake is away, or an object of the lake is damaged.
    """
    rt, symbols, shape = stores.rt, slab.symbols, SHAPES[slab.dataset]
    intervals = None
    if slab.dataset is Dataset.OHLCV:
        intervals = list(dict.fromkeys(p.series.interval for p in slab.pieces if p.series.interval is not None))
    hot, cold = read_apart(rt, slab.dataset, symbols, intervals, window)
    wanted = {(piece.series.symbol, piece.series.label) for piece in slab.pieces}
    if intervals is not None and len(wanted) < len(symbols) * len(intervals):
        hot, cold = only(hot, wanted), only(cold, wanted)
    beside = cold.slice(0, 0)
    if cold.num_rows and month_start(slab.window.start_ms) >= stores.hot_since_ms:
        beside = stores.kept_in_mysql(slab, cold.take(pa.array(compare(shape, hot, cold).missing)))
    return Stored(join_stores(hot, cold, shape), beside)


def copies(dataset: Dataset, beside: pa.Table, theirs: pa.Table, to_load: pa.Table) -> pa.Table:
    """The exchange's rows of what the lake alone holds, as far as they are not loaded anyway. Pure."""
    if beside.num_rows == 0:
        return theirs.slice(0, 0)
    shape = SHAPES[dataset]
    given = np.setdiff1d(np.arange(theirs.num_rows), compare(shape, beside, theirs).missing)
    rows = theirs.take(pa.array(given))
    return rows.take(pa.array(compare(shape, to_load, rows).missing))
