"""The daily housekeeping: partitions ahead, the books into the lake, what has outlived its days. No logic here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, TriggerRule, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, labels

DOC = """
### Once a day: partitions ahead, the books into the lake, and what has been kept its days goes

**What.** At 00:50 UTC, three tasks that do not wait for each other, and one that says what they come to.

| task | does | leaves |
|---|---|---|
| `make_partitions` | partitions of two months ahead, every table; looks for rows outside of all months | partitions |
| `export_books` | all books (receipts, gap log, restatements, quarantine, ...) to the lake, read back | `books/` |
| `sweep` | removes what has been kept its days (`include/retention.yaml`): `gapless retention --apply` | nothing |
| `report` | says what needs a person | its log, its XCom |

No row of market data goes here: months leave MySQL by `partition_export_monthly`, proved first; the lake keeps them.
What `gapless retention` lists is what `sweep` would remove now.

**When to trigger.** After a red run was put right, or `include/retention.yaml` was changed. A repeat does nothing
twice.

**Red.** `report` names each trouble and what to do: a part that did not come to its end; rows in `p_before` or `pmax`
(`docs/runbooks/partitions.md`); a zone that could not be swept; live Streams that wait unpublished for too long.

**Undo.** Partitions ahead are empty and stay. An export of the books stays as long as the rules say. What was swept is
gone: lengthen the days in `include/retention.yaml` before it is due.
"""


@dag(
    **labels("housekeeping_daily", DOC, "housekeeping", "daily"),
    schedule=CronDataIntervalTimetable("50 0 * * *", timezone="UTC"),
    start_date=datetime(2017, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
)
def housekeeping_daily() -> None:
    @task
    def make_partitions(**context: Any) -> Any:
        from gapless_airflow import housekeeping

        return housekeeping.make_partitions(context)

    @task(execution_timeout=timedelta(minutes=45))
    def export_books(**context: Any) -> Any:
        from gapless_airflow import housekeeping

        return housekeeping.export_books(context)

    @task(execution_timeout=timedelta(minutes=45))
    def sweep(**context: Any) -> Any:
        from gapless_airflow import housekeeping

        return housekeeping.sweep(context)

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report(partitions: Any, books: Any, swept: Any, **context: Any) -> Any:
        from gapless_airflow import housekeeping

        return housekeeping.report(context, partitions, books, swept)

    report(make_partitions(), export_books(), sweep())


housekeeping_daily()
