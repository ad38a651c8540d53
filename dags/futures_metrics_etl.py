"""Open interest and long/short ratios, four times a day: what was published since, into MySQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, EXCHANGE_POOL, labels
from gapless_airflow.steps import to_xcom

DOC = """
### Open interest and ratios of the configured perpetuals, every five minutes of the day

**What.** Takes what the last three days lack into `futures_metrics`: open interest, the long/short ratios of all and of
top traders, the takers' ratio. From the archive's daily files, and from REST for the days that are not published yet.
At 03:20, 09:20, 15:20 and 21:20 UTC; yesterday's file appears before the second.

**When to trigger.** Never, normally; but mind that REST keeps thirty days. After a longer outage use
`gapless backfill metrics --start ... --end ...`, which takes older days from the archive.

**Red.** A series failed or lacks rows that nobody has explained; the log names them. Everything else is stored.

**Undo.** Nothing needs undoing: a run that is repeated, killed or run twice leaves the same rows.
"""


@dag(
    **labels("futures_metrics_etl", DOC, "futures metrics", "binance", "six-hourly"),
    schedule=CronDataIntervalTimetable("20 3,9,15,21 * * *", timezone="UTC"),
    start_date=datetime(2020, 9, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
)
def futures_metrics_etl() -> None:
    @task(pool=EXCHANGE_POOL, execution_timeout=timedelta(minutes=45))
    def load_metrics(**context: Any) -> Any:
        from gapless.domain.datasets import Dataset
        from gapless_airflow import history

        request = history.recent(context, Dataset.METRICS, days=3)
        report = history.run_batch(context, request)
        history.fail_unless_whole([request], {request: report})
        return to_xcom(report)

    load_metrics()


futures_metrics_etl()
