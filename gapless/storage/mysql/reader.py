"""Stored rows back as columns, exact to the last digit."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import cache
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from sqlalchemy import Connection

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.keys import Indices
from gapless.domain.window import Window
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.pages import pages_of
from gapless.storage.mysql.prepare import BARS
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

Span = tuple[str, int, int]
"""Rows of an interval (empty where the dataset has none) with `first <= ts < last`, ms."""

_PAGES_AHEAD = 3


def read_bars(
    db: MySql, symbols: Sequence[str], intervals: Iterable[Interval], window: Window, *, exchange: str = "binance"
) -> pa.Table:
    """The stored bars that open in the window, as `gapless.domain.schema.OHLCV`, in canonical order.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    wanted = [(str(interval), window.start_ms, window.end_ms) for interval in dict.fromkeys(intervals)]
    return _read(db, BARS, exchange, symbols, wanted, window)


def read_rows(db: MySql, dataset: Dataset, exchange: str, symbols: Collection[str], window: Window) -> pa.Table:
    """The stored rows of funding or metrics in the window, as the shape's schema, in canonical order.

    Args:
        window: of `ts`, half-open.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    return _read(db, SHAPES[dataset], exchange, symbols, [("", window.start_ms, window.end_ms)], window)


def read_opens(db: MySql, exchange: str, symbol: str, interval: Interval | str, window: Window) -> Indices:
    """The open times (ms) of the stored bars of one series that open in the window, ascending.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    arguments = _arguments(exchange, [symbol], (str(interval), window.start_ms, window.end_ms))

    def read(connection: Connection) -> Indices:
        pages = list(pages_of(connection, query("ohlcv_opens"), arguments))
        seconds = np.fromiter(chain.from_iterable(chain.from_iterable(pages)), dtype=np.int64)
        return np.sort(seconds) * 1000

    return db.run(f"reading the open times of {symbol} {interval} {window}", read)


@cache
def stored_schema(shape: Shape) -> pa.Schema:
    """Stored rows: the canonical columns, and which load brought each."""
    return shape.schema.append(pa.field("receipt_id", pa.uint64(), nullable=False))


def read_stored(
    connection: Connection, shape: Shape, exchange: str, symbols: Sequence[str], wanted: Iterable[Span]
) -> pa.Table:
    """The stored rows of some symbols, as `stored_schema`, in no order.

    A page of lines is parsed while the server makes the next.
    """
    tables: list[pa.Table | Future[pa.Table]] = [stored_schema(shape).empty_table()]
    with ThreadPoolExecutor(1, "parse") as parser:
        for interval, page in _pages(connection, shape, exchange, symbols, wanted):
            tables.append(
                parser.submit(parse_lines, page, stored_schema(shape), {"exchange": exchange, "interval": interval})
            )
            if len(tables) > _PAGES_AHEAD:  # the server is faster than the parser: do not let its pages pile up
                tables[-_PAGES_AHEAD] = _done(tables[-_PAGES_AHEAD])
    return pa.concat_tables([_done(table) for table in tables])


def _read(
    db: MySql, shape: Shape, exchange: str, symbols: Collection[str], wanted: Sequence[Span], window: Window
) -> pa.Table:
    names = sorted(set(symbols))
    what = f"reading {shape.dataset} of {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} {window}"
    stored = db.run(what, lambda connection: read_stored(connection, shape, exchange, names, wanted))
    return stored.drop_columns(["receipt_id"]).sort_by([(name, "ascending") for name in shape.key])


def _done(table: pa.Table | Future[pa.Table]) -> pa.Table:
    return table.result() if isinstance(table, Future) else table


def _pages(
    connection: Connection, shape: Shape, exchange: str, symbols: Sequence[str], wanted: Iterable[Span]
) -> Iterator[tuple[str, Sequence[tuple[bytes]]]]:
    """The query's lines as bytes, some at a time."""
    for span in wanted if symbols else ():
        arguments = _arguments(exchange, symbols, span)
        for page in pages_of(connection, query(f"{shape.dataset}_window"), arguments, converted=False):
            yield span[0], page


def _arguments(exchange: str, symbols: Sequence[str], span: Span) -> dict[str, object]:
    interval, first_ms, last_ms = span
    return {
        "symbols": tuple(symbols),
        "interval": interval,
        "first": _ceil_second(first_ms),
        "last": _ceil_second(last_ms),
        "exchange": exchange,
    }


def parse_lines(lines: Iterable[tuple[bytes]], schema: pa.Schema, known: Mapping[str, str | pa.Array]) -> pa.Table:
    """CSV lines as a table, exact.

    Args:
        lines: they hold the columns in the schema's order, but for the known ones; an empty field is null.
        known: columns that no line holds: one value for all rows, or all the values.
    """
    names = [name for name in schema.names if name not in known]
    text = b"\n".join(chain.from_iterable(lines))
    parsed = pacsv.read_csv(
        pa.py_buffer(text),
        read_options=pacsv.ReadOptions(
            column_names=names,
            block_size=max(len(text), 1) + 1,
            # One block is one thread's work anyway, and an Arrow thread must not be the one that frees a Python buffer:
            # at the interpreter's end that aborts the process.
            use_threads=False,
        ),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types={name: _csv_type(schema.field(name)) for name in names}, strings_can_be_null=False
        ),
    )
    columns = []
    for field in schema:
        if field.name in known:
            value = known[field.name]
            columns.append(pa.repeat(value, parsed.num_rows) if isinstance(value, str) else value)
        elif pa.types.is_timestamp(field.type):
            columns.append(pc.assume_timezone(parsed[field.name], "UTC").cast(field.type))
        else:
            columns.append(parsed[field.name])
    return pa.table(columns, schema=schema)


def _csv_type(field: pa.Field) -> pa.DataType:
    if not pa.types.is_timestamp(field.type):
        return field.type
    return pa.timestamp("s" if field.name == "ts" else "ms")


def _ceil_second(at_ms: int) -> datetime:
    """Labels are whole seconds, and the driver would cut a fraction off."""
    return moment(at_ms + -at_ms % 1000)
