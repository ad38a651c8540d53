"""The review queue on standard output."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from gapless.cli.output import print_json
from gapless.pipeline.quality.queue import ReviewList, ReviewRow

_LISTED = 50


def print_reviews(found: ReviewList, *, as_json: bool) -> None:
    """One JSON object, or a table and a sentence on each."""
    if as_json:
        print_json(found)
        return
    if found.reviews:
        Console().print(_table(found.reviews[:_LISTED]))
        for row in found.reviews[:_LISTED]:
            note = f" [{row.state} by {row.decided_by}{': ' + row.note if row.note else ''}]" if row.decided_by else ""
            print(f"{row.id}: {row.detail}{note}")
        if len(found.reviews) > _LISTED:
            print(f"and {len(found.reviews) - _LISTED:,} more; --json lists them all")
    print(f"{found.waiting:,} waiting in all" if found.waiting else "nothing waits for a decision")


def _table(rows: tuple[ReviewRow, ...]) -> Table:
    table = Table()
    for name in ("id", "symbol", "interval", "ts", "rule", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("measured", "allowed"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.id), row.symbol, row.interval, row.ts, row.rule, row.state, row.measured, row.allowed
        )  # fmt: skip
    return table
