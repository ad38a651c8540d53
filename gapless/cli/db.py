"""`gapless db upgrade`: create or migrate the schema."""

from __future__ import annotations

import argparse
import sys

from gapless.cli.arguments import Subparsers, add_json, command

_EXAMPLE = """\
  gapless db upgrade
  gapless db upgrade --json

Safe to repeat, and to run from several places at once. Makes the monthly partitions ahead, and says what the server
lacks."""


def add(subparsers: Subparsers) -> None:
    """Register the command."""
    parser = command(subparsers, "db", help="create or migrate the database schema", example=_EXAMPLE)
    parser.add_argument("action", choices=["upgrade"], help="what to do")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Upgrade to the newest revision and print what is there."""
    from gapless.cli.output import print_json
    from gapless.config import settings
    from gapless.pipeline.runtime import Runtime
    from gapless.storage.mysql.schema import upgrade

    with Runtime.open(settings()) as rt:
        report = upgrade(rt.db)
    if args.json:
        print_json({"revision": report.revision, "tables": report.tables, "notes": report.notes})
        return 0
    print(f"schema {report.revision}: {len(report.tables)} tables ({', '.join(report.tables)})")
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    return 0
