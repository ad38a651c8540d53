"""Restatements: closed bars whose values changed, old and new, wherever they rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import Connection, select, tuple_

from gapless.domain.schema import OHLCV_VALUES, decimal_text
from gapless.errors import ValidationError
from gapless.storage.mysql.books import restatement
from gapless.storage.mysql.server import MySql

_PIECE = 1_000


def log_lake_restatements(db: MySql, old: pa.Table, new: pa.Table, *, receipt_id: int | None = None) -> int:
    """Record bars that the lake is about to replace; returns how many were not on record yet.

    One change of a bar is one row: a bar whose last restatement says exactly this change is left out. So what MySQL has
    just recorded is not recorded again for the lake, and a write that was killed after this and is done again adds
    nothing.

    Args:
        old, new: the bars before and after, aligned row by row; columns of `gapless.domain.schema.OHLCV`.
        receipt_id: the load that brought the new values, where there is one.

    Raises:
        ValidationError: the tables are not aligned.
        StorageError: the server did not take them for as long as retries last.
    """
    key = ["exchange", "symbol", "interval", "ts"]
    if not old.select(key).equals(new.select(key)):
        raise ValidationError("restated bars: the old and the new table do not have the same keys, row by row")
    rows = list(_rows(old, new, store="lake", receipt_id=receipt_id))

    def record(connection: Connection) -> int:
        added = 0
        for at in range(0, len(rows), _PIECE):
            piece = rows[at : at + _PIECE]
            last = _last_changes(connection, piece)
            fresh = [row for row in piece if last.get(_key(row)) != (row["old_values"], row["new_values"])]
            if fresh:
                connection.execute(restatement.insert(), fresh)
            added += len(fresh)
        return added

    return db.run(f"recording {len(rows)} restated bars of the lake", record) if rows else 0


def put_restatements(connection: Connection, old: pa.Table, new: pa.Table, *, receipt_id: int) -> None:
    """Record bars that MySQL is about to replace, in the same transaction. `old` has `receipt_id` beside."""
    rows = list(_rows(old, new, store="mysql", receipt_id=receipt_id))
    for at in range(0, len(rows), _PIECE):
        connection.execute(restatement.insert(), rows[at : at + _PIECE])


def _rows(
    old: pa.Table, new: pa.Table, *, store: Literal["mysql", "lake"], receipt_id: int | None
) -> Iterator[dict[str, Any]]:
    now = datetime.now(UTC).replace(tzinfo=None)
    before, after = _values(old), _values(new)
    old_receipts = old["receipt_id"].to_pylist() if "receipt_id" in old.schema.names else [None] * old.num_rows
    keys = new.select(["exchange", "symbol", "interval", "ts", "source"]).to_pylist()
    old_sources = old["source"].to_pylist()
    for place, key in enumerate(keys):
        yield {
            "dataset": "ohlcv",
            "exchange": key["exchange"],
            "symbol": key["symbol"],
            "interval": key["interval"],
            "ts": key["ts"].replace(tzinfo=None),
            "store": store,
            "old_values": before[place],
            "new_values": after[place],
            "old_source": old_sources[place],
            "new_source": key["source"],
            "old_receipt_id": old_receipts[place],
            "receipt_id": receipt_id,
            "noticed_at": now,
        }


def _values(bars: pa.Table) -> list[str]:
    """Each bar's nine values as a JSON object of exact strings."""
    columns = [decimal_text(bars[name]).to_pylist() for name in OHLCV_VALUES]
    return [json.dumps(dict(zip(OHLCV_VALUES, row, strict=True))) for row in zip(*columns, strict=True)]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["symbol"], row["interval"], row["ts"], row["exchange"]


def _last_changes(connection: Connection, rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[str, str]]:
    table = restatement.c
    statement = (
        select(table.symbol, table.interval, table.ts, table.exchange, table.old_values, table.new_values)
        .where(tuple_(table.symbol, table.interval, table.ts, table.exchange).in_([_key(row) for row in rows]))
        .order_by(table.id)
    )
    return {tuple(row[:4]): (row[4], row[5]) for row in connection.execute(statement)}
