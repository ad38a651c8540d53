"""Which funding settlements are missing, told from those that are there: nobody says beforehand when there will be one.

Settlements fall on multiples of the interval since midnight UTC, but the interval is the instrument's own (1, 4, 8 h)
and changes over its life (reference section 4), so that no fixed grid says what to expect. What is there says it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gapless.domain.window import HOUR_MS, Window

Times = np.ndarray[tuple[int], np.dtype[np.int64]]

DEFAULT_MS = 8 * HOUR_MS
"""The interval of instruments that the exchange says nothing else about, and the longest that is ever guessed."""
_SLACK_MS = HOUR_MS // 2  # a settlement can be minutes late; the shortest interval is an hour
_WHOLE_HOURS = np.array([1, 2, 3, 4, 6, 8])  # what divides the day; a distance of 7 h is a change to 8 h on the way


@dataclass(frozen=True, slots=True)
class _Hole:
    """No settlement is there in `window`, in which there would be `count` by the longer interval around it."""

    window: Window
    count: int


def missing_settlements(
    ts_ms: Times,
    interval_hours: np.ma.MaskedArray[tuple[int], np.dtype[np.integer]] | None,
    window: Window,
    life: Window,
) -> list[Window]:
    """The stretches of `window` in which a settlement is missing, in order; none outside `life`.

    Between two neighbours there is a hole when they lie farther apart than the longer of their intervals. An interval
    that is not known is taken as the shorter of the distances to the neighbours, at most 8 h. A hole reaches from
    where the next settlement can have been to the next one that is there. So a settlement that is missing just where
    the interval changes leaves no hole when the two around it are no farther apart than the longer interval: it looks
    just like a change one settlement later or earlier.
    Where intervals are not known, one that lasted for a single distance between shorter ones looks like a hole. Of an
    interval that began and ended within a hole nothing can be seen until the hole is filled: look again then.

    Before the first and after the last row a hole is told by that row's interval alone. Rows around the window are
    welcome: they make neighbours of them.

    Args:
        ts_ms: nominal times of the regular settlements of one instrument, any order.
        interval_hours: beside each; masked or 0 where not known, None when none is known.
        life: from listing to delisting. The first settlement comes after the listing, never with it; rows outside
            are passed over.
    """
    return [hole.window for hole in _holes(ts_ms, interval_hours, window, life)]


def count_missing_settlements(
    ts_ms: Times,
    interval_hours: np.ma.MaskedArray[tuple[int], np.dtype[np.integer]] | None,
    window: Window,
    life: Window,
) -> int:
    """How many settlements are missing, as if the longer of the intervals around a hole held throughout it."""
    return sum(hole.count for hole in _holes(ts_ms, interval_hours, window, life))


def _holes(
    ts_ms: Times,
    interval_hours: np.ma.MaskedArray[tuple[int], np.dtype[np.integer]] | None,
    window: Window,
    life: Window,
) -> list[_Hole]:
    judged = window.intersect(life)
    if judged is None:
        return []
    times, rows = np.unique(np.asarray(ts_ms, dtype=np.int64), return_index=True)
    hours = np.zeros(len(times), np.int64) if interval_hours is None else _filled(interval_hours)[rows]
    alive = (times >= life.start_ms) & (times < life.end_ms)
    times, hours = times[alive], hours[alive]
    if len(times) == 0:
        return _hole(_earliest(judged, life), judged.end_ms, judged.end_ms, (DEFAULT_MS, DEFAULT_MS), judged)
    steps = _steps(times, hours)
    holes: list[_Hole] = []
    if times[0] > judged.start_ms:
        step, until = int(steps[0]), int(times[0])
        holes += _hole(_earliest(judged, life), until - _SLACK_MS, until, (step, step), judged)
    longer, shorter = np.maximum(steps[1:], steps[:-1]), np.minimum(steps[1:], steps[:-1])
    for at in np.flatnonzero(np.diff(times) > longer + _SLACK_MS):
        after, until = int(times[at]) + _SLACK_MS, int(times[at + 1])
        holes += _hole(after, until - _SLACK_MS, until, (int(shorter[at]), int(longer[at])), judged)
    if times[-1] < judged.end_ms:
        step, after = int(steps[-1]), int(times[-1]) + _SLACK_MS
        holes += _hole(after, judged.end_ms, judged.end_ms, (step, step), judged)
    return holes


def _earliest(judged: Window, life: Window) -> int:
    """The earliest moment of a settlement: one that falls on the listing itself is none."""
    return judged.start_ms + (1 if judged.start_ms == life.start_ms else 0)


def _filled(hours: np.ma.MaskedArray[tuple[int], np.dtype[np.integer]]) -> Times:
    filled: Times = np.ma.filled(np.ma.asarray(hours), 0).astype(np.int64)
    return filled


def _steps(times: Times, hours: Times) -> Times:
    """The interval of each settlement in ms, guessed where the exchange did not say it."""
    apart = np.diff(times)
    far = np.full(1, DEFAULT_MS, np.int64)
    guessed = np.minimum(np.concatenate([far, apart]), np.concatenate([apart, far]))
    hours_apart = np.clip((guessed + _SLACK_MS) // HOUR_MS, 1, _WHOLE_HOURS[-1])
    guessed = _WHOLE_HOURS[np.searchsorted(_WHOLE_HOURS, hours_apart)] * HOUR_MS
    steps: Times = np.where(hours > 0, hours * HOUR_MS, guessed)
    return steps


def _hole(earliest: int, latest: int, until: int, steps: tuple[int, int], judged: Window) -> list[_Hole]:
    """The judged part of a hole, none when no settlement must have been in it.

    Args:
        earliest, latest: between which moments (the later one not included) a missing settlement can have been.
        until: the end of the hole: the next settlement that is there.
        steps: the shorter and the longer of the intervals around it.
    """
    shorter, longer = steps
    start, end = max(-(-earliest // shorter) * shorter, judged.start_ms), min(until, judged.end_ms)
    count = _multiples(max(earliest, judged.start_ms), min(latest, judged.end_ms), longer)
    return [_Hole(Window(start, end), count)] if count else []


def _multiples(start: int, end: int, step: int) -> int:
    """How many multiples of `step` lie in `[start, end)`."""
    return max(0, -(-end // step) - -(-start // step))
