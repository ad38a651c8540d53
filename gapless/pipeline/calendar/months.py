"""How complete each month is, against the share that may be missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from gapless.domain.window import DAY_MS, from_ms
from gapless.pipeline.calendar.days import Panel
from gapless.pipeline.counting import percent

_STEPS = 1_000_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of what the exchange has may be missing of a month, in percent."""

    percent: float

    def holds(self, missing: int, fillable: int) -> bool:
        """Whether no more is missing than may be; of nothing, nothing is."""
        return missing * 100 <= self.percent * fillable


class MonthRow(msgspec.Struct, frozen=True, kw_only=True):
    """A market's bars of one interval in one UTC month: `expected = present + unfillable + missing`.

    Attributes:
        month: `2026-11`.
        expected, present, unfillable, missing: bars, as of a series' coverage.
        missing_percent: missing / (expected - unfillable) in percent, rounded **up** to six decimals, so that 0 means
            none.
        percent: present / (expected - unfillable) in percent, cut to six decimals, so that 100 means all.
        within: whether no more is missing than the specification allows.
    """

    market: str
    interval: str
    month: str
    expected: int
    present: int
    unfillable: int
    missing: int
    missing_percent: float
    percent: float
    within: bool


def months_of(panels: Iterable[Panel], allowance: Allowance) -> tuple[MonthRow, ...]:
    """The panels' months in which anything is expected, oldest first within each."""
    return tuple(row for panel in panels for row in _months(panel, allowance))


def _months(panel: Panel, allowance: Allowance) -> Iterable[MonthRow]:
    counts: dict[str, list[int]] = {}
    for at in panel.expected.nonzero()[0].tolist():
        month = f"{from_ms((panel.first_day + at) * DAY_MS):%Y-%m}"
        sums = counts.setdefault(month, [0, 0, 0])
        for number, column in enumerate((panel.expected, panel.present, panel.unfillable)):
            sums[number] += int(column[at])
    for month, (expected, present, unfillable) in counts.items():
        fillable, missing = expected - unfillable, expected - present - unfillable
        yield MonthRow(
            market=str(panel.market),
            interval=str(panel.interval),
            month=month,
            expected=expected,
            present=present,
            unfillable=unfillable,
            missing=missing,
            missing_percent=-(-missing * 100 * _STEPS // fillable) / _STEPS if fillable else 0.0,
            percent=percent(expected, present, unfillable),
            within=allowance.holds(missing, fillable),
        )
