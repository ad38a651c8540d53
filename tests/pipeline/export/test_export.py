"""A month leaves MySQL: proved, dropped, read as before, brought again when rows come late."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import ConfigError
from gapless.pipeline.export import plan_export
from gapless.pipeline.export.due import due_months
from gapless.storage.mysql.exports import DROPPED, VERIFIED, read_exports
from gapless.storage.mysql.leaving import standing_months
from gapless.storage.mysql.partitions import Month
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation
from tests.pipeline.export.stage import DAYS, JULY, SYMBOLS, everything, export, fill, has_left


@pytest.fixture(params=KINDS)
def filled(request: pytest.FixtureRequest, make_installation: MakeInstallation, replica: ReplicaHandle) -> Installation:
    """An installation whose MySQL holds two days of July."""
    return make_installation(replica, kind=request.param)


def test_a_month_leaves_and_every_reader_sees_what_it_saw(filled: Installation) -> None:
    truth = fill(filled)
    rows = filled.rows("SELECT COUNT(*) FROM ohlcv WHERE ts < '2026-08-01'")[0][0]
    status, report, told = filled.command("export-month", "2026-07", "--drop")
    assert (status, report["rows"], report["verified"], report["dropped"]) == (0, rows, True, True), told
    has_left(filled, truth)

    objects = filled.rows("SELECT uri, bytes, `rows` FROM archive_receipt WHERE period_start < '2026-08-01'")
    assert report["files"] == len(objects)
    assert report["bytes"] == sum(size for _, size, _ in objects)
    assert sum(held for _, _, held in objects) == rows
    [line] = read_exports(filled.db, Dataset.OHLCV, JULY)
    assert (line.state, line.rows, line.digest) == (DROPPED, rows, report["digest"])
    again = filled.command("export-month", "2026-07", "--drop")
    assert (again[0], again[1]["rows"], again[1]["written"]) == (0, 0, 0)
    assert filled.command("query", "ohlcv", "BTC/USDT", "1h", "--start", DAYS[0], "--end", DAYS[1])[0] == 0


def test_the_manifest_holds_the_exact_sums_of_what_mysql_held(installation: Installation) -> None:
    fill(installation)
    asked = (
        "SELECT SUM(close), SUM(volume), SUM(trades), COUNT(*) FROM ohlcv"
        " WHERE symbol = %s AND `interval` = '1h' AND ts < '2026-08-01'"
    )
    [(close, volume, trades, count)] = installation.rows(asked, SYMBOLS[2])
    report = export(installation)
    manifest = json.loads(
        (installation.lake / report.manifest.removeprefix(f"file://{installation.lake}/")).read_text()
    )
    assert (manifest["dataset"], manifest["month"], manifest["digest"]) == ("ohlcv", "2026-07", report.digest)
    [series] = [one for one in manifest["series"] if (one["symbol"], one["interval"]) == (SYMBOLS[2], "1h")]
    assert series["rows"] == count
    sums = {name: Decimal(text) for name, text in series["sums"].items()}
    assert (sums["close"], sums["volume"], sums["trades"]) == (close, volume, trades)
    assert sum(one["rows"] for one in manifest["objects"]) == sum(one["rows"] for one in manifest["series"])


def test_without_drop_the_rows_stay_and_a_later_drop_needs_no_second_copy(installation: Installation) -> None:
    truth = fill(installation)
    kept = export(installation, drop=False)
    assert (kept.verified, kept.dropped) == (True, False)
    assert installation.rows("SELECT COUNT(*) FROM ohlcv WHERE ts < '2026-08-01'") == [(kept.rows,)]
    assert [each.state for each in read_exports(installation.db)] == [VERIFIED]
    objects = installation.lake_files()
    gone = export(installation)
    assert (gone.rows, gone.dropped) == (kept.rows, True)
    assert {key: data for key, data in installation.lake_files().items() if key in objects} == objects
    has_left(installation, truth)


def test_a_month_that_lies_in_the_lake_already_is_compared_and_not_written(installation: Installation) -> None:
    truth = fill(installation)
    export(installation, drop=False)
    before = {path: path.stat().st_mtime_ns for path in installation.lake.glob("ohlcv/*.parquet")}
    report = export(installation)
    assert report.written == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    has_left(installation, truth)


def test_a_late_row_reopens_the_month_and_nothing_of_it_is_lost(filled: Installation) -> None:
    fill(filled, intervals="1h")
    export(filled)
    filled.backfill(*DAYS, symbols="ETH/USDT", intervals="1h", into="mysql")
    late = filled.rows("SELECT COUNT(*) FROM ohlcv WHERE ts < '2026-08-01'")[0][0]
    assert late == 48
    assert JULY in standing_months(filled.db, "ohlcv")
    held = len([row for row in filled.lake_bars() if row[2] < JULY.plus(1).start_ms])
    report = export(filled)
    assert (report.rows, report.dropped) == (late, True)
    assert len([row for row in filled.lake_bars() if row[2] < JULY.plus(1).start_ms]) == held + late
    rounds = read_exports(filled.db, Dataset.OHLCV, JULY)
    assert [(each.round, each.state) for each in rounds] == [(1, DROPPED), (2, DROPPED)]
    assert JULY not in standing_months(filled.db, "ohlcv")


def test_what_the_lake_knows_better_stays_and_is_on_record(installation: Installation) -> None:
    """MySQL has the archive's word of a bar, the lake REST's: the archive's is refused, and may leave all the same."""
    fill(installation, intervals="1h")
    with installation.open() as rt:
        day = Window.of("2026-07-30", "2026-07-31")
        bars = rt.lake.read(day, symbols=["BTC/USDT"], intervals=[Interval.H1], exchange="binance")
        assert bars.num_rows == 0
    export(installation, drop=False)
    statement = (
        "UPDATE ohlcv SET trades = trades + 1, source = 2, receipt_id = receipt_id + 1"
        " WHERE symbol = 'BTC/USDT' AND ts = '2026-07-30 05:00:00'"
    )
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ohlcv SET source = 1, receipt_id = receipt_id + 1 WHERE ts < '2026-08-01'")
    export(installation, drop=False)  # the lake learns that REST said so
    with installation.db.engine.begin() as connection:
        assert connection.exec_driver_sql(statement).rowcount == 1
    trades = [
        row[10] for row in installation.lake_bars() if row[0] == "BTC/USDT" and row[2] == day.start_ms + 5 * 3_600_000
    ]
    report = export(installation)
    assert (report.outranked, report.dropped) == (1, True)
    assert [
        row[10] for row in installation.lake_bars() if row[0] == "BTC/USDT" and row[2] == day.start_ms + 5 * 3_600_000
    ] == trades
    assert installation.rows("SELECT store, applied FROM restatement WHERE symbol = 'BTC/USDT'") == [("lake", 0)]


