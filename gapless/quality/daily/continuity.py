"""Does each bar go on where the one before ended? Bars without one between them, and prices that leap between two.

Source of the rule: Binance makes a bar every interval while its engine runs, without trades too (open = high = low =
close = the close before). The next bar's first trade comes seconds after the last one's, so its open is near. While
matching is suspended, spot has no bars; the gap log knows those.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

import numpy as np

from gapless.domain.grid import lived
from gapless.domain.window import Window, iso
from gapless.quality.daily.columns import Columns, Floats, Ints, Mask, ends_of, medians_beside
from gapless.quality.daily.findings import (
    CONTINUITY,
    CRITICAL,
    HOLE,
    WARNING,
    Finding,
    Verdict,
    finding,
    share_text,
    verdict,
)
from gapless.quality.daily.thresholds import Continuity

_AROUND = 15
"""Bars before, and after, whose usual range says how restless the market is."""


def check_holes(
    bars: Columns, lives: Mapping[str, Sequence[Window]], known: Mapping[str, Sequence[Window]], most: int
) -> Verdict:
    """Missing bars between stored ones that nothing explains: critical. A hole is judged on the day it ends.

    Args:
        lives: where bars are expected, by symbol; a symbol that has none here is expected always.
        known: what the gap log has of these series, by symbol: disjoint, in order.
        most: how many findings are listed.
    """
    step = bars.interval.ms
    found: list[Finding] = []
    total = 0
    for row in np.flatnonzero(bars.has_previous & ~bars.adjoins & bars.today).tolist():
        symbol = bars.symbols[int(bars.series[row])]
        hole = Window(int(bars.ts[row - 1]) + step, int(bars.ts[row]))
        for part in _unexplained(hole, lives.get(symbol), known.get(symbol, ()), step):
            total += 1
            if len(found) < most:
                count = part.length_ms // step
                missing = f"{count:,} {'bar' if count == 1 else 'bars'}"
                text = f"{missing} from {iso(part.start_ms)} on, between stored ones, and the gap log does not say why"
                found.append(_finding(HOLE, CRITICAL, bars, row, part.start_ms, f"{missing} missing", "none", text))
    return Verdict(tuple(found), {CRITICAL: total} if total else {})


def _unexplained(hole: Window, lives: Sequence[Window] | None, known: Sequence[Window], step_ms: int) -> list[Window]:
    first = max(0, bisect_right(known, hole.start_ms, key=lambda window: window.start_ms) - 1)
    last = bisect_left(known, hole.end_ms, key=lambda window: window.start_ms)
    stretches = hole.subtract(known[first:last])
    if lives is None:
        return stretches
    return [part for each in stretches for part in lived(lives, each, step_ms)]


def check_opens(bars: Columns, limits: Continuity, exempt: Mask, most: int) -> Verdict:
    """Bars that open far from where the bar right before closed: warnings.

    Judged where both were traded, and where a bar without trades does not stand at the close before. A market that is
    restless, or thin, opens further away, and may.

    Args:
        exempt: rows that are known to be made of judged bars.
        most: how many findings are listed, the furthest first.
    """
    if len(bars) == 0:
        return Verdict()
    opens, closes = bars.floats("open"), bars.floats("close")
    before = np.concatenate((closes[:1], closes[:-1]))
    traded_before = np.concatenate((bars.traded[:1], bars.traded[:-1]))
    apart = np.abs(opens / before - 1)
    allowed = np.maximum(limits.relative, limits.ticks * bars.ticks / before)
    judged = bars.adjoins & bars.today & ~exempt & (traded_before | ~bars.traded)
    rows = np.flatnonzero(judged & (apart > allowed))
    if len(rows) == 0:
        return Verdict()
    allowed_there = np.fmax(allowed[rows], limits.ranges * _usual_range(bars, rows))
    far = apart[rows] > allowed_there
    rows, allowed_there = rows[far], allowed_there[far]
    listed = np.argsort(-apart[rows] / allowed_there, kind="stable")[:most]
    return Verdict(
        verdict(
            _finding(
                CONTINUITY, WARNING, bars, row, int(bars.ts[row]), share_text(apart[row]), share_text(allowance),
                f"opens at {bars.text(row, 'open')}, and the bar before closed at {bars.text(row - 1, 'close')}"
                + ("" if bars.traded[row] else ", though nothing was traded"),
            )
            for row, allowance in zip(rows[listed].tolist(), allowed_there[listed].tolist(), strict=True)
        ).findings,
        {WARNING: len(rows)} if len(rows) else {},
    )  # fmt: skip


def _usual_range(bars: Columns, rows: Ints) -> Floats:
    """The median range of the traded bars around, on whichever side it is wider."""
    ranges = np.where(bars.traded, bars.floats("high") / bars.floats("low") - 1, np.nan)
    starts, ends = bars.starts, ends_of(bars.starts)
    before = medians_beside(ranges, starts, ends, rows, -_AROUND, -1)
    after = medians_beside(ranges, starts, ends, rows, 1, _AROUND)
    return np.nan_to_num(np.fmax(before, after))


def _finding(
    rule: str, severity: str, bars: Columns, row: int, at_ms: int, measured: str, allowed: str, text: str
) -> Finding:
    symbol = bars.symbols[int(bars.series[row])]
    return finding(rule, severity, symbol, str(bars.interval), at_ms, measured, allowed, text)
