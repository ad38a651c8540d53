"""Objects of the lake that somebody is rewriting: on record before it is done, so that a kill in between is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.mysql import insert

from gapless.storage.mysql.archive import VERIFIED
from gapless.storage.mysql.books import archive_receipt, archive_series, moment, stable_id
from gapless.storage.mysql.server import MySql

REWRITING = "rewriting"
"""State of an object whose receipt may not say what it holds."""

_NOTHING = sha256(b"").hexdigest()
_PIECE = 1_000


@dataclass(frozen=True, slots=True)
class Rewritten:
    """An object that is about to be rewritten, or to be made; `interval` is empty where the dataset has none."""

    uri: str
    dataset: str
    exchange: str
    interval: str
    period_start_ms: int


def begin_rewriting(db: MySql, objects: Sequence[Rewritten]) -> None:
    """Call the receipts of some objects unfinished; entering them anew (`put_archive_receipts`) ends that.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    if objects:
        what = f"calling {len(objects)} objects of the lake unfinished"
        db.run(what, lambda connection: call_unfinished(connection, objects))


def call_unfinished(connection: Connection, objects: Sequence[Rewritten]) -> None:
    """`begin_rewriting` in the connection's transaction."""
    now = datetime.now(UTC).replace(tzinfo=None)
    rows = [
        {
            "id": stable_id(each.uri),
            "uri": each.uri,
            "dataset": each.dataset,
            "exchange": each.exchange,
            "interval": each.interval,
            "period_start": moment(each.period_start_ms),
            "rows": 0,
            "bytes": 0,
            "sha256": _NOTHING,
            "content_digest": _NOTHING,
            "state": REWRITING,
            "verified_at": now,
        }
        for each in sorted(objects, key=lambda each: each.uri)
    ]
    for at in range(0, len(rows), _PIECE):
        statement = insert(archive_receipt).values(rows[at : at + _PIECE])
        connection.execute(statement.on_duplicate_key_update(state=statement.inserted.state))


def unfinished_objects(db: MySql, dataset: str) -> list[str]:
    """The addresses of a dataset's objects whose rewriting was not brought to its end, in order.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    statement = (
        select(archive_receipt.c.uri)
        .where(archive_receipt.c.state == REWRITING, archive_receipt.c.dataset == dataset)
        .order_by(archive_receipt.c.uri)
    )
    return db.run("reading which objects are unfinished", lambda connection: list(connection.scalars(statement)))


def forget_contents(db: MySql, uri: str, *, gone: bool) -> None:
    """Say of an object that it holds nothing.

    Args:
        gone: it does not lie there; else it stays unfinished until what it holds is entered anew.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    number = stable_id(uri)
    series = update(archive_series).where(archive_series.c.archive_receipt_id == number)
    receipt = update(archive_receipt).where(archive_receipt.c.id == number)
    nothing: dict[str, object] = {"rows": 0, "bytes": 0, "sha256": _NOTHING, "content_digest": _NOTHING}
    nothing |= {"state": VERIFIED} if gone else {}

    def forget(connection: Connection) -> None:
        connection.execute(series.values(rows=0, sha256=_NOTHING))
        connection.execute(receipt.values(**nothing))

    db.run(f"forgetting what {uri} held", forget)
