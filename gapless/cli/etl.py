"""`gapless etl ohlcv`: the hourly pipeline by hand, for any window."""

from __future__ import annotations

import argparse
import sys

from gapless.cli.arguments import (
    Subparsers,
    add_json,
    add_max_wait,
    add_series,
    add_window,
    command,
    market_of,
    names,
    window_of,
)

_EXAMPLE = """\
  gapless etl ohlcv --start 2026-11-20T16:00 --end 2026-11-20T17:00
  gapless etl ohlcv --start 2026-11-20 --end 2026-11-21 --symbols BTC/USDT,BTC/USDT:USDT --intervals 1m,1h
  gapless etl ohlcv --start 2026-11-20T16:00 --end 2026-11-20T17:00 --market um --symbols all:USDT --json

Takes the bars that complete in (start, end]: at 17:00 the 16:00 hour bar, at 00:00 yesterday's day bar. Doing a window
again changes nothing that is right and replaces, with a note in `restatement`, what the exchange has changed since.
Exit status 1 when any series failed; the others are stored all the same."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers, "etl", help="extract, normalise, load and archive the bars of one window", example=_EXAMPLE
    )
    parser.add_argument("dataset", choices=["ohlcv"], help="what to take")
    add_window(parser)
    add_series(parser)
    add_max_wait(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take the window; print the report; 1 when anything failed."""
    window, symbols, market = window_of(args), names(args.symbols), market_of(args)
    # Heavy (Arrow, ccxt): loaded when the arguments are known to be good.
    from gapless.cli.output import print_report
    from gapless.cli.progress import Progress
    from gapless.config import settings
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.plan import plan_window
    from gapless.pipeline.run import run_etl
    from gapless.pipeline.runtime import Runtime
    from gapless.storage.mysql.origin import read_origin

    intervals = parse_intervals(args.intervals) if args.intervals else None
    with (
        Progress(sys.stderr) as progress,
        Runtime.open(settings(), max_wait_s=args.max_wait, say=progress.say) as rt,
    ):
        progress.step(f"plan {window}")
        batches = plan_window(rt, window, market=market, symbols=symbols, intervals=intervals)
        report = run_etl(rt, batches, on_step=progress.step, on_batch=progress.count)
        generated = (read_origin(rt.db) or "").startswith("replica:")
    title = f"ohlcv {window}" + (" (generated data, not from an exchange)" if generated else "")
    print_report(report, as_json=args.json, title=title)
    return 1 if report.errors else 0
