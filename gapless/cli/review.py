"""`gapless review`: rows that look wrong, and a person's yes or no."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from gapless.cli.arguments import Subparsers, add_json, command, names, whole_number
from gapless.errors import ConfigError

_EXAMPLE = """\
  gapless review
  gapless review list --state all --symbols BTC/USDT --json
  gapless review accept 12 13 --by maria --note "flash crash, in the news"
  gapless review reject 14 --by maria --note "wrong print, the exchange never corrected it"

The daily rules put a bar here when its price leaps out of a calm neighbourhood. accept: the bar is right. reject: it is
wrong on the exchange's side. Either way it stays stored as the exchange has it, since nothing here is deleted or
changed by opinion; the queue is where it is marked. A decided bar is not asked about again unless the exchange restates
it, and a decision can be corrected by deciding again. What waits, waits until somebody decides."""

_STATES = ("waiting", "accepted", "rejected", "superseded")


def add(subparsers: Subparsers) -> None:
    """Register the command and what can be done with the queue."""
    parser = command(subparsers, "review", help="list and decide bars that look wrong", example=_EXAMPLE)
    _add_filters(parser)
    parser.set_defaults(run=run_list, state="waiting")
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    # What stands before the action must not be overwritten by the defaults behind it.
    listing = actions.add_parser("list", help="show the queue (the default)", argument_default=argparse.SUPPRESS)
    _add_filters(listing)
    listing.set_defaults(run=run_list)
    for name, state, help in (
        ("accept", "accepted", "the bars are right"),
        ("reject", "rejected", "the bars are wrong on the exchange's side; they stay, and are marked"),
    ):
        action = actions.add_parser(name, help=help, argument_default=argparse.SUPPRESS)
        action.add_argument("ids", nargs="+", type=whole_number, metavar="ID", help="as `gapless review` shows them")
        action.add_argument("--by", required=True, metavar="NAME", help="who decides, at most 64 characters")
        action.add_argument("--note", default="", metavar="TEXT", help="why; kept with the decision")
        add_json(action)
        action.set_defaults(run=run_decide, state=state)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=[*_STATES, "all"], help="default: waiting")
    parser.add_argument("--rule", metavar="NAME", help="only what this rule noticed (jump)")
    parser.add_argument("--symbols", metavar="LIST", help="comma-separated, BTC/USDT:USDT")
    add_json(parser)


def run_list(args: argparse.Namespace) -> int:
    """Print the queue. Status 0 whatever waits: it is a list, not a check."""
    symbols = names(args.symbols)
    if args.symbols and (raw := [name for name in symbols if "/" not in name]):
        raise ConfigError(f"{raw[0]} is an exchange's own name: write BTC/USDT, or BTC/USDT:USDT for the perpetual")
    from gapless.cli.review_output import print_reviews
    from gapless.config import settings
    from gapless.pipeline.quality.queue import list_reviews
    from gapless.pipeline.runtime import Runtime

    with Runtime.open(settings()) as rt:
        found = list_reviews(
            rt,
            states=None if args.state == "all" else [args.state],
            rules=[args.rule] if args.rule else None,
            symbols=symbols or None,
        )
    print_reviews(found, as_json=args.json)
    return 0


def run_decide(args: argparse.Namespace) -> int:
    """Enter a decision on all of them, or on none."""
    by, ids = args.by.strip(), _once(args.ids)
    if not by or len(by) > 64:
        raise ConfigError("--by needs a name of 1 to 64 characters")
    from gapless.cli.output import print_report
    from gapless.config import settings
    from gapless.pipeline.quality.queue import decide
    from gapless.pipeline.runtime import Runtime

    with Runtime.open(settings()) as rt:
        report = decide(rt, ids, args.state, by=by, note=args.note.strip())
    print_report(report, as_json=args.json, title=f"{len(ids)} {'bar' if len(ids) == 1 else 'bars'} {args.state}")
    return 0


def _once(ids: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(ids))
