"""Where rows do not fill their grid: what another store may have to add. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.domain.keys import millis_of
from gapless.domain.window import DAY_MS, HOUR_MS, Window

_STRETCHES = 4
"""Holes that lie in more stretches of days than this are asked for as one: each question lists what there is."""


def holes_of(
    rows: pa.Table, symbols: Sequence[str], step_ms: int | None, window: Window
) -> Iterator[tuple[Window, list[str]]]:
    """The stretches of the window in which some symbols lack grid points, and which symbols, in order of time.

    Stretches are cut at UTC days where days lie in objects of their own (bars under an hour, and five-minute rows);
    else there is one from the first day with a hole to the last. What no row lacks is in none; a point that cannot be
    stored yet is lacking like any other.

    Args:
        rows: of one series each symbol, each key once, in any order, all in the window.
        symbols: which are wanted, each once; rows of others are not counted.
        step_ms: the grid; None where there is none, so that everything may be lacking.
    """
    if not symbols:
        return
    if step_ms is None:
        yield window, list(symbols)
        return
    days = _days(window)
    wanted = _points(days, step_ms, window)
    counts = _counts(rows, symbols, step_ms, int(days[0]), len(days))
    short = counts < wanted
    lacking = short.any(axis=0)
    if not lacking.any():
        return
    found = np.flatnonzero(lacking)
    cuts = np.flatnonzero(np.diff(found) > 1) + 1
    stretches = np.split(found, cuts) if step_ms < HOUR_MS and len(cuts) < _STRETCHES else [found]
    for stretch in stretches:
        first, last = int(stretch[0]), int(stretch[-1])
        hull = Window(int(days[first]) * DAY_MS, (int(days[last]) + 1) * DAY_MS).intersect(window)
        mine = np.flatnonzero(short[:, first : last + 1].any(axis=1))
        if hull is not None:
            yield hull, [symbols[number] for number in mine.tolist()]


def _days(window: Window) -> npt.NDArray[np.int64]:
    """The UTC days (numbers since 1970) that the window touches."""
    return np.arange(window.start_ms // DAY_MS, (window.end_ms - 1) // DAY_MS + 1, dtype=np.int64)


def _points(days: npt.NDArray[np.int64], step_ms: int, window: Window) -> npt.NDArray[np.int64]:
    """How many grid points of the window each day has."""
    starts = np.maximum(days * DAY_MS, window.start_ms)
    ends = np.minimum((days + 1) * DAY_MS, window.end_ms)
    points: npt.NDArray[np.int64] = -(-ends // step_ms) - -(-starts // step_ms)
    return points


def _counts(rows: pa.Table, symbols: Sequence[str], step_ms: int, first_day: int, days: int) -> npt.NDArray[np.int64]:
    """How many rows on the grid each symbol has on each day."""
    names = rows["symbol"].combine_chunks().dictionary_encode()
    names = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    places = {symbol: place for place, symbol in enumerate(symbols)}
    coded = np.array([places.get(name, -1) for name in names.dictionary.to_pylist()], np.int64)
    series = coded[np.asarray(names.indices.to_numpy(zero_copy_only=False))]
    ts = millis_of(rows["ts"])
    counted = (series >= 0) & (ts % step_ms == 0)
    flat = series[counted] * days + ts[counted] // DAY_MS - first_day
    found: npt.NDArray[np.int64] = np.bincount(flat, minlength=len(symbols) * days).reshape(len(symbols), days)
    return found
