"""What every task of ours declares: owner, retries by kind of error, time limits, the pool of the exchange."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from gapless.config import load_settings
from gapless_airflow.jobs import count_failure, count_success

OWNER = "market-data"

EXCHANGE_POOL = "exchange_rest"
"""Tasks that talk to the exchange share this pool, declared in deploy/airflow/pools.json.

The request budget is kept by Redis, whoever asks; the pool keeps tasks that wait for it from filling every slot."""

RETRY_BY_CAUSE = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=["gapless.errors.ConfigError", "gapless.errors.OriginMismatch", "gapless.errors.ValidationError"],
            action=RetryAction.FAIL,
            reason="the same input fails the same way: correct it, then clear the task",
        ),
        RetryRule(
            exception="gapless.errors.RegionRefused",
            action=RetryAction.FAIL,
            reason="the exchange refuses this network or region; trying again only gets noticed",
        ),
    ]
)
"""First match wins; all else (StorageError, ExchangeError, a killed process) is retried with exponential backoff."""

DEFAULT_ARGS: dict[str, Any] = {
    "owner": OWNER,
    "retries": 4,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,  # a multiplier since Airflow 3.3: 20, 40, 80, 160 s, five minutes in all
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": RETRY_BY_CAUSE,
    "execution_timeout": timedelta(minutes=15),
}


def generated_data() -> bool:
    """Whether this installation demonstrates on generated data (`GAPLESS_MODE=demo`), which every DAG then says."""
    return getattr(load_settings(), "mode", "real") == "demo"


def labels(dag_id: str, doc_md: str, *tags: str) -> dict[str, Any]:
    """Name, tags and documentation of a DAG, marked as generated where the data are; and its runs are counted."""
    counted = {"on_success_callback": count_success, "on_failure_callback": count_failure}
    if not generated_data():
        return {"dag_id": dag_id, "tags": ["gapless", *tags], "doc_md": doc_md, **counted}
    return {
        "dag_id": dag_id,
        **counted,
        "dag_display_name": f"{dag_id} (generated data)",
        "tags": ["gapless", *tags, "generated data"],
        "doc_md": f"> **Demonstration on generated data.** No price here was ever traded.\n\n{doc_md}",
    }
