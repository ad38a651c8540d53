"""Hours of Streams as Parquet: encoded group by group, every column's digest taken, and read back with all checks.

The encodings are those of bars (docs/decisions/0031): zstd 3, decimals of fixed length, prices by dictionary, times and
ids delta-encoded, page checksums. Equal rows make equal bytes with one pyarrow release.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.domain.schema import PRICE
from gapless.domain.stream_columns import SEEN, StreamShape
from gapless.storage.lake.hour_layout import HourFooter, SymbolRange, footer_texts, read_footer
from gapless.storage.lake.objects import Damaged
from gapless.storage.lake.parquet import ROW_GROUP_ROWS, row_groups


@dataclass(frozen=True, slots=True)
class HourContents:
    """What was written into an object.

    Attributes:
        columns: a sha256 (hex) of each column's values as they lay in memory, before they were encoded.
    """

    footer: HourFooter
    columns: tuple[str, ...]


class ColumnDigests:
    """A running sha256 of each column's values, row group by row group; how rows are grouped follows from the rows."""

    def __init__(self, shape: StreamShape) -> None:
        self._shape = shape
        self._running = {name: hashlib.sha256(name.encode()) for name in shape.schema.names}

    def update(self, rows: pa.Table) -> None:
        """More rows, in the shape's own columns."""
        for name, running in self._running.items():
            for array in rows[name].chunks:
                for part in _plain(array, nullable=self._shape.schema.field(name).nullable):
                    running.update(part)

    def columns(self) -> tuple[str, ...]:
        """Each column's digest, in the shape's order."""
        return tuple(running.hexdigest() for running in self._running.values())

    def content(self) -> str:
        """One digest of what the rows say, without how they came here: two installations can compare it."""
        told = (f"{name} {running.hexdigest()}" for name, running in self._running.items() if name not in SEEN)
        return hashlib.sha256("\n".join(told).encode()).hexdigest()


class HourWriter:
    """Rows of one object to a Parquet file, in pieces; the same bytes however they are cut into pieces.

    Holds at most one row group beside what it is handed. Left without `finish`, the file is no Parquet file.

    Args:
        sink: a path, or an Arrow output stream.
    """

    def __init__(self, sink: Any, shape: StreamShape) -> None:
        self._shape = shape
        self._digests = ColumnDigests(shape)
        self._pending = shape.schema.empty_table()
        self.rows = 0
        self._writer = pq.ParquetWriter(
            sink,
            shape.schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=[f.name for f in shape.schema if pa.types.is_string(f.type) or f.type == PRICE],
            column_encoding={f.name: "DELTA_BINARY_PACKED" for f in shape.schema if _delta(f.type)},
            write_page_checksum=True,
            write_statistics=[name for name in ("exchange", "symbol", "ts", shape.ids) if name],
            store_schema=False,
            store_decimal_as_integer=False,
        )

    def write(self, rows: pa.Table) -> None:
        """More rows, sorted by symbol and the shape's order, behind all before."""
        if not rows.num_rows:
            return
        self.rows += rows.num_rows
        held = pa.concat_tables([self._pending, rows]) if self._pending.num_rows else rows
        done = 0
        for start, end in row_groups(_symbol_starts(held), held.num_rows):
            if start + ROW_GROUP_ROWS >= held.num_rows:
                break  # the last group so far: what comes next may fit in
            self._group(held.slice(start, end - start))
            done = end
        self._pending = held.slice(done)

    def finish(self, ranges: tuple[SymbolRange, ...]) -> HourContents:
        """Write the rest and the footer, and close the file."""
        if self._pending.num_rows:
            self._group(self._pending)
        footer = HourFooter(self.rows, self._digests.content(), ranges)
        self._writer.add_key_value_metadata(footer_texts(self._shape, footer))
        self.close()
        return HourContents(footer, self._digests.columns())

    def close(self) -> None:
        """Let go of the file; done already after `finish`."""
        self._pending = self._shape.schema.empty_table()
        self._writer.close()

    def _group(self, rows: pa.Table) -> None:
        rows = rows.combine_chunks()
        self._digests.update(rows)
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)


