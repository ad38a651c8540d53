"""Stored rows in canonical order, symbol by symbol, in pieces that are read and parsed ahead."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from MySQLdb.cursors import SSCursor
from sqlalchemy import Connection

from gapless.domain.datasets import Shape
from gapless.domain.interval import Interval
from gapless.domain.window import HOUR_MS, Window
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.reader import parse_lines
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

PIECE_ROWS = 16_384
_AHEAD = 1
_FETCH_ROWS = 5_000
_TIME_BITS = 34
_TOGETHER = 64
"""Symbols in one question, at most: a server's parser has its limits."""


def read_plain(
    db: MySql,
    shape: Shape,
    exchange: str,
    symbols: Sequence[str],
    intervals: Sequence[Interval | None],
    window: Window,
) -> pa.Table:
    """The stored rows of some symbols, as the shape's schema, by interval; the fastest way out of the server.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    names = sorted(set(symbols))
    what = f"reading {shape.dataset} of {', '.join(names[:3])}{' ...' if len(names) > 3 else ''} {window}"

    def read(connection: Connection) -> pa.Table:
        raw: Any = connection.connection.dbapi_connection
        source = f"`{shape.dataset}`"
        found = [
            piece
            for interval in intervals
            for piece in read_pieces(raw, shape, source, exchange, names, interval, window)
        ]
        return pa.concat_tables([shape.schema.empty_table(), *found])

    return db.run(what, read)


def read_pieces(
    raw: Any,
    shape: Shape,
    source: str,
    exchange: str,
    symbols: Sequence[str],
    interval: Interval | None,
    window: Window,
) -> Iterator[pa.Table]:
    """Tables of the shape's schema, of about `PIECE_ROWS` rows each, none empty, one symbol never divided.

    One thread reads lines, another parses them, one piece ahead: the server, the reader and whoever takes the pieces
    work side by side. Left before its end it leaves nothing unread on the connection.

    Args:
        raw: the driver's connection, which is nobody else's meanwhile.
        source: what stands behind FROM.
        symbols: in any order; they come in that of their UTF-8, each with its rows by label and `ts`.
        interval: of bars; None for the other datasets.
        window: of `ts`, half-open.
    """
    lines = _lines(raw, shape, source, exchange, sorted(set(symbols)), interval, window)
    known = {"exchange": exchange} | ({} if interval is None else {"interval": str(interval)})
    reader, parser = ThreadPoolExecutor(1, "read"), ThreadPoolExecutor(1, "parse")
    ahead: deque[Future[pa.Table | None]] = deque()

    def begin() -> None:
        read = reader.submit(next, lines, None)
        ahead.append(parser.submit(_parsed, read, shape.schema, known))

    try:
        for _ in range(_AHEAD):
            begin()
        while (piece := ahead.popleft().result()) is not None:
            begin()
            yield piece
    finally:
        reader.shutdown(cancel_futures=True)
        parser.shutdown(cancel_futures=True)
        lines.close()


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of some symbols; each begins with its symbol's place among them."""

    lines: list[tuple[bytes]]
    symbols: Sequence[str]


def _lines(
    raw: Any,
    shape: Shape,
    source: str,
    exchange: str,
    symbols: Sequence[str],
    interval: Interval | None,
    window: Window,
) -> Generator[_Lines]:
    """The lines of one piece after the other."""
    template = query(f"departing_{shape.dataset}").replace("{rows}", source)
    arguments: dict[str, object] = {
        "exchange": exchange,
        "interval": str(interval),
        "first": moment(_ceil_second(window.start_ms)),
        "last": moment(_ceil_second(window.end_ms)),
    }
    together = min(_TOGETHER, max(1, PIECE_ROWS // _most_rows(shape, interval, window)))
    with _as_bytes(raw), contextlib.closing(raw.cursor(SSCursor)) as cursor:
        for at in range(0, len(symbols), together):
            some = symbols[at : at + together]
            # One query for all of them, which walks the key symbol by symbol: the server writes while we read. Asked
            # for one by one it would wait for each question.
            branches = [
                cursor.mogrify(template, arguments | {"symbol": symbol, "place": place})
                for place, symbol in enumerate(some)
            ]
            cursor.execute(" UNION ALL ".join(f"({branch})" for branch in branches))
            found: list[tuple[bytes]] = []
            while page := cursor.fetchmany(_FETCH_ROWS):
                found.extend(page)
            if found:
                yield _Lines(found, some)


def _most_rows(shape: Shape, interval: Interval | None, window: Window) -> int:
    """How many rows a symbol can have; of funding, which has no grid, about how many."""
    step_ms = interval.ms if interval is not None else shape.step_ms or HOUR_MS
    return max(1, window.length_ms // step_ms)


@contextlib.contextmanager
def _as_bytes(raw: Any) -> Iterator[None]:
    """Values as the server sends them."""
    converters, raw.converter = raw.converter, {}
    try:
        yield
    finally:
        raw.converter = converters


def _parsed(read: Future[_Lines | None], schema: pa.Schema, known: dict[str, str]) -> pa.Table | None:
    piece = read.result()
    if piece is None:
        return None
    told = [pa.field("place", pa.int32()), *(field for field in schema if field.name != "symbol")]
    rows = parse_lines(piece.lines, pa.schema(told), known)
    places = rows["place"].combine_chunks()
    columns = {"symbol": pa.array(piece.symbols, pa.string()).take(places)}
    columns |= {name: rows[name] for name in rows.schema.names}
    table = pa.table([columns[name] for name in schema.names], schema=schema)
    # Both servers answer along their key, but neither promises to; and the key has the rate type last.
    order = np.asarray(places.to_numpy(), np.int64) << _TIME_BITS | rows["ts"].cast(pa.int64()).to_numpy() // 1000
    if "rate_type" not in schema.names and (np.diff(order) > 0).all():
        return table
    key = [(name, "ascending") for name in ("symbol", "interval", "rate_type", "ts") if name in schema.names]
    return table.sort_by(key)


def _ceil_second(at_ms: int) -> int:
    """Labels are whole seconds, and the driver would cut a fraction off."""
    return at_ms + -at_ms % 1000
