"""What the tasks of `quality_daily` do: wait for the diff, run the checks, say the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from airflow.sdk.exceptions import AirflowFailException

from gapless.errors import NotYet
from gapless_airflow.runs import link, run_id, show_pages
from gapless_airflow.steps import LISTED, failure_line, from_xcom, step, to_xcom
from gapless_airflow.windows import day

if TYPE_CHECKING:
    from gapless.domain.window import Window
    from gapless.pipeline.quality.expectations import ExpectationsReport
    from gapless.pipeline.quality.rules import RulesReport

DIFF_DAG = "gap_diff_daily"
LOOK_AGAIN_S = 60.0
HANDED_ON = 20
"""Findings, and failures of a suite, that go through XCom; all are in the books and in the report."""

WHAT_TO_DO_BAD = """\
What to do: open the data docs (side bar) for rows and rules. `gapless gaps --start {start} --end {end} --fill` puts
right what the exchange says otherwise. Then clear this run. docs/runbooks/quality.md"""
WHAT_TO_DO_BROKEN = """\
What to do: nothing is known of the data yet. The check's own error stands above or in the log of the task that failed:
correct the check, then clear that task with its downstream. docs/runbooks/quality.md"""


class Judgement(NamedTuple):
    """What the checks of a day come to, a line each.

    Attributes:
        broken: checks that could not be done: nothing is known of what they look at.
        bad: critical findings. warnings: the others. warned: how many those are; not all have a line.
    """

    broken: tuple[str, ...]
    bad: tuple[str, ...]
    warnings: tuple[str, ...]
    warned: int


def after_diff(context: Mapping[str, Any]) -> None:
    """Wait while the diff has a run queued or running: what is being repaired cannot be judged yet.

    Raises:
        AirflowRescheduleException: come again in a minute.
    """
    from gapless.storage.mysql.checks import read_checks

    window = day(context)
    with step(context) as runtime:
        under_way = context["ti"].get_dr_count(dag_id=DIFF_DAG, states=["queued", "running"])
        if under_way:
            raise NotYet(
                f"{DIFF_DAG} has {under_way} run queued or running: what it repairs is judged afterwards",
                retry_after_s=LOOK_AGAIN_S,
            )
        told = [check for check in read_checks(runtime.db, kinds={"gap_diff"}) if check.window == window]
    for check in told[-LISTED:]:
        print(f"diff of {check.dataset} {check.window}: {check.state} {check.link}")
    if not told:
        print(f"no diff of {window} is on record: these days have not been compared with the exchange yet")


def rules(context: Mapping[str, Any]) -> Any:
    """The rules over the day's bars; the report, of its findings the gravest."""
    from gapless.pipeline.quality.rules import check_rules

    window = day(context)
    with step(context) as runtime:
        report = check_rules(runtime, window, run_id=run_id(context), link=link(context))
    print(f"rules {window}: {report.state}; {report.rows:,} bars of {report.series:,} series in {report.seconds:.1f} s")
    for name, found in [*report.findings_by_severity.items(), *report.findings_by_rule.items()]:
        print(f"  {name:12} {found:>8,}")
    for finding in report.findings[:LISTED]:
        print(f"  {finding.severity}: {finding.text}")
    for error in report.errors[:LISTED]:
        print(f"  not judged: {failure_line(error)}")
    print(f"  waiting for a person: {report.waiting_reviews:,} ({report.new_reviews:,} new): gapless review")
    short = msgspec.structs.replace(report, findings=report.findings[:HANDED_ON], errors=report.errors[:HANDED_ON])
    return to_xcom(short)


def expectations(context: Mapping[str, Any]) -> Any:
    """The suites over the day's rows, and the data docs; the report, of each suite's failures the first."""
    from gapless.pipeline.quality.expectations import run_expectations

    window = day(context)
    with step(context) as runtime:
        report = run_expectations(runtime, window, run_id=run_id(context), link=link(context))
    print(f"expectations {window}: {report.state}; {len(report.suites)} suites in {report.seconds:.1f} s")
    for suite in report.suites:
        print(f"  {suite.state:7} {suite.name}: {suite.evaluated} of {suite.expected} checks, {suite.rows:,} rows")
        for failure in suite.failures[:LISTED]:
            print(f"    {failure.severity}: {failure.text}")
        for broken in suite.broken[:LISTED]:
            print(f"    broken: {broken}")
    print(f"  report {report.report_key}   data docs {report.docs}")
    suites = tuple(
        msgspec.structs.replace(suite, failures=suite.failures[:HANDED_ON], broken=suite.broken[:HANDED_ON])
        for suite in report.suites
    )
    return to_xcom(msgspec.structs.replace(report, suites=suites))


