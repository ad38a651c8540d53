"""The command line. Exit status 0: done and clean; 1: work failed, or a check found something; 2: wrong usage."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
from collections.abc import Sequence

from gapless import __version__
from gapless.errors import ConfigError, GaplessError, StorageError

# One module a command (or a family), imported only when it is asked for: `gapless --help` must not load Arrow or ccxt.
_COMMANDS = {
    "up": "stack",
    "down": "stack",
    "status": "stack",
    "logs": "stack",
    "run": "stack",
    "etl": "etl",
    "backfill": "backfill",
    "coverage": "coverage",
    "metrics": "metrics",
    "gaps": "gaps",
    "export-month": "export",
    "audit": "audit",
    "digest": "digest",
    "quality": "quality",
    "review": "review",
    "pages": "pages",
    "publish-streams": "publish_streams",
    "query": "query",
    "restore-month": "restore",
    "retention": "retention",
    "export-books": "books",
    "restore-books": "books",
    "db": "db",
    "archive-streams": "archive_streams",
    "replica": "replica",
    "stream": "stream",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Never a traceback for what a user can cause."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(arguments)
    args = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if args.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    try:
        return int(args.run(args))
    except ConfigError as error:
        return _refuse(args, error, status=2)
    except GaplessError as error:
        return _refuse(args, error, status=1)
    except BrokenPipeError:
        # The reader of our output has left (`gapless ... | head`): there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # A full disk, a folder that is not ours: what the machine said, and of which file, says what to do.
        return _refuse(args, StorageError(str(error)), status=1)
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what was cut off need not be named, task by task
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gapless",
        description="Crypto market data with nothing missing.",
        epilog="gapless COMMAND --help shows an example for each command.",
    )
    parser.add_argument("--version", action="version", version=f"gapless {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log what is done to standard error")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked = next((word for word in arguments if not word.startswith("-")), None)
    modules = [_COMMANDS[asked]] if asked in _COMMANDS else list(dict.fromkeys(_COMMANDS.values()))
    for module in modules:
        importlib.import_module(f"gapless.cli.{module}").add(commands)
    return parser


def _refuse(args: argparse.Namespace, error: GaplessError, *, status: int) -> int:
    print(f"gapless: {error}", file=sys.stderr)
    if status == 1 and getattr(args, "json", False):
        failure = {"symbol": None, "interval": None, "window": None, "kind": error.kind, "message": str(error)}
        print(json.dumps({"errors": [failure]}, ensure_ascii=False))
    return status
