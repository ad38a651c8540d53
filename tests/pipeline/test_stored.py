"""What is stored, both stores as one: which days, and rows where both have some."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, month_start, to_ms
from gapless.errors import ConfigError
from gapless.pipeline.instruments import refresh_instruments
from gapless.pipeline.runtime import Runtime
from gapless.pipeline.stored import (
    SeriesMonth,
    bits_of,
    chosen_symbols,
    days_within,
    span_of,
    stored_months,
    unstored,
)
from gapless.storage.mysql import count_days
from gapless.storage.mysql.days import EVER, archived_digests, held_days, table_months
from tests.bars import bars
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_lake, into_mysql

BTC, ETH, SPOT = "BTC/USDT:USDT", "ETH/USDT:USDT", "BTC/USDT"
OCTOBER, NOVEMBER = (month_start(Window.of(day, "2027-01-01").start_ms) for day in ("2026-10-05", "2026-11-05"))


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with installation.open() as opened:
        yield opened


def test_days_of_both_stores_by_month_symbol_and_interval(rt: Runtime) -> None:
    into_lake(rt, bars(ETH, "1h", "2026-10-30", 72))
    into_mysql(rt, bars(ETH, "1h", "2026-10-31T12:00", 36))
    into_lake(rt, bars(SPOT, "1d", "2026-11-03", 2))
    found = stored_months(rt, Dataset.OHLCV)
    assert found == [
        SeriesMonth(ETH, "1h", OCTOBER, mysql=1 << 30, lake=0b11 << 29),
        SeriesMonth(SPOT, "1d", NOVEMBER, mysql=0, lake=0b1100),
        SeriesMonth(ETH, "1h", NOVEMBER, mysql=1, lake=1),
    ]
    assert span_of(found) == Window.of("2026-10-30", "2026-11-05")
    assert stored_months(rt, Dataset.OHLCV, market=Market.SPOT) == found[1:2]
    assert stored_months(rt, Dataset.OHLCV, symbols={ETH}, intervals=[Interval.D1]) == []
    (cut,) = stored_months(rt, Dataset.OHLCV, Window.of("2026-10-30T23:59", "2026-10-31"))
    assert (cut.days, cut.lake) == (1 << 29, 1 << 29)


def test_nothing_stored_has_no_span(rt: Runtime) -> None:
    assert stored_months(rt, Dataset.OHLCV) == []
    assert span_of([]) is None


def test_the_parts_of_a_table_are_its_partitions_and_all_time_together(rt: Runtime) -> None:
    parts = table_months(rt.db, Dataset.OHLCV)
    assert (parts[0].start_ms, parts[-1].end_ms) == (EVER.start_ms, EVER.end_ms)
    assert all(before.end_ms == after.start_ms for before, after in pairwise(parts))
    week = Window.of("2026-11-28", "2026-12-03")
    cut = table_months(rt.db, Dataset.OHLCV, week)
    assert (cut[0].start_ms, cut[-1].end_ms) == (week.start_ms, week.end_ms)


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_looking_at_midnights_finds_the_days_that_counting_finds(
    make_installation: Any, replica: ReplicaHandle, kind: str
) -> None:
    random = Random(5)
    with make_installation(replica, kind=kind).open() as rt:
        for symbol in (BTC, ETH, "A/USDT:USDT"):
            for interval, start, count in (
                ("1h", "2026-09-28T07:00", 900),
                ("4h", "2026-10-01", 200),
                ("1d", "2026-10-09", 40),
            ):
                series = bars(symbol, interval, start, count)
                kept = sorted(random.sample(range(count), count // 20))
                into_mysql(rt, series.take(kept))
        counted: dict[tuple[str, str, int], int] = {}
        for row in count_days(rt.db, Dataset.OHLCV, "binance", EVER).to_pylist():
            day_ms = to_ms(datetime.combine(row["day"], datetime.min.time()))
            key = (row["symbol"], row["interval"], month_start(day_ms))
            counted[key] = counted.get(key, 0) | 1 << row["day"].day - 1
        assert held_days(rt.db, Dataset.OHLCV, "binance") == counted
        some = held_days(rt.db, Dataset.OHLCV, "binance", symbols=[ETH, "NOPE/USDT"], intervals=["1h"])
        assert some == {key: days for key, days in counted.items() if key[:2] == (ETH, "1h")}


def test_receipts_are_read_by_series_and_day(rt: Runtime) -> None:
    into_lake(rt, bars(ETH, "1h", "2026-10-30", 30))
    window = Window.of("2026-10-31", "2026-11-02")
    (row,) = archived_digests(rt.db, Dataset.OHLCV, "binance", window, [ETH, BTC], ["1h"]).to_pylist()
    assert (row["symbol"], row["day"].isoformat(), row["rows"], len(row["sha256"])) == (ETH, "2026-10-31", 6, 64)
    assert archived_digests(rt.db, Dataset.OHLCV, "binance", window, [BTC], ["1h"]).num_rows == 0


def test_names_in_either_notation_and_what_they_do_not_name(rt: Runtime) -> None:
    refresh_instruments(rt)
    assert chosen_symbols(rt, [], None) == (None, [])
    chosen, failures = chosen_symbols(rt, ["BTCUSDT", "NOPEUSDT"], Market.UM)
    assert chosen == frozenset({BTC})
    assert [failure.symbol for failure in failures] == ["NOPEUSDT"]
    everything, _ = chosen_symbols(rt, ["all"], Market.SPOT)
    assert everything is not None
    assert {market.count(":") for market in everything} == {0}
    with pytest.raises(ConfigError, match="raw symbol"):
        chosen_symbols(rt, ["BTCUSDT"], None)
    names = [ETH, "WHO/USDT:USDT", "NOPE/USDT:USDT"]
    into_mysql(rt, bars("WHO/USDT:USDT", "1h", "2026-11-01", 2))
    chosen, _ = chosen_symbols(rt, names, None)
    lacking = unstored(names, chosen, stored_months(rt, Dataset.OHLCV, symbols=chosen), rt)
    assert [failure.symbol for failure in lacking] == ["NOPE/USDT:USDT"]


@given(st.integers(0, (1 << 31) - 1))
def test_bits_are_the_days(days: int) -> None:
    assert sum(1 << place for place in bits_of(days)) == days


@given(
    days=st.integers(0, (1 << 31) - 1),
    hours=st.tuples(st.integers(-50, 900), st.integers(-50, 900)).filter(lambda pair: pair[0] < pair[1]),
)
def test_days_within_a_window_are_those_that_it_touches(days: int, hours: tuple[int, int]) -> None:
    window = Window(*(OCTOBER + hour * 3_600_000 for hour in hours))
    month = SeriesMonth(BTC, "1h", OCTOBER, days & 0x55555555, days & ~0x55555555)
    touched = {
        place
        for place in range(31)
        if window.intersect(Window(OCTOBER + place * DAY_MS, OCTOBER + (place + 1) * DAY_MS))
    }
    assert set(bits_of(days_within(month, window))) == set(bits_of(days)) & touched
