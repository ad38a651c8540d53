"""Canonical lines of rows as bytes, fast: the text that content digests are made of. Pure; Arrow releases the GIL.

The same bytes as `gapless.domain.schema.content_digest` hashes, which casts every decimal by itself. Here a decimal
that fits 64 bits is cut into its integer part and its places, which are looked up four digits at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import Shape
from gapless.domain.schema import decimal_text

_FOUR = np.frombuffer(b"".join(b"%04d" % number for number in range(10_000)), np.uint32)
"""The four digits of each number below ten thousand, as one word each."""
_SMALL = pa.array([str(number) for number in range(10_000)], pa.string())
"""The text of each number below ten thousand: looked up in half the time that writing it takes."""
_PLACES = 8
_CELL = np.dtype([("point", "S1"), ("high", "<u4"), ("low", "<u4"), ("end", "S1")])
"""What stands behind the integer part of a decimal of eight places."""


def lines(rows: pa.Table, shape: Shape) -> tuple[memoryview, npt.NDArray[np.int32]]:
    """One line a row: the key columns, then the values, comma-separated, ended by a newline.

    Times are integer milliseconds, decimals have all places of their scale, a null is empty.

    Returns:
        The text, and where each row's line begins in it (one more offset than rows). The text stays valid while the
        memoryview lives. At most 2 GiB of it: some millions of rows.
    """
    names = (*shape.key, *shape.values)
    pieces: list[pa.Array | str] = []
    for name in names:
        pieces += _pieces(_whole(rows[name]), b"\n" if name == names[-1] else b",")
    joined = _whole(pc.binary_join_element_wise(*_fewer(pieces), ""))  # one pass over all: joins cost by the piece
    offsets = np.frombuffer(joined.buffers()[1], np.int32)[joined.offset : joined.offset + len(joined) + 1]
    return memoryview(joined.buffers()[2] or b""), offsets


def _pieces(column: pa.Array, end: bytes) -> list[pa.Array | str]:
    """What one column adds to each line, with what stands behind it."""
    if pa.types.is_string(column.type) and len(column) and (one := _only(column)) is not None:
        return [one, end.decode()]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    cut = _cut(column, end) if pa.types.is_decimal128(column.type) and column.type.scale == _PLACES else None
    if cut is not None:
        return cut
    text = _whole(decimal_text(pa.chunked_array([column])))
    return [text.fill_null("") if text.null_count else text, end.decode()]


def _cut(column: pa.Array, end: bytes) -> list[pa.Array | str] | None:
    """Decimals of eight places as integer part and the rest; None when one is negative, null or beyond 64 bits."""
    if column.null_count or not len(column):
        return None
    words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)[column.offset : column.offset + len(column)]
    if words[:, 1].any() or words[:, 0].min() < 0:  # the upper word of all that fits is zero
        return None
    units = np.ascontiguousarray(words[:, 0]).view(np.uint64)
    wholes = units // np.uint64(10**_PLACES)
    places = (units - wholes * np.uint64(10**_PLACES)).astype(np.uint32)
    high = places // np.uint32(10_000)
    cells = np.empty(len(column), _CELL)
    cells["point"], cells["high"], cells["low"], cells["end"] = b".", _FOUR[high], _FOUR[places - high * 10_000], end
    offsets = np.arange(0, _CELL.itemsize * (len(column) + 1), _CELL.itemsize, dtype=np.int32)
    rest = pa.Array.from_buffers(pa.string(), len(column), [None, pa.py_buffer(offsets), pa.py_buffer(cells)])
    numbers = pa.array(wholes)
    return [_SMALL.take(numbers) if int(wholes.max()) < len(_SMALL) else numbers.cast(pa.string()), rest]


def _only(column: pa.Array) -> str | None:
    """The one text that all rows have; None when they have several."""
    first = column[0].as_py()
    return first if column[-1].as_py() == first and pc.all(pc.equal(column, first)).as_py() else None


def _fewer(pieces: list[pa.Array | str]) -> list[pa.Array | pa.Scalar]:
    """The same pieces, constant ones in a row made one; an array among them in any case."""
    found: list[pa.Array | str] = []
    for piece in pieces:
        if isinstance(piece, str) and found and isinstance(found[-1], str):
            found[-1] += piece
        else:
            found.append(piece)
    return [pa.scalar(piece) if isinstance(piece, str) else piece for piece in found]


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
