"""Longer bars are exactly what their minutes make."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import OHLCV, OHLCV_VALUES
from gapless.domain.window import Window
from gapless.errors import ValidationError
from gapless.quality.daily.agreement import Minutes, check_agreement
from gapless.quality.daily.columns import Columns
from gapless.quality.daily.findings import CRITICAL, WARNING, Verdict
from gapless.quality.daily.thresholds import Agreement
from tests.quality.daily.rows import DAY, calm, change, columns, without

LONGER = ALL_INTERVALS[1:]
BTC, ETH = "BTC/USDT", "ETH/USDT"
MINUTES = pa.concat_tables([calm(BTC, before=0), calm(ETH, before=0, seed=8)])
HALF_DAY = Window(DAY.start_ms, DAY.start_ms + 12 * Interval.H1.ms)


def longer(minutes: pa.Table, interval: Interval) -> pa.Table:
    """What longer bars must be, by Python's own decimals, a row at a time."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row, at in zip(minutes.to_pylist(), minutes["ts"].cast(pa.int64()).to_pylist(), strict=True):
        groups.setdefault((row["symbol"], interval.floor(at)), []).append(row)
    rows = []
    for (symbol, at), parts in groups.items():
        sums = {name: sum(part[name] for part in parts) for name in OHLCV_VALUES[4:]}
        rows.append(
            {
                "exchange": "binance", "symbol": symbol, "interval": str(interval), "ts": at, "source": 1,
                "open": parts[0]["open"], "high": max(part["high"] for part in parts),
                "low": min(part["low"] for part in parts), "close": parts[-1]["close"], **sums,
            }
        )  # fmt: skip
    kinds = {field.name: pa.int64() if field.name == "ts" else field.type for field in OHLCV}
    made = [pa.array([row[name] for row in rows], kind).cast(OHLCV.field(name).type) for name, kind in kinds.items()]
    return pa.table(made, schema=OHLCV)


def compared(
    minutes: pa.Table, bars: pa.Table, interval: Interval, *, critical: float = 0.01, most: int = 100
) -> tuple[Verdict, Columns, list[bool]]:
    held = columns(bars, interval=interval)
    made = Minutes(columns(minutes)).to(interval)
    verdict, agrees = check_agreement(held, *made.match(held), Agreement(critical=critical), most)
    return verdict, held, agrees.tolist()


@pytest.mark.parametrize("interval", LONGER)
def test_bars_that_are_made_of_their_minutes_agree(interval: Interval) -> None:
    verdict, held, agrees = compared(MINUTES, longer(MINUTES, interval), interval)
    assert verdict.counts == {}
    assert agrees == [True] * len(held)


def test_all_intervals_come_from_the_same_minutes_one_after_another() -> None:
    minutes = Minutes(columns(MINUTES))
    for interval in LONGER:
        held = columns(longer(MINUTES, interval), interval=interval)
        verdict, agrees = check_agreement(held, *minutes.to(interval).match(held), Agreement(), 10)
        assert (verdict.counts, agrees.all()) == ({}, True)
    with pytest.raises(ValidationError, match="shorter"):
        minutes.to(Interval.M5)


amounts = st.integers(0, 10**28 - 1).map(lambda units: Decimal(units).scaleb(-8))
prices = st.integers(1, 10**20 - 1).map(lambda units: Decimal(units).scaleb(-8))
bar = st.tuples(prices, prices, prices, prices, amounts, amounts, st.integers(0, 2**21), amounts, amounts)


@given(st.lists(bar, min_size=15, max_size=15))
@settings(max_examples=60, deadline=None)
def test_sums_and_extremes_are_exact_to_the_last_digit_of_any_decimal(rows: list[tuple[Any, ...]]) -> None:
    minutes = calm(window=Window(DAY.start_ms, DAY.start_ms + 15 * 60_000), before=0)
    for place, name in enumerate(OHLCV_VALUES):
        field = minutes.schema.field(name)
        column = pa.array([row[place] for row in rows], field.type)
        minutes = minutes.set_column(minutes.schema.get_field_index(name), field, column)
    made = Minutes(columns(minutes)).to(Interval.M15)
    (series, ts, count) = (made.series.tolist(), made.ts.tolist(), made.counts.tolist())
    assert (series, ts, count) == ([0], [DAY.start_ms], [15])
    by_column = list(zip(*rows, strict=True))
    with localcontext(prec=60):
        sums = [sum(values) for values in by_column[4:]]
    wanted = [by_column[0][0], max(by_column[1]), min(by_column[2]), by_column[3][-1], *sums]
    assert [made.values[name][0].as_py() for name in OHLCV_VALUES] == wanted


