"""One green run of the newest hour: found, awaited or triggered, never doubled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gapless.errors import GaplessError
from gapless.stack import hourly
from gapless.stack.airflow_api import AirflowApi
from gapless.stack.hourly import ALSO_SCHEDULED, ensure_green_run, progress_line, schedule_others

NOW = datetime(2026, 11, 20, 16, 20, tzinfo=UTC)


class Airflow(AirflowApi):
    """An Airflow of plain lists: `script` are the states a run goes through, one a look."""

    def __init__(
        self,
        runs: list[dict[str, Any]],
        *,
        paused: bool = False,
        scheduled: dict[str, Any] | None = None,
        script: tuple[str, ...] = ("running", "success"),
    ) -> None:
        super().__init__("http://127.0.0.1:1", "admin", "x")
        self.existing = runs
        self.paused = paused
        self.scheduled = scheduled
        self.script = list(script)
        self.triggered = 0

    def find_dag(self, dag_id: str) -> dict[str, Any] | None:
        return {"is_paused": self.paused}

    def unpause(self, dag_id: str) -> None:
        self.paused = False
        if self.scheduled:
            self.existing.insert(0, self.scheduled)

    def runs(self, dag_id: str, *, limit: int = 20) -> list[dict[str, Any]]:
        return self.existing

    def trigger(self, dag_id: str, *, note: str, conf: Any = None) -> dict[str, Any]:
        self.triggered += 1
        return made("manual", "queued", "2026-11-20T16:20:00Z")

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return {"state": self.script.pop(0)}

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return [{"task_id": "extract_raw", "state": "failed", "try_number": 1, "map_index": 2}]

    def log_lines(self, dag_id: str, run_id: str, task: Any) -> list[str]:
        return ["::group::Log", "", f"symbol lost in piece {task['map_index']}"]


def made(kind: str, state: str, at: str) -> dict[str, Any]:
    return {"run_type": kind, "state": state, "run_after": at, "dag_run_id": f"{kind}__{at}"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hourly, "_SCHEDULER_PATIENCE_S", 0.05)


def ensure(api: Airflow) -> hourly.RunReport:
    return ensure_green_run(api, say=lambda line: None, now=lambda: NOW)


def test_a_green_run_of_this_hour_is_reused() -> None:
    api = Airflow([made("scheduled", "success", "2026-11-20T16:00:00Z")], script=())
    assert ensure(api).reused
    assert api.triggered == 0


def test_a_run_of_an_earlier_hour_or_a_red_one_does_not_count() -> None:
    api = Airflow(
        [made("manual", "failed", "2026-11-20T16:10:00Z"), made("scheduled", "success", "2026-11-20T15:00:00Z")]
    )
    assert not ensure(api).reused
    assert api.triggered == 1


def test_a_backfill_of_an_old_hour_is_not_taken_for_the_newest() -> None:
    api = Airflow([made("backfill", "success", "2026-11-20T16:19:00Z")])
    ensure(api)
    assert api.triggered == 1


def test_what_the_scheduler_starts_by_itself_is_not_doubled() -> None:
    api = Airflow([], paused=True, scheduled=made("scheduled", "running", "2026-11-20T16:00:00Z"))
    report = ensure(api)
    assert report.run_id.startswith("scheduled")
    assert api.triggered == 0
    assert not api.paused


def test_without_a_scheduled_run_one_is_triggered() -> None:
    api = Airflow([], paused=True)
    assert ensure(api).run_id.startswith("manual")
    assert api.triggered == 1


def test_a_red_run_is_an_error_with_the_tasks_own_words() -> None:
    api = Airflow([], script=("failed",))
    with pytest.raises(GaplessError, match=r"(?s)failed in extract_raw; its log ends:.*symbol lost in piece 2"):
        ensure(api)


def test_progress_is_one_readable_line() -> None:
    states = ["success", "running", "running", None]
    tasks = [{"task_id": "plan", "state": "success"}, *({"task_id": "extract_raw", "state": s} for s in states)]
    assert progress_line(tasks) == "plan done, extract_raw 2 of 4 running"
    assert progress_line([{"task_id": "plan", "state": "up_for_reschedule"}]) == "plan up for reschedule"
    assert progress_line([]) == ""


class Dags(Airflow):
    """An Airflow that finds each DAG at the N-th look, or never."""

    def __init__(self, looks: dict[str, int], running: tuple[str, ...] = ()) -> None:
        super().__init__([])
        self.looks = dict.fromkeys(ALSO_SCHEDULED, 1) | looks
        self.running = running
        self.unpaused: list[str] = []

    def find_dag(self, dag_id: str) -> dict[str, Any] | None:
        self.looks[dag_id] -= 1
        return None if self.looks[dag_id] > 0 else {"is_paused": dag_id not in self.running}

    def unpause(self, dag_id: str) -> None:
        self.unpaused.append(dag_id)


def test_the_other_dags_are_scheduled_the_diff_before_the_check_that_waits_for_it() -> None:
    api = Dags({"gap_diff_daily": 2}, running=("funding_etl",))
    said: list[str] = []
    schedule_others(api, say=said.append)
    assert api.unpaused == [dag_id for dag_id in ALSO_SCHEDULED if dag_id != "funding_etl"]
    assert api.unpaused.index("gap_diff_daily") < api.unpaused.index("quality_daily")
    assert said == []


def test_a_dag_that_is_never_found_is_named_and_holds_up_no_other() -> None:
    api = Dags({"gap_diff_daily": 10_000})
    said: list[str] = []
    schedule_others(api, say=said.append, patience_s=0.3)
    assert api.unpaused == [dag_id for dag_id in ALSO_SCHEDULED if dag_id != "gap_diff_daily"]
    assert len(said) == 1
    assert "gap_diff_daily" in said[0]
