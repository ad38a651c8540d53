"""The daily truth: yesterday compared with the exchange, row by row, and put right. Every task calls one function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, TriggerRule, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, EXCHANGE_POOL, labels

DOC = """
### Does the store hold what the exchange has? Yesterday, every instrument, interval and dataset, row by row

**What.** At 00:10 UTC the UTC day before, and whatever is still open in the gap log, is read from the exchange again
and compared with MySQL and the lake together: missing, extra, different. What is found is put right at once.

| task | does |
|---|---|
| `plan` | prints series, rows, requests, weight and minutes; cuts parts |
| `compare` | one task a part: missing rows are loaded, different ones replaced, extra ones moved to quarantine |
| `repair` | tries twice more what could not be filled, after one and five minutes (`up_for_reschedule`) |
| `completeness` | counts this month and the last (`gapless coverage --monthly`); makes nothing red |
| `report` | prints the truth as `gapless gaps` does, enters it into `check_run`, tells whoever is on call |

**When to trigger.** After an outage was repaired by hand, or to look at other days: with `start` and `end` (up to seven
days), or with a date (the last day that was over by then). Without either: the last whole day. For many days use the
*Backfill* tab, or `gapless gaps --start ... --end ... --fill`.

| field | means |
|---|---|
| `start`, `end` | open times, UTC; the end is not included; both or neither |

**Waiting** (`up_for_reschedule`): the exchange has banned this address, the request budget is spent, or the next try
at a gap is not due. The slot is given back; the log says until when.

**Red.** `report` fails last, after all else was put right, when anything is still missing, extra or different, or could
not be compared. It names rows, causes and what to do. Rows that the exchange itself does not have (`unfillable`) are
green: they are dated and explained in `data_gap_log`. A gap that cannot be filled in three attempts is `failed` there,
and is paged once.

**Undo.** Nothing needs undoing: a repeat, a kill or two runs at once leave the same rows. A replaced value is in
`restatement`, old and new; an extra or refused row is in `quarantine`, whole.
"""

PARAMS = {
    "start": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Start (UTC)",
        description="Compare the rows from this open time on. Empty: the day before the run.",
    ),
    "end": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="End (UTC)",
        description="... and before this one, at most seven days later. Both or neither.",
    ),
}


@dag(
    **labels("gap_diff_daily", DOC, "truth", "binance", "daily"),
    schedule=CronDataIntervalTimetable("10 0 * * *", timezone="UTC"),
    start_date=datetime(2017, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
)
def gap_diff_daily() -> None:
    @task(pool=EXCHANGE_POOL, execution_timeout=timedelta(minutes=30))
    def plan(**context: Any) -> list[Any]:
        from gapless_airflow import truth

        return truth.plan(context)

    @task(pool=EXCHANGE_POOL, map_index_template="{{ part }}", execution_timeout=timedelta(hours=1))
    def compare(part: Any, **context: Any) -> Any:
        from gapless_airflow import truth

        return truth.compare(context, part)

    # A part that fails must not keep the gaps of the others from their next attempt: hence all_done.
    @task(pool=EXCHANGE_POOL, trigger_rule=TriggerRule.ALL_DONE, execution_timeout=timedelta(hours=1))
    def repair(**context: Any) -> list[Any]:
        from gapless_airflow import truth

        return truth.repair(context)

    @task(trigger_rule=TriggerRule.ALL_DONE, execution_timeout=timedelta(minutes=30))
    def completeness(**context: Any) -> list[Any]:
        from gapless_airflow import truth

        return truth.completeness(context)

    @task(trigger_rule=TriggerRule.ALL_DONE)
    def report(planned: Any, compared: Any, repaired: Any, **context: Any) -> Any:
        from gapless_airflow import truth

        return truth.report(context, planned, compared, repaired)

    planned = plan()
    compared = compare.expand(part=planned)
    repaired = repair()
    compared >> repaired >> completeness()
    report(planned, compared, repaired)


gap_diff_daily()