def footer_of(source: Any, shape: StreamShape, *, name: str) -> HourFooter:
    """The footer of a stored object.

    Raises:
        StorageError: the object is damaged or not one of ours.
    """
    try:
        return read_footer(pq.ParquetFile(source, pre_buffer=False).metadata, shape, name=name)
    except (pa.ArrowException, OSError, msgspec.MsgspecError, KeyError) as error:
        raise _damaged(name, error) from error


def hour_groups(source: Any, shape: StreamShape, *, name: str) -> Iterator[pa.Table]:
    """All rows, row group by row group in order, on this thread; every page's checksum and the counts compared.

    Raises:
        StorageError: the object is damaged or not one of ours.
    """
    read = 0
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=False)
        told = read_footer(file.metadata, shape, name=name)
        for number in range(file.metadata.num_row_groups):
            rows = _whole(file.read_row_group(number, use_threads=False), shape)
            if rows.column_names != shape.schema.names:
                raise _damaged(name, f"its columns are {', '.join(rows.column_names)}")
            rows = rows.cast(shape.schema)
            read += rows.num_rows
            yield rows
    except (pa.ArrowException, OSError, ValueError, msgspec.MsgspecError, KeyError) as error:
        raise _damaged(name, error) from error
    if read != told.rows:
        raise _damaged(name, f"its footer says {told.rows} rows, it holds {read}")


def _whole(rows: pa.Table, shape: StreamShape) -> pa.Table:
    """Rows of an earlier release with the columns that it had not, empty; what else differs stays."""
    for name in shape.added:
        if name not in rows.column_names:
            at = min(shape.schema.get_field_index(name), rows.num_columns)
            rows = rows.add_column(at, shape.schema.field(name), pa.array([""] * rows.num_rows, pa.string()))
    return rows


def check_hour(data: bytes, shape: StreamShape, contents: HourContents, *, name: str) -> None:
    """Decode an object and compare every column and the footer with what was meant.

    Raises:
        StorageError: it does not hold exactly these rows.
    """
    digests = ColumnDigests(shape)
    for rows in hour_groups(pa.BufferReader(data), shape, name=name):
        digests.update(rows)
    if digests.columns() != contents.columns or footer_of(pa.BufferReader(data), shape, name=name) != contents.footer:
        raise _damaged(name, f"the {shape.dataset} rows read back are not the rows written")


def _damaged(name: str, why: object) -> Damaged:
    return Damaged(
        f"{name} cannot be trusted: {why}. Move it to the lake's _superseded/; what the spool still holds of its hour "
        "is published again by `gapless publish-streams`, the rest is lost or must come from the exchange"
    )


def _symbol_starts(rows: pa.Table) -> np.ndarray:
    """Row numbers at which another symbol begins, 0 included."""
    symbols = rows["symbol"].combine_chunks()
    changed = pc.not_equal(symbols[1:], symbols[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(changed) + 1])


def _delta(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_integer(kind))


def _plain(array: pa.Array, *, nullable: bool) -> Iterator[memoryview | bytes]:
    """The values of an array as bytes, and which are null; what lies in a null's place is not said."""
    if nullable:
        yield array.is_valid().cast(pa.uint8()).to_numpy(zero_copy_only=False).tobytes()
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.uint8())
    if array.null_count:
        array = array.drop_null()
    if pa.types.is_string(array.type):
        yield pc.binary_length(array).to_numpy(zero_copy_only=False).tobytes()
        array = pa.concat_arrays([array, array.slice(0, 0)])  # a copy brings a slice to the start of its buffers
        offsets = np.frombuffer(array.buffers()[1], np.int32)[: len(array) + 1]
        yield memoryview(array.buffers()[2])[: offsets[-1]] if len(array) and array.buffers()[2] else b""
        return
    width = array.type.bit_width // 8
    yield (
        memoryview(array.buffers()[1])[array.offset * width : (array.offset + len(array)) * width]
        if len(array)
        else b""
    )
