"""The four steps of the bar pipeline: extract, normalise, load, archive. A batch in, receipts on, the lake at the end.

Each step may be killed anywhere and run again, alone or beside another run of the same window: what it leaves is
named by its work, written whole or not at all, and the same whoever writes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence

import pyarrow as pa

from gapless.domain.receipts import ArchiveReceipt, Batch, LoadReceipt, NormalReceipt, RawReceipt
from gapless.domain.schema import OHLCV, content_digest
from gapless.errors import NotFound
from gapless.pipeline.extract import extract_pages
from gapless.pipeline.normalise import Normalised, Page, normalise
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import layout
from gapless.storage.mysql import Draft, RefusedRow, Scope, load_bars, log_lake_restatements
from gapless.storage.mysql.archive import put_archive_receipts
from gapless.storage.mysql.receipts import mark_archived


def extract_raw(rt: Runtime, batch: Batch) -> RawReceipt:
    """Page the exchange for every bar of the batch and keep the payloads as received, in the lake's `raw/`.

    A series that fails is a `Failure` in the receipt and never stops the others. The object's name holds a digest of
    the bodies, so the same answers make the same object, and a later, different answer stands beside it.

    Raises:
        RateLimited, Banned: the budget is spent, or the address banned, for longer than `rt.max_wait_s`.
        RegionRefused: the exchange refuses this address.
        StorageError: the lake did not take the payloads.
    """
    extracted = asyncio.run(extract_pages(rt, batch))
    digest = hashlib.sha256()
    for page in extracted.pages:
        digest.update(page.body.encode() + b"\n")
    key = layout.raw_key(
        batch.dataset, batch.exchange, batch.market, batch.start_ms, batch.key, digest.hexdigest()[:16]
    )
    return RawReceipt(
        batch=batch,
        key=key,
        payloads=len(extracted.pages),
        bytes=rt.lake.put_raw(key, extracted.pages),
        requests=extracted.requests,
        weight=extracted.weight,
        server_ms=extracted.server_ms,
        failures=extracted.failures,
    )


def transform_normalise(rt: Runtime, raw: RawReceipt) -> NormalReceipt:
    """Payloads to canonical bars, into a work file; what breaks a rule is set apart and never stops the rest.

    Raises:
        NotFound: the raw object is gone. StorageError: it is damaged, or the lake did not take the bars.
    """
    result = _normalise(rt, raw)
    return NormalReceipt(
        raw=raw,
        bars_key=rt.lake.put_table(raw.batch.key, "bars", result.bars),
        rows_extracted=result.extracted,
        rows=result.bars.num_rows,
        rows_quarantined=len(result.quarantined),
        digest=content_digest(result.bars),
    )


def load_mysql(rt: Runtime, normal: NormalReceipt) -> LoadReceipt:
    """The bars, their receipt, what they restate and what was quarantined into MySQL: all of it, or nothing.

    Raises:
        StorageError: MySQL would not take them exactly, or not in time; nothing was stored.
    """
    raw, batch = normal.raw, normal.batch
    failed = {(failure.symbol, failure.interval) for failure in raw.failures}
    series = [(s, i) for s, _ in batch.symbols for i in batch.intervals if (s, str(i)) not in failed]
    draft = Draft(
        batch_key=batch.key,
        exchange=batch.exchange,
        market=batch.market,
        window=batch.window,
        scope=Scope.of(series),
        complete=raw.complete,
        digest=normal.digest,
        dataset=batch.dataset,
    )
    outcome = load_bars(rt.db, _bars(rt, normal), draft, refused=_refused(rt, normal))
    counts = outcome.counts
    return LoadReceipt(normal, outcome.receipt_id, counts.loaded, counts.restated, counts.unchanged, counts.outranked)


def archive_s3(rt: Runtime, loads: Sequence[LoadReceipt]) -> ArchiveReceipt:
    """The loads' bars into the lake's objects, each written once and read back; then the work files go.

    Only now do the loads count as done: a window without this is taken again by the next scheduled run.

    Raises:
        StorageError, LakeShrink: an object could not be written or did not read back; those before it stand.
    """
    bars = pa.concat_tables([OHLCV.empty_table(), *(_bars(rt, load.normal) for load in loads)])
    objects = rt.lake.write(
        bars,
        on_replaced=lambda old, new: _note(rt, old, new, applied=True),
        on_outranked=lambda old, new: _note(rt, old, new, applied=False),
    )
    put_archive_receipts(rt.db, objects)
    mark_archived(rt.db, [load.receipt_id for load in loads])
    for load in loads:
        rt.lake.delete(load.normal.bars_key)
    rt.lake.sweep_work(time.time_ns() // 1_000_000)
    return ArchiveReceipt(
        objects=tuple(each.key for each in objects),
        written=tuple(each.key for each in objects if each.written),
        rows=sum(each.rows for each in objects),
        bytes=sum(each.bytes for each in objects),
    )


def _normalise(rt: Runtime, raw: RawReceipt) -> Normalised:
    return normalise(raw.batch, rt.lake.get_raw(raw.key, Page), server_ms=raw.server_ms)


def _bars(rt: Runtime, normal: NormalReceipt) -> pa.Table:
    """The bars of a work file; made again from the raw payloads when another run of the same work has cleared it."""
    try:
        return rt.lake.get_table(normal.bars_key)
    except NotFound:
        return _normalise(rt, normal.raw).bars


def _refused(rt: Runtime, normal: NormalReceipt) -> list[RefusedRow]:
    """The quarantined rows, read off the raw payloads again: there are hardly ever any."""
    if not normal.rows_quarantined:
        return []
    batch = normal.batch
    return [
        RefusedRow(
            exchange=batch.exchange,
            symbol=row.symbol,
            interval=row.interval,
            ts_ms=row.ts,
            reason=row.reason,
            payload=row.payload,
            dataset=batch.dataset,
        )
        for row in _normalise(rt, normal.raw).quarantined
    ]


def _note(rt: Runtime, old: pa.Table, new: pa.Table, *, applied: bool) -> None:
    log_lake_restatements(rt.db, old, new, applied=applied)
