"""Are the longer bars made of the minutes? Exact, in decimals, wherever all the minutes of a bar are stored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV_VALUES
from gapless.errors import ValidationError
from gapless.quality.daily.columns import Columns, Floats, Ints, Mask
from gapless.quality.daily.findings import (
    AGREEMENT,
    CRITICAL,
    WARNING,
    Finding,
    Verdict,
    finding,
    number_text,
    share_text,
)
from gapless.quality.daily.thresholds import Agreement

_SUMS = ("volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
_PLAIN = {name: name.replace("_", " ") for name in OHLCV_VALUES}


def combine(bars: pa.Table, series: Ints, ts: Ints, step_ms: int, counts: Ints) -> tuple[pa.Table, Ints, Ints, Ints]:
    """Bars put together to longer ones, whole or not: of those that open in `[n * step, (n + 1) * step)` one.

    Open of the first, highest high, lowest low, close of the last, the rest summed; exact. What is put together may be
    put together again.

    Args:
        bars: the nine values, at least; in order of series and time.
        series, ts: of each row. counts: how many of the shortest bars each row is made of.

    Returns:
        The nine values, and for each row its series, open time and count.
    """
    slots = ts - ts % step_ms
    firsts = np.flatnonzero((np.diff(series, prepend=-1) != 0) | (np.diff(slots, prepend=-1) != 0))
    lasts = np.concatenate((firsts[1:], [len(ts)])) - 1 if len(firsts) else firsts
    groups = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(ts)))
    sums = {name: _wide(bars[name]) for name in _SUMS}
    columns = {"group": pa.array(groups), "high": bars["high"], "low": bars["low"], **sums}
    wanted = [("high", "max"), ("low", "min"), *((name, "sum") for name in _SUMS)]
    # Rows of a group lie together, so without threads the groups come back in their order.
    grouped = pa.table(columns).group_by("group", use_threads=False).aggregate(wanted)
    made = {
        "open": bars["open"].take(pa.array(firsts)),
        "high": grouped["high_max"],
        "low": grouped["low_min"],
        "close": bars["close"].take(pa.array(lasts)),
        **{name: grouped[f"{name}_sum"] for name in _SUMS},
    }
    totals = np.add.reduceat(counts, firsts) if len(firsts) else counts[:0]
    return pa.table(made), series[firsts], slots[firsts], totals


class Minutes:
    """The minutes of some symbols, put together to longer bars; the same minutes are never summed twice.

    Args:
        minutes: columns of `1m`.

    Raises:
        ValidationError: of another interval.
    """

    def __init__(self, minutes: Columns) -> None:
        if minutes.interval is not Interval.M1:
            raise ValidationError(f"bars are put together from 1m, not from {minutes.interval}")
        self._symbols = minutes.symbols
        ones = np.ones(len(minutes), np.int64)
        self._newest = Made(Interval.M1, minutes.symbols, minutes.bars, minutes.series, minutes.ts, ones)

    def to(self, interval: Interval) -> Made:
        """Put together to longer bars; ask for the shorter ones first."""
        if interval.ms % self._newest.interval.ms:
            raise ValidationError(
                f"{interval} cannot be made of {self._newest.interval}: ask for the shorter one first"
            )
        made = self._newest
        values, series, ts, counts = combine(made.values, made.series, made.ts, interval.ms, made.counts)
        self._newest = Made(interval, self._symbols, values, series, ts, counts)
        return self._newest


@dataclass(frozen=True, slots=True)
class Made:
    """What minutes make, whole bars or not.

    Attributes:
        values: the nine values. series: each row's number among `symbols`; ascending. ts: open times, ms.
        counts: how many minutes each row is made of.
    """

    interval: Interval
    symbols: list[str]
    values: pa.Table
    series: Ints
    ts: Ints
    counts: Ints

    def match(self, bars: Columns) -> tuple[pa.Table, Ints]:
        """The nine values of those that are whole and among `bars`, and the rows of `bars` that they belong to."""
        place = {name: number for number, name in enumerate(bars.symbols)}
        theirs = np.array([place.get(name, -1) for name in self.symbols], np.int64)[self.series]
        whole = np.flatnonzero((self.counts == self.interval.ms // Interval.M1.ms) & (theirs >= 0))
        # One integer a bar, so that one search finds them all.
        keys = bars.series * _SPAN + bars.ts // _MINUTE_MS
        _, mine, rows = np.intersect1d(
            theirs[whole] * _SPAN + self.ts[whole] // _MINUTE_MS, keys, assume_unique=True, return_indices=True
        )
        return self.values.take(pa.array(whole[mine])), rows.astype(np.int64)


_MINUTE_MS = Interval.M1.ms
_SPAN = 1 << 40


def check_agreement(bars: Columns, made: pa.Table, rows: Ints, limits: Agreement, most: int) -> tuple[Verdict, Mask]:
    """Bars that are not what their minutes make: warnings, and critical where they are far from it.

    Args:
        made, rows: as `Minutes.match` gives them.
        most: how many findings are listed.

    Returns:
        The verdict on the day's bars, and which of all `bars` agree with their minutes.
    """
    agrees = np.zeros(len(bars), np.bool_)
    if len(rows) == 0:
        return Verdict(), agrees
    held = bars.bars.select(list(OHLCV_VALUES)).take(pa.array(rows))
    differs = {name: pc.not_equal(held[name], made[name]).to_numpy() for name in OHLCV_VALUES}
    any_differs = np.logical_or.reduce(list(differs.values()))
    agrees[rows[~any_differs]] = True
    wrong = np.flatnonzero(any_differs & bars.today[rows])
    if len(wrong) == 0:
        return Verdict(), agrees
    apart = _furthest(held.take(pa.array(wrong)), made.take(pa.array(wrong)))
    critical = apart >= limits.critical
    counts = {CRITICAL: int(critical.sum()), WARNING: int((~critical).sum())}
    found: list[Finding] = []
    for place in np.argsort(-apart, kind="stable")[:most].tolist():
        at = int(wrong[place])
        row = int(rows[at])
        told = ", ".join(
            f"{_PLAIN[name]} is {number_text(held[name][at].as_py())},"
            f" the minutes make {number_text(made[name][at].as_py())}"
            for name in OHLCV_VALUES
            if differs[name][at]
        )
        symbol = bars.symbols[int(bars.series[row])]
        severity = CRITICAL if critical[place] else WARNING
        measured = f"{share_text(apart[place])} apart"
        found.append(
            finding(AGREEMENT, severity, symbol, str(bars.interval), int(bars.ts[row]), measured, "equal", told)
        )
    return Verdict(tuple(found), {severity: count for severity, count in counts.items() if count}), agrees


def _furthest(held: pa.Table, made: pa.Table) -> Floats:
    """The largest difference of each row's values, in shares of what the minutes make; of nothing, all."""
    furthest = np.zeros(held.num_rows)
    for name in OHLCV_VALUES:
        ours, theirs = (column.cast(pa.float64()).to_numpy() for column in (held[name], made[name]))
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(theirs == 0, np.where(ours == theirs, 0.0, 1.0), np.abs(ours - theirs) / np.abs(theirs))
        furthest = np.maximum(furthest, share)
    return furthest


def _wide(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Decimals with room for any sum of a day."""
    return column.cast(pa.decimal128(38, column.type.scale)) if pa.types.is_decimal128(column.type) else column
