"""`gapless replica`: the exchange on loopback."""

from __future__ import annotations

import argparse

from replica.command import EXAMPLES, SUMMARY, add_arguments
from replica.command import run as run_replica


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Registers the command."""
    parser = subparsers.add_parser(
        "replica",
        help=SUMMARY,
        description=SUMMARY,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serves until told to end; 0 then.

    Raises:
        ConfigError: an option is wrong, or the port is taken.
    """
    return run_replica(args)
