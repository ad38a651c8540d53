"""Metrics of partitions and of months that left, on both servers; and the housekeeping that keeps them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gapless.config import load_settings
from gapless.domain.datasets import Dataset
from gapless.domain.window import parse_time
from gapless.errors import StorageError
from gapless.pipeline import housekeeping
from gapless.pipeline.housekeeping import export_daily_books, make_partitions, sweep_all
from gapless.pipeline.metrics import ExchangeTime
from gapless.pipeline.metrics.collect import collect
from gapless.pipeline.metrics.lag import LagWatch
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.checks import CLEAN, DIRTY, FAILED, read_checks
from gapless.storage.mysql.exports import DROPPED, LEAVING, MonthExport, put_export
from gapless.storage.mysql.partitions import MONTHS_AHEAD, Month
from tests.fixtures.mysql import KINDS, fresh_database
from tests.pipeline.conftest import mysql_url

NOW = parse_time("2027-03-31T23:59")
TABLES = {str(dataset) for dataset in Dataset}
STRAY = (
    "INSERT INTO ohlcv VALUES ('A/USDT', '1m', '2001-01-01', 'binance', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), "
    "('A/USDT', '1m', '2001-01-02', 'binance', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), "
    "('A/USDT', '1m', '2999-01-01', 'binance', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)"
)


@pytest.fixture
def rt(request: pytest.FixtureRequest, tmp_path: Path, mysql_servers: Callable[[str], Any]) -> Iterator[Runtime]:
    """On MariaDB, unless the test names the server."""
    with fresh_database(mysql_servers(getattr(request, "param", "mariadb"))) as db:
        settings = load_settings(
            mysql_url=mysql_url(db), var_dir=tmp_path / "var", lake_uri=f"file://{tmp_path}/lake", storage_patience_s=10
        )
        with Runtime.open(settings) as opened:
            yield opened


def told(rt: Runtime, name: str, now_ms: int = NOW) -> dict[tuple[str, ...], float]:
    samples = collect(rt, ExchangeTime(host_ms=lambda: now_ms), LagWatch())
    return {sample.labels: sample.value for sample in samples if sample.name == name}


def sql(rt: Runtime, statement: str) -> None:
    with rt.db.engine.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("rt", KINDS, indirect=True)
def test_months_ahead_are_made_and_strays_are_told_until_they_are_gone(rt: Runtime) -> None:
    assert told(rt, "partition_months_ahead") == {(table,): 0 for table in TABLES}
    report = make_partitions(rt, NOW)
    assert {table: made[-1] for table, made in report.made.items()} == dict.fromkeys(TABLES, "p202705")
    assert told(rt, "partition_months_ahead") == {(table,): MONTHS_AHEAD for table in TABLES}
    assert make_partitions(rt, NOW).made == {table: [] for table in TABLES}
    strays = told(rt, "partition_stray_rows")
    assert strays == {(table, name): 0 for table in TABLES for name in ("p_before", "pmax")}
    sql(rt, STRAY)
    assert told(rt, "partition_stray_rows") == strays | {("ohlcv", "p_before"): 2, ("ohlcv", "pmax"): 1}
    found = make_partitions(rt, NOW).strays
    assert {(each.table, each.partition, each.rows) for each in found} == {
        ("ohlcv", "p_before", 2),
        ("ohlcv", "pmax", 1),
    }
    (run,) = read_checks(rt.db, kinds=["partitions"])
    assert (run.state, run.result["stray_rows"], run.result["months_ahead"]) == (DIRTY, 3, 2)
    sql(rt, "DELETE FROM ohlcv")
    make_partitions(rt, NOW)
    assert [run.state for run in read_checks(rt.db, kinds=["partitions"])] == [CLEAN], (
        "a day's repeat replaces its entry"
    )


def test_months_that_left_are_told_by_their_last_round(rt: Runtime) -> None:
    assert told(rt, "archived_months") == {}
    for month, rounds in ((5, [DROPPED]), (6, [DROPPED, LEAVING]), (7, [LEAVING, DROPPED])):
        for number, state in enumerate(rounds, 1):
            put_export(rt.db, MonthExport(Dataset.OHLCV, Month(2026, month), number, state, NOW))
    put_export(rt.db, MonthExport(Dataset.FUNDING, Month(2026, 5), 1, DROPPED, NOW))
    assert told(rt, "archived_months") == {
        ("ohlcv", "dropped"): 2,
        ("ohlcv", "leaving"): 1,
        ("funding_rate", "dropped"): 1,
    }


def test_the_books_are_exported_once_a_day_and_the_metric_says_when(rt: Runtime) -> None:
    assert told(rt, "books_exported_timestamp_seconds") == {}
    today_ms = housekeeping._host_ms()
    first = export_daily_books(rt, today_ms)
    assert first.made
    assert told(rt, "books_exported_timestamp_seconds") == {(): parse_time(first.taken) / 1000}
    again = export_daily_books(rt, today_ms)
    assert (again.made, again.stamp) == (False, first.stamp)
    assert told(rt, "check_rows")["books", "", "rows"] == first.rows


def test_what_fails_is_on_record_as_failed(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def sick(*_: object, **__: object) -> None:
        raise StorageError("the server is away")

    monkeypatch.setattr(housekeeping, "stray_rows", sick)
    with pytest.raises(StorageError, match="away"):
        make_partitions(rt, NOW)
    (run,) = read_checks(rt.db, kinds=["partitions"])
    assert (run.state, run.result) == (FAILED, {"error": "the server is away"})


def test_a_sweep_is_on_record_with_what_it_removed(rt: Runtime) -> None:
    rt.lake.store.put("reports/quality/2026-01-01/run.json", b"12345")
    report = sweep_all(rt, NOW, link="http://airflow/run")
    assert report.applied
    (run,) = read_checks(rt.db, kinds=["retention"])
    assert (run.state, run.link, run.result["objects"], run.result["bytes"]) == (CLEAN, "http://airflow/run", 1, 5)
    assert run.result["zones"]["reports"] == {"objects": 1, "bytes": 5, "held": 0}
