"""The lake's side of the books: which objects are live, and what each holds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Protocol

import pyarrow as pa
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.mysql import insert

from gapless.domain.window import DAY_MS, Window, from_ms, to_ms
from gapless.storage.mysql.books import archive_receipt, archive_series, stable_id
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.server import MySql

VERIFIED = "verified"
"""State of an object that was read back whole after it was written."""


class ArchivedSeries(Protocol):
    """What an object holds of one series on one day; `day` as `2026-11-20`, `sha256` its content digest."""

    @property
    def symbol(self) -> str: ...
    @property
    def day(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class ArchivedObject(Protocol):
    """A live object, read back (`gapless.storage.lake`'s receipt has this form); `period_start` as `2026-11-20`."""

    @property
    def uri(self) -> str: ...
    @property
    def exchange(self) -> str: ...
    @property
    def interval(self) -> str: ...
    @property
    def period_start(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...
    @property
    def content_digest(self) -> str: ...
    @property
    def series(self) -> Sequence[ArchivedSeries]: ...


def put_archive_receipts(db: MySql, objects: Sequence[ArchivedObject], *, dataset: str = "ohlcv") -> int:
    """Enter objects, as they are now, into the books; returns how many series-days were new or changed.

    Safe to repeat. Series that an object's receipt does not name stay as they are on record.

    Raises:
        StorageError: the server did not take them for as long as retries last.
    """
    ordered = sorted(objects, key=lambda each: each.uri)
    if not ordered:
        return 0
    what = f"entering {len(ordered)} objects of the lake into the books, the first {ordered[0].uri}"
    return db.run(what, lambda connection: sum(_put(connection, each, dataset) for each in ordered))


ARCHIVE_DAYS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("interval", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)


def read_archive_days(
    db: MySql,
    dataset: str,
    exchange: str,
    window: Window,
    symbols: Collection[str] | None = None,
    intervals: Iterable[str] | None = None,
) -> pa.Table:
    """How many rows the lake holds of each series, by UTC day: the days that the window touches, as `ARCHIVE_DAYS`.

    Days without any are absent; sorted by symbol, interval, day.

    Args:
        symbols: unified symbols, None for all. intervals: names, None for all.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = archive_series.c
    statement = (
        select(table.symbol, table.interval, table.day, table.rows)
        .where(
            table.dataset == dataset,
            table.exchange == exchange,
            table.day >= from_ms(window.start_ms).date(),
            table.day <= from_ms(window.end_ms - 1).date(),
            table.rows > 0,
        )
        .order_by(table.symbol, table.interval, table.day)
    )
    if symbols is not None:
        statement = statement.where(table.symbol.in_(sorted(symbols)))
    if intervals is not None:
        statement = statement.where(table.interval.in_(sorted(map(str, intervals))))
    what = f"reading which days of {dataset} the lake holds"
    rows = db.run(what, lambda connection: [tuple(row) for row in connection.execute(statement)])
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table([pa.array(c, field.type) for c, field in zip(columns, ARCHIVE_DAYS, strict=True)], ARCHIVE_DAYS)


def archived_bytes(db: MySql, dataset: str, window: Window) -> dict[str, str]:
    """The sha256 of each live object of a dataset whose period begins in the window, by address.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = archive_receipt.c
    statement = select(table.uri, table.sha256).where(
        table.dataset == dataset,
        table.state == VERIFIED,
        table.period_start >= from_ms(window.start_ms).replace(tzinfo=None),
        table.period_start < from_ms(window.end_ms).replace(tzinfo=None),
    )
    what = f"reading which objects of {dataset} the books know"
    return db.run(what, lambda connection: {str(uri): str(digest) for uri, digest in connection.execute(statement)})


def archived_rows(db: MySql, uri: str) -> int:
    """How many rows an object holds by the books; 0 for one that they do not know.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    statement = select(archive_receipt.c.rows).where(archive_receipt.c.uri == uri)
    return db.run(f"reading what {uri} holds", lambda connection: int(connection.scalar(statement) or 0))


def read_archive_span(db: MySql, dataset: str, exchange: str, symbol: str, interval: str) -> Window | None:
    """From the first to the last day of which the lake holds rows of a series; None when it holds none.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = archive_series.c
    statement = select(func.min(table.day), func.max(table.day)).where(
        table.dataset == dataset,
        table.exchange == exchange,
        table.symbol == symbol,
        table.interval == interval,
        table.rows > 0,
    )
    what = f"reading from when to when the lake holds {symbol} {interval}"
    first, last = db.run(what, lambda connection: tuple(connection.execute(statement).one()))
    if first is None:
        return None
    midnight = datetime.min.time()
    start, end = (to_ms(datetime.combine(day, midnight, UTC)) for day in (first, last))
    return Window(start, end + DAY_MS)


def _put(connection: Connection, each: ArchivedObject, dataset: str) -> int:
    number = stable_id(each.uri)
    _upsert(
        connection,
        archive_receipt,
        [
            {
                "id": number,
                "uri": each.uri,
                "dataset": dataset,
                "exchange": each.exchange,
                "interval": each.interval,
                "period_start": datetime.fromisoformat(each.period_start),
                "rows": each.rows,
                "bytes": each.bytes,
                "sha256": each.sha256,
                "content_digest": each.content_digest,
                "state": VERIFIED,
                "verified_at": datetime.now(UTC).replace(tzinfo=None),
            }
        ],
    )
    table = archive_series.c
    statement = select(table.symbol, table.day, table.rows, table.sha256).where(
        table.archive_receipt_id == number, table.dataset == dataset, table.exchange == each.exchange
    )
    known = {(symbol, day): (rows, digest) for symbol, day, rows, digest in connection.execute(statement)}
    changed = [
        one
        for one in sorted(each.series, key=lambda one: (one.symbol, one.day))
        if known.get((one.symbol, date.fromisoformat(one.day))) != (one.rows, one.sha256)
    ]
    if changed:
        # Not by SQLAlchemy: a month of 240 symbols has 44,640 series-days, which took it 13 s to write out.
        rows = pa.table(
            {
                "symbol": pa.array([one.symbol for one in changed], pa.string()),
                "day": pa.array([date.fromisoformat(one.day) for one in changed], pa.date32()),
                "rows": pa.array([one.rows for one in changed], pa.int64()),
                "sha256": pa.array([one.sha256 for one in changed], pa.string()),
            }
        )
        constants: dict[str, int | str] = {
            "dataset": dataset,
            "exchange": each.exchange,
            "interval": each.interval,
            "archive_receipt_id": number,
        }
        replace_rows(connection, archive_series.name, rows, constants, f"entering what {each.uri} holds")
    return len(changed)


def _upsert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    statement = insert(table).values(rows)
    names = [column.name for column in table.columns if not column.primary_key]
    connection.execute(statement.on_duplicate_key_update({name: statement.inserted[name] for name in names}))
