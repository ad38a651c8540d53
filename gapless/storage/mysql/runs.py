"""How far the stored bars of many symbols reach, without reading the bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query


@dataclass(frozen=True, slots=True)
class Run:
    """Stored bars of one series in a window: how many, and the open times (ms) of the oldest and the newest."""

    rows: int
    first_ms: int
    last_ms: int

    def whole(self, step_ms: int) -> bool:
        """Whether there is no hole between the oldest and the newest."""
        return (self.last_ms - self.first_ms) // step_ms + 1 == self.rows


def read_runs(db: MySql, exchange: str, symbols: Collection[str], interval: Interval, window: Window) -> dict[str, Run]:
    """What MySQL holds of each symbol in the window, by symbol; those without any are absent.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    rows = _rows(db, "ohlcv_runs", exchange, symbols, interval, window)
    return {symbol: Run(count, first * 1000, last * 1000) for symbol, count, first, last in rows}


def read_opens_by_symbol(
    db: MySql, exchange: str, symbols: Collection[str], interval: Interval, window: Window
) -> dict[str, set[int]]:
    """The open times (ms) that MySQL holds of each symbol in the window; those without any are absent.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    found: dict[str, set[int]] = defaultdict(set)
    for symbol, second in _rows(db, "ohlcv_opens_by_symbol", exchange, symbols, interval, window):
        found[symbol].add(second * 1000)
    return dict(found)


def read_newest_before(
    db: MySql, exchange: str, symbols: Iterable[str], interval: Interval, before_ms: int
) -> dict[str, int]:
    """The open time (ms) of each symbol's newest bar in MySQL that opens before a moment; a few lookups a millisecond.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    names = sorted(symbols)
    fixed = {"interval": str(interval), "exchange": exchange, "before": moment(before_ms)}

    def read(connection: Connection) -> dict[str, int]:
        text = query("ohlcv_newest_before")
        found = {name: connection.exec_driver_sql(text, {**fixed, "symbol": name}).scalar() for name in names}
        return {name: second * 1000 for name, second in found.items() if second is not None}

    return db.run(f"reading the newest {interval} bars of {len(names)} symbols", read)


def _rows(
    db: MySql, name: str, exchange: str, symbols: Collection[str], interval: Interval, window: Window
) -> list[tuple[Any, ...]]:
    if not symbols:
        return []
    arguments = {
        "symbols": tuple(sorted(symbols)),
        "interval": str(interval),
        "first": moment(window.start_ms),
        "last": moment(window.end_ms),
        "exchange": exchange,
    }

    def read(connection: Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connection.exec_driver_sql(query(name), arguments)]

    return db.run(f"reading how far {interval} bars of {len(symbols)} symbols reach in {window}", read)
