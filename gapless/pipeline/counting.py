"""How complete a series is, from day counts, the open times of ragged days, and known gaps. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np

from gapless.domain.grid import Opens, lived, points_by_day, runs
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, iso, merge

OPEN = "open"
"""State of a hole that nobody has looked into yet: it is not in the gap log."""

UNFILLABLE = "unfillable"
_NOT_LOGGED = "not stored, and not looked for yet: a backfill of this window fetches it"
_PERCENT_STEPS = 1_000_000


class GapPiece(msgspec.Struct, frozen=True):
    """A run of missing bars of one state and cause, `[start, end)` on open time, ISO 8601."""

    start: str
    end: str
    bars: int
    state: str
    cause: str


class CoveredSeries(msgspec.Struct, frozen=True, kw_only=True):
    """How complete one series is in one window: `expected = present + unfillable + missing`.

    Attributes:
        expected: grid points inside lifetimes whose bars had closed.
        present: of those, the ones that MySQL or the lake holds.
        unfillable: of those, the ones that are not stored because the exchange has none.
        missing: the rest.
        percent: present / (expected - unfillable) in percent, cut (never rounded up) to six decimals; 100 when
            nothing is expected.
        outside: stored bars of the window that lie outside lifetimes.
        why: causes of what is not stored, most bars first; empty when all is.
        gaps: what is not stored, oldest first.
    """

    symbol: str
    interval: str
    expected: int
    present: int
    unfillable: int
    missing: int
    percent: float
    outside: int
    why: str
    gaps: tuple[GapPiece, ...]


class KnownGap(Protocol):
    """What the gap log says of a stretch (`gapless.storage.mysql` has it in this form)."""

    @property
    def window(self) -> Window: ...
    @property
    def state(self) -> str: ...
    @property
    def cause(self) -> str: ...


def _none() -> Opens:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class StoredDays:
    """How many bars each store holds of a series, by UTC day: days since 1970, ascending, each once a store."""

    mysql_days: Opens = field(default_factory=_none)
    mysql_rows: Opens = field(default_factory=_none)
    lake_days: Opens = field(default_factory=_none)
    lake_rows: Opens = field(default_factory=_none)

    def split(self, interval: Interval) -> tuple[Opens, Opens]:
        """The days that one store holds whole, and those that are held in part: for these the open times must be read,
        because counts of two stores do not say what both together hold."""
        days = np.union1d(self.mysql_days, self.lake_days)
        most = np.zeros(len(days), np.int64)
        for held, rows in ((self.mysql_days, self.mysql_rows), (self.lake_days, self.lake_rows)):
            at = np.searchsorted(days, held)
            most[at] = np.maximum(most[at], rows)
        whole = most >= DAY_MS // interval.ms
        return days[whole], days[~whole]


def percent(expected: int, present: int, unfillable: int) -> float:
    """`present / (expected - unfillable)` in percent, cut to six decimals, so that 100 means all; 100 of nothing."""
    fillable = expected - unfillable
    return present * 100 * _PERCENT_STEPS // fillable / _PERCENT_STEPS if fillable > 0 else 100.0


@dataclass(frozen=True, slots=True)
class DayCounts:
    """How complete a series is, day by day: `expected >= present + unfillable`, the rest is missing.

    Attributes:
        first_day: days since 1970 of the first element.
        expected, present, unfillable: bars that open on each UTC day, int64, of one length; days between the first
            and the last on which anything is expected.
    """

    first_day: int
    expected: Opens
    present: Opens
    unfillable: Opens


@dataclass(frozen=True, slots=True)
class Covered:
    """One pass over a series: what is expected, and the runs of it that are not there.

    Attributes:
        expected: stretches whose bounds are grid points.
        pieces: missing stretches with state and cause, oldest first.
        outside: stored bars of the window that lie outside lifetimes.
    """

    interval: Interval
    expected: tuple[Window, ...]
    pieces: tuple[tuple[Window, str, str], ...]
    outside: int

    def series(self, symbol: str) -> CoveredSeries:
        """The counts of all of it."""
        asked = sum(_bars(each, self.interval) for each in self.expected)
        lacking = sum(_bars(each, self.interval) for each, _, _ in self.pieces)
        unfillable = sum(_bars(each, self.interval) for each, state, _ in self.pieces if state == UNFILLABLE)
        pieces = tuple(
            GapPiece(iso(each.start_ms), iso(each.end_ms), _bars(each, self.interval), state, cause)
            for each, state, cause in self.pieces
        )
        return CoveredSeries(
            symbol=symbol,
            interval=str(self.interval),
            expected=asked,
            present=asked - lacking,
            unfillable=unfillable,
            missing=lacking - unfillable,
            percent=percent(asked, asked - lacking, unfillable),
            outside=self.outside,
            why=_why(pieces),
            gaps=pieces,
        )

    def days(self) -> DayCounts:
        """The counts by day."""
        if not self.expected:
            return DayCounts(0, _none(), _none(), _none())
        first, last = self.expected[0].start_ms // DAY_MS, (self.expected[-1].end_ms - 1) // DAY_MS
        lacking = [each for each, _, _ in self.pieces]
        nowhere = [each for each, state, _ in self.pieces if state == UNFILLABLE]
        expected, absent, unfillable = (
            points_by_day(each, self.interval.ms, first, last + 1) for each in (self.expected, lacking, nowhere)
        )
        return DayCounts(first, expected, expected - absent, unfillable)


def examine(
    interval: Interval,
    window: Window | None,
    *,
    lives: Sequence[Window],
    stored: StoredDays,
    ragged: Opens,
    gaps: Iterable[KnownGap] = (),
) -> Covered:
    """What of the window's bars is there, what is not, and why.

    Args:
        window: open times; over by the exchange's clock (a bar that is not closed is not expected). None: none is.
        lives: where bars are expected. A life begins in the bar that holds its first moment: the exchange makes it.
        stored: day counts of the window and, where a day reaches out of it, of all that day.
        ragged: the open times (ms, ascending, each once) stored on the days that `stored.split` calls partial.
        gaps: what is known of the series' holes, not overlapping.
    """
    grid = _aligned(window, interval)
    whole, _ = stored.split(interval)
    present = _present(grid, whole, ragged, interval)
    expected = lived(lives, grid, interval.ms) if grid else []
    missing = [hole for stretch in expected for hole in stretch.subtract(present)]
    known = _on_grid(gaps, interval)
    pieces = tuple(piece for hole in missing for piece in _explained(hole, known))
    inside = sum(_bars(each, interval) for each in expected) - sum(_bars(each, interval) for each in missing)
    return Covered(interval, tuple(expected), pieces, sum(_bars(each, interval) for each in present) - inside)


def _present(grid: Window | None, whole: Opens, ragged: Opens, interval: Interval) -> list[Window]:
    if grid is None:
        return []
    days = runs(whole * DAY_MS, DAY_MS)
    inside = ragged[(ragged >= grid.start_ms) & (ragged < grid.end_ms)]
    cut = (day.intersect(grid) for day in days)
    return merge([*(day for day in cut if day is not None), *runs(inside, interval.ms)])


def _aligned(window: Window | None, interval: Interval) -> Window | None:
    """From the first open time in the window to the end of the last one's bar; None when no bar opens in it."""
    if window is None:
        return None
    start, end = interval.ceil(window.start_ms), interval.ceil(window.end_ms)
    return Window(start, end) if start < end else None


