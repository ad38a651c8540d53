"""How many bars of each series are stored, and at which open times: nothing but keys is read."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection

from gapless.domain.grid import Opens
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.pages import pages_of
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

SYMBOLS_BY_NAME = 100
"""Up to so many symbols are counted by name; more by reading the window of all of them."""


def count_bars(
    db: MySql,
    exchange: str,
    window: Window,
    symbols: Collection[str] | None = None,
    intervals: Collection[Interval] | None = None,
) -> dict[tuple[str, Interval], int]:
    """How many bars that open in the window are stored of each series; series without any are absent.

    Args:
        symbols, intervals: those wanted, None for all.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    arguments: dict[str, object] = {"exchange": exchange, **_bounds(window)}
    statement = query("ohlcv_counts").rstrip()
    if symbols is not None:
        if not symbols:
            return {}
        if len(symbols) <= SYMBOLS_BY_NAME:
            statement += "\n  AND symbol IN %(symbols)s"
            arguments["symbols"] = tuple(sorted(symbols))
    if intervals is not None:
        if not intervals:
            return {}
        if len(set(intervals)) < len(Interval):
            statement += "\n  AND `interval` IN %(intervals)s"
            arguments["intervals"] = tuple(str(interval) for interval in intervals)
    statement += "\nGROUP BY symbol, `interval`"

    def count(connection: Connection) -> list[tuple[str, str, int]]:
        raw: Any = connection.connection.dbapi_connection
        with contextlib.closing(raw.cursor()) as cursor:
            cursor.execute(statement, arguments)
            return list(cursor.fetchall())

    found = db.run(f"counting the bars of {exchange} {window}", count)
    named = {str(interval): interval for interval in Interval}
    wanted = None if symbols is None else set(symbols)
    return {(symbol, named[label]): rows for symbol, label, rows in found if wanted is None or symbol in wanted}


def read_opens_by_symbol(
    db: MySql, exchange: str, symbols: Collection[str], interval: Interval, window: Window
) -> dict[str, Opens]:
    """The open times (ms, ascending) of the stored bars of some symbols that open in the window; symbols without any
    are absent.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    if not symbols:
        return {}
    arguments = {"exchange": exchange, "symbols": tuple(sorted(symbols)), "interval": str(interval), **_bounds(window)}

    def read(connection: Connection) -> dict[str, list[int]]:
        seconds: dict[str, list[int]] = defaultdict(list)
        for page in pages_of(connection, query("ohlcv_opens_by_symbol"), arguments):
            for symbol, second in page:
                seconds[symbol].append(second)
        return seconds

    found = db.run(f"reading the open times of {len(symbols)} symbols' {interval} bars {window}", read)
    return {symbol: np.sort(np.array(times, np.int64)) * 1000 for symbol, times in found.items()}


def _bounds(window: Window) -> dict[str, datetime]:
    """Open times are whole seconds, and the driver would cut a fraction off."""
    first, last = (moment(at_ms + -at_ms % 1000) for at_ms in (window.start_ms, window.end_ms))
    return {"first": first, "last": last}
