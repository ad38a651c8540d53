"""Canonical bars as Parquet bytes and back, exact both ways; equal bars give equal bytes.

Decimals are fixed-length byte arrays, prices dictionary-encoded, volumes plain, times and counts delta-encoded, zstd 3
with page checksums. Why not BYTE_STREAM_SPLIT: DuckDB 2.0 and polars 2.1 cannot read it for decimals, and on real bars
it is larger (`docs/decisions/0031-parquet-encoding.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.domain.schema import OHLCV
from gapless.domain.window import Window
from gapless.errors import StorageError, ValidationError
from gapless.storage.lake.objects import Damaged

SCHEMA_VERSION = "1"
_PRICES = ("open", "high", "low", "close")
_DICTIONARY = ["exchange", "symbol", "interval", "source", *_PRICES]
_ENCODING = {"ts": "DELTA_BINARY_PACKED", "trades": "DELTA_BINARY_PACKED"}
ROW_GROUP_ROWS = 32_768
"""Row groups end with a symbol where they can, and never hold more rows than this: about 22 symbols of a 1m day."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What an object says of itself without its rows being read."""

    rows: int
    series: int
    content_digest: str


def encode(bars: pa.Table, *, content_digest: str) -> bytes:
    """The Parquet object of `bars`, which are in canonical order. Equal bars, equal bytes (with one pyarrow release).

    Raises:
        ValidationError: the table has another schema than `gapless.domain.schema.OHLCV`, or nulls.
    """
    bars = canonical(bars).combine_chunks()
    starts = series_starts(bars)
    metadata = {
        "gapless.schema": f"ohlcv/{SCHEMA_VERSION}",
        "gapless.rows": str(bars.num_rows),
        "gapless.series": str(len(starts)),
        "gapless.content_sha256": content_digest,
    }
    sink = pa.BufferOutputStream()
    # No Arrow schema inside: what is stored follows from the bars alone, whatever Arrow types they came in.
    with pq.ParquetWriter(
        sink,
        OHLCV,
        compression="zstd",
        compression_level=3,
        use_dictionary=_DICTIONARY,
        column_encoding=_ENCODING,
        write_page_checksum=True,
        write_statistics=True,
        store_schema=False,
        store_decimal_as_integer=False,
    ) as writer:
        for start, end in row_groups(starts, bars.num_rows):
            writer.write_table(bars.slice(start, end - start), row_group_size=ROW_GROUP_ROWS)
        writer.add_key_value_metadata(metadata)
    return bytes(sink.getvalue().to_pybytes())


def decode(data: bytes, *, name: str) -> pa.Table:
    """The bars of a whole object, every page's checksum compared and the counts of its footer too.

    Raises:
        StorageError: the object is damaged or not one of ours; `name` (its URI) begins the message.
    """
    try:
        file = pq.ParquetFile(arrow_reader(data), page_checksum_verification=True)
        told = footer(file.metadata, name=name)
        bars = canonical(file.read(use_threads=True))
    except (pa.ArrowException, OSError, ValidationError) as error:
        raise damaged(name, error) from error
    if bars.num_rows != told.rows:
        raise damaged(name, f"its footer says {told.rows} rows, it holds {bars.num_rows}")
    return bars


def read_some(source: BinaryIO, *, name: str, symbols: frozenset[str], window: Window) -> pa.Table:
    """The bars of some symbols that open in `window`; row groups without any of them are not read.

    Raises:
        StorageError: the object is damaged or not one of ours.
    """
    try:
        # `source` is a Python file: it is read on this thread alone (see `arrow_reader`).
        file = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
        footer(file.metadata, name=name)
        groups = [i for i in range(file.metadata.num_row_groups) if _may_hold(file.metadata.row_group(i), symbols)]
        bars = canonical(file.read_row_groups(groups, use_threads=False))
    except (pa.ArrowException, OSError, ValidationError) as error:
        raise damaged(name, error) from error
    return narrowed(bars, symbols, window)


