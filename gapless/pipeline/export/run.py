"""One month of one table: to the lake, proved, and out of MySQL if asked. What the command does; blocking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.receipts import Failure
from gapless.pipeline.export.due import now_ms, refuse_unfinished
from gapless.pipeline.export.leave import Step, copy_month, finish_dropping, is_out, let_go, prove_twin, take_out
from gapless.pipeline.export.request import ExportReport, Watch
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.departing import MonthRows
from gapless.storage.mysql.exports import DROPPED, MonthExport, newest_export
from gapless.storage.mysql.leaving import Leaving, month_bytes
from gapless.storage.mysql.partitions import Month

LOCK_WAIT_S = 30.0


def run_export(rt: Runtime, dataset: Dataset, month: Month, *, drop: bool, watch: Watch) -> ExportReport:
    """Export a month; resumes what an earlier export of it left.

    Rows that come while it works are exported in another round.

    Raises:
        ConfigError: the month is not over.
        LakeShrink, StorageError: a store is away, or does not hold what it should. Nothing was dropped that the lake
            was not shown to hold; done again, it goes on.
    """
    refuse_unfinished(month, now_ms(rt))
    began = time.monotonic()
    with exclusively(rt, dataset, month):
        steps = list(_steps(rt, dataset, month, drop=drop, watch=watch))
    return report_of(dataset, month, steps, time.monotonic() - began)


def plan_export(rt: Runtime, dataset: Dataset, month: Month) -> ExportReport:
    """What `run_export` would find in MySQL; nothing is written.

    Raises:
        ConfigError: the month is not over. StorageError: MySQL is away.
    """
    refuse_unfinished(month, now_ms(rt))
    leaving = Leaving(dataset, month)
    twin = is_out(rt, leaving)
    with MonthRows.open(rt.db, dataset, month, twin=twin) as rows:
        series = rows.series()
        size = month_bytes(rt.db, leaving.table, leaving.twin if twin else month.partition)
    last = newest_export(rt.db, dataset, month)
    known = ExportReport(str(dataset), str(month)) if last is None else describe(last)
    found = msgspec.structs.replace(known, rows=sum(series.values()), series=len(series), table_bytes=size)
    return msgspec.structs.replace(found, verified=False, dropped=False)


@contextmanager
def exclusively(rt: Runtime, dataset: Dataset, month: Month) -> Iterator[None]:
    """Nobody else exports or restores this month meanwhile.

    Raises:
        StorageError: somebody does.
    """
    with rt.db.named_locks([f"export:{dataset}:{month}"], timeout_s=LOCK_WAIT_S):
        yield


def describe(export: MonthExport) -> ExportReport:
    """A line of the book as a report."""
    return ExportReport(
        dataset=str(export.dataset),
        month=str(export.month),
        rows=export.rows,
        bytes=export.bytes,
        files=export.files,
        written=export.written,
        verified=export.verified_ms is not None,
        dropped=export.state == DROPPED,
        series=export.series,
        beside=export.beside,
        outranked=export.outranked,
        digest=export.digest,
        receipt=f"{export.dataset}/{export.month}/{export.round}",
        manifest=export.manifest_uri,
        table_bytes=export.table_bytes,
        copy_seconds=round(export.copy_seconds, 3),
        verify_seconds=round(export.verify_seconds, 3),
    )


def report_of(dataset: Dataset, month: Month, steps: list[Step], seconds: float) -> ExportReport:
    """Steps of one month as one report; of several rounds the rows together, all else of the last one."""
    exports = [step.export for step in steps if step.export is not None]
    errors: tuple[Failure, ...] = tuple(error for step in steps for error in step.errors)
    if not exports:
        return ExportReport(str(dataset), str(month), verified=True, seconds=round(seconds, 3), errors=errors)
    rounds = {export.round: export for export in exports}
    last = describe(exports[-1])
    return msgspec.structs.replace(
        last,
        rows=sum(export.rows for export in rounds.values()),
        written=sum(step.written for step in steps),
        seconds=round(seconds, 3),
        errors=errors,
    )


def _steps(rt: Runtime, dataset: Dataset, month: Month, *, drop: bool, watch: Watch) -> Iterator[Step]:
    yield from finish(rt, dataset, month, watch)
    if not drop:
        yield copy_month(rt, dataset, month, watch, verify=True)
        return
    proved = take_out(rt, dataset, month, watch)
    yield proved
    if proved.export is not None:
        watch.say(f"{dataset} {month}: proved by receipt {describe(proved.export).receipt}; dropping it from MySQL")
    dropped = let_go(rt, dataset, month)  # an empty month needs no partition either
    yield Step(dropped if proved.export is not None else None)


def finish(rt: Runtime, dataset: Dataset, month: Month, watch: Watch) -> Iterator[Step]:
    """What an earlier export left on its way out: proved and dropped, as it was asked to."""
    finish_dropping(rt, dataset, month)
    leaving = Leaving(dataset, month)
    if is_out(rt, leaving):
        watch.say(f"{dataset} {month}: an earlier export took its rows out; they are proved first")
        yield prove_twin(rt, leaving, watch)
        yield Step(let_go(rt, dataset, month))
