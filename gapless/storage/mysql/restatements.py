"""Restatements: rows whose values changed, or would have changed if their source knew better; wherever they rest."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
from sqlalchemy import Connection, select, tuple_

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.schema import decimal_text
from gapless.domain.window import Window
from gapless.errors import ValidationError
from gapless.storage.mysql.books import moment, ms_of, restatement
from gapless.storage.mysql.server import MySql

_PIECE = 1_000

Row = dict[str, Any]
Values = tuple[str, str]
"""Old and new, JSON objects."""


def log_lake_restatements(
    db: MySql,
    old: pa.Table,
    new: pa.Table,
    *,
    receipt_id: int | None = None,
    dataset: Dataset = Dataset.OHLCV,
    applied: bool = True,
) -> int:
    """Record rows that the lake is about to replace, or refuses; returns how many were not on record yet.

    One change of a row is one entry: a row whose last restatement says exactly this change is left out, and so is a
    refusal that is on record. So what MySQL has just recorded is not recorded again for the lake, and a write that was
    killed after this and is done again adds nothing.

    Args:
        old, new: the rows before and after, aligned row by row; columns of the dataset's schema. Where the new ones are
            refused, `old` is what stands.
        receipt_id: the load that brought the new values, where there is one.
        applied: False when the new values were refused because their source ranks lower.

    Raises:
        ValidationError: the tables are not aligned.
        StorageError: the server did not take them for as long as retries last.
    """
    shape = SHAPES[dataset]
    key = list(shape.key)
    if not old.select(key).equals(new.select(key)):
        raise ValidationError("restated rows: the old and the new table do not have the same keys, row by row")
    rows = list(_rows(shape, old, new, store="lake", receipt_id=receipt_id, applied=applied))
    what = f"recording {len(rows)} restated rows of {dataset} in the lake"
    return db.run(what, lambda connection: _put_new(connection, rows)) if rows else 0


def put_restatements(
    connection: Connection, shape: Shape, old: pa.Table, new: pa.Table, *, receipt_id: int, applied: bool
) -> int:
    """Record rows that MySQL is about to replace, or refuses, in the same transaction; returns how many were recorded.

    Of refusals those that are on record are left out. `old` has `receipt_id` beside.
    """
    rows = list(_rows(shape, old, new, store="mysql", receipt_id=receipt_id, applied=applied))
    if not applied:
        return _put_new(connection, rows)
    for at in range(0, len(rows), _PIECE):
        connection.execute(restatement.insert(), rows[at : at + _PIECE])
    return len(rows)


def restated_since(
    db: MySql, dataset: Dataset, exchange: str, symbol: str, label: str, window: Window, since_ms: int
) -> frozenset[int]:
    """The `ts` (ms) of a series' rows of which a store took other values since some moment.

    Args:
        label: interval or rate type; empty where the dataset has none.
        since_ms: by the clock of whoever noticed, which is the host's.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = restatement.c
    statement = select(table.ts).where(
        table.symbol == symbol,
        table.interval == label,
        table.ts >= moment(window.start_ms),
        table.ts < moment(window.end_ms),
        table.exchange == exchange,
        table.dataset == str(dataset),
        table.applied == True,  # noqa: E712  # SQL
        table.noticed_at >= moment(since_ms),
    )
    what = f"reading what was restated of {symbol} {label}"
    return db.run(what, lambda connection: frozenset(ms_of(ts) for ts in connection.scalars(statement)))


def _put_new(connection: Connection, rows: Sequence[Row]) -> int:
    added = 0
    for at in range(0, len(rows), _PIECE):
        piece = rows[at : at + _PIECE]
        known = _on_record(connection, piece)
        fresh = [row for row in piece if not _said(row, known[_key(row)])]
        if fresh:
            connection.execute(restatement.insert(), fresh)
        added += len(fresh)
    return added


def _said(row: Row, known: Sequence[Values]) -> bool:
    old, new = row["old_values"], row["new_values"]
    if row["applied"]:
        return known[-1:] == [(old, new)]
    return any(new == new_known and _stands(old, old_known) for old_known, new_known in known)


def _stands(old: str, old_known: str) -> bool:
    """Whether what stands is what stood then; a null that was filled since does not count."""
    if old == old_known:
        return True
    before = json.loads(old_known)
    return all(before[name] in (None, value) for name, value in json.loads(old).items())


def _rows(
    shape: Shape,
    old: pa.Table,
    new: pa.Table,
    *,
    store: Literal["mysql", "lake"],
    receipt_id: int | None,
    applied: bool,
) -> Iterator[Row]:
    now = datetime.now(UTC).replace(tzinfo=None)
    before, after = _values(shape, old), _values(shape, new)
    old_receipts = old["receipt_id"].to_pylist() if "receipt_id" in old.schema.names else [None] * old.num_rows
    keys = new.select([*shape.key, "source"]).to_pylist()
    old_sources = old["source"].to_pylist()
    for place, key in enumerate(keys):
        yield {
            "dataset": str(shape.dataset),
            "exchange": key["exchange"],
            "symbol": key["symbol"],
            "interval": key[shape.label] if shape.label else "",
            "ts": key["ts"].replace(tzinfo=None),
            "store": store,
            "old_values": before[place],
            "new_values": after[place],
            "old_source": old_sources[place],
            "new_source": key["source"],
            "old_receipt_id": old_receipts[place],
            "receipt_id": receipt_id,
            "noticed_at": now,
            "applied": applied,
        }


def _values(shape: Shape, rows: pa.Table) -> list[str]:
    """Each row's values as a JSON object of exact strings; times as integer milliseconds, nulls as null."""
    columns = []
    for name in shape.values:
        column = rows[name]
        column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        columns.append(decimal_text(column).to_pylist())
    return [json.dumps(dict(zip(shape.values, row, strict=True))) for row in zip(*columns, strict=True)]


def _key(row: Row) -> tuple[Any, ...]:
    return row["symbol"], row["interval"], row["ts"], row["exchange"]


def _on_record(connection: Connection, rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Values]]:
    """What is on record of these rows, of one dataset, applied or not as they are: oldest first, by key."""
    table = restatement.c
    statement = (
        select(table.symbol, table.interval, table.ts, table.exchange, table.old_values, table.new_values)
        .where(
            tuple_(table.symbol, table.interval, table.ts, table.exchange).in_([_key(row) for row in rows]),
            table.dataset == rows[0]["dataset"],
            table.applied == rows[0]["applied"],
        )
        .order_by(table.id)
    )
    known: dict[tuple[Any, ...], list[Values]] = defaultdict(list)
    for row in connection.execute(statement):
        known[tuple(row[:4])].append((row[4], row[5]))
    return known
