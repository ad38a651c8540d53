"""`gapless restore-month`: a month that left MySQL, back from the lake, proved."""

from __future__ import annotations

import argparse
import sys

from gapless.cli.arguments import Subparsers, add_json, command

_EXAMPLE = """\
  gapless restore-month 2026-07
  gapless restore-month 2026-07 --table funding_rate
  gapless restore-month 2026-07 --hold-days 30 --json
  gapless restore-month 2026-07 --dry-run

Loads every row that the lake holds of the month and MySQL lacks, then compares counts, bounds and exact sums of each
series. The lake is read back first: nothing is loaded of a month with a damaged object. Rows that MySQL holds stay as
they are, so readers see the same before, meanwhile and after. The monthly export leaves the month where it is for
--hold-days; `gapless export-month` takes it out again at any time. Killed anywhere, it goes on when it is run again.
Exit status 1 when the lake holds nothing of the month, or MySQL does not hold all of it afterwards."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers, "restore-month", help="load an archived month back into MySQL, proved", example=_EXAMPLE
    )
    parser.add_argument("month", metavar="YYYY-MM", help="a month of which the lake holds rows")
    parser.add_argument(
        "--table", choices=["ohlcv", "funding_rate", "futures_metrics"], default="ohlcv", help="default: ohlcv"
    )
    parser.add_argument(
        "--hold-days",
        type=_days,
        default=7,
        metavar="N",
        help="for how many days the monthly export leaves it in MySQL (default 7; 0: until its next run)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what both stores hold of it, and stop")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Restore, print; 1 when MySQL does not hold all of it afterwards."""
    from gapless.storage.mysql.partitions import parse_month

    month = parse_month(args.month)
    # Heavy (Arrow): loaded when the arguments are known to be good.
    from gapless.cli.output import print_report
    from gapless.cli.progress import Progress
    from gapless.config import settings
    from gapless.domain.datasets import Dataset
    from gapless.pipeline.restore import restore_month
    from gapless.pipeline.runtime import Runtime

    dataset = Dataset(args.table)
    with Progress(sys.stderr, "rows") as progress, Runtime.open(settings(), max_wait_s=5.0, say=progress.say) as rt:
        progress.step(f"{dataset} {month}: reading the lake back")
        report = restore_month(
            rt, dataset, month, hold_days=args.hold_days, dry_run=args.dry_run, on_progress=progress.count
        )
    title = f"{dataset} {month}: " + ("what both stores hold" if args.dry_run else "back in MySQL")
    print_report(report, as_json=args.json, title=title)
    return 0 if report.verified or args.dry_run else 1


def _days(text: str) -> int:
    """A number of days, 0 or more; an argparse type."""
    if not text.isascii() or not text.isdigit() or int(text) > 3650:
        raise argparse.ArgumentTypeError(f"not a number of days from 0 to 3650: {text!r}")
    return int(text)
