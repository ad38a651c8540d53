"""The daily verdict on the data: rules, Great Expectations, data docs. Every task calls one function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, TriggerRule, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, labels

DOC = """
### Is what is stored true in itself? Yesterday's rows against rules and expectations

**What.** At 00:40 UTC, once `gap_diff_daily` has ended, all rows of the UTC day before are checked.

| task | does | leaves |
|---|---|---|
| `after_diff` | waits (`up_for_reschedule`) while `gap_diff_daily` has a run queued or running | nothing |
| `rules` | continuity, jumps, agreement of intervals, spot against perpetual, activity | findings; the review queue |
| `expectations` | Great Expectations' suites of every table | a report in the lake under `reports/`, the data docs |
| `verdict` | says what both come to; tells whoever is on call | a check of the day in `check_run` |
| `sweep` | deletes reports that were kept their days (`include/retention.yaml`) | nothing |

**When to trigger.** After data of some day were repaired, or a check was corrected: with `day`, or with a date (the
last day that was over by then). Without either: the last whole day. For many days use the *Backfill* tab.

| field | means |
|---|---|
| `day` | the UTC day to check |

**Red.** The last line of `verdict` begins with one of two things. `data bad:` a critical rule failed for the rows it
names. `check broken:` a check could not be done, so nothing is known of what it looks at; correct the check, not the
data. Warnings alone are green: they are in the log of `verdict`, in its XCom and in the data docs. Doubtful bars wait
for a person's yes or no (`gapless review`) and make nothing red.

**Undo.** Nothing needs undoing: the checks change no stored row. A repeat replaces the report of its run; a page that
a bad day caused is resolved by a later good run of that day.
"""

PARAMS = {
    "day": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Day (UTC)",
        description="The day to check. Empty: the day before the run.",
    ),
}


@dag(
    **labels("quality_daily", DOC, "quality", "binance", "daily"),
    schedule=CronDataIntervalTimetable("40 0 * * *", timezone="UTC"),
    start_date=datetime(2017, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
)
def quality_daily() -> None:
    @task
    def after_diff(**context: Any) -> None:
        from gapless_airflow import quality

        quality.after_diff(context)

    @task(execution_timeout=timedelta(minutes=30))
    def rules(**context: Any) -> Any:
        from gapless_airflow import quality

        return quality.rules(context)

    # One process for all suites: importing Great Expectations takes longer than checking a day with it.
    @task(execution_timeout=timedelta(minutes=30))
    def expectations(**context: Any) -> Any:
        from gapless_airflow import quality

        return quality.expectations(context)

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def verdict(ruled: Any, expected: Any, **context: Any) -> Any:
        from gapless_airflow import quality

        return quality.verdict(context, ruled, expected)

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def sweep(**context: Any) -> int:
        from gapless_airflow import quality

        return quality.sweep(context)

    ruled, expected = rules(), expectations()
    after_diff() >> [ruled, expected]
    verdict(ruled, expected)
    expected >> sweep()


quality_daily()
