"""Funding rates and metrics through the engine: archive and REST as one series, each by its own rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.window import parse_time
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation

FIVE_MINUTES = 300_000
RATIOS = {
    "top_account_ratio": "topLongShortAccountRatio",
    "top_position_ratio": "topLongShortPositionRatio",
    "global_account_ratio": "globalLongShortAccountRatio",
}


def funding(exchange: ReplicaHandle, symbol: str, start: str, end: str) -> dict[int, Decimal]:
    """What REST has, by the time to the nearest minute."""
    rows = exchange.get("/fapi/v1/fundingRate", symbol=symbol, startTime=parse_time(start),
                        endTime=parse_time(end) - 1, limit=1000)  # fmt: skip
    return {(row["fundingTime"] + 30_000) // 60_000 * 60_000: Decimal(row["fundingRate"]) for row in rows}


@pytest.mark.parametrize("into", ["mysql", "lake"])
def test_funding_of_published_months_and_of_the_current_one_is_one_series(
    installation: Installation, replica: ReplicaHandle, into: Any
) -> None:
    report = installation.backfill(
        "2026-09-01", "2026-11-15", symbols="BTC/USDT:USDT", dataset=Dataset.FUNDING, into=into
    )
    assert report.whole, (report.errors, report.series)
    with installation.open() as rt:
        if into == "lake":
            from gapless.domain.window import Window

            rows = rt.lake.read_rows(Dataset.FUNDING, Window.of("2026-09-01", "2026-11-15"), exchange="binance")
            stored = {int(t.value): r for t, r in zip(rows["ts"], rows["rate"].to_pylist(), strict=True)}
        else:
            found = installation.rows("SELECT CAST(UNIX_TIMESTAMP(ts) AS SIGNED) * 1000, rate FROM funding_rate")
            stored = dict(found)
    assert stored == funding(replica, "BTCUSDT", "2026-09-01", "2026-11-15")
    assert report.bars_expected == report.bars_present == len(stored)
    again = installation.backfill(
        "2026-09-01", "2026-11-15", symbols="BTC/USDT:USDT", dataset=Dataset.FUNDING, into=into, recheck="none"
    )
    assert (again.nothing_to_do, again.requests, again.bars_present) == (True, 0, len(stored))


def test_a_settlement_that_the_archive_lacks_comes_from_rest(
    installation: Installation, replica: ReplicaHandle
) -> None:
    replica.faults({"match": {"path": "*/BTCUSDT-fundingRate-2026-08.zip*"}, "action": {"drop_rows": [10, 11]}})
    report = installation.backfill(
        "2026-08-01", "2026-09-01", symbols="BTC/USDT:USDT", dataset=Dataset.FUNDING, into="mysql"
    )
    assert report.whole, (report.errors, report.series)
    assert report.bars_present == len(funding(replica, "BTCUSDT", "2026-08-01", "2026-09-01"))


def test_metrics_have_one_label_across_the_archive_rest_and_the_change_of_june(
    installation: Installation, replica: ReplicaHandle
) -> None:
    june = installation.backfill(
        "2026-06-24", "2026-06-27", symbols="BTC/USDT:USDT", dataset=Dataset.METRICS, into="mysql"
    )
    assert june.whole, (june.errors, june.series)
    assert june.bars_present == 3 * 288
    recent = installation.backfill(
        "2026-11-13", "2026-11-15T12:00", symbols="BTC/USDT:USDT", dataset=Dataset.METRICS, into="mysql"
    )
    assert recent.whole, (recent.errors, recent.series)
    stored = installation.rows(
        "SELECT CAST(UNIX_TIMESTAMP(ts) AS SIGNED) * 1000, open_interest, top_account_ratio, top_position_ratio,"
        " global_account_ratio, taker_buy_sell_ratio, source FROM futures_metrics WHERE ts >= '2026-11-13' ORDER BY ts"
    )
    at, end = parse_time("2026-11-13"), parse_time("2026-11-15T12:00")
    assert [row[0] for row in stored] == list(range(at, end, FIVE_MINUTES))
    assert {row[6] for row in stored} == {1, 2}, "days from the archive, today from REST"
    asked = {"symbol": "BTCUSDT", "period": "5m", "limit": 288}
    day = {"startTime": at + FIVE_MINUTES, "endTime": at + 288 * FIVE_MINUTES}
    interest = replica.get("/futures/data/openInterestHist", **asked, **day)
    assert [row[1] for row in stored[:288]] == [Decimal(each["sumOpenInterest"]) for each in interest]
    for place, (_, endpoint) in enumerate(RATIOS.items(), start=2):
        ratios = replica.get(f"/futures/data/{endpoint}", **asked, **day)
        assert [row[place] for row in stored[:288]] == [Decimal(each["longShortRatio"]) for each in ratios], endpoint
    taker = replica.get("/futures/data/takerlongshortRatio", **asked, startTime=at, endTime=at + 287 * FIVE_MINUTES)
    assert [row[5] for row in stored[:288]] == [Decimal(each["buySellRatio"]) for each in taker]


def test_metrics_that_nobody_keeps_any_more_are_unfillable(installation: Installation, replica: ReplicaHandle) -> None:
    replica.faults({"match": {"path": "*/BTCUSDT-metrics-2026-07-0[23].zip*"}, "action": {"missing": True}})
    report = installation.backfill("2026-07-01", "2026-07-05", symbols="BTC/USDT:USDT", dataset=Dataset.METRICS)
    assert (report.bars_expected, report.unfillable, report.whole) == (4 * 288, 2 * 288, True)
    assert "REST keeps only 30 days" in report.series[0].why
