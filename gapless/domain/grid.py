"""Grids of open times: where rows are expected inside lifetimes, and runs of points on a grid. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from gapless.domain.window import DAY_MS, Window, merge

Opens = npt.NDArray[np.int64]
"""Open times in ms, strictly increasing."""


def lived(lives: Iterable[Window], window: Window, step_ms: int) -> list[Window]:
    """The stretches of the grid that lie in the window and in a life, disjoint and in order.

    A life begins in the bar that holds its first moment, because the exchange makes that bar, and ends with the bar
    that holds its last. The bounds of the stretches are grid points; a stretch holds those in `[start, end)`.
    """
    begin, end = _up(window.start_ms, step_ms), _up(window.end_ms, step_ms)
    if begin >= end:
        return []
    asked = Window(begin, end)
    bounds = (Window(life.start_ms - life.start_ms % step_ms, _up(life.end_ms, step_ms)) for life in lives)
    return merge(part for each in bounds if (part := each.intersect(asked)) is not None)


def count_points(stretches: Iterable[Window], step_ms: int) -> int:
    """Grid points in stretches whose bounds are grid points."""
    return sum(stretch.length_ms // step_ms for stretch in stretches)


def points(stretches: Iterable[Window], step_ms: int) -> Opens:
    """The grid points themselves."""
    parts = [np.arange(stretch.start_ms, stretch.end_ms, step_ms, dtype=np.int64) for stretch in stretches]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def points_by_day(stretches: Sequence[Window], step_ms: int, first_day: int, end_day: int) -> Opens:
    """How many grid points lie on each UTC day of `[first_day, end_day)`, days since 1970.

    Args:
        stretches: disjoint, in order, their bounds grid points of a grid that divides the day.
    """
    bounds = np.arange(first_day, end_day + 1, dtype=np.int64) * DAY_MS
    if not stretches:
        return np.zeros(len(bounds) - 1, np.int64)
    starts = np.array([each.start_ms for each in stretches], np.int64)
    lengths = np.array([each.length_ms for each in stretches], np.int64)
    before = np.concatenate(([0], np.cumsum(lengths)))  # what all stretches before one hold together
    at = np.searchsorted(starts, bounds, side="right") - 1
    reached = np.where(at >= 0, before[at] + np.minimum(bounds - starts[at], lengths[at]), 0)
    return np.diff(reached) // step_ms


def runs(opens: Opens, step_ms: int) -> list[Window]:
    """Ascending grid points as maximal half-open runs, in order."""
    if len(opens) == 0:
        return []
    breaks = np.flatnonzero(np.diff(opens) != step_ms)
    starts = opens[np.concatenate(([0], breaks + 1))]
    ends = opens[np.concatenate((breaks, [len(opens) - 1]))] + step_ms
    return [Window(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _up(at_ms: int, step_ms: int) -> int:
    return at_ms + -at_ms % step_ms