def narrowed(bars: pa.Table, symbols: frozenset[str] | None, window: Window) -> pa.Table:
    """The bars of some symbols (None: all) that open in `window`."""
    ts = bars["ts"].cast(pa.int64())
    wanted = pc.and_(pc.greater_equal(ts, window.start_ms), pc.less(ts, window.end_ms))
    if symbols is not None:
        wanted = pc.and_(wanted, pc.is_in(bars["symbol"], value_set=pa.array(sorted(symbols), pa.string())))
    return bars.filter(wanted)


def arrow_reader(data: bytes) -> pa.BufferReader:
    """Bytes as a file for Arrow's threads, copied into Arrow's own memory.

    A worker thread of Arrow that drops the last reference to a Python object while the interpreter ends aborts the
    process ("terminate called without an active exception"; seen with pyarrow 26 and Python 3.11, once in fifty runs).
    """
    copy = pa.allocate_buffer(len(data))
    np.frombuffer(copy, np.uint8)[:] = np.frombuffer(data, np.uint8)
    return pa.BufferReader(copy)


def footer(metadata: pq.FileMetaData, *, name: str) -> Footer:
    """What the object's footer says.

    Raises:
        StorageError: it is not an object of this schema.
    """
    told = {key.decode(): value.decode() for key, value in (metadata.metadata or {}).items()}
    schema = told.get("gapless.schema")
    if schema != f"ohlcv/{SCHEMA_VERSION}":
        raise StorageError(
            f"{name} is not a canonical bars object of this release (schema {schema!r}): move it out of the lake, or "
            "read the lake with the release that wrote it"
        )
    return Footer(int(told["gapless.rows"]), int(told["gapless.series"]), told["gapless.content_sha256"])


def canonical(bars: pa.Table) -> pa.Table:
    """The same bars with exactly the columns and types of `OHLCV`; dictionary-encoded strings are unpacked.

    Raises:
        ValidationError: a column is missing, unknown, of another type, or has nulls.
    """
    if set(bars.column_names) != set(OHLCV.names):
        wrong = sorted(set(bars.column_names) ^ set(OHLCV.names))
        raise ValidationError(f"not canonical bars: missing or unknown columns {', '.join(wrong)}")
    columns = []
    for field in OHLCV:
        column = bars[field.name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(field.type)
        if column.type != field.type or column.null_count:
            raise ValidationError(
                f"not canonical bars: column {field.name} is {column.type} with {column.null_count} nulls, "
                f"wanted {field.type} without any"
            )
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=OHLCV)


def series_starts(bars: pa.Table) -> np.ndarray:
    """Row numbers at which another exchange, symbol or interval begins; `bars` are in canonical order."""
    if bars.num_rows == 0:
        return np.empty(0, np.int64)
    changed = np.zeros(bars.num_rows, bool)
    changed[0] = True
    for name in ("exchange", "symbol", "interval"):
        codes = bars[name].combine_chunks().dictionary_encode()
        codes = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
        numbers = codes.indices.to_numpy(zero_copy_only=False)
        changed[1:] |= numbers[1:] != numbers[:-1]
    return np.flatnonzero(changed)


def row_groups(starts: np.ndarray, rows: int) -> Iterator[tuple[int, int]]:
    """Bounds of the row groups: as many whole series as fit; a series that is larger is cut."""
    begin = 0
    while begin < rows:
        limit = begin + ROW_GROUP_ROWS
        if limit >= rows:
            yield begin, rows
            return
        last = int(starts[np.searchsorted(starts, limit, side="right") - 1])
        end = last if last > begin else limit
        yield begin, end
        begin = end


def damaged(name: str, why: object) -> Damaged:
    """The error for an object whose bytes cannot be trusted."""
    return Damaged(
        f"{name} cannot be read: {why}. It is damaged or was not written by Gapless: move it to the lake's "
        "_superseded/ and load its window again from the exchange"
    )


def _may_hold(group: pq.RowGroupMetaData, symbols: frozenset[str]) -> bool:
    statistics = group.column(OHLCV.names.index("symbol")).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    # Bounds may have been cut short by another writer; ours are whole. Byte order is code point order.
    return any(statistics.min <= symbol <= statistics.max for symbol in symbols)
