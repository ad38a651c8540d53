"""A native backfill of more than 200 runs is confirmed first: at the API, so in the UI, and at the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from gapless.config import project_root

pytestmark = pytest.mark.usefixtures("airflow")

RANGE = {"dag_id": "ohlcv_etl", "from_date": "2026-11-02T00:00:00Z", "to_date": "2026-11-15T00:00:00Z"}


class Api:
    """Stands for Airflow's API: counts `runs` in a dry run, notes the bodies it is asked to create."""

    def __init__(self, runs: int, dry_run_status: int = 200) -> None:
        from gapless_airflow.backfill_guard import LargeBackfillGuard

        self.runs, self.dry_run_status = runs, dry_run_status
        self.created: list[Any] = []
        self.authorised: list[str | None] = []
        routes = [
            Route("/api/v2/backfills", self.create, methods=["POST", "GET"]),
            Route("/api/v2/backfills/dry_run", self.dry_run, methods=["POST"]),
        ]
        self.client = TestClient(LargeBackfillGuard(Starlette(routes=routes)))

    async def create(self, request: Request) -> JSONResponse:
        self.created.append(await request.body())
        return JSONResponse({"id": 1})

    async def dry_run(self, request: Request) -> JSONResponse:
        assert json.loads(await request.body())
        self.authorised.append(request.headers.get("authorization"))
        if self.dry_run_status != 200:
            return JSONResponse({"detail": "no"}, status_code=self.dry_run_status)
        return JSONResponse({"backfills": [], "total_entries": self.runs})

    def post(self, **more: Any) -> Any:
        return self.client.post("/api/v2/backfills", json={**RANGE, **more}, headers={"Authorization": "Bearer mine"})


def test_two_hundred_runs_pass_untouched() -> None:
    api = Api(runs=200)
    answer = api.post(max_active_runs=3)
    assert answer.status_code == 200
    assert json.loads(api.created[0]) == {**RANGE, "max_active_runs": 3}


def test_one_more_is_refused_with_the_number_and_what_to_do() -> None:
    api = Api(runs=201)
    answer = api.post()
    assert answer.status_code == 409
    assert "would create 201 runs" in answer.json()["detail"]
    assert '{"confirm_runs": 201}' in answer.json()["detail"]
    assert api.created == []


def test_the_count_is_asked_with_the_callers_own_credentials() -> None:
    api = Api(runs=201)
    api.post()
    assert api.authorised == ["Bearer mine"]


@pytest.mark.parametrize(("confirmed", "status"), [(500, 200), (501, 200), (499, 409), ("500", 409), (True, 409)])
def test_a_confirmation_counts_when_it_is_a_number_at_least_as_large(confirmed: object, status: int) -> None:
    assert Api(runs=500).post(dag_run_conf={"confirm_runs": confirmed}).status_code == status


@pytest.mark.parametrize("status", [401, 404, 422, 503])
def test_a_refused_dry_run_leaves_the_answer_to_airflow(status: int) -> None:
    api = Api(runs=500, dry_run_status=status)
    assert api.post().status_code == 200
    assert len(api.created) == 1


def test_a_body_that_is_no_json_is_handed_on_as_it_came() -> None:
    api = Api(runs=500)
    assert api.client.post("/api/v2/backfills", content=b"rubbish").status_code == 200
    assert api.created == [b"rubbish"]


def test_a_huge_body_is_handed_on_unread() -> None:
    api = Api(runs=500)
    body = json.dumps({**RANGE, "padding": "x" * (3 << 20)}).encode()
    assert api.client.post("/api/v2/backfills", content=body).status_code == 200
    assert api.created == [body]


def test_other_requests_are_not_looked_at() -> None:
    api = Api(runs=500)
    assert api.client.get("/api/v2/backfills").status_code == 200
    assert api.client.post("/api/v2/backfills/dry_run", json=RANGE).json()["total_entries"] == 500


def test_airflow_loads_the_plugin_and_puts_the_guard_before_its_api() -> None:
    from airflow import plugins_manager

    _, middlewares = plugins_manager.get_fastapi_plugins()
    assert [m["name"] for m in middlewares] == ["Large backfills are confirmed first"]
    assert plugins_manager._get_plugins()[1] == {}, "a module in plugins/ fails to import"


def test_the_command_line_is_guarded_too(airflow: Path, dags: dict[str, Any]) -> None:
    """`airflow backfill create` writes to the database without the API, so it is asked for real, in its own process."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.models.backfill import Backfill
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)  # type: ignore[no-untyped-call]
    folder = project_root() / "dags"
    sync_bag_to_db(BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder"), "dags-folder", None)

    def create(*more: str) -> subprocess.CompletedProcess[str]:
        dates = ("--from-date", "2026-11-02", "--to-date", "2026-11-15")
        command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", "ohlcv_etl", *dates, *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, env=dict(os.environ))

    def backfills() -> int:
        with create_session() as session:
            return session.scalar(select(func.count()).select_from(Backfill)) or 0

    refused = create()
    assert refused.returncode == 2, refused.stderr[-2000:]
    assert "would create 313 runs" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert backfills() == 0
