"""What keeps the house in order, once a day: partitions, exports of the books, sweeps. Each is put on record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from gapless.domain.window import DAY_MS, Window, from_ms, iso
from gapless.errors import GaplessError
from gapless.pipeline.retention.sweep import RetentionReport, sweep
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.checks import CLEAN, DIRTY, FAILED, CheckRun, put_check
from gapless.storage.mysql.partitions import MONTHS_AHEAD, Month, ensure_months, month_range
from gapless.storage.mysql.schema import PARTITIONED
from gapless.storage.mysql.strays import months_ahead, stray_rows

T = TypeVar("T")

PARTITIONS_KIND, BOOKS_KIND, RETENTION_KIND = "partitions", "books", "retention"
"""The kinds of these check runs."""

TAKEN = "taken_ms"
"""In the result of a run of `BOOKS_KIND`: when the snapshot of the newest whole export was taken, UTC ms."""


class Strays(msgspec.Struct, frozen=True):
    """Rows that belong to no month; counted up to ten thousand."""

    table: str
    partition: str
    rows: int


class PartitionsReport(msgspec.Struct, frozen=True):
    """How the partitions stand.

    Attributes:
        made: those that were made now, by table. ahead: months after the current one that have a partition.
        strays: rows in `p_before` or `pmax`, which must be empty.
    """

    made: dict[str, list[str]]
    ahead: dict[str, int]
    strays: tuple[Strays, ...]


class BooksExported(msgspec.Struct, frozen=True):
    """The newest export of the books; `made` by this run, or there already.

    Attributes:
        taken: when its snapshot was taken.
    """

    stamp: str
    uri: str
    taken: str
    rows: int
    bytes: int
    written_bytes: int
    made: bool
    seconds: float


def make_partitions(rt: Runtime, now_ms: int, *, link: str = "") -> PartitionsReport:
    """Make the current month's partition and those of the months ahead, of every partitioned table; look for strays.

    Raises:
        StorageError: a table is missing or partitioned otherwise, or readers held it for as long as retries last.
    """

    def make() -> tuple[PartitionsReport, bool, Mapping[str, Any]]:
        this = Month.of_ms(now_ms)
        wanted = month_range(this, this.plus(MONTHS_AHEAD))
        made = {str(table): ensure_months(rt.db, str(table), wanted) for table in PARTITIONED}
        counted = stray_rows(rt.db).items()
        strays = tuple(Strays(table, partition, rows) for (table, partition), rows in counted if rows)
        report = PartitionsReport(made, months_ahead(rt.db, now_ms), strays)
        counts = {"made": sum(map(len, made.values())), "stray_rows": sum(each.rows for each in strays)}
        return report, not strays, counts | {"months_ahead": min(report.ahead.values())}

    return _recorded(rt, PARTITIONS_KIND, now_ms, link, make)


def export_daily_books(rt: Runtime, now_ms: int, *, link: str = "") -> BooksExported:
    """Export the books, unless this UTC day has an export already.

    Raises:
        OriginMismatch: the lake holds data of another origin. StorageError: a server or the lake did not do it.
    """
    from gapless.pipeline.books import export_books
    from gapless.storage.lake.book_zone import stamp_ms

    def export() -> tuple[BooksExported, bool, Mapping[str, Any]]:
        receipt = export_books(rt, day=from_ms(now_ms).date())
        taken_ms = stamp_ms(receipt.stamp)
        report = BooksExported(
            stamp=receipt.stamp,
            uri=receipt.uri,
            taken=iso(taken_ms),
            rows=receipt.rows,
            bytes=receipt.bytes,
            written_bytes=receipt.written_bytes,
            made=receipt.made,
            seconds=receipt.seconds,
        )
        return report, True, {"rows": receipt.rows, "bytes": receipt.bytes, TAKEN: taken_ms, "stamp": receipt.stamp}

    return _recorded(rt, BOOKS_KIND, now_ms, link, export)


def sweep_all(
    rt: Runtime, now_ms: int, *, link: str = "", on_item: Callable[[Any], None] | None = None
) -> RetentionReport:
    """Remove what has outlived its days (`gapless.pipeline.retention.sweep`).

    Raises:
        ConfigError: the file of rules is wrong; nothing was removed. StorageError: the run could not be put on record.
    """

    def apply() -> tuple[RetentionReport, bool, Mapping[str, Any]]:
        report = sweep(rt, now_ms, apply=True, on_item=on_item)
        counts = {
            "objects": report.objects,
            "bytes": report.bytes,
            "held": sum(zone.held for zone in report.zones),
            "months_to_export": len(report.exports),
            "spool_overdue": len(report.overdue),
            "errors": len(report.errors),
        }
        zones = {zone.zone: {"objects": zone.objects, "bytes": zone.bytes, "held": zone.held} for zone in report.zones}
        return report, report.clean, {**counts, "zones": zones}

    return _recorded(rt, RETENTION_KIND, now_ms, link, apply)


def _recorded(
    rt: Runtime, kind: str, now_ms: int, link: str, work: Callable[[], tuple[T, bool, Mapping[str, Any]]]
) -> T:
    """Do the work and put on record how it ended, once a day: a repeat replaces the day's entry."""
    began_ms = _host_ms()
    try:
        report, clean, result = work()
    except GaplessError as error:
        _enter(rt, kind, now_ms, FAILED, {"error": str(error)}, link, began_ms)
        raise
    _enter(rt, kind, now_ms, CLEAN if clean else DIRTY, result, link, began_ms)
    return report


def _enter(
    rt: Runtime, kind: str, now_ms: int, state: str, result: Mapping[str, Any], link: str, began_ms: int
) -> None:
    start_ms = now_ms - now_ms % DAY_MS
    day = Window(start_ms, start_ms + DAY_MS)
    identity = sha256(f"{kind}\0{day}".encode()).hexdigest()
    put_check(rt.db, CheckRun(identity, kind, "", day, state, result, link, began_ms, _host_ms()))


def _host_ms() -> int:
    return time.time_ns() // 1_000_000
