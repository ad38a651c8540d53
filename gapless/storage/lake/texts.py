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
_PLACES = 8


def lines(rows: pa.Table, shape: Shape) -> tuple[memoryview, npt.NDArray[np.int32]]:
    """One line a row: the key columns, then the values, comma-separated, ended by a newline.

    Times are integer milliseconds, decimals have all places of their scale, a null is empty.

    Returns:
        The text, and where each row's line begins in it (one more offset than rows). The text stays valid while the
        memoryview lives. At most 2 GiB of it: some millions of rows.
    """
    pieces: list[pa.Array] = []
    for name in shape.key[:-1]:
        pieces += [_whole(rows[name])]
    for name in (shape.key[-1], *shape.values):
        pieces += [_text(_whole(rows[name]))]
    pieces[-1] = pc.binary_join_element_wise(pieces[-1], "", "\n")
    joined = _whole(pc.binary_join_element_wise(*pieces, ","))
    offsets = np.frombuffer(joined.buffers()[1], np.int32)[joined.offset : joined.offset + len(joined) + 1]
    return memoryview(joined.buffers()[2] or b""), offsets


def _text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    text = _places(column) if pa.types.is_decimal128(column.type) and column.type.scale == _PLACES else None
    if text is None:
        text = _whole(decimal_text(pa.chunked_array([column])))
    return text.fill_null("") if text.null_count else text


def _places(column: pa.Array) -> pa.Array | None:
    """Decimals of eight places as text; None when one is negative, null or does not fit 64 bits."""
    if column.null_count or not len(column):
        return None
    words = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)[column.offset : column.offset + len(column)]
    if words[:, 1].any() or words[:, 0].min() < 0:  # the upper word of all that fits is zero
        return None
    wholes, places = np.divmod(words[:, 0], 10**_PLACES)
    high, low = np.divmod(places.astype(np.uint32), np.uint32(10_000))
    digits = np.empty((len(column), 2), np.uint32)
    digits[:, 0], digits[:, 1] = _FOUR[high], _FOUR[low]
    offsets = np.arange(0, _PLACES * (len(column) + 1), _PLACES, dtype=np.int32)
    fraction = pa.Array.from_buffers(pa.string(), len(column), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])
    return pc.binary_join_element_wise(pa.array(wholes).cast(pa.string()), fraction, ".")


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
