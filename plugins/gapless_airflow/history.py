"""What the DAGs of history share: the form read, a batch run, the summary and the coverage printed, a readable end."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import parse_intervals
from gapless.domain.window import DAY_MS, parse_time, to_ms
from gapless.errors import ConfigError, ExchangeError, RateLimited
from gapless_airflow.steps import LISTED, all_from_xcom, failure_line, from_xcom, step

if TYPE_CHECKING:
    from gapless.pipeline.backfill.request import BackfillReport, BackfillRequest

AT_MOST = 64
"""Batches of one run: enough to spread and to see, few enough for one page of the UI."""

BOTH = "both"
_WAITS = frozenset({"rate_limited", "banned"})
_PASSING = frozenset({"exchange", "storage"})
"""Kinds of failure that may be over in a minute: the task is tried again, and takes up what is left."""

_AGAIN_S = 60.0
WHAT_TO_DO = """\
What to do: read the causes and correct them (a symbol that nobody knows: check its spelling). Then clear the failed
batches
with their downstream, or trigger the DAG with the same form. What is stored is not fetched again."""


def request_from_form(params: Mapping[str, Any]) -> BackfillRequest:
    """The form as the engine's request.

    Raises:
        AirflowFailException: a field is wrong; the message says which, and what to write. Not retried.
    """
    from gapless.domain.universe import by_market
    from gapless.pipeline.backfill.request import BackfillRequest

    try:
        market = None if params["market"] == BOTH else Market(params["market"])
        symbols = tuple(name.strip() for name in (params["symbols"] or "").split(",") if name.strip())
        if symbols:
            by_market(symbols, market)
        request = BackfillRequest(
            dataset=Dataset.OHLCV,
            market=market,
            symbols=symbols,
            intervals=parse_intervals(",".join(params["intervals"])),
            start_ms=parse_time(params["start"]),
            end_ms=parse_time(params["end"]),
            source=params["source"],
            into=params["into"],
        )
        _ = request.window
    except ConfigError as error:
        raise AirflowFailException(f"The form cannot be taken as it is: {error}") from error
    return request


def recent(context: Mapping[str, Any], dataset: Dataset, *, days: int) -> BackfillRequest:
    """The last days before a run's window ends, of the watchlist's perpetuals, into MySQL.

    The end is that of the data interval, or of a manual run without one the moment it was asked for: the same at every
    try. What is stored already costs nothing.
    """
    from gapless.pipeline.backfill.request import BackfillRequest

    end = context.get("data_interval_end") or context["dag_run"].run_after
    end_ms = to_ms(datetime.fromisoformat(end.isoformat()))  # Airflow's own kind of datetime (pendulum)
    return BackfillRequest(
        dataset=dataset,
        market=Market.UM,
        start_ms=end_ms - days * DAY_MS,
        end_ms=end_ms,
        into="mysql",
        recheck="none",
    )


def plan(context: Mapping[str, Any], request: BackfillRequest, *, dry_run: bool) -> list[BackfillRequest]:
    """Print the summary of what a request would do; its batches, none for a dry run.

    Raises:
        AirflowFailException: nobody knows any of the named symbols.
    """
    from gapless.cli.backfill_output import print_plan
    from gapless.pipeline.backfill import run as engine

    with step(context) as runtime:
        summary = engine.plan_backfill(runtime, request)
        print_plan(summary, as_json=False, title=f"{'dry run: ' if dry_run else ''}{request}")
        if summary.errors and summary.series == 0:
            lines = "\n".join(f"  {failure_line(failure)}" for failure in summary.errors[:LISTED])
            raise AirflowFailException(f"None of the named symbols can be taken.\n{lines}\n{WHAT_TO_DO}")
        if dry_run:
            print("Dry run: nothing else is done.")
            return []
        batches = engine.cut_batches(runtime, request, AT_MOST)
    print("\n".join([f"{len(batches)} batches", *map(str, batches)]))
    return batches


def run_batch(context: Mapping[str, Any], batch: BackfillRequest) -> BackfillReport:
    """Run a batch; its report, failures included.

    Waits (a ban, a spent budget) give the slot back. What may be over in a minute is tried again while the task has
    tries left; a repeat takes up what is left. All else is in the report, for the last task to name.

    Raises:
        AirflowRescheduleException: come again later.
        ExchangeError: some of it failed for a passing cause.
    """
    from gapless.cli.backfill_output import print_report
    from gapless.cli.backfill_progress import BackfillProgress
    from gapless.pipeline.backfill import run as engine

    with step(context) as runtime:
        with BackfillProgress(sys.stdout) as progress:
            report = engine.run_backfill(runtime, batch, progress)
        print_report(report, as_json=False, title=str(batch))
        waits = [failure for failure in report.errors if failure.kind in _WAITS]
        if waits:
            raise RateLimited(f"{batch}: {len(waits)} series wait: {waits[0].message}", retry_after_s=_AGAIN_S)
        passing = [failure for failure in report.errors if failure.kind in _PASSING]
        instance = context["ti"]
        if passing and instance.try_number <= instance.max_tries:
            raise ExchangeError(f"{batch}: {len(passing)} series failed, the first: {failure_line(passing[0])}")
    return report


def name_batch(batch: BackfillRequest) -> None:
    """Gives a mapped task its readable name; see `gapless_airflow.steps.name_map_index`."""
    get_current_context()["batch_name"] = str(batch)  # type: ignore[typeddict-unknown-key]


def print_coverage(context: Mapping[str, Any], request: BackfillRequest, batches: Sequence[BackfillRequest]) -> None:
    """Print how complete the request's series are, by the books: until the end of what the batches were to take."""
    import msgspec
    from rich.console import Console

    from gapless.cli.output import coverage_table
    from gapless.pipeline.backfill.coverage import cover_request
    from gapless.pipeline.backfill.survey import survey

    if batches:
        end_ms = min(request.end_ms, max(batch.end_ms for batch in batches))
        request = msgspec.structs.replace(request, end_ms=end_ms)
    with step(context) as runtime:
        rows = cover_request(runtime, request, survey(runtime, request))
    print(request)
    Console(file=sys.stdout, width=160).print(coverage_table(rows))


