"""Is a market as busy as it was? A day's volume and trades against the days before, on a logarithmic scale."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window
from gapless.quality.daily.columns import Columns
from gapless.quality.daily.findings import ACTIVITY, WARNING, Finding, Verdict, finding, verdict
from gapless.quality.daily.thresholds import Activity

_LEAST_OPEN = 0.25
"""Of a day; a market that was open for less is not judged, nor judged by."""


@dataclass(frozen=True, slots=True)
class DayOfTrading:
    """A day of one series: base volume and trades. Statistics, not sums to keep: floats."""

    volume: float
    trades: float


def days_of_trading(bars: Columns) -> dict[tuple[str, int], DayOfTrading]:
    """The sums of each symbol's stored bars, by symbol and first moment (ms) of the UTC day."""
    if len(bars) == 0:
        return {}
    days = bars.ts // DAY_MS
    firsts = np.flatnonzero((np.diff(bars.series, prepend=-1) != 0) | (np.diff(days, prepend=-1) != 0))
    volumes = np.add.reduceat(bars.floats("volume"), firsts)
    trades = np.add.reduceat(bars.floats("trades"), firsts)
    return {
        (bars.symbols[series], day * DAY_MS): DayOfTrading(volume, count)
        for series, day, volume, count in zip(
            bars.series[firsts].tolist(), days[firsts].tolist(), volumes.tolist(), trades.tolist(), strict=True
        )
    }


def check_activity(
    day: Window,
    interval: Interval,
    trading: Mapping[tuple[str, int], DayOfTrading],
    limits: Activity,
    *,
    lives: Mapping[str, Sequence[Window]],
    known: Mapping[str, Sequence[Window]],
) -> Verdict:
    """Days far busier or quieter than those before: warnings, one a symbol and figure.

    A day's sums count per open time: a listing, a delisting and what the gap log knows to be missing shorten it, and a
    day that was open for less than a quarter says nothing. A market that has days without a trade may have another.

    Args:
        interval: of the bars that `trading` was summed from.
        lives: by symbol; a symbol that has none here is taken to have lived always.
        known: what the gap log has, by symbol.
    """
    by_symbol: dict[str, dict[int, DayOfTrading]] = defaultdict(dict)
    for (symbol, start_ms), sums in trading.items():
        by_symbol[symbol][start_ms] = sums
    found: list[Finding] = []
    for symbol, days in sorted(by_symbol.items()):
        share = open_share(day, lives.get(symbol), known.get(symbol, ()))
        if day.start_ms not in days or share < _LEAST_OPEN:
            continue
        earlier = []
        for back in range(1, limits.days + 1):
            before = Window(day.start_ms - back * DAY_MS, day.end_ms - back * DAY_MS)
            then = open_share(before, lives.get(symbol), known.get(symbol, ()))
            if before.start_ms in days and then >= _LEAST_OPEN:
                earlier.append((days[before.start_ms], then))
        if len(earlier) < limits.fewest_days:
            continue
        today = days[day.start_ms]
        for name in ("volume", "trades"):
            history = [getattr(sums, name) / then for sums, then in earlier]
            text = _unusual(name, getattr(today, name) / share, history, limits)
            if text is not None:
                measured, allowed, told = text
                found.append(finding(ACTIVITY, WARNING, symbol, str(interval), day.start_ms, measured, allowed, told))
    return verdict(found)


def open_share(day: Window, lives: Sequence[Window] | None, known: Sequence[Window]) -> float:
    """The share of a day in which a market was alive and nothing is known to be missing."""
    alive = [day] if lives is None else [part for life in lives if (part := life.intersect(day)) is not None]
    return sum(left.length_ms for each in alive for left in each.subtract(known)) / day.length_ms


def _unusual(name: str, today: float, history: Sequence[float], limits: Activity) -> tuple[str, str, str] | None:
    """Measured, allowed and a sentence, when a day's figure is unlike the history; None when it is not."""
    days = f"the {len(history)} days before"
    if today <= 0:
        if min(history) <= 0:
            return None
        return "none", "some", f"no {name} at all, and on each of {days} there was some"
    logs = [math.log(value) for value in history if value > 0]
    if len(logs) < limits.fewest_days:
        return None
    mean = sum(logs) / len(logs)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in logs) / (len(logs) - 1))
    sigma = max(deviation, limits.sigma_least)
    off = math.log(today) - mean
    if abs(off) <= limits.sigmas * sigma:
        return None
    times = math.exp(abs(off))
    most = f"{math.exp(limits.sigmas * sigma):.3g} times"
    way = "more" if off > 0 else "less"
    measured = f"{times:.3g} times {way}"
    return (
        measured,
        most,
        f"{name} of {_short(today)} a day: {measured} than usual on {days} ({_short(math.exp(mean))})",
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
