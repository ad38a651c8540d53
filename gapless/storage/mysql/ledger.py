"""The ledger of series: how complete each is, month by month and store by store, as the last check counted."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, delete, select, tuple_, update

from gapless.domain.instrument import Market
from gapless.domain.schema import TIMESTAMP
from gapless.domain.window import Window, from_ms, month_start
from gapless.storage.mysql.books import moment, series_month
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.pages import pages_of
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

_PIECE = 500
_MARKETS = {str(market): market for market in Market}


@dataclass(frozen=True, slots=True)
class SeriesMonth:
    """One series in one month and one store.

    Attributes:
        interval: empty where the dataset has none.
        month_ms: first moment of the month, UTC.
        store: `mysql` or `lake`.
        window: the part of the month that was settled when it was counted, of open times.
        expected, present, unfillable: bars of the window that should be there, are, and cannot be.
        outside: bars stored though the instrument did not live then; no part of `present`.
        state: `whole`, or `partial`.
        sources: where the bars were read, in the engine's words.
        done_ms: when it was counted.
    """

    dataset: str
    exchange: str
    market: Market
    symbol: str
    interval: str
    month_ms: int
    store: str
    window: Window
    expected: int
    present: int
    unfillable: int
    outside: int
    state: str
    sources: str
    done_ms: int


_NAMES = ("dataset", "exchange", "market", "symbol", "interval", "store", "state", "sources")
_COUNTS = ("expected", "present", "unfillable", "outside")


def put_series_months(db: MySql, rows: Sequence[SeriesMonth]) -> None:
    """Enter months, or what is new of them: all in one transaction; the last of several of one month counts.

    Raises:
        StorageError: a value does not fit its column, or the server did not take them for as long as retries last.
    """
    by_key = {(row.dataset, row.exchange, row.symbol, row.interval, row.month_ms, row.store): row for row in rows}
    last = [by_key[key] for key in sorted(by_key)]
    if not last:
        return
    what = f"entering {len(last)} months of series, the first {last[0].symbol} {last[0].interval} {last[0].window}"
    columns = {name: pa.array([getattr(row, name) for row in last], pa.string()) for name in _NAMES}
    columns |= {name: pa.array([getattr(row, name) for row in last], pa.int64()) for name in _COUNTS}
    columns["month"] = pa.array([from_ms(row.month_ms).date() for row in last], pa.date32())
    columns["window_start"] = pa.array([row.window.start_ms for row in last], TIMESTAMP)
    columns["window_end"] = pa.array([row.window.end_ms for row in last], TIMESTAMP)
    columns["done_at"] = pa.array([row.done_ms for row in last], TIMESTAMP)
    table = pa.table(columns)
    db.run(what, lambda connection: replace_rows(connection, series_month.name, table, {}, what))


def reopen_months(db: MySql, dataset: str, exchange: str, series: Collection[tuple[str, str]], month_ms: int) -> None:
    """Call months partial again whose rows were changed by others than a history load: the next one counts them anew.

    Args:
        series: pairs of symbol and interval (empty where the dataset has none). Months not on record stay so.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    if not series:
        return
    table = series_month.c
    statement = (
        update(series_month)
        .where(
            table.dataset == str(dataset),
            table.exchange == exchange,
            table.month == from_ms(month_start(month_ms)).date(),
            tuple_(table.symbol, table.interval).in_(sorted(series)),
        )
        .values(state="partial")
    )
    db.run(f"reopening {len(series)} months of {dataset}", lambda connection: connection.execute(statement))


def read_series_months(
    db: MySql,
    dataset: str,
    exchange: str,
    market: Market,
    window: Window,
    symbols: Collection[str] | None = None,
    store: str | None = None,
) -> list[SeriesMonth]:
    """The months on record that meet the window, by symbol, interval, month and store.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    if symbols is not None and not symbols:
        return []
    arguments = {
        "dataset": str(dataset),
        "exchange": exchange,
        "market": str(market),
        "month": from_ms(month_start(window.start_ms)).date(),
        "end": moment(window.end_ms),
        "store": store or "",
        "symbols": tuple(sorted(symbols or ())),
    }
    statement = query("series_months") + ("" if symbols is None else " AND symbol IN %(symbols)s")

    def read(connection: Connection) -> list[SeriesMonth]:
        return [_row(line) for page in pages_of(connection, statement, arguments) for line in page]

    found = db.run(f"reading the ledger of {exchange} {market} {dataset} {window}", read)
    return sorted(found, key=lambda row: (row.symbol, row.interval, row.month_ms, row.store))


def _row(line: Sequence[Any]) -> SeriesMonth:
    # Names that thousands of rows share are one object each.
    dataset, exchange, market, symbol, interval, month_ms, store, start_ms, end_ms, *counts, state, sources, done_ms = (
        line
    )
    names = (sys.intern(dataset), sys.intern(exchange), _MARKETS[market], sys.intern(symbol), sys.intern(interval))
    window = Window(start_ms, end_ms)
    rest = (*counts, sys.intern(state), sys.intern(sources), done_ms)
    return SeriesMonth(*names, month_ms, sys.intern(store), window, *rest)


def move_months(db: MySql, dataset: str, month_ms: int, *, source: str, target: str) -> None:
    """Say of a month that what one store held, another holds now; where both had a line, the target's own stays.

    Safe to repeat.

    Raises:
        StorageError: the server did not take it for as long as retries last.
    """
    table = series_month.c
    of_month = (table.dataset == str(dataset), table.month == from_ms(month_start(month_ms)).date())
    other = series_month.alias("other").c
    known = select(other.symbol).where(
        other.dataset == table.dataset,
        other.exchange == table.exchange,
        other.symbol == table.symbol,
        other.interval == table.interval,
        other.month == table.month,
        other.store == target,
    )

    def move(connection: Connection) -> None:
        # MySQL does not read the table that it updates, but for a derived one: hence two steps.
        lines = select(table.exchange, table.symbol, table.interval).where(
            *of_month, table.store == source, ~known.exists()
        )
        keys = [tuple(row) for row in connection.execute(lines)]
        for at in range(0, len(keys), _PIECE):
            chosen = tuple_(table.exchange, table.symbol, table.interval).in_(keys[at : at + _PIECE])
            connection.execute(
                update(series_month).where(*of_month, table.store == source, chosen).values(store=target)
            )
        connection.execute(delete(series_month).where(*of_month, table.store == source))

    db.run(f"entering that {target} holds {dataset} {from_ms(month_ms):%Y-%m}", move)