def _bars(stretch: Window, interval: Interval) -> int:
    return stretch.length_ms // interval.ms


def _explained(hole: Window, gaps: Sequence[tuple[Window, str, str]]) -> list[tuple[Window, str, str]]:
    """The hole cut by what is known of it, oldest first."""
    pieces: list[tuple[Window, str, str]] = []
    at = hole.start_ms
    for number in range(max(0, bisect_right(gaps, hole.start_ms, key=lambda gap: gap[0].start_ms) - 1), len(gaps)):
        window, state, cause = gaps[number]
        if window.start_ms >= hole.end_ms:
            break
        start, end = max(at, window.start_ms), min(hole.end_ms, window.end_ms)
        if start >= end:
            continue
        if at < start:
            pieces.append((Window(at, start), OPEN, _NOT_LOGGED))
        pieces.append((Window(start, end), state, cause))
        at = end
    if at < hole.end_ms:
        pieces.append((Window(at, hole.end_ms), OPEN, _NOT_LOGGED))
    return pieces


def _on_grid(gaps: Iterable[KnownGap], interval: Interval) -> list[tuple[Window, str, str]]:
    """What is known of holes as whole bars, in order. A gap that was filled says nothing of a bar that is not there."""
    bounds = [
        (interval.ceil(g.window.start_ms), interval.ceil(g.window.end_ms), g) for g in gaps if g.state != "filled"
    ]
    return sorted((Window(start, end), gap.state, gap.cause) for start, end, gap in bounds if start < end)


def _why(pieces: Iterable[GapPiece]) -> str:
    """`unfillable: the exchange has none (60 bars in 1 gap); ...`, most bars first."""
    bars: dict[tuple[str, str], int] = defaultdict(int)
    count: dict[tuple[str, str], int] = defaultdict(int)
    for piece in pieces:
        bars[piece.state, piece.cause] += piece.bars
        count[piece.state, piece.cause] += 1
    ordered = sorted(bars, key=lambda key: (-bars[key], key))
    return "; ".join(
        f"{state}: {cause or 'no cause on record'} ({bars[state, cause]:,} bars in {count[state, cause]:,}"
        f" {'gap' if count[state, cause] == 1 else 'gaps'})"
        for state, cause in ordered
    )
