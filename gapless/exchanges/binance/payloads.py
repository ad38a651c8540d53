"""Kline payloads as received -> canonical Arrow columns, exact to the last digit. No float anywhere.

Two readings with one result. The fast one proves with a regular expression that every byte of a body stands where it
does in an ordinary answer, turns many bodies into one CSV with a single byte-for-byte translation, and lets Arrow parse
decimals from the text. A body with anything odd is read row by row instead (`rows`), which takes what is exact
and rejects the rest with a reason. The fast reading accepts only what the patient one accepts: see `_ORDINARY`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain, groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gapless.domain.schema import OHLCV, PRICE, TIMESTAMP, VOLUME, Source
from gapless.exchanges.binance.rows import (
    END_OF_TIME_MS,
    FIELDS,
    PRICES,
    TIMES,
    VOLUMES,
    WHOLE_DIGITS,
    Rejected,
    RowRejected,
    Value,
    open_time,
    read_row,
    split_rows,
)

__all__ = ["KLINES", "Payload", "Rejected", "parse_klines"]

KLINES = OHLCV.append(pa.field("close_time", TIMESTAMP, nullable=False))
"""The canonical bar and the exchange's own close time, which the rules check and the store does not keep."""

Payload = tuple[str, str, str, str | bytes]
"""exchange, unified symbol, interval, and the body as received."""

_CHUNK_BYTES = 4 << 20
_KEPT = FIELDS[:-1]
_COLUMN_TYPES = {
    **dict.fromkeys(TIMES, pa.int64()),
    **dict.fromkeys(PRICES, PRICE),
    **dict.fromkeys(VOLUMES, VOLUME),
    "trades": pa.uint32(),
}

# Every byte of an ordinary body: at least one row, rows of twelve, integers as JSON writes them, decimals quoted.
_INTEGER = r"(?:0|[1-9][0-9]*)"
_DECIMAL = r'"-?[0-9]+(?:\.[0-9]+)?"'
_ROW = (
    r"\["
    + ",".join([_INTEGER, *[_DECIMAL] * 5, _INTEGER, _DECIMAL, _INTEGER, _DECIMAL, _DECIMAL, r'"[0-9.]*"'])
    + r"\]"
)
_ORDINARY = rf"\A\[{_ROW}(?:,{_ROW})*\]\z"

# With a comma before each body, `,[a,"b"],["c"]...` becomes lines `, a, b ` of which the first column is empty. Arrow
# trims the spaces around numbers.
_TO_CSV = bytes.maketrans(b'"[]', b"  \n")
_BEFORE_FIRST = "_"


def parse_klines(payloads: Iterable[Payload], source: Source | int) -> tuple[pa.Table, list[Rejected]]:
    """All bars of the payloads as one table of schema `KLINES`, in the order they came, and the rows not taken.

    Nothing is sorted, filtered or judged: an open bar, a duplicate or a wrong high is a bar here; the rules of
    `gapless.quality` come later. A value that its column cannot hold exactly is never rounded but rejected
    (`precision`); zeros beyond the scale are no loss.

    Args:
        payloads: (exchange, symbol, interval, body); consumed in chunks of about 4 MiB.
        source: the code that is written into every bar.
    """
    rejected: list[Rejected] = []
    tables = [table for chunk in _chunks(payloads) for table in _read_chunk(chunk, source, rejected)]
    return (pa.concat_tables(tables) if tables else KLINES.empty_table()), rejected


_Body = tuple[str, str, str, bytes]


def _chunks(payloads: Iterable[Payload]) -> Iterator[list[_Body]]:
    chunk: list[_Body] = []
    size = 0
    for exchange, symbol, interval, body in payloads:
        data = body.encode() if isinstance(body, str) else body
        chunk.append((exchange, symbol, interval, data))
        size += len(data)
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _read_chunk(chunk: list[_Body], source: int, rejected: list[Rejected]) -> Iterator[pa.Table]:
    for ordinary, run in groupby(zip(_are_ordinary(chunk), chunk, strict=True), key=itemgetter(0)):
        bodies = [body for _, body in run]
        together = _fast(bodies, source) if ordinary else None
        if together is not None:
            yield together
            continue
        for body in bodies:
            alone = _fast([body], source) if ordinary else None
            yield _patient(body, source, rejected) if alone is None else alone


def _are_ordinary(chunk: list[_Body]) -> list[bool]:
    bodies = pa.array([body for *_, body in chunk], pa.large_binary())
    matches: list[bool] = pc.match_substring_regex(bodies, _ORDINARY).to_pylist()
    return matches


def _fast(bodies: list[_Body], source: int) -> pa.Table | None:
    """The bars of ordinary bodies; None when a value does not fit its column, or is no moment in time."""
    text = b"".join(chain.from_iterable((b",", memoryview(body)[1:-1]) for *_, body in bodies)).translate(_TO_CSV)
    try:
        columns = pacsv.read_csv(
            pa.BufferReader(text),
            read_options=pacsv.ReadOptions(
                column_names=[_BEFORE_FIRST, *FIELDS], use_threads=False, block_size=len(text) + 1
            ),
            parse_options=pacsv.ParseOptions(quote_char=False),
            convert_options=pacsv.ConvertOptions(
                column_types=_COLUMN_TYPES, include_columns=list(_KEPT), null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    if not all(_fits(name, columns[name]) for name in (*TIMES, *WHOLE_DIGITS)):
        return None
    counts = [body.count(b"[") - 1 for *_, body in bodies]
    return _assemble({name: columns[name] for name in _KEPT}, bodies, counts, source)


def _fits(name: str, column: pa.ChunkedArray) -> bool:
    """Whether Arrow may be believed: it lets a short text such as `1234567890123` through into a (20,8) column."""
    bounds = pc.min_max(column)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if name in TIMES:
        return bool(low >= 0 and high < END_OF_TIME_MS)
    limit = Decimal(10) ** WHOLE_DIGITS[name]
    return bool(-limit < low and high < limit)


def _patient(body: _Body, source: int, rejected: list[Rejected]) -> pa.Table:
    _, symbol, interval, data = body
    rows = split_rows(data)
    if rows is None:
        rejected.append(Rejected(symbol, interval, None, "json", data.decode(errors="replace")))
        return KLINES.empty_table()
    taken: list[tuple[Value, ...]] = []
    for row in rows:
        try:
            taken.append(read_row(row))
        except RowRejected as why:
            rejected.append(Rejected(symbol, interval, open_time(row), why.reason, row.decode(errors="replace")))
    by_name = zip(*taken, strict=True) if taken else ([] for _ in _KEPT)
    columns = {
        name: pa.chunked_array([pa.array(values, _COLUMN_TYPES[name])])
        for name, values in zip(_KEPT, by_name, strict=True)
    }
    return _assemble(columns, [body], [len(taken)], source)


def _assemble(columns: dict[str, pa.ChunkedArray], bodies: list[_Body], counts: list[int], source: int) -> pa.Table:
    """The canonical table of value columns, of which the first `counts[0]` rows belong to the first body, and so on."""
    owner = pa.array(np.repeat(np.arange(len(bodies)), counts))
    by_name: dict[str, pa.ChunkedArray | pa.Array] = dict(columns)
    for place, name in enumerate(("exchange", "symbol", "interval")):
        by_name[name] = pa.array([body[place] for body in bodies], pa.string()).take(owner)
    for name in TIMES:
        by_name[name] = columns[name].cast(TIMESTAMP)
    by_name["source"] = pa.array(np.full(sum(counts), int(source), np.uint8))
    return pa.Table.from_arrays([by_name[name] for name in KLINES.names], schema=KLINES)
