"""Classes of days: how much is missing, coarse at the bad end and never so coarse at the good end that one bar is lost.

A day that lacks a single bar of a million is in another class than a whole one, whatever the shares say. The colours
stay apart for people who see red and green alike, and in grey: what is well is light blue, holes go from yellow to dark
red, and outages of the exchange, which nobody can mend, are violet (`tests/pipeline/calendar/test_classes.py` measures
it).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gapless.pipeline.calendar.days import Panel
from gapless.pipeline.calendar.months import Allowance


class DayClass(IntEnum):
    """What a day looks like, from nothing to tell to the worst."""

    NOTHING = 0
    WHOLE = 1
    OUTAGE = 2
    ALLOWED = 3
    SOME = 4
    MUCH = 5
    MOST = 6
    ALL = 7


_SOME_PERCENT, _MUCH_PERCENT = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Paint:
    """A class's colour, the colour of writing on it, and what the legend says of it."""

    fill: str
    ink: str
    label: str


def paints(allowance: Allowance) -> dict[DayClass, Paint]:
    """All classes, in the legend's order."""
    return {
        DayClass.WHOLE: Paint("#a6cde4", "#222222", "all that the exchange has"),
        DayClass.ALLOWED: Paint("#ffe14d", "#222222", f"1 bar to {allowance.percent:g} % missing"),
        DayClass.SOME: Paint("#fb9a29", "#222222", f"to {_SOME_PERCENT:g} %"),
        DayClass.MUCH: Paint("#e0501b", "#ffffff", f"to {_MUCH_PERCENT:g} %"),
        DayClass.MOST: Paint("#a50f25", "#ffffff", "more"),
        DayClass.ALL: Paint("#45000f", "#ffffff", "nothing stored"),
        DayClass.OUTAGE: Paint("#6a51a3", "#ffffff", "unfillable: the exchange has none (a corner: beside holes)"),
        DayClass.NOTHING: Paint("#f0f0f0", "#999999", "nothing expected"),
    }


def classify(panel: Panel, allowance: Allowance) -> npt.NDArray[np.int64]:
    """The class of each day of a panel, as `DayClass` numbers."""
    missing, fillable = panel.missing, panel.expected - panel.unfillable
    scaled = missing * 100
    return np.select(
        [
            panel.expected == 0,
            (missing == 0) & (panel.unfillable > 0),
            missing == 0,
            missing == fillable,
            scaled <= allowance.percent * fillable,
            scaled <= _SOME_PERCENT * fillable,
            scaled <= _MUCH_PERCENT * fillable,
        ],
        [
            int(each)
            for each in (
                DayClass.NOTHING,
                DayClass.OUTAGE,
                DayClass.WHOLE,
                DayClass.ALL,
                DayClass.ALLOWED,
                DayClass.SOME,
                DayClass.MUCH,
            )
        ],
        int(DayClass.MOST),
    ).astype(np.int64)
