"""`gapless backfill`: years of history from the archive and REST, resumable, checked, with a coverage table."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from gapless.cli.arguments import (
    Subparsers,
    add_json,
    add_max_wait,
    add_series,
    add_window,
    command,
    market_of,
    names,
    whole_number,
    window_of,
)
from gapless.errors import ConfigError

if TYPE_CHECKING:
    from gapless.domain.interval import Interval
    from gapless.pipeline.backfill.request import BackfillRequest

_DATASETS = {"ohlcv": "ohlcv", "funding": "funding_rate", "metrics": "futures_metrics"}
"""The command line's words, and the datasets they mean."""

_EXAMPLE = """\
  gapless backfill ohlcv --market um --symbols all --intervals 1m --start 2020-01-01 --end 2026-11-01
  gapless backfill ohlcv --symbols BTC/USDT,BTC/USDT:USDT --start 2026-10-01 --end 2026-11-01 --dry-run
  gapless backfill ohlcv --symbols ETH/USDT --intervals 1h,1d --start 2017-08-17 --end 2026-11-01 --into lake --json
  gapless backfill funding --symbols all:USDT --start 2019-09-01 --end 2026-11-01
  gapless backfill metrics --symbols BTC/USDT:USDT --start 2026-10-01 --end 2026-11-01

Takes the rows whose open time lies in [start, end): monthly archive files, then daily ones, then REST for what they
lack; every file is compared with its checksum. Stop it whenever you like (Ctrl-C, a power cut) and run the same command
again: what is done is not done twice. Months that are hot go into MySQL, older ones into the lake (--into overrides).
At the end every expected bar is stored, or known not to exist and in data_gap_log; exit status 1 when not. --dry-run
says what would be done, and asks for nothing but the list of instruments."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers, "backfill", help="fetch history: bars, funding rates, futures metrics", example=_EXAMPLE
    )
    parser.add_argument(
        "dataset",
        choices=[*_DATASETS],
        help="ohlcv: bars; funding: settlements of perpetuals; metrics: open interest and ratios, every five minutes",
    )
    add_window(parser)
    add_series(parser)
    parser.add_argument(
        "--source",
        choices=["auto", "vision", "rest"],
        default="auto",
        help="auto: the archive, then REST for what it lacks (default); vision or rest: that one alone",
    )
    parser.add_argument(
        "--into",
        choices=["auto", "mysql", "lake"],
        default="auto",
        help="auto: hot months into MySQL, older ones into the lake (default); mysql or lake: all of it",
    )
    parser.add_argument(
        "--workers", type=whole_number, default=0, metavar="N", help="threads that parse (default: one for each core)"
    )
    parser.add_argument(
        "--recheck",
        choices=["recent", "all", "none"],
        default="recent",
        help="which files loaded earlier are compared with their checksum of today, because the exchange replaces files"
        " without notice: those of the last 35 days (default), all, or none",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be fetched and how much, and stop")
    add_max_wait(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch the history, or say what would be; 1 when anything failed or is missing without a reason."""
    request = request_of(args)
    # Heavy (Arrow, the engine): loaded when the arguments are known to be good.
    from gapless.cli.backfill_output import print_plan, print_report
    from gapless.cli.backfill_progress import BackfillProgress
    from gapless.config import settings
    from gapless.pipeline.backfill.run import plan_backfill, run_backfill
    from gapless.pipeline.runtime import Runtime
    from gapless.storage.mysql.origin import read_origin

    with (
        BackfillProgress(sys.stderr) as progress,
        Runtime.open(settings(), max_wait_s=args.max_wait, say=progress.say) as rt,
    ):
        title = f"{args.dataset} {request}"
        if args.dry_run:
            plan = plan_backfill(rt, request)
        else:
            report = run_backfill(rt, request, progress)
        if (read_origin(rt.db) or "").startswith("replica:"):
            title += " (generated data, not from an exchange)"
    if args.dry_run:
        print_plan(plan, as_json=args.json, title=f"dry run: {title}")
        return 1 if plan.errors else 0
    print_report(report, as_json=args.json, title=title)
    return 0 if report.whole else 1


def request_of(args: argparse.Namespace) -> BackfillRequest:
    """The arguments as the engine's request.

    Raises:
        ConfigError: a time, an interval or a symbol list is wrong, or the dataset has no intervals or only perpetuals.
    """
    window, symbols, market = window_of(args), names(args.symbols), market_of(args)
    if args.dataset != "ohlcv":
        if args.intervals is not None:
            raise ConfigError(f"{args.dataset} has no intervals: leave --intervals out")
        if market == "spot":
            raise ConfigError(f"{args.dataset} exists of perpetuals only: say --market um, or leave it out")
    from gapless.domain.datasets import Dataset
    from gapless.domain.instrument import Market
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.backfill.request import BackfillRequest

    intervals: tuple[Interval, ...] = parse_intervals(args.intervals)
    return BackfillRequest(
        dataset=Dataset(_DATASETS[args.dataset]),
        market=market if args.dataset == "ohlcv" else Market.UM,
        symbols=tuple(symbols),
        intervals=intervals,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        source=args.source,
        into=args.into,
        workers=args.workers,
        recheck=args.recheck,
    )
