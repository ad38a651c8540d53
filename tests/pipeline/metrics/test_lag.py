"""Lag is the age of the oldest closed bar that is not stored, as the hourly run means it, on the exchange's clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import HOUR_MS, Window, parse_time
from gapless.pipeline.instruments import refresh_instruments
from gapless.pipeline.metrics.lag import LagWatch
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import Gap, record_gaps
from tests.bars import bars
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_mysql

BTC, ETH, NEW = "BTC/USDT:USDT", "ETH/USDT:USDT", "NOVA/USDT:USDT"
NOW = parse_time("2026-11-15T12:30:30")
MINUTE_MS = 60_000


def watchlist(tmp_path: Path, symbols: str = BTC, intervals: str = "1h") -> Path:
    path = tmp_path / "symbols.yaml"
    path.write_text(f"markets:\n  um: '{symbols}'\nintervals: [{intervals}]\n")
    return path


@pytest.fixture
def rt(installation: Installation, tmp_path: Path) -> Iterator[Runtime]:
    installation.settings = installation.settings.model_copy(update={"symbols_file": watchlist(tmp_path)})
    with installation.open() as opened:
        refresh_instruments(opened)
        yield opened


def lag(rt: Runtime, now_ms: int = NOW, watch: LagWatch | None = None) -> int:
    """Of the one series that is watched, in minutes."""
    (found,) = (watch or LagWatch()).measure(rt, now_ms)
    assert found.lag_ms % MINUTE_MS in (0, now_ms % MINUTE_MS)
    return found.lag_ms // MINUTE_MS


def hours(start: str, count: int, symbol: str = BTC) -> pa.Table:
    return bars(symbol, "1h", start, count)


def without(table: pa.Table, *rows: int) -> pa.Table:
    return table.take([row for row in range(table.num_rows) if row not in rows])


def test_nothing_is_late_while_the_newest_closed_bar_is_stored(rt: Runtime) -> None:
    into_mysql(rt, hours("2026-11-12T00:00", 84))
    assert lag(rt) == 0, "11:00 closed at 12:00, and 12:00 is still open"


def test_a_bar_that_closed_and_is_not_there_is_as_late_as_its_close_is_old(rt: Runtime) -> None:
    into_mysql(rt, hours("2026-11-12T00:00", 83))
    assert lag(rt) == 30
    assert lag(rt, NOW + 3 * HOUR_MS) == 30 + 3 * 60


def test_a_hole_counts_from_its_oldest_bar_though_newer_ones_are_stored(rt: Runtime) -> None:
    into_mysql(rt, without(hours("2026-11-12T00:00", 84), 75, 78, 79))
    assert lag(rt) == 8 * 60 + 30, "2026-11-15T03:00 closed at 04:00"


def test_a_store_that_stopped_long_ago_is_late_from_where_it_stopped(rt: Runtime) -> None:
    into_mysql(rt, hours("2026-11-01T00:00", 24))
    assert lag(rt) == (13 * 24 + 11) * 60 + 30, "2026-11-02T00:00 closed at 01:00"


def test_a_hole_that_lies_wholly_before_the_look_back_is_a_gap_and_no_lag(rt: Runtime) -> None:
    into_mysql(rt, without(hours("2026-11-10T00:00", 132), 5, 6))
    assert lag(rt) == 0


def test_bars_that_the_exchange_does_not_have_are_not_waited_for(rt: Runtime) -> None:
    into_mysql(rt, without(hours("2026-11-12T00:00", 84), 75, 76, 83))
    halts = [Window.of("2026-11-15T03:00", "2026-11-15T05:00"), Window.of("2026-11-15T11:00", "2026-11-15T12:00")]
    record_gaps(
        rt.db,
        [Gap("binance", BTC, "ohlcv", "1h", each, each.length_ms // HOUR_MS, "unfillable", "none") for each in halts],
        within={},
    )
    assert lag(rt) == 0


def test_a_collection_begins_with_its_first_stored_bar(rt: Runtime) -> None:
    into_mysql(rt, hours("2026-11-15T09:00", 2))
    assert lag(rt) == 30, "11:00 is not there; what lies before 09:00 was never collected"


def test_a_watched_series_of_which_nothing_is_stored_lags_by_the_whole_look_back(rt: Runtime) -> None:
    assert lag(rt) == 47 * 60 + 30, "the first bar that closed in the last 48 hours"


def test_a_young_listing_is_late_from_its_first_bar(rt: Runtime, tmp_path: Path) -> None:
    young = parse_time("2026-11-11T12:30:30")  # NOVA is listed since 2026-11-10T08:00
    rt = replace(rt, settings=rt.settings.model_copy(update={"symbols_file": watchlist(tmp_path, NEW)}))
    into_mysql(rt, hours("2026-11-11T00:00", 12, NEW))
    assert lag(rt, young) == (12 + 15) * 60 + 30, "the bar of 08:00 closed at 09:00 of the day before"


def test_the_worst_of_the_market_is_told_by_interval(rt: Runtime, tmp_path: Path) -> None:
    path = watchlist(tmp_path, f"{BTC},{ETH}", "1m, 1h")
    rt = replace(rt, settings=rt.settings.model_copy(update={"symbols_file": path}))
    into_mysql(rt, hours("2026-11-12T00:00", 84))
    into_mysql(rt, hours("2026-11-12T00:00", 82, ETH))
    for symbol in (BTC, ETH):
        into_mysql(rt, bars(symbol, "1m", "2026-11-15T11:00", 90))
    found = {each.interval: each for each in LagWatch().measure(rt, NOW)}
    assert (found[Interval.H1].lag_ms // MINUTE_MS, found[Interval.H1].symbol) == (90, ETH)
    assert (found[Interval.M1].lag_ms, found[Interval.M1].symbol) == (0, "")
    assert {each.market for each in found.values()} == {Market.UM}
    assert found[Interval.H1].series == 2


def test_a_watch_that_remembers_agrees_with_one_that_does_not(rt: Runtime) -> None:
    watch = LagWatch()
    table = without(hours("2026-11-10T00:00", 144), 40, 100, 101, 130)
    at, told = parse_time("2026-11-12T00:30"), []
    for first, last in ((0, 30), (30, 60), (60, 61), (61, 110), (110, 140)):
        into_mysql(rt, table.slice(first, last - first))
        for _ in range(3):
            at += 5 * HOUR_MS
            told.append(lag(rt, at, watch))
            assert told[-1] == lag(rt, at)
    into_mysql(rt, hours("2026-11-10T00:00", 144))
    end = parse_time("2026-11-16T00:00:30")
    assert lag(rt, end, watch) == lag(rt, end) == 0
    assert len(set(told)) > 5
