"""A month back from the lake: whole, proved, once, and without a word to readers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.schema import Source, sort_bars
from gapless.domain.window import DAY_MS, Window
from gapless.errors import NotFound, StorageError
from gapless.pipeline.read import read_everywhere
from gapless.pipeline.restore import restore_month
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import Damaged
from gapless.storage.mysql.departing import MonthRows
from gapless.storage.mysql.exports import DROPPED, RESTORED, MonthExport, newest_export, put_export
from gapless.storage.mysql.leaving import Leaving, exchange_out
from gapless.storage.mysql.partitions import Month
from tests.bars import bars
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation
from tests.pipeline.test_read import into_lake, into_mysql
from tests.storage.lake.rows import funding, metrics

BTC, SPOT, COIN = "BTC/USDT:USDT", "BTC/USDT", "币安人生/USDT:USDT"
JULY = Month(2026, 7)
WINDOW = Window.of("2026-07-01", "2026-08-01")


def july() -> pa.Table:
    """Both markets, a name that is not ASCII; days as objects of their own, and months."""
    return sort_bars(
        pa.concat_tables(
            [
                *(bars(name, "15m", "2026-07-30", 2 * 96) for name in (BTC, SPOT, COIN)),
                *(bars(name, "4h", "2026-07-20", 12 * 6) for name in (BTC, COIN)),
            ]
        )
    )


def seen(rt: Runtime) -> pa.Table:
    return read_everywhere(rt, Dataset.OHLCV, [BTC, SPOT, COIN], [Interval.M15, Interval.H4], WINDOW)


def in_mysql(installation: Installation) -> int:
    return int(installation.rows("SELECT COUNT(*) FROM ohlcv")[0][0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_month_comes_back_whole_proved_and_held(
    make_installation: MakeInstallation, replica: ReplicaHandle, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gapless.pipeline.restore._PIECE_ROWS", 100)
    installation = make_installation(replica, kind=kind)
    with installation.open() as rt:
        into_lake(rt, july())
        put_export(rt.db, MonthExport(Dataset.OHLCV, JULY, 1, DROPPED, begun_ms=1))
        plan = restore_month(rt, Dataset.OHLCV, JULY, dry_run=True)
        assert (plan.rows, plan.held, plan.loaded, plan.verified, in_mysql(installation)) == (720, 0, 0, False, 0)
        told: list[tuple[int, int]] = []
        before = time.time_ns() // 1_000_000
        report = restore_month(rt, Dataset.OHLCV, JULY, on_progress=lambda *each: told.append(each))
        assert (report.rows, report.loaded, report.unchanged, report.series) == (720, 720, 0, 5)
        assert (report.verified, report.errors, told[-1]) == (True, (), (720, 720))
        assert installation.mysql_bars() == installation.lake_bars()
        entry = newest_export(rt.db, Dataset.OHLCV, JULY)
        assert entry is not None
        assert (entry.round, entry.state, entry.rows, entry.verified_ms is not None) == (2, RESTORED, 720, True)
        assert entry.hold_until_ms is not None
        assert entry.hold_until_ms >= before + 7 * DAY_MS
        receipts = installation.rows("SELECT * FROM load_receipt ORDER BY id")
        again = restore_month(rt, Dataset.OHLCV, JULY, hold_days=0)
        assert (again.held, again.loaded, again.unchanged, again.verified) == (720, 0, 720, True)
        assert installation.rows("SELECT * FROM load_receipt ORDER BY id") == receipts
        entry = newest_export(rt.db, Dataset.OHLCV, JULY)
        assert entry is not None
        assert (entry.round, entry.hold_until_ms is not None and entry.hold_until_ms < before + DAY_MS) == (2, True)


@pytest.mark.parametrize("source", [Source.REST, Source.STREAM])
def test_rows_that_came_late_to_mysql_stay_and_are_told(installation: Installation, source: Source) -> None:
    with installation.open() as rt:
        into_lake(rt, july())
        late = bars(BTC, "4h", "2026-07-31T12:00", 3, seed=9, source=source)  # two that the lake has otherwise, one new
        alone = bars("ETH/USDT:USDT", "4h", "2026-07-31T12:00", 2)
        into_mysql(rt, pa.concat_tables([late, alone]))
        before, restated = seen(rt), installation.rows("SELECT COUNT(*) FROM restatement")
        report = restore_month(rt, Dataset.OHLCV, JULY)
        assert (report.verified, report.differing, report.beside) == (True, 3, 2)
        assert (report.loaded, report.unchanged, report.held) == (717, 3, 5)
        assert seen(rt).equals(before)
        assert installation.rows("SELECT COUNT(*) FROM restatement") == restated


def test_funding_and_metrics_come_back_too(installation: Installation) -> None:
    settled, ratios = funding(BTC, "2026-07-20", 36), metrics(BTC, "2026-07-29", 600)
    special = funding(BTC, "2026-07-21", 3).set_column(2, "rate_type", pa.array(["Special"] * 3)).cast(settled.schema)
    with installation.open() as rt:
        into_lake(rt, pa.concat_tables([settled, special]), Dataset.FUNDING)
        into_lake(rt, ratios, Dataset.METRICS)
        for dataset, rows in ((Dataset.FUNDING, 39), (Dataset.METRICS, 600)):
            report = restore_month(rt, dataset, JULY)
            assert (report.rows, report.loaded, report.verified) == (rows, rows, True)
            assert installation.rows(f"SELECT COUNT(*) FROM {dataset}") == [(rows,)]
        assert restore_month(rt, Dataset.FUNDING, JULY).loaded == 0


def test_nothing_is_loaded_of_a_month_with_a_damaged_object(installation: Installation) -> None:
    with installation.open() as rt:
        into_lake(rt, july())
        path = installation.lake / "ohlcv" / "binance-15m-2026-07-31.parquet"
        whole = path.read_bytes()
        path.write_bytes(whole[:900] + bytes([whole[900] ^ 1]) + whole[901:])
        with pytest.raises(Damaged, match="binance-15m-2026-07-31"):
            restore_month(rt, Dataset.OHLCV, JULY)
        assert (in_mysql(installation), newest_export(rt.db, Dataset.OHLCV, JULY)) == (0, None)
        path.write_bytes(whole)
        assert restore_month(rt, Dataset.OHLCV, JULY).verified


def test_rows_that_vanish_while_they_are_loaded_are_not_called_verified(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.open() as rt:
        into_lake(rt, july())
        delete = text("DELETE FROM ohlcv WHERE symbol = :symbol AND `interval` = '4h' LIMIT 2")

        def lose(done: int, total: int) -> None:
            if done == total:
                rt.db.run("losing", lambda connection: connection.execute(delete, {"symbol": BTC}))

        report = restore_month(rt, Dataset.OHLCV, JULY, on_progress=lose)
        assert not report.verified
        assert [(each.symbol, each.interval, each.kind) for each in report.errors] == [(BTC, "4h", "incomplete")]
        entry = newest_export(rt.db, Dataset.OHLCV, JULY)
        assert entry is not None
        assert entry.verified_ms is None
        assert restore_month(rt, Dataset.OHLCV, JULY).loaded == 2


def test_a_month_on_its_way_out_is_finished_first(installation: Installation) -> None:
    with installation.open() as rt:
        into_lake(rt, july())
        into_mysql(rt, bars(BTC, "4h", "2026-07-20", 72))
        with MonthRows.open(rt.db, Dataset.OHLCV, JULY) as rows:
            mark = rows.mark()
        assert exchange_out(rt.db, Leaving(Dataset.OHLCV, JULY), mark)
        with pytest.raises(StorageError, match="export-month 2026-07"):
            restore_month(rt, Dataset.OHLCV, JULY)
        assert in_mysql(installation) == 0


def test_a_month_that_the_lake_does_not_hold_is_said(installation: Installation) -> None:
    with installation.open() as rt, pytest.raises(NotFound, match=r"2026-07.*nothing to restore"):
        restore_month(rt, Dataset.OHLCV, JULY)


def test_killed_between_two_loads_it_goes_on_from_there(installation: Installation, tmp_path: Path) -> None:
    with installation.open() as rt:
        into_lake(rt, july())
        program = (
            "import os, signal\n"
            "from gapless.config import settings\n"
            "from gapless.domain.datasets import Dataset\n"
            "from gapless.pipeline import restore\n"
            "from gapless.pipeline.runtime import Runtime\n"
            "from gapless.storage.mysql.partitions import Month\n"
            "restore._PIECE_ROWS = 100\n"
            "def die(done, total):\n"
            "    if done >= 300: os.kill(os.getpid(), signal.SIGKILL)\n"
            "with Runtime.open(settings()) as rt:\n"
            "    restore.restore_month(rt, Dataset.OHLCV, Month(2026, 7), on_progress=die)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], env=installation.environment, timeout=60, check=False)
        assert done.returncode == -9
        partly = in_mysql(installation)
        assert 300 <= partly < 720
        entry = newest_export(rt.db, Dataset.OHLCV, JULY)
        assert entry is not None
        assert (entry.state, entry.verified_ms) == (RESTORED, None)
    status, report, error = installation.command("restore-month", "2026-07", "--hold-days", "30")
    assert (status, report["held"], report["loaded"], report["verified"]) == (0, partly, 720 - partly, True), error
    assert installation.mysql_bars() == installation.lake_bars()


def test_the_command_refuses_what_it_cannot_do_in_one_line(installation: Installation) -> None:
    status, report, error = installation.command("restore-month", "2026-07")
    assert (status, json.loads(json.dumps(report))["errors"][0]["kind"], error.count("\n")) == (1, "not_found", 2)
