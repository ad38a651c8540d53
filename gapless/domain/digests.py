"""Content digests of many series in one pass: what two installations compare, line by line."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import pyarrow as pa

from gapless.domain.datasets import Shape
from gapless.domain.keys import millis_of
from gapless.domain.lines import lines
from gapless.domain.text_runs import changes
from gapless.domain.window import DAY_MS, from_ms

_BLOCK_ROWS = 16_384


class SeriesDigest(msgspec.Struct, frozen=True, order=True):
    """The content digest of one series and UTC day: sha256 as of `gapless.domain.schema.content_digest`.

    Attributes:
        interval: the series' label: a bar's interval, a funding rate's type, empty where the dataset has none.
        day: `2026-11-20`.
    """

    exchange: str
    symbol: str
    interval: str
    day: str
    rows: int
    sha256: str


class DigestStream:
    """Digests of rows as they pass, in canonical order; memory for a block of text, and one line a series and day.

    Attributes:
        series: what was digested so far, one for each series and day.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._whole = hashlib.sha256()
        self.series: list[SeriesDigest] = []

    def update(self, rows: pa.Table, series: np.ndarray) -> None:
        """More rows, all of each series and day that they touch; `series` says where each series begins."""
        rows = rows.combine_chunks()
        starts = _part_starts(rows, series)
        ends = np.append(starts[1:], rows.num_rows)
        part = 0
        while part < len(starts):
            first = int(starts[part])
            last = max(part + 1, int(np.searchsorted(ends, first + _BLOCK_ROWS, side="right")))
            block = rows.slice(first, int(ends[last - 1]) - first)
            text, offsets = lines(block, self._shape)
            self._whole.update(text)
            for i in range(part, last):
                begin, end = int(starts[i]) - first, int(ends[i]) - first
                digest = hashlib.sha256(text[offsets[begin] : offsets[end]]).hexdigest()
                self.series.append(self._named(block, begin, end - begin, digest))
            part = last

    def whole(self) -> str:
        """The content digest of all rows so far."""
        return self._whole.hexdigest()

    def _named(self, block: pa.Table, row: int, rows: int, digest: str) -> SeriesDigest:
        exchange, symbol = block["exchange"][row].as_py(), block["symbol"][row].as_py()
        label = block[self._shape.label][row].as_py() if self._shape.label else ""
        day = from_ms(block["ts"][row].value).strftime("%Y-%m-%d")
        return SeriesDigest(exchange, symbol, label, day, rows, digest)


def digests(rows: pa.Table, shape: Shape) -> tuple[str, tuple[SeriesDigest, ...]]:
    """The content digest of all of `rows` (in canonical order), and one for each series and day in it."""
    stream = DigestStream(shape)
    stream.update(rows, changes(rows, shape.key[:-1]))
    return stream.whole(), tuple(stream.series)


def _part_starts(rows: pa.Table, series: np.ndarray) -> np.ndarray:
    """Row numbers at which another series or another UTC day begins."""
    days = millis_of(rows["ts"]) // DAY_MS
    new_day = np.flatnonzero(days[1:] != days[:-1]) + 1 if len(days) else np.empty(0, np.int64)
    return np.union1d(series, new_day)
