"""A month of a table as one moment saw it: its mark, its totals, and its rows in canonical order."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.totals import SeriesKey, SeriesTotals
from gapless.domain.window import Window
from gapless.errors import StorageError
from gapless.storage.mysql.books import ms_of
from gapless.storage.mysql.faults import explain, is_database_error
from gapless.storage.mysql.partitions import Month, own_months, read_partitions
from gapless.storage.mysql.pieces import read_pieces
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query
from gapless.storage.mysql.twins import table_exists, twin_name

_EPOCH_SECONDS = 62_167_219_200  # TO_SECONDS('1970-01-01')
# The server would hang up on a reader that is busy elsewhere (uploading an object) for longer than a minute.
_PATIENCE_S = 3600


@dataclass(frozen=True, slots=True)
class Mark:
    """By which a write to a month is noticed: each load that writes leaves another sum of receipts, or count.

    Attributes:
        rows: how many rows.
        receipts: the sum of their `receipt_id`.
    """

    rows: int
    receipts: int

    def __str__(self) -> str:
        return f"{self.rows}:{self.receipts}"


def mark_of(connection: Connection, source: str) -> Mark:
    """The mark of what stands behind FROM: a table, or a partition of one."""
    rows, receipts = connection.exec_driver_sql(query("departing_mark").replace("{rows}", source)).one()
    return Mark(int(rows), int(receipts))


class MonthRows:
    """The rows of a month within one consistent snapshot; made by `MonthRows.open`. Not for two threads at once.

    with MonthRows.open(db, Dataset.OHLCV, Month(2026, 7)) as rows:
        mark = rows.mark()
        for piece in rows.pieces("binance", symbols, Interval.M1, window):
            ...

    While it is open no partition of the table can be made, exchanged or folded: DDL waits for snapshots that have read.
    """

    def __init__(self, connection: Connection, shape: Shape, source: str | None, what: str) -> None:
        self._connection = connection
        self._shape = shape
        self._source = source
        self._what = what
        self._using = threading.Lock()

    @classmethod
    @contextlib.contextmanager
    def open(cls, db: MySql, dataset: Dataset, month: Month, *, twin: bool = False) -> Iterator[MonthRows]:
        """Begin a snapshot, on a connection of its own that is closed for good afterwards.

        Args:
            twin: the table that the month was exchanged into, instead of its partition. A month without a partition
                (or twin) has no rows.

        Raises:
            StorageError: the server did not answer for as long as retries last.
        """
        what = f"reading {dataset} of {month} as it leaves"

        def begin() -> tuple[Connection, str | None]:
            connection = db.engine.connect()
            try:
                connection.exec_driver_sql("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                connection.exec_driver_sql(f"SET SESSION net_write_timeout = {_PATIENCE_S}")
                connection.rollback()
                connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT")
                return connection, _source(connection, dataset, month, twin=twin)
            except BaseException:
                _end(connection)
                raise

        connection, source = db.retry(what, begin)
        try:
            yield cls(connection, SHAPES[dataset], source, what)
        finally:
            _end(connection)

    def mark(self) -> Mark:
        """The month's mark. One pass over its rows.

        Raises:
            StorageError: the connection was lost, or `pieces` is under way.
        """
        with self._reading():
            return Mark(0, 0) if self._source is None else mark_of(self._connection, self._source)

    def series(self) -> dict[SeriesKey, int]:
        """How many rows each series has; those without any are absent. One pass over the keys.

        Raises:
            StorageError: the connection was lost, or `pieces` is under way.
        """
        label = self._shape.label
        statement = (
            "SELECT MIN(exchange) AS exchange, MAX(exchange) AS last_exchange, symbol, "  # noqa: S608
            + (f"`{label}`" if label else "''")
            + " AS label, COUNT(*) AS row_count FROM {rows} WHERE {keys} GROUP BY symbol"
            + (f", `{label}`" if label else "")
        )
        return {key: int(row["row_count"]) for key, row in self._groups(statement, None).items()}

    def totals(self, keys: Collection[SeriesKey] | None = None) -> dict[SeriesKey, SeriesTotals]:
        """What each series adds up to, computed by the server in exact decimals; one pass over the rows.

        Args:
            keys: the series wanted, None for all. Those without rows are absent.

        Raises:
            StorageError: the connection was lost, or `pieces` is under way.
        """
        symbols = None if keys is None else {symbol for _, symbol, _ in keys}
        found = self._groups(query(f"departing_{self._shape.dataset}_totals"), symbols)
        wanted = found.keys() if keys is None else found.keys() & set(keys)
        return {key: _totals(self._shape, found[key]) for key in wanted}

    def pieces(
        self, exchange: str, symbols: Sequence[str], interval: Interval | None, window: Window
    ) -> Iterator[pa.Table]:
        """Rows of some symbols with `ts` in the window, whole symbols in each piece, none of them empty.

        One piece is read and parsed ahead.

        Args:
            symbols: those wanted, in any order; they come in that of their UTF-8, each with its rows by label and `ts`.
            interval: of bars; None for the other datasets.

        Yields:
            Tables of the shape's schema, of about `PIECE_ROWS` rows; one symbol is never divided.

        Raises:
            StorageError: the connection was lost, or another `pieces` is under way.
        """
        with self._reading():
            if self._source is None:
                return
            raw: Any = self._connection.connection.dbapi_connection
            yield from read_pieces(raw, self._shape, self._source, exchange, symbols, interval, window)

    def _groups(self, statement: str, symbols: Collection[str] | None) -> dict[SeriesKey, dict[str, Any]]:
        """The answer's lines by series; of symbols that several exchanges share it is asked for each exchange."""
        if self._source is None or (symbols is not None and not symbols):
            return {}
        statement = statement.replace("{rows}", self._source)
        arguments = {} if symbols is None else {"symbols": tuple(sorted(symbols))}
        with self._reading():
            rows = self._ask(statement, arguments)
            shared = tuple(sorted({row["symbol"] for row in rows if row["exchange"] != row["last_exchange"]}))
            if shared:
                rows = [row for row in rows if row["symbol"] not in shared]
                which = f"SELECT DISTINCT exchange FROM {self._source} WHERE {{keys}}"  # noqa: S608
                for each in self._ask(which, {"symbols": shared}):
                    rows += self._ask(statement, {"symbols": shared, **each})
        return {(row["exchange"], row["symbol"], row["label"]): row for row in rows}

    def _ask(self, statement: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        conditions = {"symbols": "symbol IN %(symbols)s", "exchange": "exchange = %(exchange)s"}
        keys = " AND ".join(conditions[name] for name in arguments) or "TRUE"
        raw: Any = self._connection.connection.dbapi_connection
        with contextlib.closing(raw.cursor()) as cursor:
            cursor.execute(statement.replace("{keys}", keys), arguments)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        if not self._using.acquire(blocking=False):
            raise StorageError(
                f"{self._what}: another reading of this snapshot is under way; bring it to its end first"
            )
        try:
            yield
        except Exception as error:
            if not is_database_error(error):
                raise
            raise StorageError(f"{self._what}: {explain(error)}; nothing was changed, begin again") from None
        finally:
            self._using.release()


def _source(connection: Connection, dataset: Dataset, month: Month, *, twin: bool) -> str | None:
    """What stands behind FROM; None where there is nothing."""
    if not twin:
        stands = month in own_months(read_partitions(connection, dataset))
        return f"`{dataset}` PARTITION ({month.partition})" if stands else None
    name = twin_name(dataset, month)
    return f"`{name}`" if table_exists(connection, name) else None


def _end(connection: Connection) -> None:
    """Close for good: the session is unlike those that are given back, and an unread answer may be in its way."""
    connection.invalidate()
    connection.close()


def _totals(shape: Shape, row: dict[str, Any]) -> SeriesTotals:
    rows = int(row["row_count"])
    return SeriesTotals(
        rows=rows,
        first_ms=ms_of(_moment(row["first_ts"])),
        last_ms=ms_of(_moment(row["last_ts"])),
        ts_seconds=int(row["ts_seconds"]) - rows * _EPOCH_SECONDS,
        counts=tuple(int(row.get(f"{name}_known", rows)) for name in shape.values),
        sums=tuple(Decimal(row[name] or 0) for name in shape.values),
    )


def _moment(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise StorageError(f"the server gave {value!r} for a time")
    return value
