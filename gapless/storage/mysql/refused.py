"""Quarantine: rows that broke a rule, kept with their reason and raw payload."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import Connection, select
from sqlalchemy.dialects.mysql import insert

from gapless.storage.mysql.books import moment_or_none, quarantine
from gapless.storage.mysql.server import MySql

_PIECE = 500
_TEXT_BYTES = 60_000


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was not taken.

    Attributes:
        symbol, interval: the series it was read for.
        ts_ms: its open time, None where it cannot be read.
        reason: short name of the broken rule.
        detail: what exactly is wrong with it; may be empty.
        payload: the row as received.
    """

    exchange: str
    symbol: str
    interval: str
    ts_ms: int | None
    reason: str
    payload: str
    detail: str = ""
    dataset: str = "ohlcv"

    @property
    def identity(self) -> str:
        """sha256 (hex) over what was refused and why: the same wrong row read again is the same."""
        parts = (self.dataset, self.exchange, self.symbol, self.interval, self.ts_ms, self.reason, self.payload)
        return sha256("\0".join(str(part) for part in parts).encode("utf-8", "surrogatepass")).hexdigest()


def record_quarantine(db: MySql, rows: Sequence[RefusedRow], batch_key: str) -> int:
    """Store refused rows that are not stored yet; returns how many were new.

    Raises:
        StorageError: the server did not take them for as long as retries last.
    """
    return db.run(f"storing {len(rows)} quarantined rows", lambda connection: put_refused(connection, rows, batch_key))


def put_refused(connection: Connection, rows: Sequence[RefusedRow], batch_key: str) -> int:
    """`record_quarantine` in the connection's own transaction."""
    by_identity = {row.identity: row for row in rows}
    now = datetime.now(UTC).replace(tzinfo=None)
    added = 0
    identities = sorted(by_identity)
    for at in range(0, len(identities), _PIECE):
        piece = identities[at : at + _PIECE]
        known = set(connection.scalars(select(quarantine.c.identity).where(quarantine.c.identity.in_(piece))))
        fresh = [by_identity[identity] for identity in piece if identity not in known]
        if not fresh:
            continue
        values = [
            {
                "identity": row.identity,
                "dataset": row.dataset,
                "exchange": row.exchange,
                "symbol": row.symbol[:64],
                "interval": row.interval[:8],
                "ts": moment_or_none(row.ts_ms if _storable(row.ts_ms) else None),
                "reason": row.reason[:64],
                "detail": clean_text(row.detail, _TEXT_BYTES),
                "payload": clean_text(row.payload, None),
                "batch_key": batch_key,
                "first_seen": now,
            }
            for row in fresh
        ]
        statement = insert(quarantine).values(values)
        # Another batch may be refusing the same row just now: whoever comes second leaves it as it is.
        connection.execute(statement.on_duplicate_key_update(identity=statement.inserted.identity))
        added += len(fresh)
    return added


def _storable(ts_ms: int | None) -> bool:
    """Whether DATETIME can hold it: a wrong time may be anything, and the payload has it all the same."""
    return ts_ms is not None and 0 <= ts_ms < 253_402_300_800_000


def clean_text(value: str, most_bytes: int | None) -> str:
    """Valid UTF-8 that the column takes; lone surrogates become `?`."""
    encoded = value.encode("utf-8", "replace")
    return (encoded if most_bytes is None else encoded[:most_bytes]).decode("utf-8", "ignore")
