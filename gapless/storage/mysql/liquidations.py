"""Liquidations into MySQL: what is new is added, what is there already adds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, func, select, tuple_

from gapless.domain.schema import TIMESTAMP, decimal_text
from gapless.domain.stream_columns import LIQUIDATIONS
from gapless.errors import StorageError, ValidationError
from gapless.storage.mysql.books import liquidation, moment, ms_of
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.refused import RefusedRow, put_refused
from gapless.storage.mysql.server import MySql

_PIECE = 500
_LOCK = "liquidation"


def load_liquidations(
    db: MySql,
    rows: pa.Table,
    *,
    refused: Sequence[RefusedRow] = (),
    batch_key: str = "",
    lock_wait_s: float = 60.0,
) -> int:
    """Store liquidations, and those that were refused on the way: all of it, or nothing. Returns how many were new.

    What makes one is the key of `LIQUIDATIONS`, all that the exchange says of the order: one that was received by two
    connections, or is offered again after a kill, is there once. `sequence` is given here, in the order offered.

    Args:
        rows: of `gapless.domain.stream_columns.LIQUIDATIONS.schema`; their own `sequence` counts for nothing.
        batch_key: of the load, for `quarantine`.

    Raises:
        ValidationError: the rows have other columns.
        StorageError: the server would not take them exactly, or not in time; nothing was stored.
    """
    if rows.schema.names != LIQUIDATIONS.schema.names or rows.schema.types != LIQUIDATIONS.schema.types:
        raise ValidationError("liquidations: the rows do not have the columns of their kind")
    identities = _identities(rows)
    first_of = {identity: place for place, identity in reversed(list(enumerate(identities)))}
    kept = rows.take(pa.array(sorted(first_of.values()), pa.int64())).combine_chunks()
    names = [identities[place] for place in sorted(first_of.values())]
    what = f"storing {kept.num_rows} liquidations"

    def attempt() -> int:
        # One at a time: who gives sequence numbers must see all that were given.
        with db.named_locks([_LOCK], timeout_s=lock_wait_s) as connection, connection.begin():
            if refused:
                put_refused(connection, refused, batch_key)
            return _add(connection, kept, names, what)

    return db.retry(what, attempt)


def _add(connection: Connection, rows: pa.Table, identities: Sequence[str], what: str) -> int:
    known = _known(connection, identities)
    places = [place for place, identity in enumerate(identities) if identity not in known]
    if not places:
        return 0
    fresh = rows.take(pa.array(places, pa.int64()))
    moments = list(zip(*(fresh[name].to_pylist() for name in ("exchange", "symbol")), _millis(fresh), strict=True))
    given = _given(connection, sorted(set(moments)))
    sequences = []
    for one in moments:
        given[one] = given.get(one, -1) + 1
        sequences.append(given[one])
    columns = {name: fresh[name] for name in fresh.schema.names if name not in ("event_ts", "received_ns")}
    columns["sequence"] = pa.array(sequences, pa.int32())
    columns["event_at"] = fresh["event_ts"]
    columns["received_at"] = pa.array([ns // 1_000_000 for ns in fresh["received_ns"].to_pylist()]).cast(TIMESTAMP)
    columns["identity"] = pa.array([identities[place] for place in places], pa.string())
    sent = replace_rows(connection, liquidation.name, pa.table(columns), {}, what)
    if sent.rows != len(places) or sent.replaced:
        raise StorageError(f"{what}: another program writes to {liquidation.name}. Nothing was stored")
    return sent.rows


def _known(connection: Connection, identities: Sequence[str]) -> set[str]:
    column = liquidation.c.identity
    found: set[str] = set()
    for at in range(0, len(identities), _PIECE):
        found |= set(connection.scalars(select(column).where(column.in_(identities[at : at + _PIECE]))))
    return found


def _given(connection: Connection, moments: Sequence[tuple[str, str, int]]) -> dict[tuple[str, str, int], int]:
    """The highest sequence number that each symbol and millisecond has."""
    table = liquidation.c
    key = (table.exchange, table.symbol, table.ts)
    found: dict[tuple[str, str, int], int] = {}
    for at in range(0, len(moments), _PIECE):
        wanted = [(exchange, symbol, moment(ms)) for exchange, symbol, ms in moments[at : at + _PIECE]]
        statement = select(*key, func.max(table.sequence)).where(tuple_(*key).in_(wanted)).group_by(*key)
        rows: Sequence[Any] = connection.execute(statement).all()
        found |= {(exchange, symbol, ms_of(ts)): number for exchange, symbol, ts, number in rows}
    return found


def _millis(rows: pa.Table) -> list[int]:
    millis: list[int] = rows["ts"].cast(pa.int64()).to_pylist()
    return millis


def _identities(rows: pa.Table) -> list[str]:
    """sha256 (hex) over what tells one liquidation from another, decimals with all their places."""
    columns = [rows["exchange"], rows["symbol"], rows["ts"].cast(pa.int64())]
    columns += [decimal_text(rows[name]) for name in LIQUIDATIONS.key if name != "ts"]
    lines = zip(*(column.to_pylist() for column in columns), strict=True)
    return [sha256("\0".join(map(str, line)).encode()).hexdigest() for line in lines]