def sweep(context: Mapping[str, Any]) -> int:
    """Delete the reports and pages that have been kept their days (`include/retention.yaml`); how many."""
    import time

    from gapless.pipeline.quality.expectations import sweep_reports

    with step(context) as runtime:
        swept = sweep_reports(runtime, time.time_ns() // 1_000_000)
        print(f"{swept} reports and days of pages deleted that had been kept their days")
    return swept


def verdict(context: Mapping[str, Any], ruled: object, expected: object) -> Any:
    """Say what the checks come to; tell whoever is on call; end red when it is not good.

    Returns the warnings, for the run's XCom.

    Raises:
        AirflowFailException: a check is broken or the data are bad; the message begins with which of the two.
    """
    from gapless.pipeline.paging import tell_of_quality
    from gapless.pipeline.quality.expectations import ExpectationsReport
    from gapless.pipeline.quality.rules import RulesReport

    window = day(context)
    found = judge(
        None if ruled is None else from_xcom(ruled, RulesReport),
        None if expected is None else from_xcom(expected, ExpectationsReport),
    )
    said = message(window, found)
    with step(context) as runtime:
        pages = tell_of_quality(
            runtime,
            f"quality:{_name(window)}",
            bad=said is not None,
            summary=said.splitlines()[0] if said else f"quality of {_name(window)}: good",
            detail={"broken": list(found.broken[:HANDED_ON]), "bad": list(found.bad[:HANDED_ON])},
            link=link(context),
        )
    show_pages(pages)
    for line in found.warnings[:LISTED]:
        print(f"warning: {line}")
    if said is not None:
        raise AirflowFailException(said)
    print(f"quality of {_name(window)}: good, {found.warned:,} warnings")
    return {"warnings": found.warned, "first": list(found.warnings[:HANDED_ON])}


def judge(ruled: RulesReport | None, expected: ExpectationsReport | None) -> Judgement:
    """Both reports as one judgement; a report that is not there is a broken check. Pure."""
    broken: list[str] = []
    bad: list[str] = []
    warnings: list[str] = []
    if ruled is None:
        broken.append("the rules left no report: the log of the task rules says why")
    else:
        broken += [f"rules: {failure_line(error)}" for error in ruled.errors]
        bad += _findings(ruled, "critical")
        warnings += _findings(ruled, "warning")
    if expected is None:
        broken.append("the expectations left no report: the log of the task expectations says why")
    else:
        before = len(broken), len(bad)
        for suite in expected.suites:
            broken += [f"{suite.name}: {each}" for each in suite.broken]
            for failure in suite.failures:
                (bad if failure.severity == "critical" else warnings).append(f"{suite.name}: {failure.text}")
        if expected.docs_failure:
            warnings.append(f"the data docs could not be built: {expected.docs_failure}")
        if expected.state == "broken" and len(broken) == before[0]:
            broken.append("expectations: broken; the log of the task expectations says where")
        if expected.state == "dirty" and len(bad) == before[1]:
            bad.append("expectations: dirty; the log of the task expectations lists the failures")
    warned = (ruled.findings_by_severity.get("warning", 0) if ruled else 0) + (expected.warnings if expected else 0)
    return Judgement(tuple(broken), tuple(bad), tuple(warnings), warned)


def _findings(ruled: RulesReport, severity: str) -> list[str]:
    """The findings of a severity that came along, and how many there are in all."""
    told = [f"{finding.rule}: {finding.text}" for finding in ruled.findings if finding.severity == severity]
    more = ruled.findings_by_severity.get(severity, 0) - len(told)
    return told + (
        [f"rules: {more:,} more {severity} findings; the log of the task rules has them"] if more > 0 else []
    )


def message(window: Window, found: Judgement) -> str | None:
    """Why the run is red, None when it is not. A broken check comes first: it says that the rest is not known."""
    lines: list[str] = []
    if found.broken:
        lines += [f"check broken: {found.broken[0]}", *_more(found.broken), WHAT_TO_DO_BROKEN]
    if found.bad:
        lines += [f"data bad: {found.bad[0]}", *_more(found.bad), _what_to_do(window)]
    return "\n".join(lines) or None


def _more(lines: Sequence[str]) -> list[str]:
    rest = [f"  {line}" for line in lines[1:LISTED]]
    return rest + ([f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else [])


def _what_to_do(window: Window) -> str:
    from gapless.domain.window import iso

    return WHAT_TO_DO_BAD.format(start=iso(window.start_ms)[:10], end=iso(window.end_ms)[:10])


def _name(window: Window) -> str:
    from gapless.domain.window import iso

    return iso(window.start_ms)[:10]
