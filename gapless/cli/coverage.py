"""`gapless coverage`: how complete the store is, series by series."""

from __future__ import annotations

import argparse
import sys

from gapless.cli.arguments import Subparsers, add_json, add_series, add_window, bounds_of, command, market_of, names

_EXAMPLE = """\
  gapless coverage
  gapless coverage --symbols BTC/USDT:USDT --intervals 1m
  gapless coverage --market um --symbols all:USDT --start 2026-01-01 --end 2026-11-01 --json

Counts what MySQL and the lake hold together, against every bar that the exchange can have: from an instrument's listing
to its delisting, closed bars only. Without --start and --end: each series' whole life, until now. Without --symbols:
the list in include/symbols.yaml and all else that anything is stored of. percent = present / (expected - unfillable),
never rounded up. It is a picture, not a check: the exit status is 1 only when it could not be drawn, or a symbol is
unknown."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "coverage", help="show how complete the stored bars are", example=_EXAMPLE)
    add_window(parser, required=False)
    add_series(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count, print; 1 when a named symbol is unknown."""
    (start_ms, end_ms), symbols, market = bounds_of(args), names(args.symbols), market_of(args)
    from rich.console import Console

    from gapless.cli.output import coverage_table, print_failures, print_json
    from gapless.config import settings
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.coverage import measure_coverage
    from gapless.pipeline.runtime import Runtime

    intervals = parse_intervals(args.intervals)
    with Runtime.open(settings(), say=lambda line: print(line, file=sys.stderr)) as rt:
        report = measure_coverage(
            rt, market=market, symbols=symbols, intervals=intervals, start_ms=start_ms, end_ms=end_ms
        )
    if args.json:
        print_json(report)
    else:
        print(f"bars that had closed by {report.until}")
        Console().print(coverage_table(report.series))
        if report.outside:
            print(f"{report.outside:,} more bars are stored from outside their instruments' lifetimes")
        print_failures(report.errors)
    return 1 if report.errors else 0
