"""A spooled hour into the lake: merged into the hour's objects, read back, on record, and only then removed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow as pa

from gapless.domain.live import Entry, GapEvent, Kind
from gapless.domain.stream_columns import STREAM_SHAPES
from gapless.domain.window import HOUR_MS, Window, iso
from gapless.errors import StorageError
from gapless.pipeline.runtime import Runtime
from gapless.pipeline.stream_archive.columns import RawSymbols, dataset_of, gap_events, rows_of
from gapless.pipeline.stream_archive.continuity import events_around, explained, holes_around
from gapless.pipeline.stream_archive.receipts import StreamHourReceipt
from gapless.storage.lake.forms import lock_name
from gapless.storage.lake.hour_merge import IdHole
from gapless.storage.lake.hour_runs import RUN_ROWS, Runs
from gapless.storage.lake.hours import HourLake, Published
from gapless.storage.lake.objects import uri_of
from gapless.storage.lake.temporary import sweep
from gapless.storage.mysql import RefusedRow, put_archive_receipts, record_quarantine
from gapless.storage.mysql.checks import CLEAN, DIRTY, CheckRun, put_check
from gapless.storage.spool import Damage, SpoolHour, read_files, read_hour, remove, seal, spooled_hours, streams_root

LISTED = 100
"""Holes that a receipt names; all are counted."""
LOCK_S = 5.0
CHECK_KIND = "stream_archive"
_PARSED_AT_ONCE = 4_096
_QUARANTINED_AT_ONCE = 1_000

OnProgress = Callable[[str], None]
"""Told in a line what was done."""


@dataclass
class _Taken:
    """What reading an hour's files came to."""

    entries: int = 0
    quarantined: int = 0
    refused: list[RefusedRow] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)


def publish_hour(
    rt: Runtime,
    hour: SpoolHour,
    on_progress: OnProgress = lambda line: None,
    *,
    link: str = "",
    run_rows: int = RUN_ROWS,
) -> StreamHourReceipt:
    """Publish what the spool holds of one kind, exchange and hour, and remove it there once the lake is proved.

    Killed anywhere and run again, it leaves the same objects: nothing lost, nothing twice. Files that a living writer
    has open are not touched (a receipt without files); entries that come later are published by a later call.
    Memory does not grow with the hour: rows are sorted in runs on the disk beside the spool. The receipt is entered
    into `check_run` (kind `stream_archive`, `dirty` when trades are missing unexplained or a file was damaged).

    Args:
        link: where a person can look at the run that this belongs to.
        run_rows: how many rows are sorted together.

    Raises:
        StorageError: another process publishes the hour, or disk, lake or MySQL did not do it; the spool stays.
        ConfigError: the payloads are of an exchange that nobody here reads.
    """
    began_ms, begun = time.time_ns() // 1_000_000, time.monotonic()
    lake = HourLake(rt.lake.store, rt.lake.locks, work_folder(rt))
    name = f"streams:{hour.kind}:{hour.exchange}:{iso(hour.hour_ms)[:13]}"
    with rt.lake.locks.named_locks([lock_name(lake.store, name)], timeout_s=LOCK_S):
        try:
            files = seal(streams_root(rt.settings.spool_dir), hour)
            if not files:
                return StreamHourReceipt(kind=str(hour.kind), exchange=hour.exchange, hour=iso(hour.hour_ms))
            spool_bytes = sum(path.stat().st_size for path in files)
            sweep(work_folder(rt))
            receipt = msgspec.structs.replace(
                _publish(rt, lake, hour, files, on_progress, run_rows),
                files=len(files),
                spool_bytes=spool_bytes,
                seconds=round(time.monotonic() - begun, 3),
            )
            put_check(rt.db, _check_run(hour, files, receipt, began_ms, link))
            remove(files)
            return receipt
        except OSError as error:
            raise StorageError(
                f"{hour.kind} {hour.exchange} {iso(hour.hour_ms)}: {error.filename or 'the spool'}: "
                f"{error.strerror or error}; the spool keeps what is not proved: correct the disk and run it again"
            ) from error


def work_folder(rt: Runtime) -> Path:
    """Where rows are sorted and objects grow; what killed processes left there is swept."""
    return rt.settings.spool_dir / "publishing"


def _publish(
    rt: Runtime, lake: HourLake, hour: SpoolHour, files: Sequence[Path], on_progress: OnProgress, run_rows: int
) -> StreamHourReceipt:
    shape, taken, done = STREAM_SHAPES[dataset_of(hour.kind)], _Taken(), []
    with Runs(work_folder(rt), shape, hour.exchange, run_rows=run_rows) as runs:
        for rows in _rows(rt, hour, files, taken):
            runs.add(rows)
        _quarantine(rt, hour, taken)
        for target in runs.finish():
            one = lake.publish(target, runs)
            _quarantine_conflicts(rt, hour, one)
            # Entered one by one: a run that dies later has on record what it has proved.
            put_archive_receipts(rt.db, [one.receipt], dataset=shape.dataset)
            on_progress(_line(one))
            done.append((target, one))
    holes: list[IdHole] = []
    if shape.contiguous:
        for target, one in done:
            holes += [*one.holes, *holes_around(lake, target, one.footer)]
    told = explained(holes, _events(rt, lake, hour)) if holes else []
    conflicts = sum(one.receipt.conflicted for _, one in done)
    return StreamHourReceipt(
        kind=str(hour.kind),
        exchange=hour.exchange,
        hour=iso(hour.hour_ms),
        entries=taken.entries,
        added=sum(one.receipt.added for _, one in done),
        duplicates=sum(one.receipt.duplicates for _, one in done),
        quarantined=taken.quarantined + conflicts,
        conflicts=conflicts,
        objects=tuple(one.receipt for _, one in done),
        holes=tuple(told[:LISTED]),
        hole_count=len(told),
        hole_ids=sum(hole.ids for hole in told),
        unexplained=sum(not hole.cause for hole in told),
        torn=sum(damage.torn for damage in taken.damages),
        damaged=tuple(_keep(lake, hour, damage) for damage in taken.damages if not damage.torn),
    )


