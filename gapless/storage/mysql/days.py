"""Of which days anything is stored, a month of a series at a time: for choosing among billions of rows without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from itertools import groupby, pairwise

import pyarrow as pa
from sqlalchemy import ColumnClause, Connection, column, func, literal, select, table

from gapless.domain.datasets import Dataset
from gapless.domain.interval import ALL_INTERVALS
from gapless.domain.window import DAY_MS, Window, from_ms, month_start, to_ms
from gapless.storage.mysql.books import archive_series, moment, ms_of
from gapless.storage.mysql.partitions import read_partitions
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.summary import count_days

MonthDays = dict[tuple[str, str, int], int]
"""By symbol, label (a bar's interval, a funding rate's type, or empty) and month (its first moment, ms): the days as a
number whose lowest bit is the first of the month."""

_MONTH_MS = 31 * DAY_MS
_SYMBOLS_AT_ONCE = 40
"""With six intervals and a month's days some seven thousand points: what servers search as points, not as a scan."""

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
    """Of which days that the window touches MySQL holds rows, without counting more than a few of them.

    Nearly every day that holds anything has a row at midnight, and a point of the key costs microseconds. Only where
    there is none the day's rows are counted: of a listing, of an outage, or none at all.

    Args:
        window: whole days. symbols: unified symbols, None for all. intervals: of bars, None for all.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    labels = [""] if dataset is not Dataset.OHLCV else [str(each) for each in intervals or ALL_INTERVALS]
    stored = _stored_symbols(db, dataset)
    names = stored if symbols is None else sorted(set(stored) & set(symbols))
    found: MonthDays = {}
    for part in table_months(db, dataset, window) if names else ():
        if part.length_ms > _MONTH_MS:  # before and beyond the months: empty, unless something went wrong
            _count(db, dataset, exchange, part, names, labels, found)
            continue
        for at in range(0, len(names), _SYMBOLS_AT_ONCE):
            _probe(db, dataset, exchange, part, names[at : at + _SYMBOLS_AT_ONCE], labels, found)
        for label in labels:
            for stretch, lacking in _without_midnight(part, names, label, found):
                _count(db, dataset, exchange, stretch, lacking, [label], found)
    return found


def _stored_symbols(db: MySql, dataset: Dataset) -> list[str]:
    """Every symbol of a table, walked from one to the next along the key: DISTINCT may read all of it."""
    symbol: ColumnClause[str] = column("symbol")
    after = select(symbol).select_from(table(str(dataset))).order_by(symbol).limit(1)

    def walk(connection: Connection) -> list[str]:
        names: list[str] = []
        found = connection.scalar(after)
        while found is not None:
            names.append(found)
            found = connection.scalar(after.where(symbol > found))
        return names

    return db.run(f"reading the symbols of {dataset}", walk)


def _probe(
    db: MySql, dataset: Dataset, exchange: str, part: Window, symbols: list[str], labels: list[str], found: MonthDays
) -> None:
    """The days that hold a row at midnight."""
    symbol: ColumnClause[str] = column("symbol")
    label = column("interval") if labels != [""] else literal("")
    ts: ColumnClause[datetime] = column("ts")
    midnights = [moment(day.start_ms) for day in part.split(DAY_MS)]
    statement = (
        select(symbol, label, ts)
        .select_from(table(str(dataset)))
        .where(column("exchange") == exchange, symbol.in_(symbols), ts.in_(midnights))
    )
    if labels != [""]:
        statement = statement.where(column("interval").in_(labels))
    what = f"looking which days of {part} MySQL holds of {dataset}"
    for name, interval, at in db.run(what, lambda connection: connection.execute(statement).all()):
        _mark(found, name, interval, ms_of(at))


def _without_midnight(
    part: Window, symbols: list[str], label: str, found: MonthDays
) -> Iterator[tuple[Window, list[str]]]:
    """The days without a row at midnight, those one after another that are so of the same symbols together."""
    month = month_start(part.start_ms)
    for lacking, days in groupby(
        part.split(DAY_MS),
        lambda day: [
            name for name in symbols if not found.get((name, label, month), 0) >> (day.start_ms - month) // DAY_MS & 1
        ],
    ):
        stretch = list(days)
        if lacking:
            yield Window(stretch[0].start_ms, stretch[-1].end_ms), lacking


def _count(
    db: MySql, dataset: Dataset, exchange: str, part: Window, symbols: list[str], labels: list[str], found: MonthDays
) -> None:
    counted = count_days(db, dataset, exchange, part, symbols, labels)
    days = counted["day"].cast(pa.int32()).to_pylist()
    for symbol, label, day in zip(counted["symbol"].to_pylist(), counted["interval"].to_pylist(), days, strict=True):
        _mark(found, symbol, label, day * DAY_MS)


def _mark(found: MonthDays, symbol: str, label: str, day_ms: int) -> None:
    key = (symbol, label, month_start(day_ms))
    found[key] = found.get(key, 0) | 1 << (day_ms - key[2]) // DAY_MS


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
