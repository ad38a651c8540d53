"""What is stored, in a few numbers: for `make run`'s table and for lag."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, select

from gapless.domain.instrument import Market, market_of
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import Window
from gapless.storage.mysql.books import moment, ms_of, quarantine, restatement
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

_FOR_EVER = Window.of("1970-01-01", "9999-01-01")


@dataclass(frozen=True, slots=True)
class SeriesRows:
    """One series: how many bars are stored, and the open time (ms) of the newest."""

    symbol: str
    interval: Interval
    rows: int
    newest_ms: int


@dataclass(frozen=True, slots=True)
class MarketRows:
    """A market's bars in one interval.

    Attributes:
        series: how many symbols have any.
        newest_ms: open time of the newest bar of all.
        laggard_ms: open time of the newest bar of the series that is furthest behind.
    """

    market: Market
    interval: Interval
    rows: int
    series: int
    newest_ms: int
    laggard_ms: int


def count_series(db: MySql, window: Window = _FOR_EVER, *, exchange: str = "binance") -> list[SeriesRows]:
    """What is stored of each series, of bars that open in the window; series without any are absent.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    arguments = {"exchange": exchange, "first": moment(window.start_ms), "last": moment(window.end_ms)}

    def count(connection: Connection) -> list[SeriesRows]:
        raw: Any = connection.connection.dbapi_connection
        with contextlib.closing(raw.cursor()) as cursor:
            cursor.execute(query("ohlcv_series"), arguments)
            return [SeriesRows(s, Interval(i), n, ms_of(newest)) for s, i, n, newest in cursor.fetchall()]

    return db.run(f"counting the stored bars of {exchange}", count)


def count_markets(series: list[SeriesRows]) -> list[MarketRows]:
    """The same by market and interval: spot first, shortest interval first. Pure."""
    groups: dict[tuple[Market, Interval], list[SeriesRows]] = defaultdict(list)
    for one in series:
        market = market_of(one.symbol)
        if market is not None:
            groups[market, one.interval].append(one)
    return [
        MarketRows(
            market,
            interval,
            sum(one.rows for one in group),
            len(group),
            max(one.newest_ms for one in group),
            min(one.newest_ms for one in group),
        )
        for market in Market
        for interval in ALL_INTERVALS
        if (group := groups.get((market, interval)))
    ]


def count_quarantined(db: MySql, *, since_ms: int = 0) -> dict[str, int]:
    """How many rows were refused since then, by reason."""
    statement = (
        select(quarantine.c.reason, func.count())
        .where(quarantine.c.first_seen >= datetime.fromtimestamp(since_ms / 1000, UTC).replace(tzinfo=None))
        .group_by(quarantine.c.reason)
        .order_by(quarantine.c.reason)
    )
    return dict(db.run("counting quarantined rows", lambda c: [(row[0], row[1]) for row in c.execute(statement)]))


def count_restatements(db: MySql) -> dict[str, int]:
    """How many bars were restated, by store (`mysql`, `lake`)."""
    statement = select(restatement.c.store, func.count()).group_by(restatement.c.store).order_by(restatement.c.store)
    return dict(db.run("counting restated bars", lambda c: [(row[0], row[1]) for row in c.execute(statement)]))
