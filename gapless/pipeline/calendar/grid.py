"""Where a day lies on a calendar: weeks as columns, weekdays as rows, long spans cut into a strip a year. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from gapless.pipeline.calendar.scene import Point

_EPOCH = date(1970, 1, 1)
_DAYS_OF_ONE_STRIP = 54 * 7 - 6
_DAYS_WITH_NUMBERS = 63


def date_of(day: int) -> date:
    """The date of a day since 1970."""
    return _EPOCH + timedelta(days=day)


def day_of(each: date) -> int:
    return (each - _EPOCH).days


@dataclass(frozen=True, slots=True)
class Cells:
    """How large a day is drawn, in pixels.

    Attributes:
        pitch: from one cell to the next. side: of a cell.
        numbered: whether the day of the month fits into it.
    """

    pitch: float
    side: float
    numbered: bool


def cells_for(days: int) -> Cells:
    """A month is read by its numbers, a year by its weeks, ten years by their colours."""
    if days <= _DAYS_WITH_NUMBERS:
        return Cells(30, 28, True)
    return Cells(14, 12, False) if days <= _DAYS_OF_ONE_STRIP else Cells(9, 8, False)


@dataclass(frozen=True, slots=True)
class Strip:
    """Consecutive days in seven rows, Monday first: `[first_day, end_day)`, named by its year or not at all.

    Attributes:
        origin_day: the day that lies in the first column, so that strips of several years stand month below month.
    """

    origin_day: int
    first_day: int
    end_day: int
    name: str

    @property
    def columns(self) -> int:
        return self.column(self.end_day - 1) + 1

    def column(self, day: int) -> int:
        return (day + 3) // 7 - (self.origin_day + 3) // 7

    def months(self) -> Iterator[tuple[int, date]]:
        """The first day on the strip of each month."""
        day = self.first_day
        while day < self.end_day:
            each = date_of(day)
            yield day, each
            day = day_of(date(each.year + each.month // 12, each.month % 12 + 1, 1))

    def border(self, day: int, pitch: float) -> tuple[Point, ...]:
        """The line between the day before and this one, from the strip's foot to its head, its corner at (0, 0)."""
        left, down = self.column(day) * pitch, row_of(day) * pitch
        if down == 0:
            return ((left, 7 * pitch), (left, 0))
        return ((left, 7 * pitch), (left, down), (left + pitch, down), (left + pitch, 0))


def row_of(day: int) -> int:
    """Monday is 0."""
    return (day + 3) % 7


def strips(first_day: int, end_day: int) -> tuple[Strip, ...]:
    """One strip, or one for each year when the days are too many for a line of weeks."""
    if end_day - first_day <= _DAYS_OF_ONE_STRIP:
        return (Strip(first_day, first_day, end_day, ""),)
    years = range(date_of(first_day).year, date_of(end_day - 1).year + 1)
    bounds = [(day_of(date(year, 1, 1)), day_of(date(year + 1, 1, 1)), str(year)) for year in years]
    return tuple(Strip(begin, max(first_day, begin), min(end_day, end), name) for begin, end, name in bounds)
