"""Coverage of a real installation: both stores, lifetimes, known gaps, the exchange's clock."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import Window
from gapless.errors import ConfigError
from gapless.pipeline.coverage import CoverageReport, measure_coverage
from gapless.pipeline.instruments import refresh_instruments
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import Gap, record_gaps
from tests.bars import bars
from tests.pipeline.conftest import NOON, Installation
from tests.pipeline.test_read import into_lake, into_mysql

BTC, NEW, SPOT, DEAD = "BTC/USDT:USDT", "NOVA/USDT:USDT", "BTC/USDT", "OMG/USDT:USDT"
TEN_DAYS = Window.of("2026-10-26", "2026-11-05")
HOUR_MS = Interval.H1.ms


@pytest.fixture
def rt(installation: Installation) -> Iterator[Runtime]:
    with installation.open() as opened:
        refresh_instruments(opened)
        yield opened


def hours(rt: Runtime, symbol: str = BTC, window: Window | None = TEN_DAYS) -> CoverageReport:
    return measure_coverage(
        rt,
        symbols=[symbol],
        intervals=[Interval.H1],
        start_ms=window.start_ms if window else None,
        end_ms=window.end_ms if window else None,
    )


def drop(table: pa.Table, *rows: int) -> pa.Table:
    return table.take([row for row in range(table.num_rows) if row not in rows])


def test_both_stores_make_one_picture_to_the_bar(rt: Runtime) -> None:
    series = bars(BTC, "1h", "2026-10-26", 240)
    into_lake(rt, drop(series, 30, 31, 50).slice(0, 140))
    into_mysql(rt, drop(series, 30, 200).slice(100))
    (found,) = hours(rt).series
    assert (found.expected, found.present, found.missing, found.unfillable, found.outside) == (240, 236, 4, 0, 0)
    start = TEN_DAYS.start_ms
    wanted = [Window(start + a * HOUR_MS, start + b * HOUR_MS) for a, b in ((30, 32), (50, 51), (200, 201))]
    assert [Window.of(gap.start, gap.end) for gap in found.gaps] == wanted
    assert found.percent == 98.333333


def test_a_gap_that_the_exchange_has_too_does_not_count_against_the_store(rt: Runtime) -> None:
    series = bars(BTC, "1h", "2026-10-26", 240)
    into_lake(rt, drop(series, 30, 31))
    halt = Window(TEN_DAYS.start_ms + 30 * HOUR_MS, TEN_DAYS.start_ms + 32 * HOUR_MS)
    record_gaps(
        rt.db,
        [Gap("binance", BTC, "ohlcv", "1h", halt, 2, "unfillable", "the exchange has none")],
        within={(BTC, "1h"): [TEN_DAYS]},
    )
    (found,) = hours(rt).series
    assert (found.present, found.unfillable, found.missing, found.percent) == (238, 2, 0, 100.0)
    assert [(gap.state, gap.cause, gap.bars) for gap in found.gaps] == [("unfillable", "the exchange has none", 2)]


def test_a_whole_life_begins_with_the_listing_and_ends_with_the_last_closed_bar(rt: Runtime) -> None:
    (found,) = hours(rt, NEW, None).series
    life = Window.of("2026-11-10T08:00", "2026-11-15T12:00")
    assert found.expected == life.length_ms // HOUR_MS
    assert (found.present, found.percent) == (0, 0.0)
    assert [Window.of(gap.start, gap.end) for gap in found.gaps] == [life]


def test_bars_after_a_delisting_are_outside_and_not_expected(rt: Runtime) -> None:
    into_lake(rt, bars(DEAD, "1h", "2025-01-31", 24))
    (found,) = hours(rt, DEAD, Window.of("2025-01-31", "2025-02-01")).series
    assert (found.expected, found.present, found.outside, found.missing) == (9, 9, 15, 0)


def test_a_listing_date_that_nobody_knows_is_the_first_stored_bar(rt: Runtime) -> None:
    into_lake(rt, bars(SPOT, "1h", "2026-10-28T05:00", 163))
    (found,) = hours(rt, SPOT).series
    assert (found.expected, found.present, found.missing) == (187, 163, 24)


def test_what_was_never_stored_of_a_series_without_a_date_is_all_of_the_window(rt: Runtime) -> None:
    (found,) = hours(rt, SPOT).series
    assert (found.expected, found.missing) == (240, 240)


def test_an_hour_of_the_pipeline_is_whole_in_all_intervals_it_closed(installation: Installation) -> None:
    installation.etl(symbols=f"{BTC},{SPOT}")
    with installation.open() as rt:
        report = measure_coverage(rt, symbols=[BTC, SPOT], start_ms=NOON.start_ms, end_ms=NOON.end_ms)
    assert [(row.symbol, row.interval) for row in report.series] == [
        (symbol, str(interval)) for symbol in (SPOT, BTC) for interval in ALL_INTERVALS
    ]
    counted = {row.interval: row.present for row in report.series if row.symbol == BTC}
    assert counted == {"1m": 60, "5m": 12, "15m": 4, "1h": 1, "4h": 0, "1d": 0}, "4h opened before, 1d is open"
    assert report.missing == 0
    assert report.percent == 100.0


def test_without_names_the_watchlist_and_all_else_that_is_stored(rt: Runtime) -> None:
    into_lake(rt, bars(NEW, "1d", "2026-11-11", 2))
    report = measure_coverage(rt, intervals=[Interval.D1], start_ms=TEN_DAYS.start_ms)
    shown = {row.symbol for row in report.series}
    assert {BTC, SPOT, NEW} <= shown
    assert DEAD not in shown


def test_an_unknown_name_is_listed_and_the_others_are_counted(rt: Runtime) -> None:
    report = measure_coverage(rt, symbols=[BTC, "NOPE/USDT:USDT"], intervals=[Interval.D1])
    assert [row.symbol for row in report.series] == [BTC]
    assert [(failure.symbol, failure.kind) for failure in report.errors] == [("NOPE/USDT:USDT", "bad_symbol")]


def test_a_raw_name_needs_its_market(rt: Runtime) -> None:
    with pytest.raises(ConfigError, match="BTCUSDT is a raw symbol"):
        measure_coverage(rt, symbols=["BTCUSDT"])
    report = measure_coverage(rt, symbols=["BTCUSDT"], market=Market.SPOT, intervals=[Interval.D1])
    assert [row.symbol for row in report.series] == [SPOT]


def test_with_the_exchange_out_of_reach_it_counts_until_it_was_last_asked_and_says_so(
    installation: Installation, rt: Runtime
) -> None:
    into_lake(rt, bars(NEW, "1h", "2026-11-10T08:00", 124))
    installation.exchange.stop()
    (found,) = hours(rt, NEW, None).series
    assert (found.expected, found.missing) == (124, 0)
    assert any("the exchange's clock cannot be read" in line for line in installation.said)
    installation.said.clear()
    hours(rt)
    assert installation.said == [], "a window that the books know to be past needs no clock"
