"""Funding and the five-minute series: REST answers, their pools, and their agreement with the archive."""

from __future__ import annotations

import itertools
import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.window import DAY_MS, parse_time
from replica.series import FUNDING_HEADER, METRICS_HEADER
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle, start_replica
from tests.replica.vision.clients import get, lines, true_checksum

NOW = parse_time("2026-11-15T12:30:30")
HOUR_MS = 3_600_000
STEP_MS = 300_000
SERIES = (
    "openInterestHist",
    "topLongShortAccountRatio",
    "topLongShortPositionRatio",
    "globalLongShortAccountRatio",
    "takerlongshortRatio",
)


@pytest.fixture(scope="module")
def shared() -> Iterator[ReplicaHandle]:
    """One process for the tests that change nothing."""
    handle = start_replica("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    yield handle
    handle.stop()


def refused(replica: ReplicaHandle, path: str, **params: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        replica.get(path, **params)
    return caught.value.code, json.load(caught.value)


def funding(replica: ReplicaHandle, **params: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = replica.get("/fapi/v1/fundingRate", **params)
    return rows


def hours_between(rows: list[dict[str, Any]]) -> set[int]:
    times = [round(row["fundingTime"] / HOUR_MS) for row in rows]
    return {later - earlier for earlier, later in itertools.pairwise(times)}


def test_funding_has_the_fields_of_the_recordings(shared: ReplicaHandle, recordings: Path) -> None:
    recorded = json.loads((recordings / "funding/rest/20260815_fapi-v1-fundingRate-BTCUSDT.json").read_text())
    rows = funding(shared, symbol="BTCUSDT")
    assert len(rows) == 100
    for row in rows:
        assert {key: type(value) for key, value in row.items()} == {k: type(v) for k, v in recorded[0].items()}
        assert len(row["fundingRate"].partition(".")[2]) == len(row["markPrice"].partition(".")[2]) == 8


def test_funding_is_noted_a_few_milliseconds_late(shared: ReplicaHandle) -> None:
    late = {row["fundingTime"] % HOUR_MS for row in funding(shared, symbol="BTCUSDT", limit=1000)}
    assert 0 in late
    assert len(late) > 5
    assert max(late) < 20


def test_funding_intervals_are_eight_four_and_one_hour_and_one_symbol_switched(shared: ReplicaHandle) -> None:
    for symbol, hours in (("BTCUSDT", 8), ("1000PEPEUSDT", 4), ("币安人生USDT", 1)):
        assert hours_between(funding(shared, symbol=symbol)) == {hours}
    switch = parse_time("2025-06-10")
    around = funding(shared, symbol="ADAUSDT", startTime=switch - 24 * HOUR_MS, endTime=switch + 12 * HOUR_MS + 100)
    hours = [round((row["fundingTime"] - switch) / HOUR_MS) for row in around]
    assert hours == [-24, -16, -8, 0, 4, 8, 12]


def test_funding_bounds_are_inclusive_and_the_oldest_come_first(shared: ReplicaHandle) -> None:
    rows = funding(shared, symbol="ETHUSDT", limit=20)
    first, last = rows[5]["fundingTime"], rows[9]["fundingTime"]
    assert funding(shared, symbol="ETHUSDT", startTime=first, endTime=last) == rows[5:10]
    assert funding(shared, symbol="ETHUSDT", startTime=first + 1, endTime=last - 1) == rows[6:9]
    assert funding(shared, symbol="ETHUSDT", startTime=first, limit=3) == rows[5:8]
    assert funding(shared, symbol="ETHUSDT", endTime=last, limit=3) == rows[7:10]
    assert funding(shared, symbol="ETHUSDT", startTime=0, limit=20) == rows  # read past, as on the exchange
    assert rows[-1]["fundingTime"] <= NOW


def test_funding_pages_to_the_listing_and_stops_at_the_delisting(shared: ReplicaHandle) -> None:
    first = funding(shared, symbol="BTCUSDT", startTime=1, limit=2)
    assert first[0]["fundingTime"] // HOUR_MS == parse_time("2019-09-09") // HOUR_MS  # listed 2019-09-08T17:55
    assert first[0]["markPrice"] == ""
    dead = funding(shared, symbol="OMGUSDT", endTime=NOW, limit=2)
    assert [round(row["fundingTime"] / HOUR_MS) for row in dead] == [
        parse_time("2025-01-31") // HOUR_MS,
        parse_time("2025-01-31T08:00") // HOUR_MS,
    ]


def test_funding_without_a_symbol_is_everybodys(shared: ReplicaHandle) -> None:
    start = parse_time("2026-11-15")
    rows = funding(shared, startTime=start, endTime=start + 100)
    assert len({row["symbol"] for row in rows}) == len(rows) == 11
    newest = funding(shared, limit=5)
    assert [row["fundingTime"] for row in newest] == sorted(row["fundingTime"] for row in newest)
    assert newest[-1]["symbol"] == "币安人生USDT"
    assert round(newest[-1]["fundingTime"] / HOUR_MS) == NOW // HOUR_MS


def test_everybodys_funding_is_paged_from_the_start_on_within_the_limit_and_the_pool(replica: ReplicaHandle) -> None:
    start, end = parse_time("2026-11-14"), parse_time("2026-11-15")
    whole = funding(replica, startTime=start, endTime=end - 1, limit=1000)
    assert [row["fundingTime"] for row in whole] == sorted(row["fundingTime"] for row in whole)
    assert len({row["symbol"] for row in whole}) == 11
    assert "OMGUSDT" not in {row["symbol"] for row in whole}, "delisted in 2025"
    assert funding(replica, startTime=start, endTime=end - 1, limit=20) == whole[:20]
    later = whole[30]["fundingTime"]
    assert funding(replica, startTime=later, endTime=end - 1, limit=1000) == [
        row for row in whole if row["fundingTime"] >= later
    ]
    assert refused(replica, "/fapi/v1/fundingRate", startTime=start, limit=1001)[0] == 400
    replica.limits(um={"funding_per_5m": 2})
    for _ in range(2):
        funding(replica, startTime=start, limit=5)
    assert refused(replica, "/fapi/v1/fundingRate", startTime=start)[0] == 429


def test_the_rate_type_is_told_from_28_july_2026_on(replica: ReplicaHandle) -> None:
    replica.set_clock("2026-07-27T23:59")
    assert "rateType" not in funding(replica, symbol="BTCUSDT", limit=1)[0]
    replica.set_clock("2026-07-28")
    assert funding(replica, symbol="BTCUSDT", limit=1)[0]["rateType"] == "Regular"


def test_mark_prices_of_old_funding_are_blank(shared: ReplicaHandle) -> None:
    edge = parse_time("2023-10-01")
    rows = funding(shared, symbol="BTCUSDT", startTime=edge - 9 * HOUR_MS, endTime=edge + HOUR_MS)
    assert [row["markPrice"] == "" for row in rows] == [True, False]


def test_funding_info_lists_who_is_off_the_default(shared: ReplicaHandle, recordings: Path) -> None:
    rows = shared.get("/fapi/v1/fundingInfo")
    recorded = json.loads((recordings / "funding/rest/20260704T133406Z_fapi-v1-fundingInfo.json").read_text())
    assert set(rows[0]) == set(recorded[0])
    hours = {row["symbol"]: row["fundingIntervalHours"] for row in rows}
    assert hours["1000PEPEUSDT"] == hours["ADAUSDT"] == 4
    assert hours["币安人生USDT"] == 1
    assert "BTCUSDT" not in hours


def test_a_funding_month_in_the_archive_is_what_rest_answers(shared: ReplicaHandle) -> None:
    for symbol, count in (("BTCUSDT", 93), ("1000PEPEUSDT", 186)):
        path = f"data/futures/um/monthly/fundingRate/{symbol}/{symbol}-fundingRate-2026-10.zip"
        text = lines(shared, path)
        start, end = parse_time("2026-10-01"), parse_time("2026-11-01")
        rest = funding(shared, symbol=symbol, startTime=start, endTime=end - 1, limit=1000)
        assert text[0] == FUNDING_HEADER
        assert [line.split(",")[::2] for line in text[1:]] == [[str(r["fundingTime"]), r["fundingRate"]] for r in rest]
        assert len(rest) == count
        assert true_checksum(shared, path)


def rest_metrics(replica: ReplicaHandle, name: str, start: int, end: int, **params: Any) -> dict[int, dict[str, Any]]:
    """Rows by the start of their five minutes."""
    late = 0 if name == "takerlongshortRatio" else STEP_MS
    bounds = {"startTime": start + late, "endTime": end - STEP_MS + late, "limit": 500}
    rows = replica.get(f"/futures/data/{name}", symbol="BTCUSDT", period="5m", **bounds | params)
    return {row["timestamp"] - late: row for row in rows}


@pytest.mark.parametrize(("day", "end_labelled"), [("2026-06-24", True), ("2026-06-25", False), ("2026-06-26", False)])
def test_a_metrics_day_agrees_with_rest_once_the_labels_do(
    start_exchange: ReplicaFactory, day: str, end_labelled: bool
) -> None:
    replica = start_exchange("--generate", "7", "--speed", "0", "--start", "2026-06-28")
    path = f"data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-{day}.zip"
    text = lines(replica, path)
    start = parse_time(day)
    assert text[0] == METRICS_HEADER
    assert len(text) == 289
    first, last = (parse_time(line.split(",")[0].replace(" ", "T")) for line in (text[1], text[-1]))
    shift = STEP_MS if end_labelled else 0
    assert (first, last) == (start + shift, start + DAY_MS - STEP_MS + shift)
    told = {name: rest_metrics(replica, name, start, start + DAY_MS) for name in SERIES}
    assert {len(rows) for rows in told.values()} == {288}
    names = text[0].split(",")
    for line in text[1:]:
        row = dict(zip(names, line.split(","), strict=True))
        at = parse_time(row["create_time"].replace(" ", "T")) - shift
        assert row["symbol"] == "BTCUSDT"
        for column, name, field in (
            ("sum_open_interest", SERIES[0], "sumOpenInterest"),
            ("sum_open_interest_value", SERIES[0], "sumOpenInterestValue"),
            ("count_toptrader_long_short_ratio", SERIES[1], "longShortRatio"),
            ("sum_toptrader_long_short_ratio", SERIES[2], "longShortRatio"),
            ("count_long_short_ratio", SERIES[3], "longShortRatio"),
            ("sum_taker_long_short_vol_ratio", SERIES[4], "buySellRatio"),
        ):
            assert row[column].rstrip("0") == told[name][at][field].rstrip("0"), (column, at)


def test_the_ratios_differ_from_each_other_so_that_swapped_columns_show(shared: ReplicaHandle) -> None:
    start = parse_time("2026-11-14")
    ratios = [rest_metrics(shared, name, start, start + DAY_MS) for name in SERIES[1:4]]
    seen = [[row["longShortRatio"] for row in rows.values()] for rows in ratios]
    assert seen[0] != seen[1] != seen[2] != seen[0]


def test_the_series_have_the_fields_of_the_exchange(shared: ReplicaHandle, recordings: Path) -> None:
    recorded = json.loads(
        (recordings / "open_interest/rest/20260930_futures-data-openInterestHist-BTCUSDT-5m_first48.json").read_text()
    )
    rows = {name: shared.get(f"/futures/data/{name}", symbol="BTCUSDT", period="5m") for name in SERIES}
    assert {len(answer) for answer in rows.values()} == {30}
    assert list(rows["openInterestHist"][0]) == list(recorded[0])
    assert "symbol" not in rows["takerlongshortRatio"][0]
    for name in SERIES[1:4]:
        assert set(rows[name][0]) == {"symbol", "longShortRatio", "longAccount", "shortAccount", "timestamp"}
    newest = NOW // STEP_MS * STEP_MS
    assert rows["openInterestHist"][-1]["timestamp"] == newest
    assert rows["takerlongshortRatio"][-1]["timestamp"] == newest - STEP_MS


def test_an_hour_ends_with_its_last_five_minutes_and_takers_add_up(shared: ReplicaHandle) -> None:
    hour = parse_time("2026-11-14T10:00")
    five = rest_metrics(shared, "openInterestHist", hour, hour + HOUR_MS)
    told = shared.get(
        "/futures/data/openInterestHist",
        symbol="BTCUSDT",
        period="1h",
        startTime=hour + HOUR_MS,
        endTime=hour + HOUR_MS,
    )
    assert [row["sumOpenInterest"] for row in told] == [five[hour + HOUR_MS - STEP_MS]["sumOpenInterest"]]
    takers = rest_metrics(shared, "takerlongshortRatio", hour, hour + HOUR_MS)
    whole = shared.get("/futures/data/takerlongshortRatio", symbol="BTCUSDT", period="1h", startTime=hour, endTime=hour)
    total = sum(int(row["buyVol"].replace(".", "")) for row in takers.values())
    assert int(whole[0]["buyVol"].replace(".", "")) == total


def test_series_reach_back_thirty_days_and_no_further(shared: ReplicaHandle) -> None:
    edge = NOW - 30 * DAY_MS
    for name in SERIES:
        path = f"/futures/data/{name}"
        assert shared.get(path, symbol="BTCUSDT", period="5m", startTime=edge, endTime=edge + DAY_MS // 2)
        told = refused(shared, path, symbol="BTCUSDT", period="5m", startTime=edge - 1, endTime=edge + DAY_MS)
        assert told == (400, {"code": -1130, "msg": "parameter 'startTime' is invalid."})


def test_malformed_series_requests_are_refused(shared: ReplicaHandle) -> None:
    path = "/futures/data/openInterestHist"
    for params, code in (
        ({"period": "5m"}, -1102),
        ({"symbol": "BTCUSDT"}, -1102),
        ({"symbol": "BTCUSDT", "period": "3m"}, -1130),
        ({"symbol": "BTCUSDT", "period": "5m", "limit": 501}, -1130),
        ({"symbol": "GONEUSDT", "period": "5m"}, -1121),
    ):
        assert refused(shared, path, **params)[1]["code"] == code
    assert refused(shared, "/fapi/v1/fundingRate", symbol="GONEUSDT")[1]["code"] == -1121
    assert refused(shared, "/fapi/v1/fundingRate", limit=1001)[1]["code"] == -1130


def test_funding_rate_and_info_share_a_pool_outside_the_weight(replica: ReplicaHandle) -> None:
    replica.limits(um={"funding_per_5m": 3})
    funding(replica, symbol="BTCUSDT")
    replica.get("/fapi/v1/fundingInfo")
    funding(replica, symbol="BTCUSDT")
    status, told = refused(replica, "/fapi/v1/fundingInfo")
    assert (status, told["code"]) == (429, -1003)
    assert "3 requests per 5 MINUTE" in told["msg"]
    assert replica.get("/fapi/v1/time")
    assert replica.get("/futures/data/openInterestHist", symbol="BTCUSDT", period="5m")
    stats = replica.stats()["um"]
    assert stats["weight_total"] == 1
    assert stats["pools"] == {
        "funding_per_5m": {"requests": 4, "max_5m": 4},
        "futures_data_per_5m": {"requests": 1, "max_5m": 1},
    }
    replica.advance(300)
    assert funding(replica, symbol="BTCUSDT", limit=1)


def test_the_five_series_share_a_pool(replica: ReplicaHandle) -> None:
    replica.limits(um={"futures_data_per_5m": 5})
    for name in SERIES:
        replica.get(f"/futures/data/{name}", symbol="BTCUSDT", period="5m")
    assert refused(replica, "/futures/data/openInterestHist", symbol="BTCUSDT", period="5m")[0] == 429
    assert replica.get("/fapi/v1/fundingInfo")


def test_funding_files_begin_in_2020_and_metrics_in_september_2020(shared: ReplicaHandle) -> None:
    for path, status in (
        ("data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2019-12.zip", 404),
        ("data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2020-01.zip", 200),
        ("data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2020-08-31.zip", 404),
        ("data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2020-09-01.zip", 200),
        ("data/futures/um/daily/metrics/OMGUSDT/OMGUSDT-metrics-2025-01-31.zip", 200),
        ("data/futures/um/daily/metrics/OMGUSDT/OMGUSDT-metrics-2025-02-01.zip", 404),
    ):
        assert get(shared, path).status == status, path


def test_recorded_funding_and_open_interest_come_back_as_they_were(
    start_exchange: ReplicaFactory, recordings: Path
) -> None:
    replica = start_exchange("--data", str(recordings), "--speed", "0", "--start", "2026-10-01")
    recorded = json.loads((recordings / "funding/rest/20260815_fapi-v1-fundingRate-BTCUSDT.json").read_text())
    assert funding(replica, symbol="BTCUSDT", limit=2) == recorded
    interest = json.loads(
        (recordings / "open_interest/rest/20260930_futures-data-openInterestHist-BTCUSDT-5m_first48.json").read_text()
    )
    assert replica.get("/futures/data/openInterestHist", symbol="BTCUSDT", period="5m", limit=500) == interest
    assert replica.get("/futures/data/takerlongshortRatio", symbol="BTCUSDT", period="5m") == []
    assert len(replica.get("/fapi/v1/fundingInfo")) == 711
