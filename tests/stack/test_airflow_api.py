"""What is read out of Airflow's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gapless.stack.airflow_api import AirflowApi


class Answering(AirflowApi):
    """An API that gives what it is told to, and counts logins."""

    def __init__(self, answer: Any) -> None:
        super().__init__("http://127.0.0.1:1", "admin", "x")
        self.answer = answer
        self.asked: list[tuple[str, str | None]] = []

    def _send(self, method: str, path: str, body: Mapping[str, object] | None, headers: Mapping[str, str]) -> Any:
        self.asked.append((path, headers.get("Authorization")))
        return {"access_token": "t0ken"} if path == "/auth/token" else self.answer


def test_a_log_has_the_words_of_errors_which_airflow_keeps_apart_from_the_event() -> None:
    error = {"exc_type": "AirflowFailException", "exc_value": "data bad: two rows\nWhat to do: look", "frames": []}
    api = Answering(
        {
            "content": [
                {"event": "::group::Log"},
                "plain",
                {"event": "Task failed with exception", "error_detail": [error]},
            ]
        }
    )
    task = {"task_id": "verdict", "try_number": 1, "map_index": -1}
    assert api.log_lines("quality_daily", "run", task) == [
        "::group::Log", "plain", "Task failed with exception", "data bad: two rows", "What to do: look",
    ]  # fmt: skip


def test_one_login_serves_all_requests_and_the_pages_of_plugins() -> None:
    api = Answering({"dag_runs": []})
    api.runs("ohlcv_etl")
    api.runs("ohlcv_etl")
    assert api.token() == "t0ken"
    assert [path for path, _ in api.asked].count("/auth/token") == 1
    assert api.asked[-1][1] == "Bearer t0ken"
