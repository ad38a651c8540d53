"""The daily rules over the stored bars of some symbols: read interval by interval, shortest first, and judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Instrument
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import OHLCV_VALUES, decimal_text
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.quality.batch import read_beside, read_settling, read_stored_bars
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.quality.daily.activity import DayOfTrading, check_activity, days_of_trading
from gapless.quality.daily.agreement import Minutes, check_agreement
from gapless.quality.daily.columns import Columns, Mask
from gapless.quality.daily.continuity import check_holes, check_opens
from gapless.quality.daily.divergence import Pair, check_divergence
from gapless.quality.daily.findings import (
    ACTIVITY,
    AGREEMENT,
    CONTINUITY,
    DIVERGENCE,
    HOLE,
    JUMP,
    REVIEW,
    Findings,
    Verdict,
)
from gapless.quality.daily.jumps import Jump, find_jumps
from gapless.quality.daily.thresholds import Thresholds
from gapless.storage.mysql.reviews import Review

_LISTED = 200
"""Findings that one rule lists of one interval of a batch; the rest is counted."""

Series = tuple[str, Interval]


@dataclass(frozen=True, slots=True)
class Known:
    """What the books know, for all batches.

    Attributes:
        instruments, lives: by symbol. A life without a known beginning goes back for ever.
        gaps: what the gap log has of a series and was not filled: disjoint, in order.
        halts: by symbol, when the exchange had no bars of some interval: disjoint, in order.
    """

    instruments: Mapping[str, Instrument]
    lives: Mapping[str, Sequence[Window]]
    gaps: Mapping[Series, Sequence[Window]]
    halts: Mapping[str, Sequence[Window]]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A row for the review queue, and by how much it exceeds what is allowed."""

    excess: float
    review: Review


def judge(
    rt: Runtime,
    held: Mapping[str, Sequence[Interval]],
    pairs: Sequence[Pair],
    day: Window,
    known: Known,
    limits: Thresholds,
    findings: Findings,
) -> list[Doubt]:
    """Judge a day of some symbols; the rows that a person must look at.

    Args:
        held: the intervals in which each symbol has bars on the day, shortest first.
        pairs: of these symbols.
        findings: told of every verdict.

    Raises:
        StorageError: MySQL or the lake is away, or an object of the lake is damaged.
    """
    minutes: Minutes | None = None
    doubts: list[Doubt] = []
    unpaired = list(pairs)
    for interval in ALL_INTERVALS:
        symbols = sorted(symbol for symbol, intervals in held.items() if interval in intervals)
        if not symbols:
            continue
        if interval is Interval.M1:
            before, after = limits.jumps.neighbourhood, limits.jumps.near
            bars = read_beside(rt, symbols, interval, day, known.instruments, before=before, after=after)
            settled = np.zeros(len(bars), np.bool_)
            minutes = Minutes(_of_day(bars))
        else:
            bars, settled = _longer(rt, symbols, interval, day, known, limits, minutes, findings)
        gaps = {symbol: found for symbol in symbols if (found := known.gaps.get((symbol, interval)))}
        findings.add(HOLE, check_holes(bars, known.lives, gaps, _LISTED))
        findings.add(CONTINUITY, check_opens(bars, limits.continuity, settled, _LISTED))
        jumps = find_jumps(bars, limits.jumps, settled, _beginnings(known.lives, symbols, day))
        gravest = sorted(jumps, key=lambda jump: -jump.excess)[:_LISTED]
        findings.add(JUMP, Verdict(tuple(jump.finding for jump in gravest), {REVIEW: len(jumps)} if jumps else {}))
        doubts += [_doubt(bars, jump) for jump in sorted(jumps, key=lambda j: -j.excess)[: limits.jumps.most]]
        comparable = [pair for pair in unpaired if {pair.spot.symbol, pair.perpetual.symbol} <= set(symbols)]
        findings.add(DIVERGENCE, check_divergence(bars, comparable, limits.divergence))
        unpaired = [pair for pair in unpaired if pair not in comparable]
    _judge_activity(rt, held, day, known, limits, findings)
    return doubts


def _longer(
    rt: Runtime,
    symbols: Sequence[str],
    interval: Interval,
    day: Window,
    known: Known,
    limits: Thresholds,
    minutes: Minutes | None,
    findings: Findings,
) -> tuple[Columns, Mask]:
    """The longer bars, and which of them are exactly what their minutes make: those were judged already."""
    made = None if minutes is None else minutes.to(interval)
    verdicts: list[Verdict] = []

    def settle(bars: Columns) -> Mask:
        if made is None:
            return np.zeros(len(bars), np.bool_)
        verdict, agrees = check_agreement(bars, *made.match(bars), limits.agreement, _LISTED)
        verdicts.append(verdict)
        return agrees

    found = read_settling(
        rt, symbols, interval, day, known.instruments, settle,
        before=limits.jumps.neighbourhood, after=limits.jumps.near,
    )  # fmt: skip
    if verdicts:
        findings.add(AGREEMENT, verdicts[-1])
    return found


def _of_day(bars: Columns) -> Columns:
    return Columns(bars.bars.filter(pa.array(bars.today)), bars.interval, bars.day, bars.instruments)


def _beginnings(lives: Mapping[str, Sequence[Window]], symbols: Sequence[str], day: Window) -> dict[str, int]:
    """When the life began that each symbol leads on the day, where that is known."""
    began = {}
    for symbol in symbols:
        starts = [life.start_ms for life in lives.get(symbol, ()) if 0 < life.start_ms < day.end_ms]
        if starts:
            began[symbol] = max(starts)
    return began


def _doubt(bars: Columns, jump: Jump) -> Doubt:
    row = bars.bars.slice(jump.row, 1)
    values = {name: decimal_text(row[name])[0].as_py() for name in OHLCV_VALUES}
    found = jump.finding
    review = Review(
        dataset=str(Dataset.OHLCV),
        exchange=EXCHANGE,
        symbol=found.symbol,
        interval=found.interval,
        ts_ms=int(bars.ts[jump.row]),
        rule=found.rule,
        measured=found.measured,
        allowed=found.allowed,
        detail=found.text,
        row_values=values,
    )
    return Doubt(jump.excess, review)


def _judge_activity(
    rt: Runtime,
    held: Mapping[str, Sequence[Interval]],
    day: Window,
    known: Known,
    limits: Thresholds,
    findings: Findings,
) -> None:
    """Activity by the longest bars of each symbol: the fewest rows, and agreement ties the others to them."""
    longest: dict[Interval, list[str]] = defaultdict(list)
    for symbol, intervals in held.items():
        longest[intervals[-1]].append(symbol)
    week = Window(day.start_ms - limits.activity.days * DAY_MS, day.end_ms)
    for interval, symbols in longest.items():
        trading: dict[tuple[str, int], DayOfTrading] = {}
        # A week of minutes is more than should be held at once.
        for part in week.split(DAY_MS) if interval.ms < Interval.H1.ms else (week,):
            stored = read_stored_bars(rt, symbols, interval, part)
            trading |= days_of_trading(Columns(stored, interval, day, known.instruments))
        found = check_activity(day, interval, trading, limits.activity, lives=known.lives, known=known.halts)
        findings.add(ACTIVITY, found)
