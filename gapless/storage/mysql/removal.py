"""Rows out of their table into quarantine: stored rows that the exchange does not have."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
from sqlalchemy import Connection, text

from gapless.domain.datasets import Shape
from gapless.domain.schema import decimal_text
from gapless.storage.mysql.loader import LOCK_WAIT_S, lock_names
from gapless.storage.mysql.prepare import prepare
from gapless.storage.mysql.refused import RefusedRow, put_refused
from gapless.storage.mysql.server import MySql

_PIECE = 500


def quarantine_rows(
    db: MySql,
    shape: Shape,
    rows: pa.Table,
    *,
    reason: str,
    detail: str,
    batch_key: str,
    lock_wait_s: float = LOCK_WAIT_S,
) -> int:
    """Move rows to `quarantine`, each with all its columns as payload; returns how many were in the table.

    The rows are on record in quarantine before they leave the table, in one transaction and under the locks that loads
    of the same days take. Rows that are not in the table (those of the lake) are recorded all the same. Done again it
    does nothing.

    Args:
        rows: canonical rows of one exchange and market, each key once.

    Raises:
        ValidationError: not canonical rows. StorageError: the server did not do it; nothing was changed.
    """
    if rows.num_rows == 0:
        return 0
    what = f"moving {rows.num_rows} rows of {shape.dataset} to quarantine"
    ready = prepare(rows, what, shape)
    refused = _refused(shape, ready.table, reason, detail)
    keys = [
        {"symbol": row["symbol"], "ts": row["ts"].replace(tzinfo=None), "exchange": row["exchange"],
         **({"label": row[shape.label]} if shape.label else {})}
        for row in ready.table.select(list(shape.key)).to_pylist()
    ]  # fmt: skip
    label = f" AND `{shape.label}` = :label" if shape.label else ""
    statement = text(
        f"DELETE FROM {shape.dataset} WHERE symbol = :symbol AND ts = :ts AND exchange = :exchange{label}"  # noqa: S608
    )

    def attempt() -> int:
        with db.named_locks(lock_names(shape, ready), timeout_s=lock_wait_s) as connection, connection.begin():
            put_refused(connection, refused, batch_key)
            return sum(_delete(connection, statement, keys[at : at + _PIECE]) for at in range(0, len(keys), _PIECE))

    return db.retry(what, attempt)


def _delete(connection: Connection, statement: object, keys: Sequence[dict[str, object]]) -> int:
    return sum(connection.execute(statement, key).rowcount for key in keys)  # type: ignore[call-overload]


def _refused(shape: Shape, rows: pa.Table, reason: str, detail: str) -> list[RefusedRow]:
    names = [name for name in shape.schema.names if name not in ("exchange", "symbol")]
    columns = []
    for name in names:
        column = rows[name]
        columns.append(
            decimal_text(column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
        )
    times = rows["ts"].cast(pa.int64()).to_pylist()
    labels = rows["interval"].to_pylist() if shape.label == "interval" else [""] * rows.num_rows
    return [
        RefusedRow(
            exchange=exchange,
            symbol=symbol,
            interval=label,
            ts_ms=ts,
            reason=reason,
            payload=json.dumps(dict(zip(names, values, strict=True))),
            detail=detail,
            dataset=str(shape.dataset),
        )
        for exchange, symbol, label, ts, *values in zip(
            rows["exchange"].to_pylist(), rows["symbol"].to_pylist(), labels, times, *columns, strict=True
        )
    ]
