"""A small client of Airflow's REST API v2, for what the native start asks of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from gapless.errors import GaplessError

# Loopback is never reached through a proxy, whatever the environment says.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_HEALTH = {"metadatabase": "database", "scheduler": "scheduler", "dag_processor": "dag-processor"}
_HEALTH |= {"triggerer": "triggerer"}


class AirflowRefused(GaplessError):
    """Airflow answered a request with an error.

    Attributes:
        status: the HTTP status.
    """

    kind = "airflow"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class AirflowApi:
    """One Airflow, logged in on first need.

    Args:
        url: its base, without a trailing slash.
    """

    def __init__(self, url: str, user: str, password: str, *, timeout_s: float = 30) -> None:
        self._url = url
        self._login = {"username": user, "password": password}
        self._timeout_s = timeout_s
        self._token: str | None = None

    def unhealthy(self) -> list[str]:
        """The components that are not healthy, each with what Airflow says of it; empty when all is well."""
        try:
            parts = self._send("GET", "/api/v2/monitor/health", None, {})
        except (OSError, ValueError, AirflowRefused):
            return ["api-server: no answer"]
        said = {label: (parts.get(name) or {}).get("status") for name, label in _HEALTH.items()}
        return [f"{label}: {status or 'not started'}" for label, status in said.items() if status != "healthy"]

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        """Make a pool unless it exists; one that an operator has resized stays as it is."""
        try:
            self.call("GET", f"/pools/{quote(name)}")
        except AirflowRefused as refused:
            if refused.status != 404:
                raise
            self.call("POST", "/pools", {"name": name, "slots": slots, "description": description})

    def find_dag(self, dag_id: str) -> dict[str, Any] | None:
        """The DAG as Airflow knows it, None while its file has not been read."""
        try:
            found: dict[str, Any] = self.call("GET", f"/dags/{quote(dag_id)}")
        except AirflowRefused as refused:
            if refused.status == 404:
                return None
            raise
        return found

    def import_errors(self) -> list[str]:
        """Every DAG file that could not be read, with the last line of why."""
        errors = self.call("GET", "/importErrors")["import_errors"]
        return [f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}" for error in errors]

    def unpause(self, dag_id: str) -> None:
        self.call("PATCH", f"/dags/{quote(dag_id)}", {"is_paused": False})

    def trigger(self, dag_id: str, *, note: str, conf: Mapping[str, object] | None = None) -> dict[str, Any]:
        """A manual run without a logical date: the DAG itself picks the newest complete window."""
        body = {"logical_date": None, "conf": dict(conf or {}), "note": note}
        run: dict[str, Any] = self.call("POST", f"/dags/{quote(dag_id)}/dagRuns", body)
        return run

    def runs(self, dag_id: str, *, limit: int = 20) -> list[dict[str, Any]]:
        """The newest runs, newest first."""
        path = f"/dags/{quote(dag_id)}/dagRuns?order_by=-run_after&limit={limit}"
        found: list[dict[str, Any]] = self.call("GET", path)["dag_runs"]
        return found

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}")
        return found

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The task instances of a run."""
        path = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances?limit=200"
        found: list[dict[str, Any]] = self.call("GET", path)["task_instances"]
        return found

    def log_lines(self, dag_id: str, run_id: str, task: Mapping[str, Any]) -> list[str]:
        """The log of a task instance's last try, one message a line; of an error also what it says."""
        path = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances/{quote(task['task_id'])}"
        path += f"/logs/{max(1, task['try_number'])}?full_content=true&map_index={task['map_index']}"
        content = self.call("GET", path)["content"]
        return [line for entry in content for line in _lines(entry)]

    def token(self) -> str:
        """The token of the login, asked for once; it opens the API and the pages of plugins."""
        if self._token is None:
            self._token = str(self._send("POST", "/auth/token", self._login, {})["access_token"])
        return self._token

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """One request below `/api/v2`, logged in.

        Raises:
            AirflowRefused: it answered with an error.
            GaplessError: it did not answer.
        """
        try:
            return self._send(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self.token()}"})
        except OSError as error:
            raise GaplessError(f"Airflow at {self._url} did not answer {method} {path}: {error}") from None

    def _send(self, method: str, path: str, body: Mapping[str, object] | None, headers: Mapping[str, str]) -> Any:
        request = urllib.request.Request(  # noqa: S310  # a loopback URL of our own making
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Accept": "application/json", **headers},
            method=method,
        )
        try:
            with _DIRECT.open(request, timeout=self._timeout_s) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise AirflowRefused(f"Airflow refused {method} {path}: HTTP {error.code} {said}", error.code) from None


def _lines(entry: object) -> list[str]:
    """A log entry as Airflow gives it: a text, or a structure whose errors stand apart from its event."""
    if not isinstance(entry, dict):
        return [str(entry)]
    errors = entry.get("error_detail") or []
    return [str(entry["event"]), *(line for error in errors for line in f"{error.get('exc_value', '')}".splitlines())]