def test_rows_that_the_lake_alone_holds_are_no_hindrance(installation: Installation) -> None:
    truth = fill(installation, intervals="1h")
    export(installation, drop=False)
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM ohlcv WHERE symbol = 'BTC/USDT' AND ts BETWEEN '2026-07-30 03:00' AND '2026-07-30 06:00'"
        )
    report = export(installation)
    assert (report.beside, report.dropped) == (4, True)
    has_left(installation, truth)


def test_other_datasets_leave_too(filled: Installation) -> None:
    symbols = "BTC/USDT:USDT,ETH/USDT:USDT"
    for dataset in (Dataset.FUNDING, Dataset.METRICS):
        filled.backfill("2026-07-29", "2026-08-02", symbols=symbols, dataset=dataset, into="mysql")
        key = "symbol, ts, exchange" + (", rate_type" if dataset is Dataset.FUNDING else "")
        held = filled.rows(f"SELECT * FROM {dataset} WHERE ts < '2026-08-01' ORDER BY {key}")
        assert len(held) > 10
        status, report, told = filled.command("export-month", "2026-07", "--table", str(dataset), "--drop")
        assert (status, report["rows"], report["dropped"]) == (0, len(held), True), told
        assert filled.rows(f"SELECT COUNT(*) FROM {dataset} WHERE ts < '2026-08-01'") == [(0,)]
        status, report, told = filled.command("restore-month", "2026-07", "--table", str(dataset))
        assert status == 0, told
        back = filled.rows(f"SELECT * FROM {dataset} WHERE ts < '2026-08-01' ORDER BY {key}")
        assert [row[:-1] for row in back] == [row[:-1] for row in held]  # all but which load brought it


def test_an_hourly_load_beside_the_export_lands_in_the_next_month(installation: Installation) -> None:
    """A load into August works while July leaves, and is not touched by it."""
    truth = fill(installation, intervals="1h")
    august = installation.rows("SELECT COUNT(*) FROM ohlcv WHERE ts >= '2026-08-01'")
    export(installation)
    assert installation.rows("SELECT COUNT(*) FROM ohlcv WHERE ts >= '2026-08-01'") == august
    assert everything(installation) == truth


@pytest.mark.parametrize(("month", "why"), [("2026-11", "not over"), ("2026-12", "not over"), ("2026-13", "YYYY-MM")])
def test_a_month_that_is_not_over_is_refused(installation: Installation, month: str, why: str) -> None:
    status, report, told = installation.command("export-month", month, "--drop")
    assert (status, report) == (2, None)
    assert why in told


def test_a_month_of_which_mysql_holds_nothing_is_no_error(installation: Installation) -> None:
    status, report, _ = installation.command("export-month", "2019-03", "--drop")
    assert (status, report["rows"], report["files"], report["dropped"]) == (0, 0, 0, False)
    assert read_exports(installation.db) == []
    assert not (installation.lake / "ohlcv").exists()


