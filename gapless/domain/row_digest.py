"""A digest of rows of any columns: the same for the same values in the same order, however the rows are cut. Pure."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class RowsDigest:
    """sha256 over rows, each value with its length before it, so that no two different rows read alike.

    Attributes:
        rows: how many were added.
    """

    def __init__(self) -> None:
        self._hash = sha256()
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Add rows behind those before; strings, integers, booleans, floats, exact decimals, times and dates."""
        if rows.num_rows == 0:
            return
        columns = [_measured(column.combine_chunks()) for column in rows.columns]
        joined = pc.binary_join_element_wise(*columns, "")
        chunks = joined.chunks if isinstance(joined, pa.ChunkedArray) else [joined]
        for chunk in chunks:
            offsets = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            self._hash.update(memoryview(chunk.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
        self.rows += rows.num_rows

    @property
    def hexdigest(self) -> str:
        """Of all rows so far, 64 hex digits."""
        return self._hash.hexdigest()


def _measured(column: pa.Array) -> pa.Array:
    """`5:BTC/U` for a text of five bytes, `-` for null; times as integers, numbers as their exact text."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.cast(pa.int32())
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    text = column.cast(pa.string())
    marked = pc.binary_join_element_wise(pc.binary_length(text).cast(pa.string()), text, ":")
    return pc.fill_null(marked, "-") if marked.null_count else marked
