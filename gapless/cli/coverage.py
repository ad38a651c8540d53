"""`gapless coverage`: how complete the store is, series by series."""

from __future__ import annotations

import argparse
import sys

from gapless.cli.arguments import Subparsers, add_json, add_series, add_window, bounds_of, command, market_of, names
from gapless.errors import NotFound

_EXAMPLE = """\
  gapless coverage
  gapless coverage --symbols BTC/USDT:USDT --intervals 1m
  gapless coverage --market um --symbols all:USDT --start 2026-01-01 --end 2026-11-01 --json
  gapless coverage --monthly --intervals 1m
  gapless coverage --picture calendar.svg --start 2026-01-01

Counts what MySQL and the lake hold together, against every bar that the exchange can have: from an instrument's listing
to its delisting, closed bars only. Without --start and --end: each series' whole life, until now. Without --symbols:
the list in include/symbols.yaml and all else that anything is stored of. percent = present / (expected - unfillable),
never rounded up.

--monthly: a line for each market, interval and month, and whether no more is missing of what the exchange has than
GAPLESS_MISSING_ALLOWED_PERCENT (0.05). --picture: a calendar of days for each market and interval, where a single
missing bar shows; an SVG also tells of each day when pointed at.

It is a picture, not a check: the exit status is 1 only when it could not be drawn, or a symbol is unknown."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "coverage", help="show how complete the stored bars are", example=_EXAMPLE)
    add_window(parser, required=False)
    add_series(parser)
    parser.add_argument("--monthly", action="store_true", help="sum by market, interval and month instead of by series")
    parser.add_argument("--picture", metavar="FILE", help="also draw a calendar of days into FILE.png or FILE.svg")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Count, print, draw; 1 when a named symbol is unknown, or there is nothing to draw."""
    (start_ms, end_ms), symbols, market = bounds_of(args), names(args.symbols), market_of(args)
    from rich.console import Console

    from gapless.cli.output import coverage_table, months_table, print_failures, print_json
    from gapless.cli.picture import picture_path, write_picture
    from gapless.config import settings
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.calendar import Allowance, draw, trimmed
    from gapless.pipeline.coverage import measure_days
    from gapless.pipeline.runtime import Runtime

    intervals = parse_intervals(args.intervals)
    picture = picture_path(args.picture) if args.picture else None
    with Runtime.open(settings(), say=lambda line: print(line, file=sys.stderr)) as rt:
        found = measure_days(rt, market=market, symbols=symbols, intervals=intervals, start_ms=start_ms, end_ms=end_ms)
        allowance = Allowance(rt.settings.missing_allowed_percent)
    report = found.report
    if picture is not None:
        panels = trimmed(found.panels)
        if not panels:
            raise NotFound(f"--picture {picture}: no bar is expected of these series in this window; nothing to draw")
        write_picture(draw(panels, allowance, until=report.until), picture)
        print(f"drawn into {picture}", file=sys.stderr)
    if args.json:
        print_json(report)
    else:
        print(f"bars that had closed by {report.until}")
        table = months_table(report.months, allowance.percent) if args.monthly else coverage_table(report.series)
        Console().print(table)
        if report.outside:
            print(f"{report.outside:,} more bars are stored from outside their instruments' lifetimes")
        print_failures(report.errors)
    return 1 if report.errors else 0
