"""`gapless retention`: what has outlived its days, listed or removed."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, command

if TYPE_CHECKING:
    from gapless.pipeline.retention.sweep import Item, RetentionReport

_EXAMPLE = """\
  gapless retention
  gapless retention --json
  gapless retention --apply

Without --apply nothing is removed: each line says what would go, from when it is, its bytes and why; what begins with
"held" stays although it is as old, because unfinished work needs it. The rules are in include/retention.yaml (or the
file of GAPLESS_RETENTION_FILE): payloads, earlier versions of lake objects, exports of the books, reports, data docs.
housekeeping_daily does the same with --apply, every day.

Rows never go by age: months that are no longer hot are listed, and `gapless export-month YYYY-MM --drop` takes them.

The exit status is 1 when something could not be looked at or removed, or live Streams wait unpublished for too long."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "retention", help="list, or remove, what has been kept its days", example=_EXAMPLE)
    parser.add_argument("--apply", action="store_true", help="remove what is listed")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Sweep, print; 1 when a part failed or a spooled hour is overdue."""
    from gapless.cli.output import print_failures, print_json
    from gapless.config import settings
    from gapless.pipeline.retention.sweep import sweep
    from gapless.pipeline.runtime import Runtime

    with Runtime.open(settings(), say=lambda line: print(line, file=sys.stderr)) as rt:
        now_ms = time.time_ns() // 1_000_000
        report = sweep(rt, now_ms, apply=args.apply, on_item=None if args.json else _print_item)
    if args.json:
        print_json(report)
    else:
        _print_totals(report)
        print_failures(report.errors)
    return 0 if report.clean else 1


def _print_item(item: Item) -> None:
    print(f"{item.zone:10} {item.since[:10]} {item.days:>5} d {item.bytes:>14,} B  {item.where}  ({item.why})")


def _print_totals(report: RetentionReport) -> None:
    from rich.console import Console
    from rich.table import Table

    went = "removed" if report.applied else "would go"
    table = Table(title=f"retention at {report.at}: {report.objects:,} {went}", title_justify="left")
    for name in ("zone", "days"):
        table.add_column(name, no_wrap=True)
    for name in (went, "bytes", "held", "oldest"):
        table.add_column(name, justify="right", no_wrap=True)
    for zone in report.zones:
        days = "for ever" if zone.days is None else str(zone.days)
        oldest = (zone.oldest or "")[:10]
        table.add_row(zone.zone, days, f"{zone.objects:,}", f"{zone.bytes:,}", f"{zone.held:,}", oldest)
    Console().print(table)
    for month in report.exports:
        name = f"{month.table} {month.month}"
        if month.hold_until:
            print(f"{name} was brought back and stays in MySQL until {month.hold_until}")
        else:
            print(f"the next export takes {name}" + (f" (the last one: {month.state})" if month.state else ""))
    for hour in report.overdue:
        print(
            f"overdue: {hour.kind} {hour.exchange} {hour.hour} is spooled for {hour.hours_waiting} h and not published:"
            " run `gapless publish-streams`",
            file=sys.stderr,
        )
