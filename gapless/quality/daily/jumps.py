"""Prices that leap out of their neighbourhood: for a person's yes or no, never for deletion.

What tells a wrong print from a real move is what stands beside it. A real move goes on: the minutes after it are as
restless as it was. A wrong one stands alone in a calm market. So a bar's reach is held against the usual reach of the
bars before, of the bars right before and of the bars right after, whichever is largest (docs/decisions/0085).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gapless.quality.daily.columns import Columns, Floats, Ints, Mask, ends_of, medians_beside
from gapless.quality.daily.findings import JUMP, REVIEW, Finding, finding, share_text
from gapless.quality.daily.thresholds import Jumps

_CLOSES = 5
"""A bar that returns from a wrong one is far from the close before, and near the median of the last five."""
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Jump:
    """A bar that reaches too far: its row, and how many times the allowed."""

    row: int
    excess: float
    finding: Finding


def find_jumps(bars: Columns, limits: Jumps, exempt: Mask, began_ms: Mapping[str, int]) -> list[Jump]:
    """The bars of the day whose high or low lies too far from the closes before, in the order of their rows.

    Args:
        exempt: rows that are known to be made of judged bars.
        began_ms: when each symbol's market began, where that is known; else its first row here says so.
    """
    if len(bars) == 0:
        return []
    # Untraded bars repeat the close before: they say nothing of how far the price usually goes.
    kept = np.flatnonzero(bars.traded)
    if len(kept) == 0:
        return []
    series = bars.series[kept]
    firsts = np.flatnonzero(np.diff(series, prepend=-1))
    starts = np.repeat(firsts, np.diff(firsts, append=len(kept)))
    ends = ends_of(starts)
    ts = bars.ts[kept]
    high, low, close = (np.log(bars.floats(name)[kept]) for name in ("high", "low", "close"))
    before = np.concatenate(([np.nan], close[:-1]))
    before[firsts] = np.nan
    # The price moves on while nothing is traded: a reach over a pause of n bars counts as one of the square root of n.
    pause = np.sqrt(np.maximum(1.0, np.diff(ts, prepend=ts[0]) / bars.interval.ms))
    reach = np.maximum(high - before, before - low) / pause

    since = np.array([began_ms.get(name, -1) for name in bars.symbols], np.int64)[series]
    since = np.where(since >= 0, since, bars.ts[bars.starts[kept]])
    ticks = limits.ticks * bars.ticks[kept] / np.exp(np.nan_to_num(before))
    floor = np.maximum(limits.least, ticks)
    enough = np.arange(len(kept)) - starts >= limits.fewest
    graced = ts < since + limits.grace_minutes * _MINUTE_MS
    judged = bars.today[kept] & ~exempt[kept] & enough & ~graced
    rows = np.flatnonzero(judged & (np.expm1(np.nan_to_num(reach)) > floor))
    if len(rows) == 0:
        return []
    steady = medians_beside(close, starts, ends, rows, -_CLOSES, -1)
    from_steady = np.maximum(high[rows] - steady, steady - low[rows]) / pause[rows]
    reached = np.minimum(reach[rows], from_steady)
    usual = _usual(reach, starts, ends, rows, limits)
    allowed = np.maximum(floor[rows], np.expm1(limits.scales * usual))
    measured = np.expm1(reached)
    found = []
    for at in np.flatnonzero(measured > allowed).tolist():
        row = int(kept[rows[at]])
        excess = float(measured[at] / allowed[at])
        found.append(Jump(row, excess, _finding(bars, row, int(kept[rows[at] - 1]), measured[at], allowed[at])))
    return found


def _usual(reach: Floats, starts: Ints, ends: Ints, rows: Ints, limits: Jumps) -> Floats:
    """How far the bars beside each row reach, in the market it was in: the largest of three medians."""
    right_before = medians_beside(reach, starts, ends, rows, -limits.near, -1)
    right_after = medians_beside(reach, starts, ends, rows, 1, limits.near)
    wide = medians_beside(reach, starts, ends, rows, -limits.neighbourhood, -1)
    return np.nan_to_num(np.fmax(np.fmax(right_before, right_after), wide))


def _finding(bars: Columns, row: int, before: int, measured: float, allowed: float) -> Finding:
    values = ", ".join(f"{name} {bars.text(row, name)}" for name in ("open", "high", "low", "close"))
    text = (
        f"reaches {share_text(measured)} away from the prices before ({values}; the close before was"
        f" {bars.text(before, 'close')}), and the bars beside it do not"
    )
    symbol = bars.symbols[int(bars.series[row])]
    at_ms = int(bars.ts[row])
    return finding(JUMP, REVIEW, symbol, str(bars.interval), at_ms, share_text(measured), share_text(allowed), text)
