"""Bars of one interval as columns to judge with: floats beside the exact values, each row knowing its series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.domain.instrument import Instrument
from gapless.domain.interval import Interval
from gapless.domain.keys import millis_of
from gapless.domain.window import Window
from gapless.quality.daily.findings import number_text

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_ROWS_AT_ONCE = 20_000
_FEWEST = 3


@dataclass(frozen=True)
class Columns:
    """Bars of one interval, of the day that is judged and of its neighbourhood.

    Floats serve to judge only; what is said of a bar is taken from `bars`, exactly.

    Attributes:
        bars: `gapless.domain.schema.OHLCV` in canonical order, all of `interval`.
        day: rows that open in it are judged; the others are their neighbourhood.
        instruments: by symbol; bars of unknown ones are judged without ticks and listing.
    """

    bars: pa.Table
    interval: Interval
    day: Window
    instruments: Mapping[str, Instrument]

    def __len__(self) -> int:
        return int(self.bars.num_rows)

    @cached_property
    def symbols(self) -> list[str]:
        """The symbols, by their number in `series`."""
        names: list[str] = self._encoded.dictionary.to_pylist()
        return names

    @cached_property
    def series(self) -> Ints:
        """The number of each row's symbol; ascending."""
        return np.asarray(self._encoded.indices).astype(np.int64)

    @cached_property
    def starts(self) -> Ints:
        """For each row the first row of its series."""
        firsts = np.flatnonzero(np.diff(self.series, prepend=-1))
        return np.repeat(firsts, np.diff(firsts, append=len(self)))

    @cached_property
    def ts(self) -> Ints:
        """Open times, ms."""
        return millis_of(self.bars["ts"])

    @cached_property
    def today(self) -> Mask:
        """The rows that are judged."""
        return (self.ts >= self.day.start_ms) & (self.ts < self.day.end_ms)

    @cached_property
    def has_previous(self) -> Mask:
        """Whether the row before is of the same series."""
        found: Mask = self.starts != np.arange(len(self))
        return found

    @cached_property
    def adjoins(self) -> Mask:
        """Whether the row before is the bar right before."""
        found: Mask = self.has_previous & (np.diff(self.ts, prepend=0) == self.interval.ms)
        return found

    @cached_property
    def traded(self) -> Mask:
        """Whether anything was traded in the bar."""
        found: Mask = self.floats("volume") > 0
        return found

    @cached_property
    def ticks(self) -> Floats:
        """The smallest price step of each row's instrument; 0 where none is known."""
        steps = [_float(self.instruments[name].tick_size) if name in self.instruments else 0.0 for name in self.symbols]
        return np.array(steps, np.float64)[self.series]

    def floats(self, name: str) -> Floats:
        """A column as floats."""
        found: Floats = self.bars[name].cast(pa.float64()).to_numpy()
        return found

    def text(self, row: int, name: str) -> str:
        """A value of a row, exact and short."""
        return number_text(self.bars[name][row].as_py())

    @cached_property
    def _encoded(self) -> pa.DictionaryArray:
        encoded = self.bars["symbol"].combine_chunks().dictionary_encode()
        return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def medians_beside(values: Floats, starts: Ints, ends: Ints, rows: Ints, first: int, last: int) -> Floats:
    """For each of `rows` the median of the values from `row + first` to `row + last`, both included, in its series.

    Args:
        starts, ends: for each row of `values` where its series begins, and where it ends (exclusive).
        first, last: both negative for what comes before, both positive for what comes after.

    Returns:
        NaN where there are fewer than three: a median of less is at the mercy of one bar.
    """
    medians = np.full(len(rows), np.nan)
    offsets = np.arange(first, last + 1)
    for at in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[at : at + _ROWS_AT_ONCE]
        index = part[:, None] + offsets
        inside = (index >= starts[part][:, None]) & (index < ends[part][:, None])
        window = np.where(inside, values[np.clip(index, 0, len(values) - 1)], np.nan)
        known = (~np.isnan(window)).sum(axis=1) >= _FEWEST
        if known.any():
            medians[at : at + _ROWS_AT_ONCE][known] = np.nanmedian(window[known], axis=1)
    return medians


def ends_of(starts: Ints) -> Ints:
    """For each row where its series ends (exclusive), from where it starts."""
    firsts = np.unique(starts)
    lengths = np.diff(firsts, append=len(starts))
    return np.repeat(firsts + lengths, lengths)


def _float(value: Decimal | None) -> float:
    return 0.0 if value is None else float(value)
