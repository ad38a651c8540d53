"""Do spot and perpetual of one coin say the same price? A lasting difference means that one of the two is not it.

The perpetual is pulled to the index by funding, so the two part for minutes in a storm, and by shares of a per cent
otherwise. Low-priced coins are quoted by the thousand or the million on futures (`1000PEPE`): an instrument knows its
multiplier, and prices are compared for one coin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gapless.domain.instrument import Instrument, Market
from gapless.domain.window import iso
from gapless.quality.daily.columns import Columns, Floats, Ints
from gapless.quality.daily.findings import DIVERGENCE, WARNING, Finding, Verdict, finding, share_text, verdict
from gapless.quality.daily.thresholds import Divergence

Coin = tuple[str, str]
"""What is bought, without a multiplier, and what it is paid in."""


def coin_of(instrument: Instrument) -> Coin:
    """`1000PEPE/USDT:USDT` and `PEPE/USDT` are the same coin, and so are `1MBABYDOGE` and `BABYDOGE`."""
    base, units = instrument.base, instrument.contract_multiplier
    if units > 1:
        prefix = next((each for each in (str(units), f"{units // 1_000_000}M") if base.startswith(each)), "")
        base = base.removeprefix(prefix)
    return base, instrument.quote


@dataclass(frozen=True, slots=True)
class Pair:
    """A coin's spot instrument and its perpetual."""

    spot: Instrument
    perpetual: Instrument


def pairs_of(instruments: Iterable[Instrument]) -> list[Pair]:
    """The coins that have both; of several perpetuals of a coin (by multiplier, by margin) each."""
    coins: dict[Coin, dict[Market, list[Instrument]]] = defaultdict(lambda: {market: [] for market in Market})
    for each in instruments:
        coins[coin_of(each)][each.market].append(each)
    return [
        Pair(spot, perpetual)
        for _, found in sorted(coins.items())
        for spot in found[Market.SPOT]
        for perpetual in found[Market.UM]
    ]


def check_divergence(bars: Columns, pairs: Sequence[Pair], limits: Divergence) -> Verdict:
    """Runs of traded bars whose closes are too far apart: warnings, one a run.

    Bars that only one of the two has, or that nothing was traded in, say nothing: they neither make nor end a run.
    """
    place = {name: number for number, name in enumerate(bars.symbols)}
    closes = bars.floats("close")
    usable = bars.traded & bars.today
    found: list[Finding] = []
    for pair in pairs:
        if pair.spot.symbol not in place or pair.perpetual.symbol not in place:
            continue
        spot, perpetual = (_rows(bars, place[each.symbol]) for each in (pair.spot, pair.perpetual))
        spot, perpetual = spot[usable[spot]], perpetual[usable[perpetual]]
        both, in_spot, in_perpetual = np.intersect1d(
            bars.ts[spot], bars.ts[perpetual], assume_unique=True, return_indices=True
        )
        if len(both) < limits.bars:
            continue
        of_spot = closes[spot[in_spot]] / pair.spot.contract_multiplier
        of_perpetual = closes[perpetual[in_perpetual]] / pair.perpetual.contract_multiplier
        found += _runs(bars, pair, both, of_perpetual / of_spot - 1, limits)
    return verdict(found)


def _runs(bars: Columns, pair: Pair, ts: Ints, apart: Floats, limits: Divergence) -> list[Finding]:
    far = np.abs(apart) > limits.relative
    edges = np.flatnonzero(np.diff(np.concatenate(([False], far, [False])).astype(np.int8)))
    found = []
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - start < limits.bars:
            continue
        run = apart[start:end]
        furthest = float(run[np.argmax(np.abs(run))])
        side = "above" if furthest > 0 else "below"
        text = (
            f"stands {side} {pair.spot.symbol} by up to {share_text(abs(furthest))} for {end - start:,} traded bars,"
            f" from {iso(int(ts[start]))} to {iso(int(ts[end - 1]) + bars.interval.ms)}"
        )
        allowed = f"{share_text(limits.relative)} for {limits.bars} bars"
        measured = f"{share_text(abs(furthest))} for {end - start:,} bars"
        found.append(
            finding(
                DIVERGENCE, WARNING, pair.perpetual.symbol, str(bars.interval), int(ts[start]), measured, allowed, text
            )
        )
    return found


def _rows(bars: Columns, number: int) -> Ints:
    start, end = np.searchsorted(bars.series, [number, number + 1]).tolist()
    return np.arange(start, end)
