"""The rows of every table that a day touches, as temporary tables of one connection: read once, checked many times.

The time series are large: their rows are found by symbol and interval, the first columns of the key; by time alone a
month's whole partition would be read. The tables are nobody else's, and gone with the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, bindparam, text

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window, from_ms
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.server import MySql

_PREFIX = "day_"
_OPEN = "state IN ('open', 'refilling', 'failed')"

# Which rows of a book a day touches: every one where nothing is said.
_TOUCHED = {
    "load_receipt": "(window_start < :end AND window_end > :start) OR (loaded_at >= :start AND loaded_at < :end)",
    "archive_receipt": (
        "(period_start >= :month AND period_start < :end) OR (verified_at >= :start AND verified_at < :end)"
    ),
    "archive_series": "day = DATE(:start)",
    "archive_object": (
        "period_start IN (DATE(:start), DATE(:month)) OR (checked_at >= :start AND checked_at < :end) "
        "OR (loaded_at >= :start AND loaded_at < :end)"
    ),
    "series_month": "month = DATE(:month)",
    "data_gap_log": (
        f"(gap_start < :end AND gap_end > :start) OR (changed_at >= :start AND changed_at < :end) OR {_OPEN}"
    ),
    "restatement": "(ts >= :start AND ts < :end) OR (noticed_at >= :start AND noticed_at < :end)",
    "liquidation": "ts >= :start AND ts < :end",
    "quarantine": "(ts >= :start AND ts < :end) OR (first_seen >= :start AND first_seen < :end)",
    "review": (
        "(ts >= :start AND ts < :end) OR (noticed_at >= :start AND noticed_at < :end) "
        "OR (decided_at >= :start AND decided_at < :end) OR state = 'waiting'"
    ),
    "page": "(created_at >= :start AND created_at < :end) OR state <> 'resolved'",
    "month_export": "(begun_at >= :start AND begun_at < :end) OR state NOT IN ('verified', 'dropped')",
    "check_run": "(window_start < :end AND window_end > :start) OR (finished_at >= :start AND finished_at < :end)",
}


@dataclass(frozen=True, slots=True)
class DayTables:
    """The tables, and the connection that has them.

    Attributes:
        rows: by the name of the table they were copied from; only what was asked for.
    """

    connection: Connection
    rows: dict[str, int]

    @property
    def driver(self) -> Any:
        """The driver's own connection."""
        return self.connection.connection.dbapi_connection

    def name(self, table: str) -> str:
        """What the copy is called."""
        return _PREFIX + table


@contextmanager
def day_tables(
    db: MySql,
    day: Window,
    tables: Sequence[str],
    *,
    cold: Callable[[Dataset], pa.Table],
    exchange: str = "binance",
) -> Iterator[DayTables]:
    """Copy what the day touches of `tables` aside.

    Args:
        day: UTC; rows of series with a `ts` in it.
        cold: asked for the rows of a time series, as its shape's schema, when MySQL holds none of the day.

    Raises:
        StorageError: the server did not do it for as long as retries last.
    """

    def make() -> DayTables:
        connection = db.engine.connect()
        try:
            made = DayTables(connection, {table: _copy(connection, table, day, cold, exchange) for table in tables})
            connection.commit()
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        return made

    made = db.retry(f"copying the rows of {day} aside for their check", make)
    try:
        yield made
    finally:
        # Closed for good, which drops the tables whatever state the check has left the connection in.
        made.connection.invalidate()
        made.connection.close()


def _copy(connection: Connection, table: str, day: Window, cold: Callable[[Dataset], pa.Table], exchange: str) -> int:
    name, bounds = _PREFIX + table, _bounds(day)
    if table not in list(Dataset):
        where = f" WHERE {_TOUCHED[table]}" if table in _TOUCHED else ""
        made = text(f"CREATE TEMPORARY TABLE {name} AS SELECT * FROM `{table}`{where}")  # noqa: S608
        connection.execute(made, {key: at for key, at in bounds.items() if f":{key}" in where})
        return _count(connection, name)
    dataset = Dataset(table)
    connection.execute(text(f"CREATE TEMPORARY TABLE {name} AS SELECT * FROM {table} LIMIT 0"))  # noqa: S608
    symbols = list(connection.scalars(text(f"SELECT DISTINCT symbol FROM {table}")))  # noqa: S608
    if symbols:
        series = "AND `interval` IN :intervals " if dataset is Dataset.OHLCV else ""
        found = text(
            f"INSERT INTO {name} SELECT * FROM {table} WHERE symbol IN :symbols {series}"  # noqa: S608
            "AND ts >= :start AND ts < :end AND exchange = :exchange"
        ).bindparams(bindparam("symbols", expanding=True))
        arguments: dict[str, object] = {
            "symbols": symbols, "start": bounds["start"], "end": bounds["end"], "exchange": exchange
        }  # fmt: skip
        if series:
            found = found.bindparams(bindparam("intervals", expanding=True))
            arguments["intervals"] = [str(interval) for interval in Interval]
        connection.execute(found, arguments)
    rows = _count(connection, name)
    if rows == 0 and (kept := cold(dataset)).num_rows:
        what = f"copying the lake's {dataset} of {day} aside for their check"
        replace_rows(connection, name, kept.select(SHAPES[dataset].schema.names), {"receipt_id": 0}, what)
        rows = _count(connection, name)
    return rows


def _count(connection: Connection, table: str) -> int:
    return int(connection.scalar(text(f"SELECT COUNT(*) FROM {table}")) or 0)  # noqa: S608


def _bounds(day: Window) -> dict[str, Any]:
    start = from_ms(day.start_ms)
    return {
        "start": moment(day.start_ms),
        "end": moment(day.end_ms),
        "month": start.replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None),
    }
