"""The book of months that leave MySQL for the lake: each export, how it was proved, and what it allowed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects.mysql import insert

from gapless.domain.datasets import Dataset
from gapless.storage.mysql.books import moment, moment_or_none, month_export, ms_of
from gapless.storage.mysql.partitions import Month
from gapless.storage.mysql.server import MySql

COPYING, LEAVING, VERIFIED, DROPPED, RESTORED = "copying", "leaving", "verified", "dropped", "restored"


@dataclass(frozen=True, slots=True)
class MonthExport:
    """One export of a month of a table: `include/sql/ddl/0004_books.sql` says what each field means.

    Attributes:
        round: 1, and one more each time that rows came to a month that had left.
        begun_ms, verified_ms, dropped_ms, hold_until_ms: UTC milliseconds.
    """

    dataset: Dataset
    month: Month
    round: int
    state: str
    begun_ms: int
    mark: str = ""
    rows: int = 0
    series: int = 0
    beside: int = 0
    outranked: int = 0
    table_bytes: int = 0
    bytes: int = 0
    files: int = 0
    written: int = 0
    digest: str = ""
    manifest_uri: str = ""
    copy_seconds: float = 0.0
    verify_seconds: float = 0.0
    verified_ms: int | None = None
    dropped_ms: int | None = None
    hold_until_ms: int | None = None


_TIMES = ("begun", "verified", "dropped")


def put_export(db: MySql, export: MonthExport) -> None:
    """Enter an export as it stands now.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    row: dict[str, Any] = asdict(export)
    row["dataset"], row["month"] = str(export.dataset), export.month.first_day
    row["begun_at"] = moment(row.pop("begun_ms"))
    for name in ("verified", "dropped"):
        row[f"{name}_at"] = moment_or_none(row.pop(f"{name}_ms"))
    row["hold_until"] = moment_or_none(row.pop("hold_until_ms"))
    statement = insert(month_export).values(row)
    names = [column.name for column in month_export.columns if not column.primary_key]
    again = statement.on_duplicate_key_update({name: statement.inserted[name] for name in names})
    db.run(f"entering the export of {export.dataset} {export.month}", lambda connection: connection.execute(again))


def read_exports(db: MySql, dataset: Dataset | None = None, month: Month | None = None) -> list[MonthExport]:
    """The exports on record, by dataset, month and round.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = month_export.c
    statement = select(month_export).order_by(table.dataset, table.month, table.round)
    if dataset is not None:
        statement = statement.where(table.dataset == str(dataset))
    if month is not None:
        statement = statement.where(table.month == month.first_day)

    def read(connection: Connection) -> list[MonthExport]:
        return [_export(dict(row)) for row in connection.execute(statement).mappings()]

    return db.run("reading which months were exported", read)


def newest_export(db: MySql, dataset: Dataset, month: Month) -> MonthExport | None:
    """The last round of a month; None when it was never exported.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    return next(reversed(read_exports(db, dataset, month)), None)


def restored_months(db: MySql, dataset: Dataset) -> frozenset[Month]:
    """The months that were brought back into MySQL and have not left again.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    newest = {export.month: export for export in read_exports(db, dataset)}
    return frozenset(month for month, export in newest.items() if export.state == RESTORED)


def _export(row: dict[str, Any]) -> MonthExport:
    for name in _TIMES:
        stored = row.pop(f"{name}_at")
        row[f"{name}_ms"] = None if stored is None else ms_of(stored)
    hold = row.pop("hold_until")
    row["hold_until_ms"] = None if hold is None else ms_of(hold)
    row["dataset"], row["month"] = Dataset(row["dataset"]), Month.of_date(row["month"])

    return MonthExport(**row)
