"""What is stored, in a few numbers: for `make run`'s table, for lag, and for coverage."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import ColumnClause, Connection, column, func, literal, select, table

from gapless.domain.datasets import Dataset
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
    """How many rows were restated, by store (`mysql`, `lake`)."""
    return _count_by_store(db, applied=True)


def count_outranked(db: MySql) -> dict[str, int]:
    """How many different values were refused because their source ranks lower, by store (`mysql`, `lake`)."""
    return _count_by_store(db, applied=False)


def _count_by_store(db: MySql, *, applied: bool) -> dict[str, int]:
    c = restatement.c
    statement = select(c.store, func.count()).where(c.applied == applied).group_by(c.store)
    counted = db.run("counting restated rows", lambda connection: connection.execute(statement).all())
    return dict(sorted((row[0], row[1]) for row in counted))


def count_days(
    db: MySql,
    dataset: Dataset,
    exchange: str,
    window: Window,
    symbols: Collection[str] | None = None,
    intervals: Collection[str] | None = None,
) -> pa.Table:
    """How many rows of each series are stored on each UTC day of the window.

    Args:
        window: of open times (`ts`).
        intervals: of bars; other datasets have none, and theirs is empty in the answer.

    Returns:
        Columns `symbol`, `interval` (strings), `day` (date32), `rows` (int64), in that order; days without any are
        absent.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    series = [column("symbol"), column("interval") if dataset is Dataset.OHLCV else literal("")]
    ts: ColumnClause[datetime] = column("ts")
    day = func.date(ts)
    statement = (
        select(*series, func.to_days(day) - func.to_days("1970-01-01"), func.count())
        .select_from(table(dataset))
        .where(
            column("exchange") == exchange,
            ts >= moment(window.start_ms + -window.start_ms % 1000),
            ts < moment(window.end_ms + -window.end_ms % 1000),
        )
        .group_by(*(each for each in series if each.key is not None), day)
    )
    if symbols is not None:
        statement = statement.where(series[0].in_(sorted(symbols)))
    if intervals is not None and dataset is Dataset.OHLCV:
        statement = statement.where(series[1].in_([str(each) for each in intervals]))
    found = db.run(
        f"counting the stored rows of {exchange} {dataset} {window} by day", lambda c: c.execute(statement).all()
    )
    counted = pa.table(
        {
            "symbol": pa.array([row[0] for row in found], pa.string()),
            "interval": pa.array([row[1] for row in found], pa.string()),
            "day": pa.array([row[2] for row in found], pa.int32()).cast(pa.date32()),
            "rows": pa.array([row[3] for row in found], pa.int64()),
        }
    )
    return counted.sort_by([(name, "ascending") for name in ("symbol", "interval", "day")])
