"""The daily checks on the whole native stack: the scheduler runs them, the UI shows what they say, metrics count it."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping

import pytest

from gapless.stack.hourly import ALSO_SCHEDULED, ensure_green_run
from gapless.stack.native import NativeStack
from gapless.stack.state import load_state
from tests.stack.test_native import eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def fetch(url: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and text of a page, without a proxy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(urllib.request.Request(url, headers=dict(headers or {})), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_what_is_unpaused_after_the_first_green_run_exists(running: NativeStack) -> None:
    api = running.api()
    assert eventually(lambda: all(api.find_dag(dag_id) is not None for dag_id in ALSO_SCHEDULED))
    assert api.import_errors() == []


def test_the_day_is_compared_and_judged_and_the_reports_open_in_the_ui(running: NativeStack) -> None:
    api = running.api()
    base = f"http://127.0.0.1:{load_state(running.layout.state_file).ports['airflow']}"
    ensure_green_run(api, say=print, timeout_s=300)
    status, text = fetch(f"{base}/data-docs/")
    assert status == 401, "nobody reads the reports without a login"

    # Both at once, as after `make run`: the quality check waits for the diff.
    for dag_id in ("gap_diff_daily", "quality_daily"):
        api.unpause(dag_id)
    runs: dict[str, str] = {}

    def ended() -> bool:
        for dag_id in ("gap_diff_daily", "quality_daily"):
            for run in api.runs(dag_id):
                if run["state"] in ("success", "failed"):
                    runs[dag_id] = run["dag_run_id"]
        return len(runs) == 2

    assert eventually(ended, 600)
    for dag_id, run_id in runs.items():
        for task in api.tasks(dag_id, run_id):
            assert task["state"] == "success", "\n".join(api.log_lines(dag_id, run_id, task))
    diff = next(task for task in api.tasks("gap_diff_daily", runs["gap_diff_daily"]) if task["task_id"] == "report")
    first = next(task for task in api.tasks("quality_daily", runs["quality_daily"]) if task["task_id"] == "rules")
    assert diff["end_date"] <= first["start_date"], "what is being repaired is not judged"

    login = {"Authorization": f"Bearer {api.token()}"}
    status, text = fetch(f"{base}/data-docs/", login)
    assert status == 200
    assert "No reports yet" not in text
    assert (running.layout.home("demo") / "data_docs").is_dir()
    assert not (running.layout.var / "data_docs").exists(), "a demonstration's reports lie apart"


def test_metrics_count_the_runs_and_need_no_login(running: NativeStack) -> None:
    """Of a form too, whose parameters have no defaults: `dag.test` cannot count those (tests/dags/conftest.py)."""
    service = next(service for service in running.status().services if service.name == "metrics")
    assert service.state == "running"
    assert service.url is not None
    assert fetch(f"{service.url}/healthz")[0] == 200

    wanted = {f'job_success_total{{job="{dag_id}"}}' for dag_id in ("ohlcv_etl", "ohlcv_backfill")}

    def counted() -> bool:
        told = fetch(f"{service.url}/metrics")[1]
        return all(name in told for name in wanted)

    api = running.api()
    ensure_green_run(api, say=print, timeout_s=300)
    api.unpause("ohlcv_backfill")
    form = {"symbols": "BTC/USDT:USDT", "start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z", "dry_run": True}
    api.trigger("ohlcv_backfill", note="counted", conf=form)
    assert eventually(counted, 120), fetch(f"{service.url}/metrics")[1]
