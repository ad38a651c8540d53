"""Stored bars back as columns, exact to the last digit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from MySQLdb.cursors import SSCursor
from sqlalchemy import Connection

from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, OHLCV_VALUES, sort_bars
from gapless.domain.window import Window
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

STORED = OHLCV.append(pa.field("receipt_id", pa.uint64(), nullable=False))
"""Stored bars: the canonical columns, and which load brought each."""

_PAGE_ROWS = 50_000
_PAGES_AHEAD = 3
_CSV_NAMES = ["symbol", "ts", *OHLCV_VALUES, "source", "receipt_id"]
_CSV_TYPES = {name: STORED.field(name).type for name in _CSV_NAMES} | {"ts": pa.timestamp("s")}


def read_bars(
    db: MySql, symbols: Sequence[str], intervals: Iterable[Interval], window: Window, *, exchange: str = "binance"
) -> pa.Table:
    """The stored bars that open in the window, as `gapless.domain.schema.OHLCV`, in canonical order.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    names = sorted(set(symbols))
    wanted = [(interval, window.start_ms, window.end_ms) for interval in dict.fromkeys(intervals)]
    what = f"reading {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} {window}"
    stored = db.run(what, lambda connection: read_stored(connection, exchange, names, wanted))
    return sort_bars(stored.drop_columns(["receipt_id"]))


def read_stored(
    connection: Connection, exchange: str, symbols: Sequence[str], wanted: Iterable[tuple[Interval, int, int]]
) -> pa.Table:
    """The stored bars of some symbols, as `STORED`: for each interval those with `first <= ts < last` (ms).

    A page of lines is parsed while the server makes the next.
    """
    tables: list[pa.Table | Future[pa.Table]] = [STORED.empty_table()]
    with ThreadPoolExecutor(1, "parse") as parser:
        for interval, page in _pages(connection, exchange, symbols, wanted):
            tables.append(parser.submit(_parse, page, exchange, interval))
            if len(tables) > _PAGES_AHEAD:  # the server is faster than the parser: do not let its pages pile up
                tables[-_PAGES_AHEAD] = _done(tables[-_PAGES_AHEAD])
    return pa.concat_tables([_done(table) for table in tables])


def _done(table: pa.Table | Future[pa.Table]) -> pa.Table:
    return table.result() if isinstance(table, Future) else table


def _pages(
    connection: Connection, exchange: str, symbols: Sequence[str], wanted: Iterable[tuple[Interval, int, int]]
) -> Iterator[tuple[Interval, Sequence[tuple[bytes]]]]:
    """The query's lines as bytes, some at a time."""
    raw: Any = connection.connection.dbapi_connection
    for interval, first_ms, last_ms in wanted:
        arguments = {
            "symbols": tuple(symbols),
            "interval": str(interval),
            "first": _ceil_second(first_ms),
            "last": _ceil_second(last_ms),
            "exchange": exchange,
        }
        if not symbols:
            continue
        converters, raw.converter = raw.converter, {}  # no conversion of any type
        try:
            with contextlib.closing(raw.cursor(SSCursor)) as cursor:
                cursor.execute(query("ohlcv_window"), arguments)
                while page := cursor.fetchmany(_PAGE_ROWS):
                    yield interval, page
        finally:
            raw.converter = converters


def _parse(lines: Sequence[tuple[bytes]], exchange: str, interval: Interval) -> pa.Table:
    text = b"\n".join(chain.from_iterable(lines))
    parsed = pacsv.read_csv(
        pa.py_buffer(text),
        read_options=pacsv.ReadOptions(
            column_names=_CSV_NAMES,
            block_size=max(len(text), 1) + 1,
            # One block is one thread's work anyway, and an Arrow thread must not be the one that frees a Python buffer:
            # at the interpreter's end that aborts the process.
            use_threads=False,
        ),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(column_types=_CSV_TYPES, strings_can_be_null=False),
    )
    columns = {name: parsed[name] for name in _CSV_NAMES}
    columns["exchange"] = pa.repeat(exchange, parsed.num_rows)
    columns["interval"] = pa.repeat(str(interval), parsed.num_rows)
    columns["ts"] = pc.assume_timezone(parsed["ts"], "UTC").cast(STORED.field("ts").type)
    return pa.table([columns[name] for name in STORED.names], schema=STORED)


def _ceil_second(at_ms: int) -> datetime:
    """Open times are whole seconds, and the driver would cut a fraction off."""
    return moment(at_ms + -at_ms % 1000)
