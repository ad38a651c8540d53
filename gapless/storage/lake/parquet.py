"""Canonical rows as Parquet: how they are encoded, what a footer says, and reading them back with every checksum.

Decimals are fixed-length byte arrays, prices dictionary-encoded, volumes plain, times and counts delta-encoded, zstd 3
with page checksums. Why not BYTE_STREAM_SPLIT: DuckDB 2.0 and polars 2.1 cannot read it for decimals, and on real bars
it is larger (`docs/decisions/0031-parquet-encoding.md`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.domain.datasets import Dataset, Shape
from gapless.domain.text_runs import changes
from gapless.domain.window import Window
from gapless.errors import StorageError, ValidationError
from gapless.storage.lake.objects import Damaged

SCHEMA_VERSION = "1"
_SCHEMA = re.compile(rf"({'|'.join(Dataset)})/[1-9]\d*")
_PRICES = ("open", "high", "low", "close")
_DICTIONARY = ("source", "interval_hours", *_PRICES)
ROW_GROUP_ROWS = 32_768
"""Row groups end with a symbol where they can, and never hold more rows than this: about 22 symbols of a 1m day."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What an object says of itself without its rows being read."""

    rows: int
    series: int
    content_digest: str


def writer_of(sink: Any, shape: Shape) -> pq.ParquetWriter:
    """A Parquet writer to a path or an Arrow sink. The same rows, cut alike, make the same bytes (with one pyarrow
    release): no Arrow schema, time or host is written."""
    return pq.ParquetWriter(
        sink,
        shape.schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=[f.name for f in shape.schema if pa.types.is_string(f.type) or f.name in _DICTIONARY],
        column_encoding={f.name: "DELTA_BINARY_PACKED" for f in shape.schema if _delta(f)},
        write_page_checksum=True,
        write_statistics=[*shape.key],  # what is searched by; those of values cost a seventh of the time
        store_schema=False,
        store_decimal_as_integer=False,
    )


def footer_text(shape: Shape, told: Footer) -> dict[str, str]:
    """What `footer` reads, as the key-value metadata of a file."""
    return {
        "gapless.schema": _mark(shape),
        "gapless.rows": str(told.rows),
        "gapless.series": str(told.series),
        "gapless.content_sha256": told.content_digest,
    }


