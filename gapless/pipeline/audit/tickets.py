"""A fair draw among stored bars of which only the days are known. Pure.

Every point of the grid on every day of which a series holds anything is a ticket. A ticket `k` of a day stands for the
k-th bar that is stored of that day: it is worth nothing where the day holds fewer, and the next one is drawn. So each
stored bar has exactly one ticket, whatever the counts in any book say and whichever store holds it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.stored import SeriesMonth, bits_of, day_of, days_within


@dataclass(frozen=True, slots=True)
class Ticket:
    """The `index`-th bar (from 0, by open time) of one day of a series; `day` is cut to the window that was asked."""

    month: SeriesMonth
    day: Window
    index: int


class Tickets:
    """All tickets, numbered by series month, day, and index.

    Args:
        months: of bars, in their order; the same order gives the same numbers.
        window: bars that open outside of it have no ticket.
    """

    def __init__(self, months: Sequence[SeriesMonth], window: Window) -> None:
        self._months = months
        self._window = window
        self._edges = {at - at % DAY_MS for at in (window.start_ms, window.end_ms)}
        self._ends = list(accumulate(self._points(month) for month in months))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Ticket:
        place = bisect_right(self._ends, number)
        month = self._months[place]
        left = number - (self._ends[place - 1] if place else 0)
        for bit in bits_of(days_within(month, self._window)):
            day, points = self._day(month, day_of(month, bit))
            if day is not None and left < points:
                return Ticket(month, day, left)
            left -= points
        raise IndexError(number)

    def _points(self, month: SeriesMonth) -> int:
        """Tickets of a month: all days are alike but those that the window cuts."""
        per_day = DAY_MS // Interval(month.interval).ms
        days = days_within(month, self._window)
        total = days.bit_count() * per_day
        for edge in self._edges:
            place = (edge - month.month_ms) // DAY_MS
            if 0 <= place < 31 and days >> place & 1:
                total += self._day(month, day_of(month, place))[1] - per_day
        return total

    def _day(self, month: SeriesMonth, day: Window) -> tuple[Window | None, int]:
        inside = day.intersect(self._window)
        return inside, 0 if inside is None else len(Interval(month.interval).opens(inside))


def shuffled(count: int, seed: int) -> Iterator[int]:
    """The numbers below `count` in random order, each once; memory for those drawn so far.

    Fisher and Yates's shuffle, of which only the places that were touched are kept.
    """
    random, moved = Random(seed), dict[int, int]()  # noqa: S311 - a draw that can be repeated, no secret
    for at in range(count):
        chosen = random.randrange(at, count)
        yield moved.pop(chosen, chosen)
        if chosen != at:
            moved[chosen] = moved.pop(at, at)
