"""`gapless audit`: stored bars, drawn at random, against the exchange, field by field."""

from __future__ import annotations

import argparse
import secrets
import sys
from typing import TYPE_CHECKING

from gapless.cli.arguments import (
    Subparsers,
    add_json,
    add_max_wait,
    add_series,
    add_window,
    bounds_of,
    command,
    market_of,
    names,
    whole_number,
)

if TYPE_CHECKING:
    from gapless.cli.progress import Progress
    from gapless.pipeline.audit import AuditReport

_LISTED = 20

_EXAMPLE = """\
  gapless audit --sample 1000
  gapless audit --sample 1000 --seed 7 --start 2026-08-01 --end 2026-11-01 --market um
  gapless audit --sample 50 --symbols BTC/USDT:USDT --intervals 1m --json

Draws N stored bars, each with the same chance wherever it lies (MySQL or lake; where both hold a bar, MySQL's counts),
asks the exchange for each (REST, paced; neighbours share a request) and compares all twelve fields: symbol, interval,
market, open and close time, and the nine values, to the last digit. Without --symbols: all that is stored. The seed is
printed; the same seed draws the same bars of the same content. Nothing is changed: `gapless gaps --fill` repairs.
A bar that the exchange no longer has is a mismatch; one that could not be asked for is an error. Exit status 1 when
there is either, or nothing is stored."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(
        subparsers, "audit", help="compare stored bars, drawn at random, with the exchange", example=_EXAMPLE
    )
    parser.add_argument("--sample", type=whole_number, required=True, metavar="N", help="how many bars to draw")
    parser.add_argument("--seed", type=_seed, metavar="S", help="a whole number; without it one is chosen and printed")
    add_window(parser, required=False)
    add_series(parser, default="all that is stored")
    add_max_wait(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Draw, ask, compare, print; 1 when a bar differs or could not be compared."""
    (start_ms, end_ms), symbols, market = bounds_of(args), names(args.symbols), market_of(args)
    from gapless.cli.output import print_failures, print_json
    from gapless.cli.progress import Progress
    from gapless.config import settings
    from gapless.domain.interval import parse_intervals
    from gapless.pipeline.audit import AuditRequest, run_audit
    from gapless.pipeline.runtime import Runtime

    request = AuditRequest(
        sample=args.sample,
        seed=secrets.randbelow(1 << 32) if args.seed is None else args.seed,
        market=market,
        symbols=tuple(symbols),
        intervals=parse_intervals(args.intervals),
        start_ms=start_ms,
        end_ms=end_ms,
    )
    with (
        Progress(sys.stderr) as progress,
        Runtime.open(settings(), max_wait_s=args.max_wait, say=progress.say) as rt,
    ):
        progress.say(f"seed {request.seed}")  # before the work, so that a run that is broken off can be repeated
        report = run_audit(rt, request, _Steps(progress))
    if args.json:
        print_json(report)
    else:
        _print(report, title=f"audit of {request}")
        print_failures(report.errors)
    return 0 if report.clean else 1


class _Steps:
    """A watch on a terminal or a log: each step once, counts in tenths where every one would be a line."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told = 0

    def step(self, what: str) -> None:
        self._told = 0
        self._progress.step(what)

    def count(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._progress.count(done, total)
        elif done * 10 // total > self._told:
            self._told = done * 10 // total
            self._progress.say(f"{done:,} of {total:,} bars")


def _print(report: AuditReport, *, title: str) -> None:
    print(title)
    for name in ("seed", "sampled", "matching", "mismatching", "failed", "requests", "weight_used"):
        value = getattr(report, name)
        print(f"  {name.replace('_', ' '):12} {value if name == 'seed' else f'{value:,}':>14}")
    print(f"  {'seconds':12} {report.seconds:>14,.1f}")
    if report.note:
        print(report.note)
    for each in report.mismatches[:_LISTED]:
        where = f"{each.symbol} {each.interval} {each.ts} ({each.store}, from {each.source})"
        print(f"differs: {where}: {each.reason}")
        theirs = each.exchange or {}
        for field in each.fields if theirs else ():
            print(f"    {field}: stored {each.stored.get(field, '-')}, exchange {theirs.get(field, '-')}")
    if len(report.mismatches) > _LISTED:
        print(f"and {len(report.mismatches) - _LISTED:,} more; --json lists them all")


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"not a whole number: {text!r}") from None
