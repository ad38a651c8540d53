"""Holes that REST denied, held against the archive's file of the day: a second witness, heard when it changes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.grid import runs
from gapless.domain.keys import millis_of
from gapless.domain.window import DAY_MS, Window, month_start, next_month
from gapless.errors import ExchangeError
from gapless.exchanges.binance.vision.objects import published_by_ms
from gapless.pipeline.backfill.outcome import without
from gapless.pipeline.backfill.pieces import Piece, Series, cut_series
from gapless.pipeline.backfill.recheck import RECENT_MS
from gapless.pipeline.reconcile.judgement import Key
from gapless.pipeline.reconcile.repair import Stores
from gapless.pipeline.reconcile.slabs import Slab
from gapless.pipeline.reconcile.witness import Witness, archive_object
from gapless.pipeline.runtime import EXCHANGE
from gapless.storage.mysql import Gap, ManifestRow, put_manifest, read_gaps, read_manifest, record_gaps


async def heal(stores: Stores, witness: Witness, series: Sequence[Series], now_ms: int) -> int:
    """Look into the archive for rows of the last weeks that REST has not, and load those it has; returns how many.

    A file is fetched when it was never looked at, or when its checksum is another one than at the last look. Archive
    files that do not come, or cannot be trusted, leave things as they are.

    Raises:
        StorageError: a store did not take it.
    """
    if not witness.may_be_asked:
        return 0
    by_key = {(one.symbol, one.label): one for one in series if one.market is stores.market}
    since = Window(now_ms - RECENT_MS, now_ms + DAY_MS)
    denied = [
        gap
        for gap in read_gaps(stores.rt.db, EXCHANGE, str(stores.dataset), since, {symbol for symbol, _ in by_key},
                             states=["unfillable"])
        if (gap.symbol, gap.interval) in by_key
    ] if by_key else []  # fmt: skip
    if not denied:
        return 0
    symbols = {gap.symbol for gap in denied}
    known = read_manifest(stores.rt.db, str(stores.dataset), EXCHANGE, stores.market, since, symbols)
    healed = 0
    for piece, gaps in _files(denied, by_key):
        if published_by_ms(archive_object(piece, piece.window.start_ms)) <= now_ms:
            healed += await _heal(stores, witness, piece, gaps, known)
    return healed


def _files(denied: Iterable[Gap], by_key: dict[Key, Series]) -> list[tuple[Piece, list[Gap]]]:
    """The denied stretches by series and by what one file of the archive covers: a UTC day, of funding a month."""
    found: dict[tuple[Key, Window], list[Gap]] = defaultdict(list)
    for gap in denied:
        monthly = gap.dataset == Dataset.FUNDING
        for part in gap.window.split_months() if monthly else gap.window.split(DAY_MS):
            day_ms = part.start_ms - part.start_ms % DAY_MS
            whole = Window(month_start(day_ms), next_month(day_ms)) if monthly else Window(day_ms, day_ms + DAY_MS)
            found[(gap.symbol, gap.interval), whole].append(replace(gap, window=part))
    return [
        (piece, gaps)
        for (key, whole), gaps in sorted(found.items())
        for piece in cut_series(by_key[key], whole, store_of="mysql", settled={})
    ]


async def _heal(
    stores: Stores, witness: Witness, piece: Piece, gaps: Sequence[Gap], known: dict[str, ManifestRow]
) -> int:
    obj = archive_object(piece, piece.window.start_ms)
    before = known.get(obj.path)
    try:
        if before is not None:
            told = await witness.told_sha256(obj)
            if told is None or told == before.sha256:
                return 0
        taken = await witness.file(piece, piece.window.start_ms)
    except ExchangeError as error:
        stores.rt.say(f"the archive was not asked for {obj.path}: {error}")
        return 0
    if taken is None:
        return 0
    loop = asyncio.get_running_loop()
    rows = None if taken.parsed is None else taken.parsed.rows
    count = 0
    if rows is not None:
        count = await loop.run_in_executor(witness.threads, _load, stores, piece, gaps, rows)
    # Entered last: killed before, the file is looked at again. Its rows as a whole went nowhere.
    entry = replace(taken.manifest, store=before.store if before is not None else "")
    await loop.run_in_executor(witness.threads, put_manifest, stores.rt.db, [entry])
    return count


def _load(stores: Stores, piece: Piece, gaps: Sequence[Gap], rows: pa.Table) -> int:
    step = piece.series.step_ms
    times = millis_of(rows["ts"])
    wanted = np.zeros(len(times), np.bool_)
    for gap in gaps:
        wanted |= (times >= gap.window.start_ms) & (times < gap.window.end_ms)
    if not wanted.any():
        return 0
    stores.load(Slab(piece.window, (piece,)), rows.filter(pa.array(wanted)), ())
    left: list[Gap] = []
    for gap in gaps:
        if step is None:  # settlements have no grid: what is still missing around these, the next look will tell
            held = ((times >= gap.window.start_ms) & (times < gap.window.end_ms)).any()
            left += [] if held else [gap]
            continue
        grid = np.arange(gap.window.start_ms, gap.window.end_ms, step, dtype=np.int64)
        left += [replace(gap, window=run, bars=run.length_ms // step) for run in runs(without(grid, times), step)]
    key = (piece.series.symbol, piece.series.label)
    within = {key: [gap.window for gap in gaps]}
    record_gaps(stores.rt.db, left, within=within, exchange=EXCHANGE, dataset=str(stores.dataset))
    return int(wanted.sum())
