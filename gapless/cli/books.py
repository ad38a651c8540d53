"""`gapless export-books` and `gapless restore-books`: what cannot be downloaded again, into the lake and back."""

from __future__ import annotations

import argparse
import sys

from gapless.cli.arguments import Subparsers, add_json, command
from gapless.errors import ConfigError

_EXPORT = """\
  gapless export-books
  gapless export-books --json

Writes every book (receipts, gap log, restatements, quarantine, manifest, reviews, counters, ...) as it is at one moment
to the lake under books/, reads it back, and finishes it with a manifest. What did not change since the newest export is
not stored again. housekeeping_daily does this every night."""

_RESTORE = """\
  gapless restore-books --list
  gapless restore-books --dry-run
  gapless restore-books
  gapless restore-books --from 2026-11-20T001500Z --json

After `gapless db upgrade` on an empty database. All books come back as they were exported, or none; nothing is ever
overwritten or merged. Then MySQL's months are open again, because only the books came back: docs/books.md says how
the bars follow."""


def add(subparsers: Subparsers) -> None:
    """Register both commands."""
    export = command(subparsers, "export-books", help="write all books to the lake", example=_EXPORT)
    add_json(export)
    export.set_defaults(run=run_export)
    restore = command(
        subparsers, "restore-books", help="bring the books out of the lake into an empty database", example=_RESTORE
    )
    restore.add_argument("--from", dest="stamp", metavar="STAMP", help="which export (default: the newest)")
    restore.add_argument("--list", action="store_true", help="show the exports and do nothing")
    restore.add_argument("--dry-run", action="store_true", help="check the database and every object, write nothing")
    add_json(restore)
    restore.set_defaults(run=run_restore)


def run_export(args: argparse.Namespace) -> int:
    """Export and print the receipt."""
    from gapless.cli.output import print_report
    from gapless.cli.progress import Progress
    from gapless.config import settings
    from gapless.pipeline.books import export_books
    from gapless.pipeline.runtime import Runtime

    with Progress(sys.stderr) as progress, Runtime.open(settings(), say=progress.say) as rt:
        receipt = export_books(rt, on_step=progress.step)
    print_report(receipt, as_json=args.json, title=f"books exported: {receipt.uri}")
    return 0


def run_restore(args: argparse.Namespace) -> int:
    """Restore and print what was done, or list the exports."""
    if args.list and (args.stamp or args.dry_run):
        raise ConfigError("--list shows the exports and does nothing else: leave --from and --dry-run out")
    from gapless.cli.output import facts_table, print_json
    from gapless.cli.progress import Progress
    from gapless.config import settings
    from gapless.pipeline.books import list_books, restore_books
    from gapless.pipeline.runtime import Runtime

    with Progress(sys.stderr) as progress, Runtime.open(settings(), say=progress.say) as rt:
        if args.list:
            exports = list_books(rt.lake.store)
        else:
            done = restore_books(rt, args.stamp, dry_run=args.dry_run, on_step=progress.step)
    if args.json:
        print_json({"exports": exports} if args.list else done)
        return 0
    if args.list:
        for each in exports:
            told = each.damage or f"{each.rows:,} rows, {each.bytes:,} bytes, schema {each.revision}, {each.origin}"
            print(f"{each.stamp}  {told}")
        print(f"{len(exports):,} exports")
        return 0
    from rich.console import Console

    print(f"{'checked, nothing written' if done.dry_run else 'books restored'}: {done.uri}")
    Console().print(facts_table(done.tables | {"all rows": done.rows, "seconds": done.seconds}))
    for note in done.notes:
        print(f"note: {note}")
    return 0
