"""What a series of rows adds up to, exactly: by which two stores are compared without moving a row. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

SeriesKey: TypeAlias = tuple[str, str, str]
"""Exchange, symbol, label (interval, rate type; empty where the dataset has none)."""


@dataclass(frozen=True, slots=True)
class SeriesTotals:
    """One series within a month.

    Attributes:
        rows: how many.
        first_ms, last_ms: the smallest and the largest `ts`.
        ts_seconds: the sum of all `ts`, in seconds since 1970: two series of one count and other times differ.
        counts: how many values each column of `Shape.values` holds that are not null, in that order.
        sums: the exact sum of each of these columns (times: of milliseconds since 1970), 0 where all are null. Equal
            numbers are equal whatever their exponent.
    """

    rows: int
    first_ms: int
    last_ms: int
    ts_seconds: int
    counts: tuple[int, ...]
    sums: tuple[Decimal, ...]


Totals: TypeAlias = Mapping[SeriesKey, SeriesTotals]


def disagreeing(ours: Totals, theirs: Totals) -> list[SeriesKey]:
    """The series of `ours` of which `theirs` has other totals, or none; in order."""
    return sorted(key for key, totals in ours.items() if theirs.get(key) != totals)
