"""Every fault of the archive ends in the right state, named in the summary, and costs nothing but itself."""

from __future__ import annotations

from typing import Any

import pytest

from gapless.domain.window import parse_time
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.backfill.test_backfill import as_rest, exchange_bars, plain
from tests.pipeline.conftest import Installation

JUNE = ("2026-06-01", "2026-07-01")
MONTH_FILE = "BTCUSDT-15m-2026-06.zip"
MONTH_PATH = f"*/monthly/*/{MONTH_FILE}*"
BARS = 30 * 96


def truth(exchange: ReplicaHandle) -> list[list[Any]]:
    return plain(exchange_bars(exchange, "/fapi/v1/klines", "BTCUSDT", "15m", *JUNE))


def manifest(installation: Installation, name: str = MONTH_FILE) -> tuple[str, str]:
    ((state, checksum),) = installation.rows(
        "SELECT state, checksum FROM archive_object WHERE path LIKE %s", f"%/{name}"
    )
    return state, checksum


@pytest.mark.parametrize(
    ("action", "reason", "checksum"),
    [
        ({"corrupt": {"bytes": 3, "checksum": "wrong"}}, "checksum", "mismatch"),
        ({"corrupt": {"bytes": 3, "checksum": "right"}}, "zip", "verified"),
        ({"wrong_checksum": True}, "checksum", "mismatch"),
        ({"truncated": True}, "checksum", "mismatch"),
        ({"html": True}, "checksum", "mismatch"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else str(value),
)
def test_a_file_that_cannot_be_trusted_is_set_apart_and_the_next_source_is_taken(
    installation: Installation, replica: ReplicaHandle, action: dict[str, Any], reason: str, checksum: str
) -> None:
    path = MONTH_PATH if "html" not in action else f"*/{MONTH_FILE}"
    replica.faults({"match": {"path": path}, "action": action})
    report = installation.backfill(*JUNE, intervals="15m")
    assert report.whole, (report.errors, report.series)
    assert [(one.object, one.reason) for one in report.rejected] == [(MONTH_FILE, reason)]
    assert "day" in report.rejected[0].then
    assert (report.rejected_objects, report.objects) == (1, 30)
    assert manifest(installation) == ("rejected", checksum)
    assert as_rest(installation.lake_bars()) == truth(replica)
    kept = [key for key in installation.lake_files() if key.startswith("quarantine/")]
    assert len(kept) == 1
    ((said, payload),) = installation.rows("SELECT reason, payload FROM quarantine")
    assert said == reason
    assert MONTH_FILE in payload


def test_a_file_without_a_checksum_is_taken_and_flagged(installation: Installation, replica: ReplicaHandle) -> None:
    replica.faults({"match": {"path": MONTH_PATH}, "action": {"missing": "checksum"}})
    report = installation.backfill(*JUNE, intervals="15m")
    assert (report.whole, report.objects, report.rejected_objects) == (True, 1, 0)
    assert manifest(installation) == ("loaded", "absent")


def test_a_month_that_is_not_there_comes_from_its_days(installation: Installation, replica: ReplicaHandle) -> None:
    replica.faults({"match": {"path": MONTH_PATH}, "action": {"missing": True}})
    report = installation.backfill(*JUNE, intervals="15m")
    assert (report.whole, report.objects, report.rejected_objects) == (True, 30, 0)
    assert as_rest(installation.lake_bars()) == truth(replica)


def test_days_that_a_month_lacks_come_from_their_own_files_or_from_rest(
    installation: Installation, replica: ReplicaHandle
) -> None:
    replica.faults(
        {"match": {"path": MONTH_PATH}, "action": {"drop_days": ["2026-06-07", "2026-06-08"]}},
        {"match": {"path": "*/daily/*/BTCUSDT-15m-2026-06-08.zip*"}, "action": {"missing": True}},
    )
    report = installation.backfill(*JUNE, intervals="15m")
    assert (report.whole, report.objects) == (True, 2)
    bars = installation.lake_bars()
    assert as_rest(bars) == truth(replica)
    rest = [row[2] for row in bars if row[13] == 1]
    assert rest == list(range(parse_time("2026-06-08"), parse_time("2026-06-09"), 900_000))


def test_rows_that_every_file_lacks_come_from_rest_and_what_nobody_has_is_unfillable(
    installation: Installation, replica: ReplicaHandle
) -> None:
    replica.faults(
        {"match": {"path": "*/BTCUSDT-15m-2026-06*"}, "action": {"drop_rows": [5, 6, 7]}},
        {"match": {"path": "*/klines"}, "action": {"drop_rows": [1]}},
    )
    report = installation.backfill(*JUNE, intervals="15m")
    (series,) = report.series
    assert report.whole
    assert series.unfillable == 1, series
    assert series.why == "1: neither the archive nor the exchange has it"
    assert (report.bars_expected, report.bars_present, report.gap_bars) == (BARS, BARS - 1, 1)


@pytest.mark.parametrize(
    "action",
    [
        {"duplicate_rows": [3, 4]},
        {"shuffle_rows": True},
        {"header": "off"},
        {"unit": "us"},
        {"slow_bytes_per_s": 60_000},
    ],
    ids=lambda action: next(iter(action)),
)
def test_rows_out_of_order_or_twice_another_form_and_a_slow_line_lose_nothing(
    installation: Installation, replica: ReplicaHandle, action: dict[str, Any]
) -> None:
    replica.faults({"match": {"path": MONTH_PATH}, "action": action})
    report = installation.backfill(*JUNE, intervals="15m")
    assert (report.whole, report.objects) == (True, 1)
    assert report.rows_quarantined == (2 if "duplicate_rows" in action else 0)
    assert as_rest(installation.lake_bars()) == truth(replica)


def test_a_row_that_breaks_a_rule_is_quarantined_with_its_text_and_comes_from_elsewhere(
    installation: Installation, replica: ReplicaHandle
) -> None:
    replica.faults(
        {"match": {"path": MONTH_PATH}, "action": {"alter": {"row": 9, "field": "high", "value": "0.00000001"}}}
    )
    report = installation.backfill(*JUNE, intervals="15m")
    assert (report.whole, report.rows_quarantined, report.objects) == (True, 1, 2)
    ((reason, payload),) = installation.rows("SELECT reason, payload FROM quarantine")
    assert reason == "ohlc"
    assert "0.00000001" in payload
    assert as_rest(installation.lake_bars()) == truth(replica)


def test_a_file_that_is_replaced_later_is_noticed_and_its_change_is_a_restatement(
    installation: Installation, replica: ReplicaHandle
) -> None:
    october = ("2026-10-01", "2026-11-01")
    change = {"row": 4, "field": "trades", "add": 7}
    replica.faults(
        {
            "match": {"path": "*/monthly/*/BTCUSDT-15m-2026-10.zip*"},
            "action": {"replaced": {"after": 1, "alter": change}},
        }
    )
    first = installation.backfill(*october, intervals="15m", into="lake")
    before = installation.lake_bars()
    again = installation.backfill(*october, intervals="15m", into="lake")
    after = installation.lake_bars()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert (first.restated, again.restated) == (0, 1)
    assert [(new[2], new[10] - old[10]) for old, new in changed] == [(parse_time("2026-10-01T01:00"), 7)]
    assert installation.rows("SELECT COUNT(*) FROM restatement WHERE applied = 1") == [(1,)]
    third = installation.backfill(*october, intervals="15m", into="lake")
    assert (third.nothing_to_do, third.requests) == (True, 1)


def test_a_slow_archive_and_errors_that_pass_only_take_time(installation: Installation, replica: ReplicaHandle) -> None:
    replica.faults(
        {"match": {"path": "*/daily/*", "every": 3}, "action": {"status": 503}},
        {"match": {"path": "*/daily/*", "every": 5}, "action": {"reset": True}},
        {"match": {"path": MONTH_PATH}, "action": {"missing": True}},
    )
    report = installation.backfill(*JUNE, intervals="15m")
    assert (report.whole, report.objects) == (True, 30)
    assert as_rest(installation.lake_bars()) == truth(replica)


def test_a_series_that_fails_leaves_the_others_alone_and_is_taken_up_again(
    installation: Installation, replica: ReplicaHandle
) -> None:
    replica.faults({"match": {"path": "*/ETHUSDT-15m-*"}, "action": {"status": 500}})
    symbols = "BTC/USDT:USDT,ETH/USDT:USDT"
    report = installation.backfill(*JUNE, intervals="15m", symbols=symbols)
    assert {error.symbol for error in report.errors} == {"ETH/USDT:USDT"}
    assert not report.whole
    assert len(installation.lake_bars()) == BARS
    replica.faults()
    again = installation.backfill(*JUNE, intervals="15m", symbols=symbols)
    assert (again.whole, again.objects, again.bars_present) == (True, 1, 2 * BARS)


def test_with_the_archive_alone_what_it_lacks_is_missing_and_said_so(
    installation: Installation, replica: ReplicaHandle
) -> None:
    replica.faults({"match": {"path": "*/BTCUSDT-15m-2026-06*"}, "action": {"drop_rows": [5]}})
    report = installation.backfill(*JUNE, intervals="15m", source="vision")
    assert (report.gap_bars, report.unfillable, report.whole) == (1, 0, False)
    assert "--source vision" in report.series[0].why
    assert report.weight_used == 0
    states = installation.rows("SELECT state, bars FROM data_gap_log")
    assert states == [("open", 1)]
    healed = installation.backfill(*JUNE, intervals="15m")
    assert (healed.whole, healed.gap_bars) == (True, 0)
    assert installation.rows("SELECT state FROM data_gap_log") == [("filled",)]
