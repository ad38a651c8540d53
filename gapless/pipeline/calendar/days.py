"""Days of many series, summed by market and interval. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gapless.domain.grid import Opens
from gapless.domain.instrument import Market, market_of
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import DAY_MS, Window, month_start, next_month
from gapless.pipeline.counting import DayCounts


@dataclass(frozen=True, slots=True)
class Panel:
    """A market's bars of one interval, day by day: `missing = expected - present - unfillable`.

    Attributes:
        first_day: days since 1970 of the first element.
        series: how many symbols were counted.
        expected, present, unfillable: bars that open on each UTC day, of all symbols together.
        lacking: how many symbols miss any.
        worst: of those, the one that misses most, by day; days without are absent.
    """

    market: Market
    interval: Interval
    first_day: int
    series: int
    expected: Opens
    present: Opens
    unfillable: Opens
    lacking: Opens
    worst: dict[int, str]

    @property
    def missing(self) -> Opens:
        return self.expected - self.present - self.unfillable

    @property
    def window(self) -> Window:
        return Window(self.first_day * DAY_MS, (self.first_day + len(self.expected)) * DAY_MS)

    def cut(self, window: Window) -> Panel:
        """The days that the window touches, of those that the panel has; at least one of them."""
        first = max(window.start_ms // DAY_MS, self.first_day) - self.first_day
        last = min(-(-window.end_ms // DAY_MS) - self.first_day, len(self.expected))
        days = slice(first, last)
        return Panel(
            self.market,
            self.interval,
            self.first_day + first,
            self.series,
            self.expected[days],
            self.present[days],
            self.unfillable[days],
            self.lacking[days],
            self.worst,
        )


@dataclass(slots=True)
class _Sums:
    """What has been taken in of a panel; `deepest` is how many bars the worst symbol of a day misses."""

    days: int
    series: int = 0
    expected: Opens = field(init=False)
    present: Opens = field(init=False)
    unfillable: Opens = field(init=False)
    lacking: Opens = field(init=False)
    deepest: Opens = field(init=False)
    worst: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("expected", "present", "unfillable", "lacking", "deepest"):
            setattr(self, name, np.zeros(self.days, np.int64))


class Ledger:
    """Takes in the days of series, one at a time, and holds their sums: memory goes by days, not by symbols.

    Args:
        window: what was asked for; days outside it have nothing to show.
    """

    def __init__(self, window: Window) -> None:
        self._first = window.start_ms // DAY_MS
        self._days = -(-window.end_ms // DAY_MS) - self._first
        self._sums: dict[tuple[Market, Interval], _Sums] = {}

    def add(self, symbol: str, interval: Interval, days: DayCounts) -> None:
        """Take in one series; symbols that name no market have no panel."""
        market = market_of(symbol)
        if market is None:
            return
        sums = self._sums.setdefault((market, interval), _Sums(self._days))
        sums.series += 1
        begin = days.first_day - self._first
        low, high = max(begin, 0), min(begin + len(days.expected), self._days)
        if low >= high:
            return
        there, here = slice(low - begin, high - begin), slice(low, high)
        missing = days.expected[there] - days.present[there] - days.unfillable[there]
        sums.expected[here] += days.expected[there]
        sums.present[here] += days.present[there]
        sums.unfillable[here] += days.unfillable[there]
        sums.lacking[here] += missing > 0
        deeper = np.flatnonzero(missing > sums.deepest[here])
        sums.deepest[here][deeper] = missing[deeper]
        sums.worst.update((self._first + low + at, symbol) for at in deeper.tolist())

    def panels(self) -> tuple[Panel, ...]:
        """The sums: spot first, shortest interval first."""
        return tuple(
            Panel(
                market,
                interval,
                self._first,
                sums.series,
                sums.expected,
                sums.present,
                sums.unfillable,
                sums.lacking,
                sums.worst,
            )
            for market in Market
            for interval in ALL_INTERVALS
            if (sums := self._sums.get((market, interval))) is not None
        )


def trimmed(panels: Iterable[Panel]) -> tuple[Panel, ...]:
    """The same panels from the month of the first bar that any of them expects to the end of the month of the last one,
    as far as they reach; none when nothing is expected."""
    whole = tuple(panels)
    spans = [span for panel in whole if (span := _span(panel)) is not None]
    if not spans:
        return ()
    window = Window(month_start(min(s.start_ms for s in spans)), next_month(max(s.end_ms for s in spans) - 1))
    return tuple(panel.cut(window) for panel in whole)


def _span(panel: Panel) -> Window | None:
    days: Sequence[int] = np.flatnonzero(panel.expected).tolist()
    return Window((panel.first_day + days[0]) * DAY_MS, (panel.first_day + days[-1] + 1) * DAY_MS) if days else None
