"""Bars on their way out, a month at a time: table, CSV, JSON with exact texts, Parquet with exact decimals."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from gapless.cli.files import whole_file
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, OHLCV_VALUES, decimal_text

_WIDTHS = {"ts": 20, "trades": 9}
_WIDTH = 20


def write_bars(months: Iterable[pa.Table], form: str, *, symbol: str, interval: Interval, output: Path | None) -> int:
    """Write canonical bars of one series in a form: `table`, `csv`, `json` or `parquet`; returns how many.

    A file appears whole or not at all.
    """
    with _opened(output) as sink:
        if form == "parquet":
            return _parquet(months, sink)
        if form == "csv":
            return _csv(months, sink)
        if form == "json":
            return _json(months, sink, symbol, interval)
        return _table(months, sink)


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with whole_file(output) as sink:
        yield sink


def _texts(bars: pa.Table) -> pa.Table:
    """`ts` as ISO 8601, the nine values and `source` as text, decimals with every place."""
    columns = {"ts": pc.strftime(bars["ts"].cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")}
    columns |= {name: decimal_text(bars[name]) for name in (*OHLCV_VALUES, "source")}
    return pa.table(columns)


def _parquet(months: Iterable[pa.Table], sink: BinaryIO) -> int:
    rows = 0
    with pq.ParquetWriter(sink, OHLCV, compression="zstd") as writer:
        for bars in months:
            writer.write_table(bars)
            rows += bars.num_rows
    return rows


def _csv(months: Iterable[pa.Table], sink: BinaryIO) -> int:
    rows = 0
    sink.write((",".join(["symbol", "interval", "ts", *OHLCV_VALUES, "source"]) + "\n").encode())
    options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
    for bars in months:
        texts = _texts(bars)
        table = pa.table({"symbol": bars["symbol"], "interval": bars["interval"]} | _columns(texts))
        pacsv.write_csv(table, sink, options)
        rows += bars.num_rows
    return rows


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: table[name] for name in table.column_names}


def _json(months: Iterable[pa.Table], sink: BinaryIO, symbol: str, interval: Interval) -> int:
    """One object; its `rows` are written as they come. `trades` and `source` are numbers, the rest text."""
    rows = 0
    head = msgspec.json.encode({"symbol": symbol, "interval": str(interval)})
    sink.write(head[:-1] + b',"rows":[')
    for bars in months:
        table = _texts(bars).drop_columns(["trades", "source"])
        counts = zip(bars["trades"].to_pylist(), bars["source"].to_pylist(), strict=True)
        for row, (trades, source) in zip(table.to_pylist(), counts, strict=True):
            sink.write((b"," if rows else b"") + msgspec.json.encode({**row, "trades": trades, "source": source}))
            rows += 1
    sink.write(b"]}\n")
    return rows


def _table(months: Iterable[pa.Table], sink: BinaryIO) -> int:
    rows = 0
    names = ["ts", *OHLCV_VALUES]
    for bars in months:
        table = _texts(bars)
        if rows == 0 and table.num_rows:
            sink.write((" ".join(_cell(name, name) for name in names).rstrip() + "\n").encode())
        lines = zip(*(table[name].to_pylist() for name in names), strict=True)
        sink.writelines(
            (" ".join(_cell(name, value) for name, value in zip(names, line, strict=True)) + "\n").encode()
            for line in lines
        )
        rows += table.num_rows
    return rows


def _cell(name: str, text: str) -> str:
    width = _WIDTHS.get(name, _WIDTH)
    return text.ljust(width) if name == "ts" else text.rjust(width)
