"""Funding and metrics compared with the exchange, symbol by symbol."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import SHAPES, Dataset, empty
from gapless.domain.instrument import Market
from gapless.domain.keys import millis_of
from gapless.domain.window import DAY_MS, Window
from gapless.errors import ExchangeError, NotInBulk, RateLimited, RegionRefused
from gapless.exchanges.binance.funding_of_all import STRAYS, bulk_pays, fetch_funding_of_all
from gapless.exchanges.binance.series_rest import METRICS_KEPT_MS, fetch_funding, fetch_metrics
from gapless.pipeline.backfill.archive import Parsed
from gapless.pipeline.backfill.files import parsed_rows
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.reconcile.bars import Theirs
from gapless.pipeline.reconcile.closing import SlabResult
from gapless.pipeline.reconcile.comparison import Comparison
from gapless.pipeline.reconcile.judgement import NONE, Judged, Key, Stretch, judge
from gapless.pipeline.reconcile.slabs import Slab
from gapless.pipeline.reconcile.stored import Stored, read_stored
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.quality.funding import count_missing_settlements, missing_settlements
from gapless.storage.mysql import read_instruments

_AROUND_MS = 2 * DAY_MS
"""How far around a window stored settlements are looked at, for neighbours that tell the interval."""

_EDGE_MS = 2 * 3_600_000
"""How far from REST's thirty days the archive is asked already: a question takes a while to get there."""


class SeriesComparison:
    """Compares slabs of funding or metrics."""

    def __init__(self, work: Comparison) -> None:
        self._work = work
        self._closed: ExchangeError | None = None
        self._silent: dict[str, set[Window]] = defaultdict(set)
        """By symbol, days of which nobody is left to ask: REST has forgotten them, and the archive has no file."""

    async def run(self, slabs: Sequence[Slab]) -> None:
        """Compare them all, one slab after another, its symbols side by side.

        Raises:
            StorageError: a store failed; slabs that came to their end stay repaired and on record.
        """
        for slab in slabs:
            self._work.on_slab(slab, await self._compare(slab))

    async def _compare(self, slab: Slab) -> SlabResult:
        theirs = Theirs(empty(slab.dataset))
        await self._ask(slab.pieces, theirs, in_bulk=slab.dataset is Dataset.FUNDING)
        found = await self._work.thread(lambda: read_stored(self._work.stores, slab, _around(slab)))
        judged = await self._work.thread(lambda: self._held_against(slab, found.rows, theirs))
        doubtful = [one.piece for one in judged.series if len(one.denied) or len(one.extra) or one.unfillable]
        if doubtful:  # asked for again before it is believed
            await self._ask(doubtful, theirs, in_bulk=False)
            judged = await self._work.thread(lambda: self._held_against(slab, found.rows, theirs))
        if judged.extras.num_rows:
            attested, theirs.unheard = await self._work.witness.attests(slab, judged.extras)
            theirs.rows = _united(slab.dataset, theirs.rows, attested)
            judged = await self._work.thread(lambda: self._held_against(slab, found.rows, theirs))
        kept = Stored(_inside(found.rows, slab.window), _inside(found.beside, slab.window))
        return await self._work.close(slab, judged, theirs, kept)

    async def _ask(self, pieces: Sequence[Piece], theirs: Theirs, *, in_bulk: bool) -> None:
        worth = in_bulk and bulk_pays(len(pieces), trading(self._work.stores.rt), pieces[0].window)
        if worth and await self._funding_of_all(pieces, theirs):
            return
        at_once = asyncio.Semaphore(self._work.rest.concurrency)
        found: list[tuple[Piece, Parsed]] = []

        async def one(piece: Piece) -> None:
            async with at_once:
                try:
                    if self._closed is not None:
                        raise self._closed
                    found.append((piece, await self._of(piece)))
                except ExchangeError as error:
                    if isinstance(error, RateLimited | RegionRefused):
                        self._closed = self._closed or error
                    theirs.failed[piece.series.symbol, ""] = error

        async with asyncio.TaskGroup() as asking:
            for piece in pieces:
                asking.create_task(one(piece))
        for piece, parsed in found:
            _take(theirs, piece, parsed)

    async def _funding_of_all(self, pieces: Sequence[Piece], theirs: Theirs) -> bool:
        """Everybody's settlements in a few requests; False when the exchange does not answer so."""
        by_raw = {piece.raw_symbol: piece for piece in pieces}
        try:
            found = await fetch_funding_of_all(
                self._work.rest, {raw: piece.series.symbol for raw, piece in by_raw.items()}, pieces[0].window
            )
        except NotInBulk as error:
            self._work.stores.rt.say(f"{error}; each symbol is asked by itself")
            return False
        except ExchangeError as error:
            self._closed = error
            for piece in pieces:
                theirs.failed[piece.series.symbol, ""] = error
            return True
        for raw_symbol, rows in found.items():
            if raw_symbol != STRAYS:
                _take(theirs, by_raw[raw_symbol], parsed_rows(by_raw[raw_symbol], rows))
        return True

    async def _of(self, piece: Piece) -> Parsed:
        """All that the exchange has of a piece: REST, and of metrics that REST has forgotten the archive."""
        series, window = piece.series, piece.window
        if series.dataset is Dataset.FUNDING:
            return parsed_rows(piece, await fetch_funding(self._work.rest, piece.raw_symbol, series.symbol, window))
        edge_ms = self._work.rest.clock.now_ms() - METRICS_KEPT_MS + _EDGE_MS
        edge_ms = min(window.end_ms, max(window.start_ms, edge_ms + -edge_ms % DAY_MS))
        rows, refused, read = [empty(series.dataset)], [], 0
        if edge_ms > window.start_ms:
            old = Window(window.start_ms, edge_ms)
            for day in old.split(DAY_MS):
                taken = await self._work.witness.file(piece, day.start_ms) if self._work.witness.may_be_asked else None
                if taken is None or taken.parsed is None:
                    self._silent[series.symbol].add(day)
                    continue
                rows.append(_inside(taken.parsed.rows, old))
                refused += list(taken.parsed.refused)
                read += taken.parsed.read
        if edge_ms < window.end_ms:
            recent = Window(edge_ms, window.end_ms)
            found = parsed_rows(piece, await fetch_metrics(self._work.rest, piece.raw_symbol, series.symbol, recent))
            rows.append(found.rows)
            refused += list(found.refused)
            read += found.read
        return Parsed(pa.concat_tables(rows), tuple(refused), read)

    def _held_against(self, slab: Slab, stored: pa.Table, theirs: Theirs) -> Judged:
        failed = pa.array([symbol for symbol, _ in theirs.failed], pa.string())
        pieces = [piece for piece in slab.pieces if (piece.series.symbol, "") not in theirs.failed]
        inside = _inside(stored, slab.window)
        mine = inside.filter(pc.invert(pc.is_in(inside["symbol"], failed)))
        given = theirs.rows.filter(pc.invert(pc.is_in(theirs.rows["symbol"], failed)))
        for symbol, days in self._silent.items():  # what is stored of such a day stands: nobody denies it
            own = mine.filter(pc.equal(mine["symbol"], symbol))
            for day in sorted(days):
                given = _united(slab.dataset, given, _inside(own, day))
        holes = _holes(pieces, stored, given) if slab.dataset is Dataset.FUNDING else None
        return judge(slab.dataset, pieces, mine, given, broken=theirs.broken, holes=holes)


