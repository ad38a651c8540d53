"""`gapless gaps`: what is stored against what the exchange has, row by row, and repaired if asked."""

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
  gapless gaps --start 2026-11-20 --end 2026-11-21
  gapless gaps --start 2026-11-20 --end 2026-11-21 --symbols BTC/USDT:USDT --intervals 1m,1h --json
  gapless gaps --start 2026-11-20 --end 2026-11-21 --fill
  gapless gaps --start 2026-11-20 --end 2026-11-21 --dataset funding
  gapless gaps --start 2026-11-20 --end 2026-11-21 --plan

Reads every row of the window from the exchange (REST, paced; what it seems not to have is asked for twice) and compares
all values with what MySQL and the lake hold together. missing: the exchange has it, we do not; extra: the other way
round; different: a value differs; unfillable: it should exist, and the exchange has none. Holes are entered into the
gap log. --fill loads what is missing, replaces what differs (logged as restated), moves extra rows to quarantine: three
attempts with growing waits, then a page where one is configured. Exit status 1 when anything is missing, extra or
different, or could not be compared; with --fill: what remains."""

_DATASETS = {"ohlcv": "ohlcv", "funding": "funding_rate", "metrics": "futures_metrics"}


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "gaps", help="compare what is stored with the exchange, row by row", example=_EXAMPLE)
    add_window(parser)
    add_series(parser)
    parser.add_argument("--dataset", choices=[*_DATASETS], default="ohlcv", help="what to compare (default: bars)")
    parser.add_argument("--fill", action="store_true", help="put right what is missing, different or extra")
    parser.add_argument("--open", action="store_true", help="also compare what the gap log has open, whenever it was")
    parser.add_argument("--plan", action="store_true", help="say what it would ask the exchange for, and stop")
    add_max_wait(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare, repair, print; 1 when the stores do not hold what the exchange has."""
    window, symbols, market = window_of(args), names(args.symbols), market_of(args)
    # Heavy (Arrow, ccxt): loaded when the arguments are known to be good.
    from gapless.cli.output import print_failures, print_gaps, print_json, print_report
    from gapless.cli.progress import Progress
    from gapless.config import settings
    from gapless.domain.datasets import Dataset
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.paging import tell_of_gaps
    from gapless.pipeline.reconcile.plan import plan_diff
    from gapless.pipeline.reconcile.request import ATTEMPTS, DiffRequest
    from gapless.pipeline.reconcile.run import run_diff
    from gapless.pipeline.runtime import Runtime

    request = DiffRequest(
        dataset=Dataset(_DATASETS[args.dataset]),
        market=market,
        symbols=tuple(symbols),
        intervals=parse_intervals(args.intervals),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        open_gaps=args.open,
    )
    with Runtime.open(
        settings(), max_wait_s=args.max_wait, say=lambda line: print(line, file=sys.stderr, flush=True)
    ) as rt:
        if args.plan:
            plan = plan_diff(rt, request)
            print_report(plan, as_json=args.json, title=f"plan: {request}")
            return 1 if plan.errors else 0
        with Progress(sys.stderr, "rows") as progress:
            report = run_diff(
                rt,
                request,
                fill=args.fill,
                waits_s=(5.0, 20.0),
                rounds=ATTEMPTS if args.fill else 1,
                on_progress=progress.count,
            )
        if args.fill:
            pages = tell_of_gaps(rt)
            for error in pages.errors:
                print(f"page not sent: {error}", file=sys.stderr)
    if args.json:
        print_json(report)
    else:
        print_gaps(report, title=f"gaps {request}")
        print_failures(report.errors)
    return 0 if report.clean else 1