def require_plan(request: object, planned: object) -> None:
    """Ends the last task where there is nothing to tell, because an earlier one failed.

    Raises:
        AirflowFailException: `check_form` or `plan` left nothing.
    """
    if request is None or planned is None:
        raise AirflowFailException("Nothing was planned: the log of check_form or plan says why.")


def reports_by_batch(fetched: Any) -> dict[BackfillRequest, BackfillReport]:
    """What the mapped tasks left, by their batch; see `gapless_airflow.steps.all_from_xcom`."""
    from gapless.pipeline.backfill.request import BackfillReport, BackfillRequest

    left = all_from_xcom(fetched, dict[str, Any])
    return {from_xcom(each["batch"], BackfillRequest): from_xcom(each["report"], BackfillReport) for each in left}


def fail_unless_whole(batches: Sequence[BackfillRequest], reports: Mapping[BackfillRequest, BackfillReport]) -> None:
    """Ends a run red when anything is left failed, after everything else was stored: green means true.

    Args:
        batches: what the run set out to do. reports: what became of them.

    Raises:
        AirflowFailException: a batch left no report, or a series has failed or lacks bars that nobody has explained.
    """
    lost = [batch for batch in batches if batch not in reports]
    failures = [failure_line(failure) for report in reports.values() for failure in report.errors]
    lacking = [
        f"{row.symbol} {row.interval}: {row.missing} bars missing: {row.why}"
        for report in reports.values()
        for row in report.series
        if row.missing > 0
    ]
    if not lost and all(report.whole for report in reports.values()):
        return
    lines = [
        f"{len(failures)} failures, {len(lacking)} series with bars missing, {len(lost)} batches not done;"
        " all else is stored.",
        *(f"  batch not done: {batch}" for batch in lost[:LISTED]),
        *(f"  {line}" for line in [*failures, *lacking][:LISTED]),
    ]
    unnamed = max(0, len(lost) - LISTED) + max(0, len(failures) + len(lacking) - LISTED)
    lines += [f"  and {unnamed} more"] if unnamed else []
    raise AirflowFailException("\n".join([*lines, WHAT_TO_DO]))
