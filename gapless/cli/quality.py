"""`gapless quality`: is what is stored of a day true in itself?"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, command
from gapless.domain.window import DAY_MS, Window, iso, parse_time
from gapless.errors import ConfigError

if TYPE_CHECKING:
    from gapless.pipeline.quality.expectations import ExpectationsReport
    from gapless.pipeline.quality.rules import RulesReport

_EXAMPLE = """\
  gapless quality --day 2026-11-20
  gapless quality --day 2026-11-20 --json

Holds the stored rows of a UTC day against the daily rules (continuity, price jumps, agreement of intervals, spot
against perpetual, activity) and every table against its Great Expectations suite, and says which rule failed for which
rows. The exchange is not asked: `gapless gaps` does that. No row is changed; doubtful ones wait in `gapless review`.
The report goes to the lake under reports/quality/, the pages under var/data_docs/.
Exit status 1 when a critical rule does not hold ("data bad") or a check could not be done ("check broken"); warnings
alone are status 0."""

_LISTED = 10


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "quality", help="judge the stored rows of a day by rules and suites", example=_EXAMPLE)
    parser.add_argument("--day", required=True, metavar="DATE", help="the UTC day, such as 2026-11-20")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, print; 1 when the data are bad or a check is broken."""
    day = _day(args.day)
    # Heavy (Arrow; Great Expectations, inside): loaded when the arguments are known to be good.
    from gapless.cli.output import print_json
    from gapless.config import settings
    from gapless.pipeline.quality.expectations import run_expectations
    from gapless.pipeline.quality.rules import check_rules
    from gapless.pipeline.runtime import Runtime

    name = f"gapless quality {iso(time.time_ns() // 1_000_000)}"
    # Standard output is ours: what the libraries have to say goes to standard error.
    with (
        contextlib.redirect_stdout(sys.stderr),
        Runtime.open(settings(), say=lambda line: print(line, file=sys.stderr, flush=True)) as rt,
    ):
        ruled = check_rules(rt, day, run_id=name)
        expected = run_expectations(rt, day, run_id=name)
    state = _state(ruled, expected)
    if args.json:
        print_json({"day": expected.day, "state": state, "rules": ruled, "expectations": expected})
    else:
        _print(ruled, expected, state)
    return 0 if state == "clean" else 1


def _day(text: str) -> Window:
    start = parse_time(text)
    if start % DAY_MS:
        raise ConfigError(f"--day {text} is no whole UTC day: write a date such as 2026-11-20")
    return Window(start, start + DAY_MS)


def _state(ruled: RulesReport, expected: ExpectationsReport) -> str:
    """Of both: `broken` before `dirty` before `clean`."""
    if ruled.errors or expected.state == "broken":
        return "broken"
    return "dirty" if ruled.critical or expected.state == "dirty" else "clean"


def _print(ruled: RulesReport, expected: ExpectationsReport, state: str) -> None:
    words = {"clean": "clean", "dirty": "data bad", "broken": "check broken"}
    print(f"stored data of {expected.day}, UTC: {words[state]}")
    print(f"  rules         {ruled.rows:>12,} bars of {ruled.series:,} series, {ruled.seconds:,.1f} s")
    rows, rules = sum(suite.rows for suite in expected.suites), sum(suite.evaluated for suite in expected.suites)
    print(
        f"  suites        {rows:>12,} rows of {len(expected.suites)} tables, {rules} rules, {expected.seconds:,.1f} s"
    )
    broken = [f"rules: {error.symbol} {error.message}" for error in ruled.errors]
    broken += [f"{suite.table}: {each}" for suite in expected.suites for each in suite.broken]
    failed = [(suite.table, failure) for suite in expected.suites for failure in suite.failures]
    bad = [finding.text for finding in ruled.findings if finding.severity == "critical"]
    bad += [f"{table}: {failure.text}" for table, failure in failed if failure.severity == "critical"]
    warnings = [finding.text for finding in ruled.findings if finding.severity != "critical"]
    warnings += [f"{table}: {failure.text}" for table, failure in failed if failure.severity != "critical"]
    for title, lines in (("check broken", broken), ("data bad", bad), ("warning", warnings)):
        for line in lines[:_LISTED]:
            print(f"  {title}: {line}")
        if len(lines) > _LISTED:
            print(f"  and {len(lines) - _LISTED:,} more of these; --json lists them")
    if ruled.waiting_reviews:
        print(f"  {ruled.waiting_reviews:,} rows wait for a yes or no: gapless review")
    print(f"  report        {expected.report_key} in the lake")
    print(f"  pages         {expected.docs or 'none: ' + expected.docs_failure}")