@pytest.mark.parametrize("name", OHLCV_VALUES)
@pytest.mark.parametrize("interval", [Interval.M5, Interval.D1])
def test_the_smallest_difference_of_any_value_is_a_warning(name: str, interval: Interval) -> None:
    smallest = 1 if name == "trades" else Decimal("0.00000001")
    bars = change(longer(MINUTES, interval), 0, **{name: lambda v: v + smallest})
    verdict, _, agrees = compared(MINUTES, bars, interval)
    (found,) = verdict.findings
    assert (verdict.counts, found.severity, found.ts) == ({WARNING: 1}, WARNING, "2026-11-14T00:00:00Z")
    assert name.replace("_", " ") in found.text
    assert agrees == [False] + [True] * (len(bars) - 1)


def test_far_from_what_the_minutes_make_is_critical() -> None:
    bars = change(longer(MINUTES, Interval.H1), 3, volume=lambda v: v * 2)
    bars = change(bars, 5, close=lambda v: v + Decimal("0.01"))
    verdict, _, _ = compared(MINUTES, bars, Interval.H1)
    assert verdict.counts == {CRITICAL: 1, WARNING: 1}
    grave = next(each for each in verdict.findings if each.severity == CRITICAL)
    assert (grave.measured, grave.allowed) == ("100 % apart", "equal")


def test_volume_where_the_minutes_have_none_is_critical() -> None:
    minutes = calm(before=0)
    for name in ("volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume"):
        field = minutes.schema.field(name)
        nothing = pa.array([Decimal(0)] * len(minutes), field.type)
        minutes = minutes.set_column(minutes.schema.get_field_index(name), field, nothing)
    bars = change(longer(minutes, Interval.M5), 2, volume=Decimal("0.5"))
    assert compared(minutes, bars, Interval.M5)[0].counts == {CRITICAL: 1}


def test_an_altered_minute_shows_in_every_longer_bar_that_holds_it_and_in_no_other() -> None:
    altered = change(MINUTES, 700, volume=lambda v: v + 1)
    for interval in LONGER:
        verdict, held, agrees = compared(altered, longer(MINUTES, interval), interval)
        assert sum(verdict.counts.values()) == 1
        assert held.ts[np.flatnonzero(~np.array(agrees))[0]] == interval.floor(DAY.start_ms + 700 * 60_000)


def test_a_bar_whose_minutes_are_not_all_stored_is_not_compared() -> None:
    bars = change(longer(MINUTES, Interval.H1), 1, volume=Decimal(1))
    verdict, _, agrees = compared(without(MINUTES, 77), bars, Interval.H1)
    assert verdict.counts == {}
    assert agrees[:3] == [True, False, True]


def test_minutes_without_a_longer_bar_and_bars_without_minutes_are_left_alone() -> None:
    bars = longer(MINUTES, Interval.H1)
    verdict, _, agrees = compared(MINUTES.slice(1440), without(bars, 30), Interval.H1)
    assert verdict.counts == {}
    assert agrees == [False] * 24 + [True] * 23
    assert compared(MINUTES.slice(0, 0), bars, Interval.H1)[0].counts == {}
    assert compared(MINUTES, bars.slice(0, 0), Interval.H1)[0].counts == {}


def test_only_the_day_is_judged_and_the_neighbourhood_may_agree_too() -> None:
    early = calm(window=HALF_DAY, before=0)
    bars = change(longer(early, Interval.H1), 2, trades=1)
    held = Columns(bars, Interval.H1, Window(HALF_DAY.end_ms, DAY.end_ms), {})
    verdict, agrees = check_agreement(held, *Minutes(columns(early)).to(Interval.H1).match(held), Agreement(), 10)
    assert (verdict.counts, agrees.tolist().count(True)) == ({}, 11)


def test_what_is_not_listed_is_counted() -> None:
    bars = longer(MINUTES, Interval.M5)
    for row in range(10):
        bars = change(bars, row, trades=0)
    verdict, _, _ = compared(MINUTES, bars, Interval.M5, most=3)
    assert (len(verdict.findings), sum(verdict.counts.values())) == (3, 10)


def test_only_minutes_are_put_together() -> None:
    with pytest.raises(ValidationError, match="1m"):
        Minutes(columns(interval=Interval.M5))
