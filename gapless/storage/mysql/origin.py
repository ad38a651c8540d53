"""The installation's origin: real and generated data never meet."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects.mysql import insert

from gapless.errors import OriginMismatch
from gapless.storage.mysql.books import installation
from gapless.storage.mysql.server import MySql

_ONLY = 1


def claim_origin(db: MySql, origin: str) -> None:
    """Make this database one of `origin` (`binance`, `replica:<seed>`), or agree that it is already. First write wins.

    Raises:
        OriginMismatch: it holds data of another origin.
        StorageError: the server did not answer for as long as retries last.
    """

    def claim(connection: Connection) -> str:
        held = origin_of(connection)
        if held is None:
            row = {"id": _ONLY, "origin": origin, "created_at": datetime.now(UTC).replace(tzinfo=None)}
            connection.execute(insert(installation).values(row).on_duplicate_key_update(id=_ONLY))
            held = origin_of(connection)
        return str(held)

    held = db.run(f"claiming the database for {origin} data", claim)
    if held != origin:
        raise OriginMismatch(
            f"the database {db.server} holds data of origin {held!r}; data of origin {origin!r} is refused. "
            "Set GAPLESS_MYSQL_URL (and GAPLESS_LAKE_URI) to another database, or the exchange's URLs back"
        )


def read_origin(db: MySql) -> str | None:
    """The origin of the data here, None while nobody has claimed it."""
    return db.run("reading the origin", origin_of)


def origin_of(connection: Connection) -> str | None:
    """The origin as the connection's transaction sees it, None while nobody has claimed the database."""
    return connection.scalar(select(installation.c.origin).where(installation.c.id == _ONLY))
