"""The rules over real bars: what they flag of years of real markets, and what of them they find when it is planted."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window
from gapless.quality.daily.activity import check_activity, days_of_trading
from gapless.quality.daily.continuity import check_holes, check_opens
from gapless.quality.daily.jumps import find_jumps
from gapless.quality.daily.thresholds import Thresholds
from tests.quality.daily.rows import change, columns, days_of, instrument, recorded

LIMITS = Thresholds()
TICKS = {"ALGO/USDT:USDT": Decimal("0.0001"), "AVAX/USDT:USDT": Decimal("0.001")}

Recordings = dict[str, tuple[pa.Table, Interval]]


@pytest.fixture(scope="module")
def real(recordings: Path) -> Recordings:
    return recorded(recordings)


def flagged(bars: pa.Table, interval: Interval) -> Counter[str]:
    """How much of a recording each rule flags, day by day as the check goes."""
    symbol = bars["symbol"][0].as_py()
    known = [instrument(symbol, tick=TICKS.get(symbol, Decimal("0.01")))]
    found: Counter[str] = Counter()
    for day, part in days_of(bars, interval, LIMITS.jumps.neighbourhood, LIMITS.jumps.near):
        held = columns(part, day=day, interval=interval, instruments=known)
        none = np.zeros(len(held), bool)
        found["hole"] += sum(check_holes(held, {}, {}, 1_000).counts.values())
        found["open"] += sum(check_opens(held, LIMITS.continuity, none, 1_000).counts.values())
        found["jump"] += len(find_jumps(held, LIMITS.jumps, none, {}))
    return found


@pytest.mark.parametrize(
    ("name", "holes", "jumps"),
    [
        ("ALGOUSDT-1m-2024-09.csv", 0, 0),
        ("AVAXUSDT-1m-2023-09.csv", 0, 0),
        ("BTC_USDT-5m.json", 6, 0),
        ("BTC_USDT_USDT-5m-futures.feather", 0, 0),
        ("APE_USDT-1h.json", 0, 0),
        ("BTC_USDT-1h.json", 27, 3),
        ("BTC_USDT-4h.json", 8, 0),
        ("BTC_USDT-1d.json", 0, 1),
    ],
)
def test_real_markets_are_flagged_for_their_outages_and_hardly_for_anything_else(
    real: Recordings, name: str, holes: int, jumps: int
) -> None:
    """Two days of Bitcoin's crashes, one of news and the Thursday of March 2020: a person would want to look at these
    four. All outages are holes here, since no gap log explains them."""
    assert flagged(*real[name]) == Counter(hole=holes, open=0, jump=jumps)


@pytest.mark.parametrize(("name", "factor", "least"), [
    ("AVAXUSDT-1m-2023-09.csv", "1.03", 0.95),
    ("ALGOUSDT-1m-2024-09.csv", "0.95", 0.95),
    ("BTC_USDT-5m.json", "1.1", 0.85),
    ("BTC_USDT_USDT-5m-futures.feather", "0.9", 0.95),
])  # fmt: skip
def test_wrong_prints_in_real_markets_are_found_and_nothing_beside_them(
    real: Recordings, name: str, factor: str, least: float
) -> None:
    bars, interval = real[name]
    symbol = bars["symbol"][0].as_py()
    known = [instrument(symbol, tick=TICKS.get(symbol, Decimal("0.01")))]
    days = days_of(bars, interval, LIMITS.jumps.neighbourhood, LIMITS.jumps.near)[1:-1]
    random, hits, tries = np.random.default_rng(5), 0, 40
    for _ in range(tries):
        day, part = days[random.integers(len(days))]
        held = columns(part, day=day, interval=interval, instruments=known)
        rows = np.flatnonzero(held.today & held.traded)
        row = int(rows[random.integers(len(rows))])
        wrong = round(part["close"][row].as_py() * Decimal(factor), 8)
        side = {"high": lambda v, w=wrong: max(v, w)} if wrong > part["close"][row].as_py() else {"low": wrong}
        held = columns(change(part, row, close=wrong, **side), day=day, interval=interval, instruments=known)
        found = {jump.row for jump in find_jumps(held, LIMITS.jumps, np.zeros(len(held), bool), {})}
        assert found <= {row}
        hits += row in found
    assert hits / tries >= least


def test_a_real_market_is_seldom_out_of_its_ways_and_a_known_halt_is_no_silence(real: Recordings) -> None:
    bars, interval = real["BTC_USDT-1h.json"]
    trading = days_of_trading(columns(bars, interval=interval))
    days = {start for _, start in trading}

    def unusual(known: dict[str, list[Window]]) -> list[str]:
        return [
            found.ts[:10]
            for start in sorted(days)
            for found in check_activity(
                Window(start, start + DAY_MS), interval, trading, LIMITS.activity, lives={}, known=known
            ).findings
            if "volume" in found.text
        ]

    assert unusual({}) == ["2018-02-08", "2019-04-02", "2022-07-08"], "of 1,882 days"
    halt = {"BTC/USDT": [Window.of("2018-02-08T01:00", "2018-02-09T10:00")]}
    assert unusual(halt) == ["2019-04-02", "2022-07-08"]
