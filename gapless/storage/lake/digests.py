"""Content digests of many series in one pass: what two installations compare, line by line."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.schema import OHLCV_VALUES, decimal_text
from gapless.domain.window import DAY_MS, from_ms
from gapless.storage.lake.merge import open_times
from gapless.storage.lake.parquet import series_starts

_BLOCK_ROWS = 131_072


class SeriesDigest(msgspec.Struct, frozen=True, order=True):
    """The content digest of one series and UTC day: sha256 as of `gapless.domain.schema.content_digest`."""

    exchange: str
    symbol: str
    interval: str
    day: str
    rows: int
    sha256: str


def digests(bars: pa.Table) -> tuple[str, tuple[SeriesDigest, ...]]:
    """The content digest of all of `bars` (in canonical order), and one for each series and day in it.

    The same texts as `content_digest` of each part, made once for whole blocks of rows.
    """
    whole = hashlib.sha256()
    bars = bars.combine_chunks()
    starts = _part_starts(bars)
    ends = np.append(starts[1:], bars.num_rows)
    found: list[SeriesDigest] = []
    part = 0
    while part < len(starts):
        first = int(starts[part])
        last = max(part + 1, int(np.searchsorted(ends, first + _BLOCK_ROWS, side="right")))
        block = bars.slice(first, int(ends[last - 1]) - first)
        text, offsets = _lines(block)
        whole.update(text)
        for i in range(part, last):
            begin, end = int(starts[i]) - first, int(ends[i]) - first
            digest = hashlib.sha256(text[offsets[begin] : offsets[end]]).hexdigest()
            found.append(_named(block, begin, end - begin, digest))
        part = last
    return whole.hexdigest(), tuple(found)


def _part_starts(bars: pa.Table) -> np.ndarray:
    """Row numbers at which another series or another UTC day begins."""
    days = open_times(bars) // DAY_MS
    new_day = np.flatnonzero(days[1:] != days[:-1]) + 1 if len(days) else np.empty(0, np.int64)
    return np.union1d(series_starts(bars), new_day)


def _lines(block: pa.Table) -> tuple[memoryview, np.ndarray]:
    """The canonical text of all rows, and where each row's line begins in it (one more offset than rows)."""
    columns = [block["exchange"], block["symbol"], block["interval"]]
    columns.append(block["ts"].cast(pa.int64()).cast(pa.string()))
    columns.extend(decimal_text(block[name]) for name in OHLCV_VALUES)
    columns[-1] = pc.binary_join_element_wise(columns[-1], "", "\n")
    lines = pc.binary_join_element_wise(*columns, ",").combine_chunks()
    lines = lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines
    offsets = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(lines.buffers()[2]), offsets


def _named(block: pa.Table, row: int, rows: int, digest: str) -> SeriesDigest:
    exchange, symbol, interval = (block[name][row].as_py() for name in ("exchange", "symbol", "interval"))
    day = from_ms(block["ts"][row].value).strftime("%Y-%m-%d")
    return SeriesDigest(exchange, symbol, interval, day, rows, digest)
