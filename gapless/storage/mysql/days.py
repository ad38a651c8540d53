"""Of which days anything is stored, a month of a series at a time: for choosing among billions of rows without them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
from sqlalchemy import func, literal, select

from gapless.domain.datasets import Dataset
from gapless.domain.window import Window, from_ms, to_ms
from gapless.storage.mysql.books import archive_series
from gapless.storage.mysql.partitions import read_partitions
from gapless.storage.mysql.server import MySql

MonthDays = dict[tuple[str, str, int], int]
"""By symbol, label (a bar's interval, a funding rate's type, or empty) and month (its first moment, ms): the days as a
number whose lowest bit is the first of the month."""

EVER = Window.of("1970-01-01", "9999-12-31")
"""All moments that a table can hold rows of."""


def table_months(db: MySql, dataset: Dataset, window: Window = EVER) -> list[Window]:
    """The parts of the window that a table has partitions for, oldest first: months, and what lies beyond them.

    Raises:
        StorageError: there is no such table, or the server did not answer for as long as retries last.
    """
    parts = db.run(f"reading the partitions of {dataset}", lambda connection: read_partitions(connection, str(dataset)))
    bounds = [EVER.start_ms]
    for part in parts:
        until = EVER.end_ms if part.until is None else to_ms(datetime(*part.until.timetuple()[:3], tzinfo=UTC))
        bounds.append(max(until, bounds[-1]))
    pieces = (Window(a, b).intersect(window) for a, b in pairwise(bounds) if a < b)
    return [piece for piece in pieces if piece is not None]


def archived_days(
    db: MySql,
    dataset: Dataset,
    exchange: str,
    window: Window = EVER,
    symbols: Collection[str] | None = None,
    intervals: Collection[str] | None = None,
) -> MonthDays:
    """Of which days that the window touches the lake holds rows, as the books have it.

    Args:
        symbols: unified symbols, None for all. intervals: of bars, None for all.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = archive_series.c
    month = func.year(table.day) * 100 + func.month(table.day)
    bits = func.bit_or(literal(1).op("<<")(func.dayofmonth(table.day) - 1))
    statement = (
        select(table.symbol, table.interval, month, bits)
        .where(
            table.dataset == str(dataset),
            table.exchange == exchange,
            table.day >= from_ms(window.start_ms).date(),
            table.day <= from_ms(window.end_ms - 1).date(),
            table.rows > 0,
        )
        .group_by(table.symbol, table.interval, month)
    )
    if symbols is not None:
        statement = statement.where(table.symbol.in_(sorted(symbols)))
    if intervals is not None and dataset is Dataset.OHLCV:
        statement = statement.where(table.interval.in_(sorted(map(str, intervals))))
    rows = db.run(f"reading of which days the lake holds {dataset}", lambda c: c.execute(statement).all())
    return {
        (symbol, label, to_ms(datetime(number // 100, number % 100, 1, tzinfo=UTC))): int(days)
        for symbol, label, number, days in rows
    }


ARCHIVE_DIGESTS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("interval", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)


def archived_digests(
    db: MySql, dataset: Dataset, exchange: str, window: Window, symbols: Collection[str], intervals: Collection[str]
) -> pa.Table:
    """What the lake's receipts say of each series and day that the window touches, as `ARCHIVE_DIGESTS`, sorted.

    Args:
        intervals: of bars; ignored where the dataset has none.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = archive_series.c
    statement = (
        select(table.symbol, table.interval, table.day, table.rows, table.sha256)
        .where(
            table.dataset == str(dataset),
            table.exchange == exchange,
            table.symbol.in_(sorted(symbols)),
            table.day >= from_ms(window.start_ms).date(),
            table.day <= from_ms(window.end_ms - 1).date(),
            table.rows > 0,
        )
        .order_by(table.symbol, table.interval, table.day)
    )
    if dataset is Dataset.OHLCV:
        statement = statement.where(table.interval.in_(sorted(map(str, intervals))))
    rows = db.run(f"reading what the lake's receipts say of {dataset} {window}", lambda c: c.execute(statement).all())
    columns = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    arrays = [pa.array(column, field.type) for column, field in zip(columns, ARCHIVE_DIGESTS, strict=True)]
    return pa.table(arrays, ARCHIVE_DIGESTS)