def test_a_dry_run_writes_nothing(installation: Installation) -> None:
    truth = fill(installation, intervals="1h")
    rows = installation.rows("SELECT COUNT(*) FROM ohlcv WHERE ts < '2026-08-01'")[0][0]
    with installation.open() as rt:
        found = plan_export(rt, Dataset.OHLCV, JULY)
    assert (found.rows, found.series, found.verified) == (rows, 3, False)
    assert read_exports(installation.db) == []
    assert not (installation.lake / "ohlcv").exists()
    assert everything(installation) == truth


def test_a_month_in_the_middle_stays_as_an_empty_partition(installation: Installation) -> None:
    """Dropping it would give its range to the next month, whose rows a late one would then be among."""
    truth = fill(installation, intervals="1h")
    report = export(installation, month=Month(2026, 8))
    assert report.dropped
    assert {JULY, Month(2026, 8)} <= set(standing_months(installation.db, "ohlcv"))
    assert everything(installation) == truth
    assert export(installation).dropped
    assert not {JULY, Month(2026, 8)} & set(standing_months(installation.db, "ohlcv"))
    assert everything(installation) == truth


def test_hot_months_are_not_due_and_restored_ones_only_after_their_hold(installation: Installation) -> None:
    fill(installation, intervals="1h")
    with installation.open() as rt:
        now_ms = Month(2026, 11).start_ms + 86_400_000
        assert [str(each) for each in due_months(rt, now_ms)] == ["ohlcv 2026-07", "ohlcv 2026-08"]
        assert due_months(rt, Month(2026, 9).start_ms) == []
    export(installation)
    assert installation.command("restore-month", "2026-07")[0] == 0
    with installation.open() as rt:
        assert [str(each) for each in due_months(rt, now_ms)] == ["ohlcv 2026-08"]


def test_the_next_backfill_of_a_month_that_left_asks_for_nothing(installation: Installation) -> None:
    fill(installation, intervals="1h")
    export(installation)
    again = installation.backfill(*DAYS, symbols=",".join(SYMBOLS), intervals="1h")
    assert (again.rows_loaded, again.bars_present, again.gap_bars) == (0, again.bars_expected, 0)


def test_late_knowledge_replaces_the_day_in_the_lake_and_the_old_object_is_kept(installation: Installation) -> None:
    """`gaps --fill` over a month that left: a value that differs, and a hole, are put right where they lie now."""
    truth = fill(installation)
    export(installation)
    with installation.open() as rt:
        hour = Window.of("2026-07-30T05:00", "2026-07-30T06:00")
        [bar] = [rt.lake.read(hour, symbols=["BTC/USDT"], intervals=[Interval.M15], exchange="binance").slice(0, 1)]
        other = pa.array([1 + bar["trades"][0].as_py()], pa.uint32())
        place = bar.schema.names.index("trades")
        rt.lake.write(bar.set_column(place, bar.schema.field(place), other))
        rt.lake.remove(
            rt.lake.read(hour, symbols=[SYMBOLS[1]], intervals=[Interval.M15], exchange="binance").slice(2, 1)
        )
    assert everything(installation) != truth
    before = {path.name: path.read_bytes() for path in installation.lake.glob("ohlcv/*2026-07-30*")}
    symbols = ",".join(SYMBOLS)
    status, report, told = installation.command(
        "gaps", "--start", DAYS[0], "--end", DAYS[1], "--symbols", symbols, "--intervals", "15m", "--fill"
    )
    assert (status, report["filled"], report["failed"]) == (0, 1, 0), told
    assert everything(installation) == truth
    assert installation.rows("SELECT COUNT(*) FROM ohlcv WHERE ts < '2026-08-01'") == [(0,)]
    kept = [path.read_bytes() for path in installation.lake.glob("_superseded/ohlcv/*")]
    assert set(before.values()) <= set(kept)
    for uri, digest in installation.rows("SELECT uri, sha256 FROM archive_receipt WHERE period_start < '2026-08-01'"):
        assert hashlib.sha256(Path(uri.removeprefix("file://")).read_bytes()).hexdigest() == digest


def test_a_restored_month_is_mysqls_again_until_it_leaves(installation: Installation) -> None:
    """A later value that went to the lake alone would be hidden behind the restored one."""
    fill(installation, intervals="1h")
    export(installation)
    assert installation.command("restore-month", "2026-07")[0] == 0
    loaded = installation.backfill(*DAYS, symbols="ETH/USDT", intervals="1h")
    assert loaded.rows_loaded == 48
    assert installation.rows("SELECT COUNT(*) FROM ohlcv WHERE symbol = 'ETH/USDT'") == [(48,)]
    export(installation)
    assert len([row for row in installation.lake_bars() if row[0] == "ETH/USDT"]) == 48


def test_months_of_wrong_configuration_are_refused(installation: Installation) -> None:
    with installation.open() as rt, pytest.raises(ConfigError, match="newest month that can be exported is 2026-10"):
        plan_export(rt, Dataset.OHLCV, Month(2026, 11))
