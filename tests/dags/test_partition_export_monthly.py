"""`partition_export_monthly` run by Airflow itself (`dag.test`) on a real installation: months leave in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.datasets import Dataset
from gapless.errors import StorageError
from gapless.storage.mysql.exports import DROPPED, read_exports
from tests.dags.standing import standing_installation
from tests.fixtures.mysql import Server
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation
from tests.pipeline.export.stage import JULY, everything, fill


@pytest.fixture
def installed(
    airflow: Path,
    mysql_servers: Callable[[str], Server],
    replica: ReplicaHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    """An empty installation on the replica; the environment describes it."""
    import gapless_airflow.steps

    monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
    with standing_installation(mysql_servers, replica, tmp_path, monkeypatch, "BTC/USDT") as standing:
        yield standing


@pytest.fixture
def run_dag(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    dag = dags["partition_export_monthly"]
    for task in dag.tasks:
        settings = task.partial_kwargs if task.is_mapped else task.__dict__
        monkeypatch.setitem(settings, "retry_delay", timedelta(0))
        monkeypatch.setitem(settings, "retries", 0)
    moment = iter(datetime(2026, 12, 2, 2, 30, second, tzinfo=UTC) for second in range(60))
    return lambda conf=None: dag.test(run_after=next(moment), logical_date=None, run_conf=conf)


def states(run: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in sorted(run.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index)):
        found.setdefault(task.task_id.removeprefix("month."), []).append(str(task.state))
    return found


def test_months_that_are_no_longer_hot_leave_and_the_run_tells_their_receipts(
    installed: Installation, run_dag: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = fill(installed, intervals="1h")
    run = run_dag()
    assert states(run) == {
        "plan": ["success"],
        "bring": ["success"] * 2,
        "prove": ["success"] * 2,
        "drop": ["success"] * 2,
        "report": ["success"],
    }
    assert [(each.month, each.state) for each in read_exports(installed.db, Dataset.OHLCV)] == [
        (JULY, DROPPED),
        (JULY.plus(1), DROPPED),
    ]
    assert everything(installed) == truth
    told = capsys.readouterr().out
    for export in read_exports(installed.db):
        assert export.digest in told
        assert f"ohlcv/{export.month}/1" in told
    assert states(run_dag()) == {"plan": ["success"], "bring": ["skipped"], "prove": ["skipped"], "drop": ["skipped"],
                                 "report": ["success"]}  # fmt: skip


def test_a_month_that_cannot_be_proved_is_red_and_the_others_leave(
    installed: Installation, run_dag: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gapless.pipeline.export import leave

    truth = fill(installed, intervals="1h")
    step = leave.prove

    def failing(rt: Any, rows: Any, dataset: Dataset, month: Any, *rest: Any, **more: Any) -> Any:
        if month == JULY:
            raise StorageError("the object store is away")
        return step(rt, rows, dataset, month, *rest, **more)

    monkeypatch.setattr(leave, "prove", failing)
    red = states(run_dag())
    assert red["prove"] == ["failed", "success"]
    assert red["drop"] == ["upstream_failed", "success"]
    assert red["report"] == ["failed"]
    told = capsys.readouterr()
    assert "not exported: ohlcv 2026-07" in told.out + told.err
    assert everything(installed) == truth
    monkeypatch.setattr(leave, "prove", step)
    assert states(run_dag())["report"] == ["success"]
    assert everything(installed) == truth
    assert {each.state for each in read_exports(installed.db)} == {DROPPED}


def test_a_month_that_is_asked_for_leaves_though_it_is_hot(installed: Installation, run_dag: Any) -> None:
    installed.backfill("2026-10-05", "2026-10-06", symbols="BTC/USDT", intervals="1h", into="mysql")
    run = run_dag({"month": "2026-10", "table": "ohlcv"})
    assert states(run)["drop"] == ["success"]
    assert [str(each.month) for each in read_exports(installed.db)] == ["2026-10"]
    assert states(run_dag({"month": "2026-11"}))["plan"] == ["failed"]
