"""From when to when a series is stored, asked of the key: a few milliseconds whatever the table holds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.storage.mysql.books import ms_of
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query


def read_span(db: MySql, exchange: str, symbol: str, interval: Interval) -> Window | None:
    """From the first stored bar's open time to the end of the last one's bar; None when MySQL holds none.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    arguments = {"exchange": exchange, "symbol": symbol, "interval": str(interval)}

    def ask(connection: Connection) -> tuple[Any, Any]:
        first, last = (
            connection.exec_driver_sql(query(name), arguments).scalar() for name in ("ohlcv_first", "ohlcv_last")
        )
        return first, last

    first, last = db.run(f"reading from when to when {symbol} {interval} is stored", ask)
    return None if first is None or last is None else Window(ms_of(first), ms_of(last) + interval.ms)
