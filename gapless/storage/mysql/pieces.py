"""Stored rows in canonical order, symbol by symbol, in pieces that two threads read and parse ahead."""

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

from gapless.domain.datasets import Shape
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.storage.mysql.books import moment
from gapless.storage.mysql.reader import parse_lines
from gapless.storage.mysql.sql import query

PIECE_ROWS = 65_536
_AHEAD = 2
_FETCH_ROWS = 20_000


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

    One thread reads lines, another parses them, two pieces ahead at most: the server, the reader and whoever takes the
    pieces work side by side. Left before its end it leaves nothing unread on the connection.

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
    """The lines of some symbols, and how many belong to each."""

    lines: list[tuple[bytes]]
    symbols: list[str]
    counts: list[int]


def _lines(
    raw: Any,
    shape: Shape,
    source: str,
    exchange: str,
    symbols: Sequence[str],
    interval: Interval | None,
    window: Window,
) -> Generator[_Lines]:
    """The lines of one piece after the other: a query a symbol, which walks the key."""
    statement = query(f"departing_{shape.dataset}").replace("{rows}", source)
    bounds = {"first": moment(_ceil_second(window.start_ms)), "last": moment(_ceil_second(window.end_ms))}
    arguments: dict[str, object] = {"exchange": exchange, "interval": str(interval), **bounds}
    piece = _Lines([], [], [])
    with _as_bytes(raw), contextlib.closing(raw.cursor(SSCursor)) as cursor:
        for symbol in symbols:
            cursor.execute(statement, arguments | {"symbol": symbol})
            rows = 0
            while page := cursor.fetchmany(_FETCH_ROWS):
                piece.lines.extend(page)
                rows += len(page)
            if rows:
                piece.symbols.append(symbol)
                piece.counts.append(rows)
            if piece.lines and len(piece.lines) + rows > PIECE_ROWS:  # the next symbol is mostly of the same size
                yield piece
                piece = _Lines([], [], [])
    if piece.lines:
        yield piece


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
    symbols = pa.array(piece.symbols, pa.string()).take(pa.array(np.repeat(np.arange(len(piece.counts)), piece.counts)))
    return parse_lines(piece.lines, schema, {**known, "symbol": symbols})


def _ceil_second(at_ms: int) -> int:
    """Labels are whole seconds, and the driver would cut a fraction off."""
    return at_ms + -at_ms % 1000
