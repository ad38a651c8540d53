"""Brings the hourly DAG to one green run for the newest hour, through Airflow's REST API, and says what happens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gapless.errors import GaplessError
from gapless.stack.airflow_api import AirflowApi

DAG_ID = "ohlcv_etl"
ALSO_SCHEDULED = (
    "instruments_daily",
    "funding_etl",
    "futures_metrics_etl",
    "gap_diff_daily",
    "quality_daily",
    "housekeeping_daily",
    "stream_archive_hourly",
    "partition_export_monthly",
)
"""What a running installation needs besides; unpaused once the first run is green, which gets the machine first.

Metrics that are not fetched within thirty days are gone: they do not wait until somebody thinks of them. The diff comes
before the quality check, which waits for it.
"""
_ENDED = ("success", "failed")
_SCHEDULER_PATIENCE_S = 8.0


class RunReport(msgspec.Struct, frozen=True):
    """A run that ended green.

    Attributes:
        reused: it had been there already for the newest hour.
        seconds: how long was waited for it here.
    """

    run_id: str
    reused: bool
    seconds: float


def ensure_green_run(
    api: AirflowApi,
    *,
    say: Callable[[str], None],
    timeout_s: float = 1800,
    dag_id: str = DAG_ID,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunReport:
    """Wait for a green run of the newest hour: one that is there, one the scheduler makes, or one triggered here.

    Raises:
        GaplessError: the DAG cannot be read, the run failed (the message ends with the failing task's log), or it takes
            longer than `timeout_s`.
    """
    began = time.monotonic()
    dag = _wait_for_dag(api, dag_id, began + 120)
    hour = now().replace(minute=0, second=0, microsecond=0)
    run = _current_run(api, dag_id, hour)
    reused = run is not None and run["state"] == "success"
    if run is None:
        if dag["is_paused"]:
            api.unpause(dag_id)
            # Unpausing makes the scheduler start the newest hour by itself; a second run of it would be wasted.
            run = _await_scheduled(api, dag_id, hour)
        run = run or api.trigger(dag_id, note="make run")
    elif dag["is_paused"]:
        api.unpause(dag_id)
    if not reused:
        _follow(api, dag_id, run["dag_run_id"], say, began + timeout_s)
    return RunReport(run_id=run["dag_run_id"], reused=reused, seconds=time.monotonic() - began)


def schedule_others(api: AirflowApi, *, say: Callable[[str], None], patience_s: float = 15) -> None:
    """Unpause what a running installation needs besides, without waiting for any of its runs.

    One whose file has not been read yet is waited for, all together no longer than `patience_s`; then it is named: a
    daily check that stays paused would never be missed.
    """
    deadline = time.monotonic() + patience_s
    for dag_id in ALSO_SCHEDULED:
        while (dag := api.find_dag(dag_id)) is None and time.monotonic() < deadline:
            time.sleep(0.25)
        if dag is None:
            say(f"Airflow has not found {dag_id} yet: unpause it in its page, or run this again")
        elif dag["is_paused"]:
            api.unpause(dag_id)


def _wait_for_dag(api: AirflowApi, dag_id: str, deadline: float) -> dict[str, Any]:
    while (dag := api.find_dag(dag_id)) is None:
        if errors := api.import_errors():
            raise GaplessError(f"a DAG file cannot be read: {'; '.join(errors)}")
        if time.monotonic() > deadline:
            raise GaplessError(f"Airflow has not found the DAG {dag_id}: gapless logs dag-processor")
        time.sleep(0.25)
    return dag


def _current_run(api: AirflowApi, dag_id: str, hour: datetime) -> dict[str, Any] | None:
    """The newest run of this hour that is under way or green; a failed one does not count."""
    for run in api.runs(dag_id):
        if run["run_type"] in ("scheduled", "manual") and run["state"] != "failed" and _made_at(run) >= hour:
            return run
    return None


def _made_at(run: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(run["run_after"])


def _await_scheduled(api: AirflowApi, dag_id: str, hour: datetime) -> dict[str, Any] | None:
    deadline = time.monotonic() + _SCHEDULER_PATIENCE_S
    while time.monotonic() < deadline:
        if run := _current_run(api, dag_id, hour):
            return run
        time.sleep(0.25)
    return None


def _follow(api: AirflowApi, dag_id: str, run_id: str, say: Callable[[str], None], deadline: float) -> None:
    """Say how the run goes, whenever that changes, until it ended."""
    told = ""
    while True:
        state = api.run(dag_id, run_id)["state"]
        tasks = api.tasks(dag_id, run_id)
        line = progress_line(tasks)
        if line != told and state not in _ENDED:
            say(f"{dag_id}: {line or 'waiting for the scheduler'}")
            told = line
        if state == "success":
            return
        if state == "failed":
            raise GaplessError(_explain(api, dag_id, run_id, tasks))
        if time.monotonic() > deadline:
            raise GaplessError(f"{dag_id} has not ended ({line}); it goes on by itself, look at it in Airflow's page")
        time.sleep(0.5)


def progress_line(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Where a run stands, in one line: `extract_raw 2 of 4 running, plan done`."""
    parts = []
    begun = sorted(tasks, key=lambda task: task.get("start_date") or "9")
    for task_id in dict.fromkeys(task["task_id"] for task in begun):
        states = Counter(task["state"] or "waiting" for task in tasks if task["task_id"] == task_id)
        total = states.total()
        if states["success"] == total:
            parts.append(f"{task_id} done")
            continue
        for state in ("failed", "upstream_failed", "up_for_retry", "up_for_reschedule", "running"):
            if states[state]:
                word = state.replace("_", " ")
                parts.append(f"{task_id} {states[state]} of {total} {word}" if total > 1 else f"{task_id} {word}")
    return ", ".join(parts)


def _explain(api: AirflowApi, dag_id: str, run_id: str, tasks: Sequence[Mapping[str, Any]]) -> str:
    failed = [task for task in tasks if task["state"] == "failed"]
    if not failed:
        return f"{dag_id} run {run_id} failed before any task did; look at it in Airflow's page"
    task = failed[0]
    tail = [line for line in api.log_lines(dag_id, run_id, task) if line and not line.startswith("::")][-12:]
    return f"{dag_id} run {run_id} failed in {task['task_id']}; its log ends:\n  " + "\n  ".join(tail)
