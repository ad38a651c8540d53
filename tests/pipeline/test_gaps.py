"""`gapless gaps`: the stores, seen as one, against the exchange."""

from __future__ import annotations

from gapless.domain.window import Window, parse_time
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation

BORDER = ("2026-08-30", "2026-09-03")
"""Two days in the lake, two in MySQL."""

ARGUMENTS = ("gaps", "--start", BORDER[0], "--end", BORDER[1], "--symbols", "BTC/USDT:USDT", "--intervals", "15m,4h")
BARS = 4 * (96 + 6)


def test_stores_that_hold_what_the_exchange_has_are_clean_across_the_border(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill(*BORDER, intervals="15m,4h")
    status, report, _ = installation.command(*ARGUMENTS)
    assert status == 0
    assert report["checked"] == BARS
    assert [report[name] for name in ("missing", "extra", "different", "unfillable", "failed")] == [0] * 5
    assert (report["gaps"], report["errors"]) == ([], [])


def test_every_planted_fault_is_found_in_either_store_and_nothing_else_is(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill(*BORDER, intervals="15m,4h")
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM ohlcv WHERE `interval` = '15m' AND ts BETWEEN '2026-09-01 05:00:00' AND '2026-09-01 05:30:00'"
        )
        connection.exec_driver_sql("UPDATE ohlcv SET trades = trades + 1 WHERE `interval` = '4h' AND ts = '2026-09-02'")
    day = Window.of("2026-08-31T10:00", "2026-08-31T10:15")
    with installation.open() as rt:
        from gapless.domain.interval import Interval

        rt.lake.remove(rt.lake.read(day, symbols=["BTC/USDT:USDT"], intervals=[Interval.M15], exchange="binance"))
    replica.restate("um", "BTCUSDT", "15m", "2026-08-30T00:00", trades=5)
    # A page that lacks a row once is asked for again, and not believed.
    replica.faults({"match": {"path": "/fapi/v1/klines", "interval": "4h", "nth": 1}, "action": {"drop_rows": [2]}})
    status, report, _ = installation.command(*ARGUMENTS)
    assert status == 1
    assert (report["missing"], report["different"], report["extra"], report["unfillable"]) == (4, 2, 0, 0)
    assert [(gap["start"], gap["end"], gap["bars"], gap["state"]) for gap in report["gaps"]] == [
        ("2026-08-31T10:00:00Z", "2026-08-31T10:15:00Z", 1, "open"),
        ("2026-09-01T05:00:00Z", "2026-09-01T05:45:00Z", 3, "open"),
    ]


def test_halts_are_unfillable_and_no_fault(installation: Installation, replica: ReplicaHandle) -> None:
    halts = replica.halts("spot", "2026-04-01", "2026-08-01")
    start = parse_time(halts[0]["start"]) // 86_400_000 * 86_400_000
    day = (f"{halts[0]['start'][:10]}", Window(start, start + 2 * 86_400_000).end.date().isoformat())
    installation.backfill(*day, symbols="BTC/USDT", intervals="1m")
    status, report, _ = installation.command(
        "gaps", "--start", day[0], "--end", day[1], "--symbols", "BTC/USDT", "--intervals", "1m"
    )
    length = (parse_time(halts[0]["end"]) - parse_time(halts[0]["start"])) // 60_000
    assert (status, report["unfillable"], report["missing"]) == (0, length, 0)
    assert {gap["state"] for gap in report["gaps"]} == {"unfillable"}


def test_an_exchange_that_does_not_answer_is_failed_and_never_missing(
    installation: Installation, replica: ReplicaHandle
) -> None:
    installation.backfill(*BORDER, intervals="15m,4h")
    replica.faults({"match": {"path": "/fapi/v1/klines", "interval": "4h"}, "action": {"status": 500}})
    status, report, _ = installation.command(*ARGUMENTS)
    assert (status, report["failed"], report["missing"], report["checked"]) == (1, 24, 0, 4 * 96)
    assert {error["interval"] for error in report["errors"]} == {"4h"}
