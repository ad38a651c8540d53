"""Hourly bars: extract, normalise, load, archive. Every task calls one function of `gapless.pipeline`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronDataIntervalTimetable, Param, TriggerRule, dag, task, task_group

from gapless_airflow.policy import DEFAULT_ARGS, EXCHANGE_POOL, labels
from gapless_airflow.steps import all_from_xcom, fail_unless_whole, from_xcom, name_map_index, step, to_xcom
from gapless_airflow.windows import window

DOC = """
### Hourly bars of every configured instrument, all six intervals

**What.** Takes the bars that *completed* in the run's hour (`start < open + interval <= end`) from the exchange into
MySQL and the lake, a quarter of a minute after the exchange's own clock says the hour is over. A run of the schedule,
or one triggered without a date, also takes the windows of the last 48 hours that have no receipt. Tasks hand each
other receipts, never data.

| task | does | leaves |
|---|---|---|
| `plan` | the hour's work in a handful of batches | nothing |
| `extract_raw` | pages the exchange | payloads as received, in the lake's `raw/` |
| `transform_normalise` | parses, checks the rules, splits off quarantine | canonical bars in `_work/` |
| `load_mysql` | compares with what is stored, loads what is new or changed | rows, restatements, a load receipt |
| `archive_s3` | writes the lake's objects and reads them back | Parquet under `ohlcv/` |

**When to trigger.** Never, normally. With no date: the last whole hour now. With a date: the last hour that ended by
then. With `start` and `end`: that window (up to seven days). For a range of hours use the *Backfill* tab: each run
takes exactly its hour. A backfill of more than 200 runs is refused until `confirm_runs` says how many you expect.

**Waiting** (`up_for_reschedule`): the hour is not over by the exchange's clock, the request budget is spent, or the
exchange has banned this address. The task has given its slot back and comes again by itself; its log says when.

**Red.** `archive_s3` fails last, after everything else was stored, with the list of series that are missing and why.
Other tasks retry errors of exchange and storage with growing pauses, and do not retry what cannot get better (a wrong
setting, another origin's data).

**Undo.** Nothing needs undoing: a run that is repeated, killed or run twice leaves the same rows and files. A
replaced value is in `restatement` (old and new), a refused row in `quarantine` with its payload.
"""

PARAMS = {
    "start": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Window start (UTC)",
        description="Take the bars that complete after this moment. Empty: the run's own hour.",
        section="Another window",
    ),
    "end": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Window end (UTC)",
        description="... and up to this moment, at most seven days later. Both or neither.",
        section="Another window",
    ),
    "confirm_runs": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        title="Runs you expect of this backfill",
        description="Only for a backfill of more than 200 runs: at least the number that the form shows.",
        section="Large backfill",
    ),
}


@dag(
    **labels("ohlcv_etl", DOC, "ohlcv", "binance", "hourly"),
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(
        2017, 7, 1, tzinfo=UTC
    ),  # before the exchange's first bar, so that a backfill may reach any hour
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
)
def ohlcv_etl() -> None:
    @task(pool=EXCHANGE_POOL)
    def plan(**context: Any) -> list[Any]:
        from gapless.pipeline.plan import plan_hour

        asked = window(context)
        with step(context) as runtime:
            batches = plan_hour(runtime, asked.window, catch_up_hours=asked.catch_up_hours)
        print("\n".join([f"window {asked.window}: {len(batches)} batches", *map(str, batches)]))
        return [to_xcom(batch) for batch in batches]

    @task(pool=EXCHANGE_POOL, map_index_template="{{ batch_name }}", execution_timeout=timedelta(minutes=30))
    def extract_raw(batch: Any, **context: Any) -> Any:
        from gapless.domain.receipts import Batch
        from gapless.pipeline import etl

        work = from_xcom(batch, Batch)
        name_map_index(work)
        with step(context) as runtime:
            return to_xcom(etl.extract_raw(runtime, work))

    @task(map_index_template="{{ batch_name }}")
    def transform_normalise(raw: Any, **context: Any) -> Any:
        from gapless.domain.receipts import RawReceipt
        from gapless.pipeline import etl

        receipt = from_xcom(raw, RawReceipt)
        name_map_index(receipt.batch)
        with step(context) as runtime:
            return to_xcom(etl.transform_normalise(runtime, receipt))

    @task(map_index_template="{{ batch_name }}")
    def load_mysql(normal: Any, **context: Any) -> Any:
        from gapless.domain.receipts import NormalReceipt
        from gapless.pipeline import etl

        receipt = from_xcom(normal, NormalReceipt)
        name_map_index(receipt.batch)
        with step(context) as runtime:
            return to_xcom(etl.load_mysql(runtime, receipt))

    # A batch that fails must not keep the others from the lake: hence all_done, and the count of what was planned.
    @task(trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS)
    def archive_s3(planned: Any, loaded: Any, **context: Any) -> Any:
        from gapless.domain.receipts import Batch, LoadReceipt
        from gapless.pipeline import etl

        receipts = all_from_xcom(loaded, LoadReceipt)
        with step(context) as runtime:
            archived = etl.archive_s3(runtime, receipts)
        print(archived)
        fail_unless_whole(all_from_xcom(planned, Batch), receipts)
        return to_xcom(archived)

    @task_group(prefix_group_id=False)
    def batches(batch: Any) -> Any:
        return load_mysql(transform_normalise(extract_raw(batch)))

    planned = plan()
    archive_s3(planned, batches.expand(batch=planned))


ohlcv_etl()
