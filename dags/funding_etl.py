"""Funding settlements, hourly: whatever was settled since, into MySQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, EXCHANGE_POOL, labels
from gapless_airflow.steps import to_xcom

DOC = """
### Funding rates of the configured perpetuals, every hour

**What.** Takes the settlements of the last three days that are not stored yet into `funding_rate`: rates are settled
every eight, four or one hours, whatever the contract does now. Seven minutes past the hour, when the exchange has
entered them. Settlements that are missing between their neighbours end up in `data_gap_log`.

**When to trigger.** Never, normally. After an outage of more than three days fetch the rest with
`gapless backfill funding --start ... --end ...`.

**Red.** A series failed or lacks settlements; the log names them. Everything else is stored.

**Undo.** Nothing needs undoing: a run that is repeated, killed or run twice leaves the same rows.
"""


@dag(
    **labels("funding_etl", DOC, "funding", "binance", "hourly"),
    schedule=CronDataIntervalTimetable("7 * * * *", timezone="UTC"),
    start_date=datetime(2019, 9, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
)
def funding_etl() -> None:
    @task(pool=EXCHANGE_POOL, execution_timeout=timedelta(minutes=30))
    def load_funding(**context: Any) -> Any:
        from gapless.domain.datasets import Dataset
        from gapless_airflow import history

        request = history.recent(context, Dataset.FUNDING, days=3)
        report = history.run_batch(context, request)
        history.fail_unless_whole([request], {request: report})
        return to_xcom(report)

    load_funding()


funding_etl()
