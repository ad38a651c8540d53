"""What every DAG must declare. A failure's message tells the author what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gapless.config import project_root

CONTRACT = {
    "ohlcv_etl",
    "ohlcv_backfill",
    "funding_etl",
    "futures_metrics_etl",
    "macro_daily",
    "instruments_daily",
    "gap_diff_daily",
    "quality_daily",
    "stream_archive_hourly",
    "partition_export_monthly",
}
OURS = {"housekeeping_daily"}
"""Beside the contract's; nobody else relies on these."""
ON_REQUEST = {"ohlcv_backfill"}
"""DAGs that run only when someone fills in their form."""
MONTHLY = {"partition_export_monthly"}
"""Runs that move a month of rows."""

HEAVY = ("pandas", "pyarrow", "ccxt", "great_expectations", "MySQLdb", "boto3", "redis", "aiohttp", "gapless.pipeline")


def test_every_file_parses_and_makes_a_dag_of_its_own_name(dags: dict[str, Any]) -> None:
    files = {path.stem for path in (project_root() / "dags").glob("*.py")}
    assert set(dags) == files, "a DAG file is named after the one DAG in it"


def test_ids_are_those_that_others_rely_on(dags: dict[str, Any]) -> None:
    assert set(dags) - OURS <= CONTRACT, "the contract names the DAG ids; ask before inventing one"
    assert set(dags) - OURS == CONTRACT - {"macro_daily"}


def test_the_hourly_dag_has_the_tasks_that_others_rely_on(dags: dict[str, Any]) -> None:
    assert {"extract_raw", "transform_normalise", "load_mysql", "archive_s3"} <= set(dags["ohlcv_etl"].task_ids)


def test_each_dag_is_documented_for_its_operator(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        doc = dag.doc_md or ""
        for heading in ("**What.**", "**When to trigger.**", "**Undo.**"):
            assert heading in doc, f"{dag.dag_id}: doc_md needs {heading}"
        missing = [name for name in dag.params if f"`{name}`" not in doc]
        assert not missing, f"{dag.dag_id}: doc_md does not say what these parameters do: {missing}"
        assert all(dag.params.get_param(name).description for name in dag.params), (
            f"{dag.dag_id}: describe every parameter"
        )


def test_each_dag_has_tags_and_never_catches_up_by_itself(dags: dict[str, Any]) -> None:
    for dag in dags.values():
        assert "gapless" in dag.tags, f"{dag.dag_id}: make it with labels(), which tags it"
        assert len(dag.tags) >= 3, f"{dag.dag_id}: tag the dataset and the rhythm"
        assert "generated data" not in dag.tags, "only a demonstration says so"
        assert dag.catchup is False, f"{dag.dag_id}: catchup would start years of runs on the first day"
        assert dag.max_active_runs == 1, f"{dag.dag_id}: two runs at once only compete for the request budget"


def test_the_runs_of_each_dag_are_counted(dags: dict[str, Any]) -> None:
    from gapless_airflow.jobs import count_failure, count_success

    for dag in dags.values():
        assert dag.on_success_callback is count_success, f"{dag.dag_id}: make it with labels(), which counts its runs"
        assert dag.on_failure_callback is count_failure, f"{dag.dag_id}: make it with labels(), which counts its runs"


def test_intervals_have_a_width(dags: dict[str, Any]) -> None:
    """A plain "@hourly" makes zero-width intervals in Airflow 3."""
    from airflow.sdk import CronDataIntervalTimetable

    for dag in dags.values():
        if dag.dag_id in ON_REQUEST:
            assert dag.schedule is None, f"{dag.dag_id}: it has a form; a schedule would have nothing to fill in"
            continue
        assert isinstance(dag.timetable, CronDataIntervalTimetable), f"{dag.dag_id}: use CronDataIntervalTimetable"


def test_each_task_is_owned_bounded_and_retried_by_cause(dags: dict[str, Any]) -> None:
    from gapless_airflow.policy import OWNER, RETRY_BY_CAUSE

    for dag in dags.values():
        for task in dag.tasks:
            name = f"{dag.dag_id}.{task.task_id}"
            assert task.owner == OWNER, f"{name}: take DEFAULT_ARGS"
            assert task.retries >= 2, f"{name}: the exchange and the databases do go away for a minute"
            assert task.retry_exponential_backoff >= 2, f"{name}: back off"
            assert task.max_retry_delay <= timedelta(minutes=15), f"{name}: bound the backoff"
            assert task.retry_policy is RETRY_BY_CAUSE, f"{name}: a wrong setting must not be retried"
            assert task.execution_timeout, f"{name}: no task runs for ever"
            longest = timedelta(hours=6 if dag.dag_id in ON_REQUEST | MONTHLY else 1)
            assert task.execution_timeout <= longest, f"{name}: too long for an hourly rhythm"


def test_pools_are_declared_in_the_one_file(dags: dict[str, Any]) -> None:
    declared = json.loads((project_root() / "deploy" / "airflow" / "pools.json").read_text())
    used = {task.pool for dag in dags.values() for task in dag.tasks}
    assert used <= {*declared, "default_pool"}, "a task in an undeclared pool waits for ever: deploy/airflow/pools.json"
    assert "exchange_rest" in used
    for name, pool in declared.items():
        assert pool["slots"] > 0, name
        assert pool["description"], name


def test_mapped_tasks_have_readable_names(dags: dict[str, Any]) -> None:
    grouped = [
        task for dag in dags.values() for task in dag.tasks if task.is_mapped or task.get_closest_mapped_task_group()
    ]
    assert grouped
    for task in grouped:
        assert task.map_index_template, f"{task.task_id}: a map index says nothing; name the batch"


@pytest.mark.parametrize("path", sorted((project_root() / "dags").glob("*.py")), ids=lambda path: path.stem)
def test_a_dag_file_is_parsed_quickly_and_imports_nothing_heavy(airflow: Path, path: Path) -> None:
    """In a process of its own, airflow.sdk imported first: the scheduler does not pay for that at every parse."""
    script = f"""
import runpy, sys, time
sys.path.append({str(project_root() / "plugins")!r})
import airflow.sdk
before = set(sys.modules)
cpu = time.process_time()
runpy.run_path({str(path)!r})
spent = time.process_time() - cpu
heavy = [name for name in {HEAVY!r} if name in sys.modules and name not in before]
print(f"{{spent:.3f}}", *heavy)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    spent, *heavy = done.stdout.splitlines()[-1].split()
    assert not heavy, f"{path.name} imports {heavy} at top level: import inside the task"
    assert float(spent) < 2, f"{path.name} takes {spent} s of CPU to parse"


def test_a_demonstration_is_labelled_wherever_it_shows(airflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gapless_airflow.policy import labels

    monkeypatch.setenv("GAPLESS_MODE", "demo")
    shown = labels("ohlcv_etl", "doc", "ohlcv")
    assert "generated data" in shown["tags"]
    assert "generated data" in shown["dag_display_name"]
    assert shown["doc_md"].startswith("> **Demonstration on generated data.**")
    assert shown["dag_id"] == "ohlcv_etl"
