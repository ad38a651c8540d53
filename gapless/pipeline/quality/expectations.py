"""The suites over a stored day: its rows copied aside and held against the rules, the verdict kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import ALL_INTERVALS
from gapless.domain.window import DAY_MS, Window, from_ms
from gapless.errors import ConfigError, StorageError
from gapless.pipeline.quality.docs import building, publish, sweep_docs
from gapless.pipeline.retention.rules import load_rules
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.quality.expectations import SUITES, ExpectationsReport, RuleFailure, Suite, SuiteResult, judge, worst
from gapless.storage.lake.reports import file_name, report_key
from gapless.storage.mysql.checks import CLEAN, DIRTY, FAILED, CheckRun, put_check
from gapless.storage.mysql.day_tables import DayTables, day_tables

if TYPE_CHECKING:
    from gapless.quality.expectations.engine import Answered

log = logging.getLogger(__name__)

KIND = "expectations"
"""The kind of these check runs."""

_ZONE = "quality"
_STATES = {"clean": CLEAN, "dirty": DIRTY, "broken": FAILED}

__all__ = ["KIND", "ExpectationsReport", "RuleFailure", "SuiteResult", "run_expectations", "sweep_reports"]


def run_expectations(
    rt: Runtime, day: Window, *, run_id: str, link: str = "", suites: Sequence[Suite] = SUITES
) -> ExpectationsReport:
    """Hold what a day touches of every table against its suite.

    The rows are MySQL's; bars, funding and metrics of a day of which MySQL holds none are the lake's. The report and
    Great Expectations' own results go to the lake, the pages to the data docs, the verdict to the books. Two runs at
    once do not meet: each has its own tables, context and folder. The same run again replaces what it left.

    Args:
        day: one UTC day.
        run_id: names the run in the report, the pages and the books; not empty.
        link: where a person can look at the run.

    Raises:
        ConfigError: not one UTC day, or Great Expectations is not installed.
        StorageError: MySQL or the lake is away, or the data docs have no folder to be built in. A check that cannot be
            done is in the report, as `broken`.
    """
    if day.length_ms != DAY_MS or day.start_ms % DAY_MS:
        raise ConfigError(f"suites are held against one UTC day, and {day} is none: give 00:00 to 00:00 of the next")
    if not run_id.strip():
        raise ConfigError(f"the run that checks {day} has no name: give the DAG's and the run's, or a time")
    began_ms, began = time.time_ns() // 1_000_000, time.monotonic()
    name = f"{from_ms(day.start_ms):%Y-%m-%d}"
    with building(rt.settings.data_docs_dir) as folder:
        with day_tables(
            rt.db, day, [suite.table for suite in suites], cold=lambda dataset: _of_lake(rt, dataset, day)
        ) as tables:
            answered, docs_failure = _validate(suites, tables, file_name(run_id), folder / "gx")
        results = tuple(judge(each.batch.suite, each.batch.rows, each.answers) for each in answered)
        report = ExpectationsReport(
            day=name,
            state=worst(tuple(result.state for result in results)),
            suites=results,
            report_key=report_key(_ZONE, day, run_id),
            docs="",
            seconds=round(time.monotonic() - began, 3),
            run_id=run_id,
            link=link,
            docs_failure=docs_failure,
        )
        report = _published(rt, report, suites, folder)
    report = msgspec.structs.replace(report, seconds=round(time.monotonic() - began, 3))
    accounts = {each.batch.suite.name: each.account for each in answered}
    rt.lake.put_report(report.report_key, msgspec.json.encode({"report": report, "great_expectations": accounts}))
    put_check(rt.db, _check(report, day, began_ms))
    return report


def sweep_reports(rt: Runtime, now_ms: int) -> int:
    """Remove reports in the lake, and pages of the data docs, of days longer ago than they are kept; how many.

    Raises:
        ConfigError: the file of retention rules is wrong.
        StorageError: the lake is away, or the folder cannot be written.
    """
    days = load_rules(rt.settings).reports.days
    return rt.lake.sweep_reports(now_ms, days) + sweep_docs(rt.settings.data_docs_dir, now_ms, days)


def _validate(
    suites: Sequence[Suite], tables: DayTables, run_name: str, docs: Path
) -> tuple[tuple[Answered, ...], str]:
    """The answers, and why there are no pages if there are none."""
    try:
        # Seconds of imports, which nobody pays who does not check a day.
        from gapless.quality.expectations.engine import Batch, validate
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: pip install 'gapless[quality]'") from error
    batches = [Batch(suite, tables.name(suite.table), tables.rows[suite.table]) for suite in suites]
    validated = validate(batches, lambda: tables.driver, run_name=run_name, docs=docs)
    return validated.answered, validated.docs_failure


def _of_lake(rt: Runtime, dataset: Dataset, day: Window) -> pa.Table:
    if dataset is Dataset.OHLCV:
        return rt.lake.read(day, intervals=ALL_INTERVALS, exchange=EXCHANGE)
    return rt.lake.read_rows(dataset, day, exchange=EXCHANGE).select(SHAPES[dataset].schema.names)


def _published(rt: Runtime, report: ExpectationsReport, suites: Sequence[Suite], folder: Path) -> ExpectationsReport:
    """The report with its pages; a disk that is full must not hide what is true of the data."""
    if report.docs_failure:
        return report
    try:
        kept_days = load_rules(rt.settings).reports.days
        index = publish(rt.settings.data_docs_dir, folder, report, suites, kept_days=kept_days)
    except (OSError, StorageError, ConfigError) as error:
        log.warning("the data docs of %s could not be published: %s", report.day, error)
        return msgspec.structs.replace(report, docs_failure=str(error))
    return msgspec.structs.replace(report, docs=str(index))


def _check(report: ExpectationsReport, day: Window, began_ms: int) -> CheckRun:
    found: dict[str, Any] = {
        "state": report.state,
        "report": report.report_key,
        "docs": report.docs,
        "docs_failure": report.docs_failure,
        "seconds": report.seconds,
        "rows": sum(suite.rows for suite in report.suites),
        "evaluated": sum(suite.evaluated for suite in report.suites),
        "expected": sum(suite.expected for suite in report.suites),
        "warnings": report.warnings,
        "failures": [
            {"suite": suite.name, "rule": each.rule, "severity": each.severity, "unexpected": each.unexpected}
            for suite in report.suites
            for each in suite.failures
        ],
        "broken": [f"{suite.name}: {each}" for suite in report.suites for each in suite.broken],
    }
    return CheckRun(
        identity=sha256("\0".join((KIND, report.day, report.run_id)).encode()).hexdigest(),
        kind=KIND,
        dataset="",
        window=day,
        state=_STATES[report.state],
        result=found,
        link=report.link,
        started_ms=began_ms,
        finished_ms=time.time_ns() // 1_000_000,
    )
