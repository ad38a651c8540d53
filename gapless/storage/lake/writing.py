"""Writing one Parquet object piece by piece: row groups cut, digests taken, and what a reading back must give."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import Shape
from gapless.domain.digests import DigestStream, SeriesDigest
from gapless.storage.lake.parquet import (
    ROW_GROUP_ROWS,
    Footer,
    canonical,
    damaged,
    footer_text,
    row_groups,
    row_groups_of,
    series_starts,
    writer_of,
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What was written into an object.

    Attributes:
        series: a content digest for each series and day.
        prints: checksums of each row group's rows in memory, before they were encoded.
    """

    rows: int
    content_digest: str
    series: tuple[SeriesDigest, ...]
    prints: tuple[tuple[int, ...], ...]


class ObjectWriter:
    """Canonical rows to one Parquet file, in pieces; the same bytes however they are cut into pieces.

    Holds at most one row group beside what it is handed. Left without `finish`, the file is no Parquet file.

    Args:
        sink: a path, or an Arrow output stream.
    """

    def __init__(self, sink: Any, shape: Shape) -> None:
        self._shape = shape
        self._digests = DigestStream(shape)
        self._pending = shape.schema.empty_table()
        self._starts = np.zeros(1, np.int64)
        self._prints: list[tuple[int, ...]] = []
        self._series = 0
        self.rows = 0
        self._writer = writer_of(sink, shape)

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, rows: pa.Table) -> None:
        """More rows in canonical order: whole series, none of them seen before."""
        if not rows.num_rows:
            return
        rows = canonical(rows, self._shape).combine_chunks()
        starts = series_starts(rows, self._shape)
        self._digests.update(rows, starts)
        self._series += len(starts)
        self.rows += rows.num_rows
        starts = np.union1d(self._starts, starts + self._pending.num_rows)
        held = pa.concat_tables([self._pending, rows]) if self._pending.num_rows else rows
        done = 0
        for start, end in row_groups(starts, held.num_rows):
            if start + ROW_GROUP_ROWS >= held.num_rows:
                break  # the last group so far: the next series may fit in
            self._group(held.slice(start, end - start))
            done = end
        # A series that was cut goes on at the row group's beginning.
        self._pending, self._starts = held.slice(done), np.union1d([0], starts[starts >= done] - done)

    def finish(self) -> Contents:
        """Write the rest and the footer, and close the file."""
        if self._pending.num_rows:
            self._group(self._pending)
        digest = self._digests.whole()
        self._writer.add_key_value_metadata(footer_text(self._shape, Footer(self.rows, self._series, digest)))
        self.close()
        return Contents(self.rows, digest, tuple(self._digests.series), tuple(self._prints))

    def close(self) -> None:
        """Let go of the file; done already after `finish`."""
        self._pending = self._shape.schema.empty_table()
        self._writer.close()

    def _group(self, rows: pa.Table) -> None:
        rows = rows.combine_chunks()
        self._prints.append(prints(rows))
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)


def encode(rows: pa.Table, shape: Shape) -> tuple[bytes, Contents]:
    """The Parquet object of `rows`, which are in canonical order. Equal rows, equal bytes."""
    sink = pa.BufferOutputStream()
    with ObjectWriter(sink, shape) as writer:
        writer.write(rows)
        contents = writer.finish()
    return bytes(sink.getvalue().to_pybytes()), contents


def check_contents(data: bytes, shape: Shape, contents: Contents, *, name: str) -> None:
    """Decode an object row group by row group and compare with what was meant.

    Raises:
        StorageError: it does not hold exactly these rows.
    """
    found = tuple(prints(rows) for rows in row_groups_of(pa.BufferReader(data), shape, name=name))
    if found != contents.prints:
        raise damaged(name, f"the {shape.dataset} rows read back are not the rows written")


def prints(rows: pa.Table) -> tuple[int, ...]:
    """A checksum (CRC-32) for each column's values as they lie in memory, and their number."""
    return (rows.num_rows, *(_print(column) for column in rows.combine_chunks().columns))


def _print(column: pa.ChunkedArray) -> int:
    total = 0
    for array in column.chunks:
        if array.null_count:
            total = zlib.crc32(array.is_valid().cast(pa.uint8()).buffers()[1], total)
            zero = Decimal(0) if pa.types.is_decimal(array.type) else 0  # what lies in a null's place is not said
            array = array.fill_null(pa.scalar(zero, array.type))
        # A copy brings slices to the start of their buffers, offsets of strings included.
        array = pa.concat_arrays([array, array.slice(0, 0)]) if array.offset else array
        for buffer, size in zip(array.buffers()[1:], _sizes(array), strict=True):
            total = zlib.crc32(memoryview(buffer)[:size] if buffer is not None else b"", total)
    return total


def _sizes(array: pa.Array) -> list[int]:
    """How many bytes of each buffer the values take, without the padding behind them."""
    if not pa.types.is_string(array.type):
        return [array.type.bit_width // 8 * len(array)]
    offsets = memoryview(array.buffers()[1]).cast("B")[: 4 * (len(array) + 1)].cast("i")
    return [4 * (len(array) + 1), offsets[len(array)]]
