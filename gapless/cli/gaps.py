"""`gapless gaps`: what is stored against what the exchange has, bar by bar."""

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

Reads every bar of the window from the exchange (REST, paced) and compares all nine values with what MySQL and the lake
hold together. missing: the exchange has it, we do not; extra: the other way round; different: a value differs;
unfillable: it should exist, and the exchange has none. It changes nothing: `gapless backfill` fetches what is missing.
Exit status 1 when anything is missing, extra, different or could not be compared."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "gaps", help="compare the stored bars with the exchange, bar by bar", example=_EXAMPLE)
    add_window(parser)
    add_series(parser)
    add_max_wait(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare, print; 1 when the stores do not hold what the exchange has."""
    window, symbols, market = window_of(args), names(args.symbols), market_of(args)
    # Heavy (Arrow, ccxt): loaded when the arguments are known to be good.
    from gapless.cli.output import print_failures, print_gaps, print_json
    from gapless.config import settings
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.backfill.request import BackfillRequest
    from gapless.pipeline.gaps import find_gaps
    from gapless.pipeline.runtime import Runtime

    request = BackfillRequest(
        market=market,
        symbols=tuple(symbols),
        intervals=parse_intervals(args.intervals),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
    )
    with Runtime.open(
        settings(), max_wait_s=args.max_wait, say=lambda line: print(line, file=sys.stderr, flush=True)
    ) as rt:
        report = find_gaps(rt, request)
    if args.json:
        print_json(report)
    else:
        print_gaps(report, title=f"gaps {request}")
        print_failures(report.errors)
    return 0 if report.clean else 1
