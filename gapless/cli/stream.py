"""`gapless stream`: the live sidecar, and how it stands."""

from __future__ import annotations

import argparse

from gapless.cli.arguments import Subparsers
from streamer.operations.command import EXAMPLES, SUMMARY, add_arguments
from streamer.operations.command import run as run_stream


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "stream",
        help=SUMMARY,
        description=SUMMARY[0].upper() + SUMMARY[1:] + ".",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Streams until told to end, or says how all streamers stand; see `streamer.operations.command.run`."""
    return run_stream(args)
