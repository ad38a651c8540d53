"""Counts how the runs of each DAG end, in the books: totals that outlive the processes which counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUCCESS, FAILURE = "job_success", "job_failure"
PATIENCE_S = 20.0
"""How long the database may be away: Airflow ends a callback's process after 50 s."""


def count_success(context: Mapping[str, Any]) -> None:
    """A DAG's `on_success_callback`."""
    _count(context, SUCCESS)


def count_failure(context: Mapping[str, Any]) -> None:
    """A DAG's `on_failure_callback`."""
    _count(context, FAILURE)


def _count(context: Mapping[str, Any], ended: str) -> None:
    """Add a run to `ended`, and nothing to its opposite, so that both totals are known from the first run on.

    Airflow calls this in its DAG processor, when the run has ended: it can fail no task and hold up no run. What it
    raises is logged there; the run is then not counted.

    Args:
        context: of the run; read is its `dag`, the one entry that is always there.

    Raises:
        ConfigError: no database is configured. StorageError: it was away for longer than `PATIENCE_S`.
    """
    from gapless.pipeline.runtime import Runtime
    from gapless.storage.mysql.checks import count_up
    from gapless_airflow.connections import task_settings

    settings = task_settings()
    job = (("job", str(context["dag"].dag_id)),)
    with Runtime.open(settings.model_copy(update={"storage_patience_s": PATIENCE_S})) as runtime:
        for name in (SUCCESS, FAILURE):
            count_up(runtime.db, name, {job: int(name == ended)})
