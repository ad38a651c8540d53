"""Of which days anything is stored, a month of a series at a time: for choosing among billions of rows without them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from itertools import pairwise

import pyarrow as pa
from sqlalchemy import (
    ColumnElement,
    Exists,
    TableClause,
    case,
    column,
    exists,
    func,
    literal,
    select,
    table,
)

from gapless.domain.datasets import Dataset
from gapless.domain.window import DAY_MS, Window, from_ms, month_start, to_ms
from gapless.storage.mysql.books import archive_series, moment
from gapless.storage.mysql.partitions import read_partitions
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.summary import count_days

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


def held_days(
    db: MySql,
    dataset: Dataset,
    exchange: str,
    window: Window = EVER,
    symbols: Collection[str] | None = None,
    intervals: Collection[str] | None = None,
) -> MonthDays:
    """Of which days that the window touches MySQL holds rows. The key is asked once a series and day: no row counted.

    Args:
        window: whole days. symbols: unified symbols, None for all. intervals: of bars, None for all.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    found: MonthDays = {}
    for part in table_months(db, dataset, window):
        if part.length_ms > 31 * DAY_MS:  # before and beyond the months: empty, unless something went wrong
            _count(db, dataset, exchange, part, symbols, intervals, found)
        else:
            _probe(db, dataset, exchange, part, symbols, intervals, found)
    return found


def _probe(
    db: MySql,
    dataset: Dataset,
    exchange: str,
    part: Window,
    symbols: Collection[str] | None,
    intervals: Collection[str] | None,
    found: MonthDays,
) -> None:
    rows = table(str(dataset), column("symbol"), column("interval"), column("ts"), column("exchange"))
    labels = [rows.c.interval] if dataset is Dataset.OHLCV else []
    every = select(rows.c.symbol, *labels).distinct()  # by the key's beginning: one look a series
    if symbols is not None:
        every = every.where(rows.c.symbol.in_(sorted(symbols)))
    if intervals is not None and labels:
        every = every.where(rows.c.interval.in_(sorted(map(str, intervals))))
    series, month = every.subquery("series"), month_start(part.start_ms)
    same = [series.c[name] == rows.c[name] for name in ("symbol", "interval")[: 1 + len(labels)]]
    bits = [
        case((_any(rows, same, exchange, day), 1 << ((day.start_ms - month) // DAY_MS)), else_=0)
        for day in part.split(DAY_MS)
    ]
    statement = select(*series.c, sum(bits[1:], bits[0]))
    what = f"looking on which days of {part} MySQL holds {dataset}"
    for symbol, *label, days in db.run(what, lambda connection: connection.execute(statement).all()):
        if days:
            found[symbol, label[0] if label else "", month] = int(days)


def _any(rows: TableClause, same: list[ColumnElement[bool]], exchange: str, day: Window) -> Exists:
    begin, end = (moment(at) for at in (day.start_ms, day.end_ms))
    return exists().where(*same, rows.c.ts >= begin, rows.c.ts < end, rows.c.exchange == exchange).select_from(rows)


def _count(
    db: MySql,
    dataset: Dataset,
    exchange: str,
    part: Window,
    symbols: Collection[str] | None,
    intervals: Collection[str] | None,
    found: MonthDays,
) -> None:
    counted = count_days(db, dataset, exchange, part, symbols, intervals)
    days = counted["day"].cast(pa.int32()).to_pylist()
    for symbol, label, day in zip(counted["symbol"].to_pylist(), counted["interval"].to_pylist(), days, strict=True):
        key = (symbol, label, month_start(day * DAY_MS))
        found[key] = found.get(key, 0) | 1 << (day * DAY_MS - key[2]) // DAY_MS


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
    held = archive_series.c
    month = func.year(held.day) * 100 + func.month(held.day)
    bits = func.bit_or(literal(1).op("<<")(func.dayofmonth(held.day) - 1))
    statement = (
        select(held.symbol, held.interval, month, bits)
        .where(
            held.dataset == str(dataset),
            held.exchange == exchange,
            held.day >= from_ms(window.start_ms).date(),
            held.day <= from_ms(window.end_ms - 1).date(),
            held.rows > 0,
        )
        .group_by(held.symbol, held.interval, month)
    )
    if symbols is not None:
        statement = statement.where(held.symbol.in_(sorted(symbols)))
    if intervals is not None and dataset is Dataset.OHLCV:
        statement = statement.where(held.interval.in_(sorted(map(str, intervals))))
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
    held = archive_series.c
    statement = (
        select(held.symbol, held.interval, held.day, held.rows, held.sha256)
        .where(
            held.dataset == str(dataset),
            held.exchange == exchange,
            held.symbol.in_(sorted(symbols)),
            held.day >= from_ms(window.start_ms).date(),
            held.day <= from_ms(window.end_ms - 1).date(),
            held.rows > 0,
        )
        .order_by(held.symbol, held.interval, held.day)
    )
    if dataset is Dataset.OHLCV:
        statement = statement.where(held.interval.in_(sorted(map(str, intervals))))
    rows = db.run(f"reading what the lake's receipts say of {dataset} {window}", lambda c: c.execute(statement).all())
    columns = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    arrays = [pa.array(column, field.type) for column, field in zip(columns, ARCHIVE_DIGESTS, strict=True)]
    return pa.table(arrays, ARCHIVE_DIGESTS)
