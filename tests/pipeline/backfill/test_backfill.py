"""A backfill against the replica: archive, REST, MySQL and lake, for real."""

from __future__ import annotations

import urllib.request
from decimal import Decimal
from typing import Any

import pytest

from gapless.domain.window import parse_time
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation

MONTH = ("2026-06-01", "2026-07-01")
"""Cold by the replica's clock (2026-11-15): it goes to the lake."""

HOT = ("2026-10-01", "2026-11-01")


def exchange_bars(exchange: ReplicaHandle, path: str, symbol: str, interval: str, start: str, end: str) -> list[Any]:
    """What REST has of the window, page after page."""
    rows: list[Any] = []
    at, end_ms = parse_time(start), parse_time(end)
    exchange.limits(um={"weight_per_minute": 10**6}, spot={"weight_per_minute": 10**6})
    while at < end_ms:
        page = exchange.get(path, symbol=symbol, interval=interval, startTime=at, endTime=end_ms - 1, limit=1000)
        if not page:
            break
        rows += page
        at = page[-1][0] + 1
    return rows


def as_rest(bars: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Stored bars as the exchange's rows: open time, four prices, volume, quote volume, trades, taker volumes."""
    return [[row[2], *row[4:13]] for row in bars]


def plain(rows: list[Any]) -> list[list[Any]]:
    """Exchange rows with exact numbers, without close time and the last place."""
    return [
        [row[0], *map(Decimal, row[1:6]), Decimal(row[7]), row[8], Decimal(row[9]), Decimal(row[10])] for row in rows
    ]


def test_a_cold_month_goes_to_the_lake_to_the_last_digit(installation: Installation, replica: ReplicaHandle) -> None:
    report = installation.backfill(*MONTH)
    expected = plain(exchange_bars(replica, "/fapi/v1/klines", "BTCUSDT", "1m", *MONTH))
    assert as_rest(installation.lake_bars()) == expected
    assert installation.mysql_bars() == []
    assert report.whole
    assert (report.bars_expected, report.bars_present, report.unfillable) == (43_200, 43_200, 0)
    assert (report.rows_loaded, report.objects, report.rejected_objects) == (43_200, 1, 0)
    assert report.weight_used < 10


def test_hot_months_go_to_mysql_and_what_the_archive_lacks_comes_from_rest(
    installation: Installation, replica: ReplicaHandle
) -> None:
    report = installation.backfill("2026-10-01", "2026-11-30", intervals="15m")
    expected = plain(exchange_bars(replica, "/fapi/v1/klines", "BTCUSDT", "15m", "2026-10-01", "2026-11-15T12:30"))
    assert as_rest(installation.mysql_bars()) == expected
    assert not [key for key in installation.lake_files() if key.startswith("ohlcv/")]
    assert report.whole
    assert {row[0] for row in installation.rows("SELECT DISTINCT source FROM ohlcv")} == {1, 2}


@pytest.mark.parametrize("kind", ["mariadb", "mysql"])
def test_a_second_run_finds_nothing_to_do_and_asks_for_nothing(
    make_installation: MakeInstallation, replica: ReplicaHandle, kind: str
) -> None:
    one = make_installation(replica, kind=kind)
    one.backfill(*MONTH, intervals="5m,1h")
    one.backfill(*HOT, intervals="5m,1h")
    before, bars = one.lake_files(), one.bars()
    replica.reset_stats()
    again = [one.backfill(*MONTH, intervals="5m,1h"), one.backfill(*HOT, intervals="5m,1h", recheck="none")]
    assert [(report.nothing_to_do, report.whole, report.requests) for report in again] == [(True, True, 0)] * 2
    assert again[0].bars_present == again[0].bars_expected == 30 * (288 + 24)
    assert replica.stats()["um"]["requests_total"] == 0
    assert (one.lake_files(), one.bars()) == (before, bars)


def test_spot_halts_are_unfillable_and_nothing_else_is(
    make_installation: MakeInstallation, replica: ReplicaHandle
) -> None:
    one = make_installation(replica)
    halts = replica.halts("spot", "2026-04-01", "2026-08-01")
    report = one.backfill("2026-04-01", "2026-08-01", symbols="BTC/USDT", intervals="1m,1h")
    minutes = {parse_time(h["start"]) + n for h in halts
               for n in range(0, parse_time(h["end"]) - parse_time(h["start"]), 60_000)}  # fmt: skip
    logged = one.rows(
        "SELECT gap_start, gap_end, bars, state FROM data_gap_log WHERE `interval` = '1m' ORDER BY gap_start"
    )
    assert halts, "the seed's market has halts in these months"
    assert sum(row[2] for row in logged) == len(minutes)
    assert {row[3] for row in logged} == {"unfillable"}
    assert report.whole
    one_minute = next(each for each in report.series if each.interval == "1m")
    assert one_minute.unfillable == len(minutes)
    assert one_minute.expected == one_minute.present + one_minute.unfillable == 122 * 1440


def test_every_interval_of_both_markets_in_one_go(make_installation: MakeInstallation, replica: ReplicaHandle) -> None:
    one = make_installation(replica)
    report = one.backfill("2026-07-20", "2026-09-10", symbols="ETH/USDT,1000PEPE/USDT:USDT,币安人生/USDT:USDT",
                          intervals="1m,5m,15m,1h,4h,1d")  # fmt: skip
    assert report.whole, report.errors
    assert len(report.series) == 18
    lake, mysql = one.lake_bars(), one.mysql_bars()
    assert len(lake) + len(mysql) == report.bars_present
    assert max(row[2] for row in lake) < parse_time("2026-09-01") <= min(row[2] for row in mysql)


def test_an_unknown_symbol_costs_only_itself(installation: Installation) -> None:
    report = installation.backfill("2026-08-01", "2026-08-03", symbols="NOPE/USDT:USDT,BTC/USDT:USDT", intervals="1h")
    assert [(error.symbol, error.kind) for error in report.errors] == [("NOPE/USDT:USDT", "bad_symbol")]
    assert not report.whole
    assert len(installation.lake_bars()) == 48


def test_a_delisted_spot_pair_comes_from_the_archive_with_the_life_that_it_shows(
    installation: Installation,
) -> None:
    report = installation.backfill("2024-05-01", "2024-08-01", symbols="WAVES/USDT", intervals="1h")
    assert report.whole, report.errors
    (series,) = report.series
    assert series.expected == series.present + series.unfillable
    bars = installation.lake_bars()
    assert bars[-1][2] == parse_time("2024-06-17T02:00")
    lives = installation.rows("SELECT delisted_at FROM instrument_life WHERE symbol = 'WAVES/USDT'")
    assert [str(row[0]) for row in lives] == ["2024-06-17 03:00:00"]


def test_flat_bars_after_a_delisting_are_stored_and_not_counted(installation: Installation) -> None:
    report = installation.backfill("2025-01-01", "2025-02-01", symbols="OMG/USDT:USDT", intervals="1h")
    (series,) = report.series
    assert (series.expected, series.present) == (30 * 24 + 9, 30 * 24 + 9)
    assert report.outside_life == 15
    assert len(installation.lake_bars()) == 31 * 24


def test_the_archive_of_the_replica_is_read_by_a_plain_client(replica: ReplicaHandle) -> None:
    url = f"{replica.vision}/data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2026-06.zip.CHECKSUM"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read().decode().endswith("  BTCUSDT-1h-2026-06.zip\n")