def _rows(rt: Runtime, hour: SpoolHour, files: Sequence[Path], taken: _Taken) -> Iterator[pa.Table]:
    raw_symbols = RawSymbols.of(rt.db, hour.exchange)
    held: list[Entry] = []
    for frame in read_files(files, hour.kind, hour.exchange, taken.damages.append):
        held += frame
        if len(held) >= _PARSED_AT_ONCE:
            yield _parsed(rt, hour, held, raw_symbols, taken)
            held = []
    if held:
        yield _parsed(rt, hour, held, raw_symbols, taken)


def _parsed(rt: Runtime, hour: SpoolHour, held: list[Entry], raw_symbols: RawSymbols, taken: _Taken) -> pa.Table:
    rows, refused = rows_of(hour.kind, hour.exchange, held, raw_symbols)
    taken.entries += len(held)
    taken.refused += refused
    if len(taken.refused) >= _QUARANTINED_AT_ONCE:
        _quarantine(rt, hour, taken)
    return rows


def _quarantine(rt: Runtime, hour: SpoolHour, taken: _Taken) -> None:
    if taken.refused:
        record_quarantine(rt.db, taken.refused, _batch(hour))
        taken.quarantined += len(taken.refused)
        taken.refused = []


def _quarantine_conflicts(rt: Runtime, hour: SpoolHour, one: Published) -> None:
    """Rows that say something else than the stored ones: kept as they would have been stored."""
    for rows in one.conflicts:
        refused = [
            RefusedRow(
                exchange=hour.exchange,
                symbol=row["symbol"],
                interval="",
                ts_ms=int(row["ts"].timestamp() * 1000),
                reason="conflict",
                payload=str({name: str(value) for name, value in row.items()}),
                detail=f"{one.receipt.key} holds a row of this key with other values, seen first",
                dataset=one.receipt.dataset,
            )
            for row in rows.to_pylist()
        ]
        record_quarantine(rt.db, refused, _batch(hour))


def _events(rt: Runtime, lake: HourLake, hour: SpoolHour) -> list[GapEvent]:
    root = streams_root(rt.settings.spool_dir)
    spooled = [
        event
        for each in spooled_hours(root)
        if each.kind is Kind.GAPS and each.exchange == hour.exchange
        for frame in read_hour(root, Kind.GAPS, each.exchange, each.hour_ms, lambda damage: None)
        for event in gap_events(frame)
    ]
    return events_around(lake, hour.exchange, hour.hour_ms, spooled)


def _keep(lake: HourLake, hour: SpoolHour, damage: Damage) -> str:
    """A file that cannot be read to its end, whole, in the lake's quarantine; its key.

    Raises:
        StorageError: the store did not take it.
    """
    key = f"quarantine/streams/{hour.kind}/{hour.exchange}/{iso(hour.hour_ms)[:13]}/{damage.path.name}"
    data = damage.path.read_bytes()
    lake.store.put(key, data)
    if lake.store.get(key) != data:
        raise StorageError(f"{uri_of(lake.store, key)}: other bytes came back than were written; {damage.path} stays")
    return key


def _batch(hour: SpoolHour) -> str:
    """The hour's name in the quarantine, which has room for sixteen hex digits."""
    return hashlib.sha256(f"{hour.kind} {hour.exchange} {hour.hour_ms}".encode()).hexdigest()[:16]


def _line(one: Published) -> str:
    receipt = one.receipt
    what = f"{receipt.added:,} rows added" if receipt.written else "nothing new"
    return f"{receipt.key}: {what}, {receipt.rows:,} rows, {receipt.bytes:,} bytes, read back"


def _check_run(
    hour: SpoolHour, files: Sequence[Path], receipt: StreamHourReceipt, began_ms: int, link: str
) -> CheckRun:
    """The receipt as the books keep it: one row for these files, however often they are published."""
    named = "\n".join([_batch(hour), *(path.name for path in files)])
    return CheckRun(
        identity=hashlib.sha256(named.encode()).hexdigest(),
        kind=CHECK_KIND,
        dataset=dataset_of(hour.kind),
        window=Window(hour.hour_ms, hour.hour_ms + HOUR_MS),
        state=DIRTY if receipt.unexplained or receipt.damaged else CLEAN,
        result=msgspec.to_builtins(receipt),
        link=link,
        started_ms=began_ms,
        finished_ms=max(began_ms, time.time_ns() // 1_000_000),
    )