def trading(rt: Runtime) -> int:
    """How many perpetuals the exchange lists now: all of them answer when funding is asked for in bulk."""
    return sum(instrument.trading for instrument in read_instruments(rt.db, EXCHANGE, Market.UM))


def _take(theirs: Theirs, piece: Piece, parsed: Parsed) -> None:
    dataset, key = piece.series.dataset, (piece.series.symbol, "")
    theirs.rows = _united(dataset, theirs.rows, _inside(parsed.rows, piece.window))
    theirs.refused += [row for row in parsed.refused if row not in theirs.refused]
    times = [row.ts_ms for row in parsed.refused if row.ts_ms is not None and row.ts_ms in piece.window]
    if times:
        theirs.broken[key] = np.union1d(theirs.broken.get(key, NONE), np.array(times, np.int64))


def _united(dataset: Dataset, one: pa.Table, more: pa.Table) -> pa.Table:
    """Rows of both, each key once, in canonical order; the first said of a key stands."""
    shape = SHAPES[dataset]
    both = pa.concat_tables([one, more]).sort_by([(name, "ascending") for name in shape.key])
    if both.num_rows < 2:
        return both
    keys = both.select(list(shape.key))
    same = np.ones(both.num_rows - 1, np.bool_)
    for name in shape.key:
        column = keys[name].combine_chunks()
        same &= np.asarray(pc.equal(column.slice(1), column.slice(0, both.num_rows - 1)))
    return both.filter(pa.array(np.concatenate([[True], ~same]))) if same.any() else both


def _inside(rows: pa.Table, window: Window) -> pa.Table:
    times = millis_of(rows["ts"])
    return rows.filter(pa.array((times >= window.start_ms) & (times < window.end_ms)))


def _around(slab: Slab) -> Window:
    """What is read of the stores: of funding more than is compared, for neighbours that tell the interval."""
    if slab.dataset is not Dataset.FUNDING:
        return slab.window
    return Window(max(0, slab.window.start_ms - _AROUND_MS), slab.window.end_ms + _AROUND_MS)


def _holes(pieces: Sequence[Piece], stored: pa.Table, given: pa.Table) -> dict[Key, list[Stretch]]:
    """Where settlements must have been by those around, and neither the exchange nor the stores have any."""
    names = ["symbol", "rate_type", "ts", "interval_hours"]
    rows = pa.concat_tables([stored.select(names), given.select(names)])
    rows = rows.filter(pc.equal(rows["rate_type"], "Regular"))
    found: dict[Key, list[Stretch]] = {}
    for piece in pieces:
        mine = rows.filter(pc.equal(rows["symbol"], piece.series.symbol))
        times = millis_of(mine["ts"])
        hours = np.ma.masked_equal(pc.fill_null(mine["interval_hours"], 0).to_numpy().astype(np.int64), 0)
        holes: list[Stretch] = []
        for life in piece.series.lives:
            for window in missing_settlements(times, hours, piece.window, life):
                holes.append((window, count_missing_settlements(times, hours, window, life)))
        found[piece.series.symbol, ""] = holes
    return found
