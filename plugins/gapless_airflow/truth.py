"""What the tasks of `gap_diff_daily` do: plan, compare and repair, try again, tell the truth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from gapless.domain.datasets import Dataset
from gapless.domain.window import HOUR_MS
from gapless.errors import ExchangeError, NotYet, RateLimited
from gapless_airflow.runs import identity, link, show_pages
from gapless_airflow.steps import LISTED, all_from_xcom, failure_line, from_xcom, step, to_xcom
from gapless_airflow.windows import day

if TYPE_CHECKING:
    from gapless.domain.window import Window
    from gapless.pipeline.reconcile.request import DiffRequest, GapReport
    from gapless.pipeline.runtime import Runtime

DATASETS = (Dataset.METRICS, Dataset.OHLCV, Dataset.FUNDING)
"""In the order they are begun: metrics have a request budget of their own, and it makes them the longest."""

PARTS = {Dataset.OHLCV: 8, Dataset.FUNDING: 1, Dataset.METRICS: 1}
"""Tasks a dataset: bars are cut so that a killed or banned task repeats an eighth; of the others one is enough."""

HANDED_ON = 200
"""Gaps, and errors, of a part that go through XCom; all are counted, and the gap log has all."""

AGAIN_S = 60.0
_WAITS = frozenset({"rate_limited", "banned"})
_PASSING = frozenset({"exchange", "unreachable", "storage"})

WHAT_TO_DO = """\
What to do: read the causes. What the exchange has and cannot be stored is in quarantine with its reason; a symbol that
nobody knows leaves include/symbols.yaml. Then clear this run's compare and repair with their downstream, or run
`gapless gaps --start {start} --end {end} --fill`. Whoever is on call has docs/runbooks/gap.md"""


def requests(window: Window) -> list[DiffRequest]:
    """What a run compares: every dataset of the watchlist in the window, and what is still open in the gap log."""
    from gapless.pipeline.reconcile.request import DiffRequest

    # Metrics are settled a quarter of an hour after their time: the last ones of a day are compared a day later.
    early_ms = {Dataset.METRICS: HOUR_MS}
    return [
        DiffRequest(
            dataset=dataset,
            start_ms=window.start_ms - early_ms.get(dataset, 0),
            end_ms=window.end_ms,
            open_gaps=True,
        )
        for dataset in DATASETS
    ]


def plan(context: Mapping[str, Any]) -> list[Any]:
    """Print what the comparison costs; its parts, for one task each."""
    from gapless.pipeline.reconcile.plan import cut_diff, plan_diff

    parts: list[DiffRequest] = []
    with step(context) as runtime:
        for request in requests(day(context)):
            planned = plan_diff(runtime, request)
            print(request)
            print(
                f"  {planned.series:,} series, {planned.rows:,} rows ({planned.lacking:,} of them not stored),"
                f" {planned.open_gaps:,} open gaps:"
                f" {planned.requests:,} requests, weight {planned.weight:,}, {planned.pool_requests:,} of pools,"
                f" at least {planned.minutes:.1f} minutes of the exchange's budget"
            )
            for error in planned.errors[:LISTED]:
                print(f"  {failure_line(error)}")
            parts += cut_diff(runtime, request, PARTS[request.dataset])
    print("\n".join([f"{len(parts)} parts", *map(str, parts)]))
    return [to_xcom(part) for part in parts]


def name_part(request: DiffRequest) -> None:
    """Gives a mapped task its readable name; see `gapless_airflow.steps.name_map_index`."""
    get_current_context()["part"] = str(request)  # type: ignore[typeddict-unknown-key]


def compare(context: Mapping[str, Any], part: Any) -> Any:
    """Compare a part with the exchange and repair what differs; request and report.

    Waits (a ban, a spent budget) give the slot back. What may be over in a minute is tried again while the task has
    tries left. All else is in the report, for the last task to name.

    Raises:
        AirflowRescheduleException: come again later. ExchangeError: some of it failed for a passing cause.
    """
    from gapless.pipeline.reconcile.request import DiffRequest
    from gapless.pipeline.reconcile.run import run_diff

    request = from_xcom(part, DiffRequest)
    name_part(request)
    with step(context) as runtime:
        report = run_diff(runtime, request, fill=True)
        show(report, str(request))
        waits = [failure for failure in report.errors if failure.kind in _WAITS]
        if waits:
            raise RateLimited(f"{request}: {len(waits)} series wait: {waits[0].message}", retry_after_s=AGAIN_S)
        passing = [failure for failure in report.errors if failure.kind in _PASSING]
        instance = context["ti"]
        if passing and instance.try_number <= instance.max_tries:
            raise ExchangeError(f"{request}: {len(passing)} series failed, the first: {failure_line(passing[0])}")
    return {"request": part, "report": to_xcom(bounded(report))}


def repair(context: Mapping[str, Any]) -> list[Any]:
    """Try again what could not be filled, until it is or its attempts are spent; what is left, by dataset.

    Raises:
        AirflowRescheduleException: attempts are left, and the next is due later.
    """
    from gapless.pipeline.reconcile.run import retry_gaps

    left: list[Any] = []
    with step(context) as runtime:
        waits: list[NotYet] = []
        for request in requests(day(context)):
            try:
                report = retry_gaps(runtime, request)
            except NotYet as wait:
                print(wait)
                waits.append(wait)
                continue
            show(report, f"tried again: {request}")
            left.append({"request": to_xcom(request), "report": to_xcom(bounded(report))})
        if waits:
            raise min(waits, key=lambda wait: wait.retry_after_s)
    return left


def completeness(context: Mapping[str, Any]) -> list[Any]:
    """Count the month and the one before by market and interval, into the books; print it. It makes nothing red."""
    from rich.console import Console

    from gapless.cli.output import months_table
    from gapless.pipeline.completeness import record_completeness

    with step(context) as runtime:
        rows = record_completeness(runtime, link=link(context))
        Console(width=140).print(months_table(rows, runtime.settings.missing_allowed_percent))
    return [to_xcom(row) for row in rows]


def report(context: Mapping[str, Any], planned: Any, compared: Any, repaired: Any) -> Any:
    """Print the truth of the days, enter it into the books, tell whoever is on call; end red unless it is whole.

    Returns the counts, for the run's XCom.

    Raises:
        AirflowFailException: something is missing, extra, different or could not be compared. Not retried: the exchange
            was asked as often as is useful.
    """
    from gapless.pipeline.paging import tell_of_gaps
    from gapless.pipeline.reconcile.request import DiffRequest, summed

    window = day(context)
    if planned is None:
        raise AirflowFailException(f"Nothing of {window} was compared: the log of plan says why.")
    parts = all_from_xcom(planned, DiffRequest)
    reports = settled(_by_request(compared), _by_request(repaired))
    lost = [part for part in parts if part not in _by_request(compared)]
    with step(context) as runtime:
        for dataset in DATASETS:
            if dataset in reports:
                show(reports[dataset], f"{dataset} {window}, against the exchange")
            unseen = [part for part in lost if part.dataset is dataset]
            _enter(runtime, context, window, dataset, reports.get(dataset), lost=len(unseen))
        show_pages(tell_of_gaps(runtime, link=link(context)))
    fail_unless_true(window, reports, lost, repair_ended=repaired is not None)
    counts = to_xcom(msgspec.structs.replace(summed(reports.values()), gaps=(), errors=()))
    return {**counts, "datasets": [str(dataset) for dataset in reports]}


def settled(
    compared: Mapping[DiffRequest, GapReport], repaired: Mapping[DiffRequest, GapReport]
) -> dict[Dataset, GapReport]:
    """The comparison of each dataset, and what later attempts left of it, as one report. Pure."""
    from gapless.pipeline.reconcile.request import summed
    from gapless.pipeline.reconcile.run import settle

    last = {request.dataset: found for request, found in repaired.items()}
    found: dict[Dataset, GapReport] = {}
    for dataset in DATASETS:
        mine = [each for request, each in compared.items() if request.dataset is dataset]
        if mine:
            found[dataset] = settle(summed(mine), last.get(dataset))
    return found


def fail_unless_true(
    window: Window, reports: Mapping[Dataset, GapReport], lost: Sequence[DiffRequest], *, repair_ended: bool
) -> None:
    """Ends a run red when the stores do not hold what the exchange has: green means true.

    Args:
        lost: parts that were not compared. repair_ended: whether the task `repair` came to its end.

    Raises:
        AirflowFailException: with the reason and what to do.
    """
    from gapless.domain.window import iso

    if not lost and repair_ended and all(found.clean for found in reports.values()):
        return
    lines: list[str] = []
    causes: list[str] = []
    for dataset, found in reports.items():
        wrong = {name: getattr(found, name) for name in ("missing", "extra", "different", "failed")}
        if not found.clean:
            counted = ", ".join(f"{rows:,} {name}" for name, rows in wrong.items() if rows) or "no row"
            lines.append(f"{dataset}: {counted} of {found.checked:,} compared; {len(found.errors)} errors")
        causes += [
            f"{gap.state}: {gap.symbol} {gap.interval} {gap.start}..{gap.end} ({gap.bars:,}): {gap.cause}"
            for gap in found.gaps
            if gap.state != "unfillable"
        ]
        causes += [failure_line(error) for error in found.errors]
    lines += [f"not compared: {part}" for part in lost[:LISTED]]
    if not repair_ended:
        lines.append("repair did not come to its end: its log says why; what it left is tried again tomorrow")
    lines += [f"  {cause}" for cause in causes[:LISTED]]
    lines += [f"  and {len(causes) - LISTED} more; the gap log has all"] if len(causes) > LISTED else []
    what = WHAT_TO_DO.format(start=iso(window.start_ms), end=iso(window.end_ms))
    raise AirflowFailException("\n".join(["The stores do not hold what the exchange has.", *lines, what]))


def _by_request(left: Any) -> dict[DiffRequest, GapReport]:
    """What tasks left, by what they were asked; see `gapless_airflow.steps.all_from_xcom`."""
    from gapless.pipeline.reconcile.request import DiffRequest, GapReport

    each = all_from_xcom(left, dict[str, Any])
    return {from_xcom(one["request"], DiffRequest): from_xcom(one["report"], GapReport) for one in each}


def _enter(
    runtime: Runtime,
    context: Mapping[str, Any],
    window: Window,
    dataset: Dataset,
    found: GapReport | None,
    *,
    lost: int,
) -> None:
    """One check of the day and dataset in the books; again, it replaces itself."""
    from gapless.storage.mysql.checks import CLEAN, DIRTY, FAILED, CheckRun, put_check

    if found is None and not lost:
        return  # nothing of it lived in these days
    now_ms = time.time_ns() // 1_000_000
    result: dict[str, Any] = {"parts_not_compared": lost}
    if found is not None:
        counts = msgspec.structs.asdict(found)
        result |= {name: value for name, value in counts.items() if isinstance(value, int | float | dict)}
        result["errors"] = len(found.errors)
    state = FAILED if found is None or lost or found.failed else CLEAN if found.clean else DIRTY
    started_ms = now_ms - int(1000 * (found.seconds if found else 0))
    put_check(
        runtime.db,
        CheckRun(
            identity=identity(context, "gap_diff", dataset),
            kind="gap_diff",
            dataset=str(dataset),
            window=window,
            state=state,
            result=result,
            link=link(context),
            started_ms=started_ms,
            finished_ms=now_ms,
        ),
    )


def show(report: GapReport, title: str) -> None:
    """The report as `gapless gaps` prints it."""
    from gapless.cli.output import print_failures, print_gaps

    print_gaps(report, title=title)
    print_failures(report.errors)


def bounded(report: GapReport) -> GapReport:
    """A report short enough for XCom: every count, of gaps and errors the first; what somebody must look at first."""
    order = {"failed": 0, "open": 1, "refilling": 2, "unfillable": 3}
    gaps = sorted(report.gaps, key=lambda gap: (order.get(gap.state, 0), gap.symbol, gap.interval, gap.start))
    return msgspec.structs.replace(report, gaps=tuple(gaps[:HANDED_ON]), errors=report.errors[:HANDED_ON])
