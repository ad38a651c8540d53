"""The bars of a slab as the exchange has them; what it seems to lack is asked for a second time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.grid import Opens
from gapless.domain.schema import sort_bars
from gapless.domain.window import Window
from gapless.errors import ExchangeError
from gapless.exchanges.binance.fetch import Series
from gapless.exchanges.binance.paging import PAGE_ROWS
from gapless.exchanges.binance.rest import BinanceRest
from gapless.pipeline.backfill.bars import proved_empty, read_pages, spans
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.normalise import Page, Quarantined, normalise_opened
from gapless.pipeline.reconcile.judgement import Key, SeriesFound
from gapless.pipeline.reconcile.slabs import Slab, asked_window
from gapless.pipeline.runtime import EXCHANGE
from gapless.quality.compare import compare
from gapless.storage.mysql import RefusedRow


@dataclass(slots=True)
class Theirs:
    """What the exchange answered for a slab.

    Attributes:
        rows: sound rows, canonical, sorted. broken: times of rows that break a rule, by series; `refused` has them.
        failed: series that could not be asked, and why.
        unheard: series with rows that REST denies, of which the archive has nothing to say (yet).
    """

    rows: pa.Table
    broken: dict[Key, Opens] = field(default_factory=dict)
    refused: list[RefusedRow] = field(default_factory=list)
    failed: dict[Key, ExchangeError] = field(default_factory=dict)
    unheard: set[Key] = field(default_factory=set)


def wanted_series(slab: Slab) -> list[Series]:
    """What to ask REST for, a series each; those of which nothing is expected are left out."""
    found = []
    for piece in slab.pieces:
        asked = asked_window(piece)
        if asked is not None:
            found.append(_series(piece, asked))
    return found


def read_theirs(slab: Slab, pages: Sequence[Page], failed: Mapping[Key, ExchangeError]) -> Theirs:
    """The pages of a slab, parsed and held against the rules; blocking."""
    whole = [page for page in pages if (page.symbol, page.interval) not in failed]
    result = normalise_opened(EXCHANGE, whole, slab.window)
    theirs = Theirs(result.bars, failed=dict(failed))
    _refuse(theirs, result.quarantined)
    return theirs


def add_second_answers(theirs: Theirs, slab: Slab, pages: Sequence[Page]) -> None:
    """Bars that were given when they were asked for again."""
    result = normalise_opened(EXCHANGE, pages, slab.window)
    fresh = result.bars.take(pa.array(compare(SHAPES[Dataset.OHLCV], theirs.rows, result.bars).missing))
    theirs.rows = sort_bars(pa.concat_tables([theirs.rows, fresh])).combine_chunks()
    _refuse(theirs, result.quarantined)


async def ask_again(rest: BinanceRest, found: SeriesFound, proved: Iterable[Window]) -> list[Page]:
    """Ask once more for what a first answer lacks: a page cut short in between must not look like an outage.

    Args:
        proved: stretches that the exchange denied before, on another day.

    Raises:
        ExchangeError: it could not be asked.
    """
    piece = found.piece
    interval = piece.series.interval
    assert interval is not None  # noqa: S101 - only bars are asked for here
    doubtful = np.union1d(found.denied, found.extra)
    for window in proved:
        doubtful = doubtful[(doubtful < window.start_ms) | (doubtful >= window.end_ms)]
    pages: list[Page] = []
    for span in spans(doubtful, interval.ms, PAGE_ROWS[piece.series.market]):
        if span.length_ms > 99 * interval.ms and await proved_empty(rest, piece=piece, span=span):
            continue
        pages += await read_pages(rest, piece, span)
    return pages


def _series(piece: Piece, asked: Window) -> Series:
    interval = piece.series.interval
    assert interval is not None  # noqa: S101 - only bars are asked for here
    opens = range(interval.ceil(asked.start_ms), asked.end_ms, interval.ms)
    return Series(piece.series.symbol, piece.raw_symbol, interval, opens)


def _refuse(theirs: Theirs, rows: Iterable[Quarantined]) -> None:
    times: dict[Key, list[int]] = defaultdict(list)
    for row in rows:
        theirs.refused.append(RefusedRow(EXCHANGE, row.symbol, row.interval, row.ts, row.reason, row.payload))
        if row.ts is not None:
            times[row.symbol, row.interval].append(row.ts)
    for key, found in times.items():
        theirs.broken[key] = np.union1d(theirs.broken.get(key, np.empty(0, np.int64)), np.array(found, np.int64))


def only(rows: pa.Table, wanted: set[Key]) -> pa.Table:
    """The rows of some series."""
    if rows.num_rows == 0:
        return rows
    names, symbols = _coded(rows["symbol"])
    if "interval" not in rows.schema.names:
        return rows.filter(pa.array([(name, "") in wanted for name in names]).take(symbols))
    labels, intervals = _coded(rows["interval"])
    table = pa.array([(name, label) in wanted for name in names for label in labels])
    return rows.filter(table.take(pc.add(pc.multiply(symbols, len(labels)), intervals)))


def _coded(column: pa.ChunkedArray) -> tuple[list[str], pa.Array]:
    """A column's values, and which of them each row has."""
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.dictionary.to_pylist(), encoded.indices.cast(pa.int64())
