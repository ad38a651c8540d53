"""The monthly export: what is no longer hot leaves MySQL for the lake, proved first. Every task calls one function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, TriggerRule, dag, task, task_group

from gapless_airflow.policy import DEFAULT_ARGS, labels

DOC = """
### What is no longer hot leaves MySQL for the lake

**What.** On the second of each month at 02:30 UTC, every month of every partitioned table that is older than the hot
ones (`GAPLESS_HOT_MONTHS`, by table in `include/retention.yaml`) is brought whole into the lake, proved there, and only
then dropped. Reads go on across the border as if nothing had happened.

| task | does | leaves |
|---|---|---|
| `plan` | lists the months that are due, unfinished ones first | their names |
| `month.bring` | one snapshot into the lake's objects; what is there is compared row by row | objects |
| `month.prove` | exchanges the partition for an empty one, reads the lake back, compares sums | a receipt, a manifest |
| `month.drop` | drops the rows against that receipt | nothing |
| `report` | rows, bytes, seconds, digests, receipts of all months | its log, its XCom |

Receipts are in the table `month_export`, manifests in the lake under `manifests/`.

**When to trigger.** After rows were loaded into a month that had left (each such row waits in MySQL for the next run),
or to take a month early: with `month` (and `table`). `gapless export-month 2026-07 --drop` does the same by hand.

| field | means |
|---|---|
| `month` | only this month, hot or not; it must be over. Empty: all that are due |
| `table` | only this table. Empty: all |

**Red.** Nothing was dropped that the lake was not shown to hold. The last line says what is wrong: the object store is
away (clear the task when it is back), an object was damaged (it is put aside and made anew), rows kept coming (a
backfill of that month is running). Rows that wait for their proof lie in a table `<table>_leaving_<month>` meanwhile,
and in the lake. `docs/archive.md` has more.

**Undo.** `gapless restore-month 2026-07` brings a month back into MySQL.
"""

PARAMS = {
    "month": Param(
        None,
        type=["null", "string"],
        pattern=r"^\d{4}-(0[1-9]|1[0-2])$",
        title="Month",
        description="YYYY-MM. Empty: every month that is no longer hot.",
    ),
    "table": Param(
        None,
        type=["null", "string"],
        enum=[None, "ohlcv", "funding_rate", "futures_metrics"],
        title="Table",
        description="Empty: all tables.",
    ),
}


@dag(
    **labels("partition_export_monthly", DOC, "archive", "monthly"),
    schedule=CronDataIntervalTimetable("30 2 2 * *", timezone="UTC"),
    start_date=datetime(2017, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={**DEFAULT_ARGS, "execution_timeout": timedelta(hours=3)},
    params=PARAMS,
)
def partition_export_monthly() -> None:
    @task
    def plan(**context: Any) -> list[Any]:
        from gapless_airflow import export

        return export.plan(context)

    # One month at a time: each streams a month through memory and two cores, and the server has other readers.
    @task(map_index_template="{{ month }}", max_active_tis_per_dagrun=1)
    def bring(month: Any, **context: Any) -> Any:
        from gapless_airflow import export

        return export.bring(context, month)

    @task(map_index_template="{{ month }}", max_active_tis_per_dagrun=1)
    def prove(month: Any, **context: Any) -> Any:
        from gapless_airflow import export

        return export.prove(context, month)

    @task(map_index_template="{{ month }}", max_active_tis_per_dagrun=1)
    def drop(month: Any, **context: Any) -> Any:
        from gapless_airflow import export

        return export.drop(context, month)

    @task_group
    def month(due: Any) -> Any:
        return drop(prove(bring(due)))

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report(planned: Any, dropped: Any, **context: Any) -> Any:
        from gapless_airflow import export

        return export.report(context, planned, dropped)

    planned = plan()
    report(planned, month.expand(due=planned))


partition_export_monthly()
