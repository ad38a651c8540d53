"""History on request: a form, a summary, batches side by side, a coverage table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, TriggerRule, dag, task

from gapless_airflow.policy import DEFAULT_ARGS, EXCHANGE_POOL, labels
from gapless_airflow.steps import from_xcom, to_xcom

DOC = """
### Years of bars, from the exchange's archive and its REST API

**What.** Fetches the bars that open in `[start, end)`: monthly archive files, then daily ones, then REST for what they
lack. Every file is compared with its checksum, every bar that should exist is accounted for: stored, or proved not to
exist and entered into `data_gap_log`. Months that are hot go into MySQL, older ones into the lake.

| task | does |
|---|---|
| `check_form` | reads the form; what is wrong is said in one line |
| `plan` | prints the summary: bars expected and present, objects, rows, minutes, weight; cuts batches |
| `fetch` | one task a batch, named after its symbols and months; two at a time |
| `coverage` | prints expected, present, unfillable, percent and why, and is red when anything is left failed |

**When to trigger.** For history that is missing, or a new symbol. Start with `dry_run`: the log of `plan` has the
summary, and nothing is fetched. For the last hours use `ohlcv_etl`; it catches up by itself.

| field | means |
|---|---|
| `market` | `um`, `spot` or both; raw names such as BTCUSDT need one of them |
| `symbols` | comma-separated; `all` or `all:USDT`, delisted ones included; empty: the watchlist |
| `intervals` | which bars |
| `start`, `end` | open times, UTC; the end is not included; closed bars only |
| `source` | `auto`: the archive, then REST; `vision` or `rest`: that one alone |
| `into` | `auto`: hot months into MySQL, older ones into the lake; `mysql` or `lake`: all of it |
| `dry_run` | say what would be done, and stop |

**Waiting** (`up_for_reschedule`): the exchange has banned this address, or the request budget is spent. The slot is
given back; the log says until when.

**Red.** `coverage` fails last, after all else was stored, and names series, causes and what to do. A batch that fails
does not stop the others. Clear it, or trigger again with the same form: what is stored is not fetched again.

**Undo.** Nothing needs undoing: a repeat, a kill or two runs at once leave the same bars. A replaced value is in
`restatement`, a refused row in `quarantine`, a refused file in `archive_object`.
"""

INTERVALS = ["1m", "5m", "15m", "1h", "4h", "1d"]

PARAMS = {
    "market": Param(
        "um", type="string", enum=["um", "spot", "both"], title="Market", description="USD-M perpetuals, spot, or both."
    ),
    "symbols": Param(
        None,
        type=["null", "string"],
        title="Symbols",
        description="BTC/USDT:USDT,ETH/USDT:USDT or BTCUSDT; all; all:USDT. Empty: the hourly run's list.",
    ),
    "intervals": Param(
        INTERVALS,
        type="array",
        items={"type": "string", "enum": INTERVALS},
        minItems=1,
        uniqueItems=True,
        examples=INTERVALS,
        title="Intervals",
        description="Which bars; all six unless you take some away.",
    ),
    "start": Param(
        type="string", format="date-time", title="Start (UTC)", description="Bars that open at this moment or later."
    ),
    "end": Param(
        type="string", format="date-time", title="End (UTC)", description="... and before this one. Open bars are left."
    ),
    "source": Param(
        "auto",
        type="string",
        enum=["auto", "vision", "rest"],
        title="Source",
        description="auto: the archive, then REST for what it lacks. vision, rest: that one alone.",
        section="Where from, where to",
    ),
    "into": Param(
        "auto",
        type="string",
        enum=["auto", "mysql", "lake"],
        title="Into",
        description="auto: hot months into MySQL, older ones into the lake. mysql, lake: all of it.",
        section="Where from, where to",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Print the summary in the log of plan and fetch nothing.",
    ),
}


@dag(
    **labels("ohlcv_backfill", DOC, "ohlcv", "binance", "on request"),
    schedule=None,
    start_date=datetime(2017, 7, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    params=PARAMS,
)
def ohlcv_backfill() -> None:
    @task
    def check_form(**context: Any) -> Any:
        from gapless_airflow.history import request_from_form

        request = request_from_form(context["params"])
        print(request)
        return to_xcom(request)

    @task(pool=EXCHANGE_POOL, execution_timeout=timedelta(minutes=30))
    def plan(request: Any, **context: Any) -> list[Any]:
        from gapless.pipeline.backfill.request import BackfillRequest
        from gapless_airflow import history

        asked = from_xcom(request, BackfillRequest)
        return [to_xcom(each) for each in history.plan(context, asked, dry_run=context["params"]["dry_run"])]

    @task(
        pool=EXCHANGE_POOL,
        map_index_template="{{ batch_name }}",
        execution_timeout=timedelta(hours=6),
        max_active_tis_per_dagrun=2,  # each uses every core and up to 1 GB
    )
    def fetch(batch: Any, **context: Any) -> Any:
        from gapless.pipeline.backfill.request import BackfillRequest
        from gapless_airflow import history

        work = from_xcom(batch, BackfillRequest)
        history.name_batch(work)
        return {"batch": batch, "report": to_xcom(history.run_batch(context, work))}

    # A batch that fails must not hide what became of the others, and no batch at all is a result too: hence all_done
    # (the rule that wants a success as well skips a task behind a skipped one), and the list of what was planned.
    @task(pool=EXCHANGE_POOL, trigger_rule=TriggerRule.ALL_DONE, execution_timeout=timedelta(minutes=30))
    def coverage(request: Any, planned: Any, fetched: Any, **context: Any) -> None:
        from gapless.pipeline.backfill.request import BackfillRequest
        from gapless_airflow import history
        from gapless_airflow.steps import all_from_xcom

        history.require_plan(request, planned)
        if context["params"]["dry_run"]:
            print("Dry run: the summary is in the log of plan.")
            return
        batches = all_from_xcom(planned, BackfillRequest)
        history.print_coverage(context, from_xcom(request, BackfillRequest), batches)
        history.fail_unless_whole(batches, history.reports_by_batch(fetched))

    asked = check_form()
    planned = plan(asked)
    coverage(asked, planned, fetch.expand(batch=planned))


ohlcv_backfill()
