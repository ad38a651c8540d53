"""Daily: which instruments exist, since when and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, EXCHANGE_POOL, labels
from gapless_airflow.steps import step, to_xcom

DOC = """
### The exchange's list of instruments, once a day

**What.** Reads exchangeInfo of both markets into `instrument` (names, tick and step, status, contract multiplier) and
`instrument_life` (listed, delisted; a ticker can live twice). Coverage, gaps and "all" count inside these lifetimes
only.

**When to trigger.** After a listing or delisting that should count today. It has no parameters, and it reads the
present list whatever the run's date: a run for a past date, or a backfill, does nothing better than a run now.

**Undo.** Nothing needs undoing: a second run changes nothing. A delisted instrument keeps its row and its bars.
"""


@dag(
    **labels("instruments_daily", DOC, "instruments", "binance", "daily"),
    schedule=CronDataIntervalTimetable(
        "5 0 * * *", timezone="UTC"
    ),  # before gap_diff_daily at 00:10 counts by lifetimes
    start_date=datetime(2017, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
)
def instruments_daily() -> None:
    @task(pool=EXCHANGE_POOL)
    def refresh_instruments(**context: Any) -> Any:
        from gapless.pipeline import instruments

        with step(context) as runtime:
            return to_xcom(instruments.refresh_instruments(runtime))

    refresh_instruments()


instruments_daily()
