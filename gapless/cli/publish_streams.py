"""`gapless publish-streams`: what the live Streams left on the disk spool goes to the lake, hour by hour."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from gapless.cli.arguments import Subparsers, add_json, command
from gapless.domain.window import parse_time

if TYPE_CHECKING:
    from gapless.pipeline.stream_archive.receipts import PublishReport, StreamHourReceipt

_EXAMPLE = """\
  gapless publish-streams
  gapless publish-streams --hour 2026-11-20T16 --json
  gapless publish-streams --dry-run

Publishes every spooled hour that has been over for five minutes: its rows are merged into the lake's objects of that
hour, which are read back and compared, entered into the books, and only then removed from the spool. Safe to repeat
and to kill. The DAG stream_archive_hourly does the same at seven minutes past every hour.
Exit status 1 when an hour failed, trades are missing that md.gaps does not explain, or a spool file was damaged."""

_LISTED = 20


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "publish-streams", help="spooled live Streams to the lake", example=_EXAMPLE)
    parser.add_argument(
        "--hour", metavar="HOUR", help="only this hour, UTC: 2026-11-20T16 (default: all that are over)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only list what would be published")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Publish, print; 1 when something failed or is missing without a reason."""
    hour_ms = None if args.hour is None else parse_time(args.hour)
    # Heavy (Arrow): loaded when the arguments are known to be good.
    from gapless.cli.output import print_json
    from gapless.config import settings
    from gapless.pipeline.runtime import Runtime
    from gapless.pipeline.stream_archive.closed import publish_closed

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    with Runtime.open(settings(), say=say) as rt:
        report = publish_closed(
            rt, now_ms=time.time_ns() // 1_000_000, hour_ms=hour_ms, dry_run=args.dry_run, on_progress=say
        )
    if args.json:
        print_json(report)
    else:
        _print(report)
    return 0 if report.good else 1


def _print(report: PublishReport) -> None:
    print(f"{len(report.hours):,} hours published in {report.seconds:,.1f} s")
    for hour in report.hours:
        _print_hour(hour)
    for waiting in report.waiting[:_LISTED]:
        why = {"open": "not over for five minutes", "writing": "still being written", "closed": "ready"}[waiting.why]
        print(f"  {waiting.kind} {waiting.exchange} {waiting.hour}: {waiting.bytes:,} bytes wait: {why}")
    if len(report.waiting) > _LISTED:
        print(f"  and {len(report.waiting) - _LISTED:,} more; --json lists them all")
    for error in report.errors:
        print(f"failed: {error.symbol} {error.window}: {error.message}", file=sys.stderr)


def _print_hour(hour: StreamHourReceipt) -> None:
    print(
        f"  {hour}: {hour.added:,} rows added, {hour.duplicates:,} duplicates, {hour.quarantined:,} quarantined; "
        f"{len(hour.objects)} objects of {hour.rows:,} rows, {hour.bytes:,} bytes"
    )
    for hole in hour.holes[:_LISTED]:
        cause = hole.cause or "md.gaps knows nothing of it"
        print(
            f"    missing: {hole.symbol} trades {hole.first_id} to {hole.last_id} ({hole.ids:,}), "
            f"{hole.after} to {hole.before}: {cause}"
        )
    if hour.hole_count > _LISTED:
        print(f"    and {hour.hole_count - _LISTED:,} more holes; --json lists a hundred")
    for key in hour.damaged:
        print(f"    damaged in the spool, kept in the lake: {key}")
