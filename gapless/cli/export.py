"""`gapless export-month`: a month out of MySQL into the lake, proved before anything is dropped."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, command

if TYPE_CHECKING:
    from gapless.cli.progress import Progress

_EXAMPLE = """\
  gapless export-month 2026-07
  gapless export-month 2026-07 --drop
  gapless export-month 2026-07 --table funding_rate --drop --json
  gapless export-month 2026-07 --dry-run

Brings every row of the month into the lake (most are there already), reads the lake back and holds it against MySQL:
counts, bounds and exact sums of each series. --drop then takes the rows out of MySQL; reads go on from the lake as if
nothing had happened. Killed anywhere, it goes on when it is run again; `gapless restore-month` brings a month back. A
month of which MySQL holds nothing is no error. Exit status 1 when something could not be proved: nothing is dropped."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "export-month", help="bring a month whole into the lake, proved", example=_EXAMPLE)
    parser.add_argument("month", metavar="YYYY-MM", help="a month that is over")
    parser.add_argument(
        "--table", choices=["ohlcv", "funding_rate", "futures_metrics"], default="ohlcv", help="default: ohlcv"
    )
    parser.add_argument("--drop", action="store_true", help="then drop it from MySQL")
    parser.add_argument("--dry-run", action="store_true", help="say what MySQL holds of it, and stop")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, print; 1 when something was lost on the way."""
    from gapless.storage.mysql.partitions import parse_month

    month = parse_month(args.month)
    # Heavy (Arrow, ccxt): loaded when the arguments are known to be good.
    from gapless.cli.output import print_report
    from gapless.cli.progress import Progress
    from gapless.config import settings
    from gapless.domain.datasets import Dataset
    from gapless.pipeline.export import plan_export, run_export
    from gapless.pipeline.runtime import Runtime

    dataset = Dataset(args.table)
    with (
        Progress(sys.stderr, "rows") as progress,
        Runtime.open(settings(), max_wait_s=5.0, say=progress.say) as rt,
    ):
        if args.dry_run:
            report = plan_export(rt, dataset, month)
        else:
            report = run_export(rt, dataset, month, drop=args.drop, watch=_Shown(progress))
    title = f"{dataset} {month}: " + ("what MySQL holds" if args.dry_run else "exported")
    print_report(report, as_json=args.json, title=title)
    return 1 if report.errors else 0


class _Shown:
    """A watch on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def say(self, line: str) -> None:
        self._progress.step(line)

    def rows(self, done: int, total: int) -> None:
        self._progress.count(done, total)