def footer(metadata: pq.FileMetaData, shape: Shape, *, name: str) -> Footer:
    """What the object's footer says.

    Raises:
        StorageError: it is not an object of this dataset and release.
    """
    try:
        told = {key.decode(): value.decode() for key, value in (metadata.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise damaged(name, f"its footer is not text ({error})") from error
    schema = told.get("gapless.schema")
    if schema is None or not _SCHEMA.fullmatch(schema):
        raise damaged(name, f"its footer says schema {schema!r}")
    if schema != _mark(shape):
        raise StorageError(
            f"{name} is not a canonical {shape.dataset} object of this release (schema {schema!r}): move it out of the "
            "lake, or read the lake with the release that wrote it"
        )
    try:
        return Footer(int(told["gapless.rows"]), int(told["gapless.series"]), told["gapless.content_sha256"])
    except (KeyError, ValueError) as error:
        raise damaged(name, f"its footer is not whole ({error})") from error


def footer_of(data: bytes, shape: Shape, *, name: str) -> Footer:
    """What the footer of a whole object says.

    Raises:
        StorageError: the object is damaged or not one of ours.
    """
    try:
        return footer(pq.read_metadata(pa.BufferReader(data)), shape, name=name)
    except (pa.ArrowException, OSError) as error:
        raise damaged(name, error) from error


def decode(data: bytes, shape: Shape, *, name: str) -> pa.Table:
    """The rows of a whole object, every page's checksum compared and the counts of its footer too.

    Raises:
        StorageError: the object is damaged or not one of ours; `name` (its URI) begins the message.
    """
    try:
        file = pq.ParquetFile(arrow_reader(data), page_checksum_verification=True)
        told = footer(file.metadata, shape, name=name)
        rows = canonical(file.read(use_threads=True), shape)
    except (pa.ArrowException, OSError, ValidationError) as error:
        raise damaged(name, error) from error
    if rows.num_rows != told.rows:
        raise damaged(name, f"its footer says {told.rows} rows, it holds {rows.num_rows}")
    return rows


def row_groups_of(
    source: BinaryIO | pa.NativeFile,
    shape: Shape,
    *,
    name: str,
    symbols: frozenset[str] | None = None,
    window: Window | None = None,
) -> Iterator[pa.Table]:
    """The rows of an object, row group by row group in order, on this thread; every page's checksum compared.

    Groups that hold none of `symbols` (None: all) or nothing in `window` are not read; of the others all rows are
    given. Without either, the counts of the footer are compared too.

    Raises:
        StorageError: the object is damaged or not one of ours.
    """
    read = 0
    try:
        # The source may be a Python file or Python bytes: no thread of Arrow may touch it (see `arrow_reader`).
        texts = [field.name for field in shape.schema if pa.types.is_string(field.type)]
        file = pq.ParquetFile(  # texts as they lie, by dictionary, and unpacked then: a tenth less time
            source, page_checksum_verification=True, pre_buffer=False, read_dictionary=texts
        )
        told = footer(file.metadata, shape, name=name)
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            if (symbols is None or _may_hold(group, shape, symbols)) and (
                window is None or _meets(group, shape, window)
            ):
                rows = canonical(file.read_row_group(number, use_threads=False), shape)
                read += rows.num_rows
                yield rows
    except (pa.ArrowException, OSError, ValidationError) as error:
        raise damaged(name, error) from error
    if symbols is None and window is None and read != told.rows:
        raise damaged(name, f"its footer says {told.rows} rows, it holds {read}")


def read_some(
    source: BinaryIO | pa.NativeFile, shape: Shape, *, name: str, symbols: frozenset[str] | None, window: Window
) -> pa.Table:
    """The rows of some symbols (None: all) with a `ts` in `window`; memory for what is wanted and one row group.

    Raises:
        StorageError: the object is damaged or not one of ours.
    """
    groups = row_groups_of(source, shape, name=name, symbols=symbols, window=window)
    return pa.concat_tables([shape.schema.empty_table(), *(narrowed(rows, symbols, window) for rows in groups)])


def narrowed(rows: pa.Table, symbols: frozenset[str] | None, window: Window) -> pa.Table:
    """The rows of some symbols (None: all) with a `ts` in `window`."""
    ts = rows["ts"].cast(pa.int64())
    wanted = pc.and_(pc.greater_equal(ts, window.start_ms), pc.less(ts, window.end_ms))
    if symbols is not None:
        wanted = pc.and_(wanted, pc.is_in(rows["symbol"], value_set=pa.array(sorted(symbols), pa.string())))
    return rows.filter(wanted)


def arrow_reader(data: bytes) -> pa.BufferReader:
    """Bytes as a file for Arrow's threads, copied into Arrow's own memory.

    A worker thread of Arrow that drops the last reference to a Python object while the interpreter ends aborts the
    process ("terminate called without an active exception"; seen with pyarrow 26 and Python 3.11, once in fifty runs).
    """
    copy = pa.allocate_buffer(len(data))
    np.frombuffer(copy, np.uint8)[:] = np.frombuffer(data, np.uint8)
    return pa.BufferReader(copy)


def canonical(rows: pa.Table, shape: Shape) -> pa.Table:
    """The same rows with exactly the columns and types of the shape; dictionary-encoded strings are unpacked.

    Raises:
        ValidationError: a column is missing, unknown, of another type, or has nulls where the shape has none.
    """
    if set(rows.column_names) != set(shape.schema.names):
        wrong = sorted(set(rows.column_names) ^ set(shape.schema.names))
        raise ValidationError(f"not canonical {shape.dataset} rows: missing or unknown columns {', '.join(wrong)}")
    columns = []
    for field in shape.schema:
        column = rows[field.name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(field.type)
        if column.type != field.type or (column.null_count and not field.nullable):
            raise ValidationError(
                f"not canonical {shape.dataset} rows: column {field.name} is {column.type} with {column.null_count} "
                f"nulls, wanted {field.type}{'' if field.nullable else ' without any'}"
            )
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=shape.schema)


def series_starts(rows: pa.Table, shape: Shape) -> np.ndarray:
    """Row numbers at which another series (all key columns but `ts`) begins; `rows` are in canonical order."""
    return changes(rows, shape.key[:-1])


def row_groups(starts: np.ndarray, rows: int) -> Iterator[tuple[int, int]]:
    """Bounds of the row groups: as many whole series as fit; a series that is larger is cut. `starts` begins with 0."""
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
        "_superseded/ and load its window again from the exchange",
        uri=name,
    )


def _mark(shape: Shape) -> str:
    return f"{shape.dataset}/{SCHEMA_VERSION}"


def _delta(field: pa.Field) -> bool:
    return bool(pa.types.is_timestamp(field.type) or pa.types.is_uint32(field.type))


def _may_hold(group: pq.RowGroupMetaData, shape: Shape, symbols: frozenset[str]) -> bool:
    statistics = group.column(shape.schema.names.index("symbol")).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    # Bounds may have been cut short by another writer; ours are whole. Byte order is code point order.
    return any(statistics.min <= symbol <= statistics.max for symbol in symbols)


def _meets(group: pq.RowGroupMetaData, shape: Shape, window: Window) -> bool:
    statistics = group.column(shape.schema.names.index("ts")).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min < window.end and statistics.max >= window.start)  # aware datetimes, UTC
