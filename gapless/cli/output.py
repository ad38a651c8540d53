"""Results on standard output: one JSON object for programs, a short table for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import msgspec
from rich.console import Console
from rich.table import Table

from gapless.domain.receipts import Failure

_LISTED = 20


def print_json(value: object) -> None:
    """One JSON object and a newline, nothing else."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def print_report(report: msgspec.Struct, *, as_json: bool, title: str) -> None:
    """A report whose `errors`, if it has any, are listed apart."""
    if as_json:
        print_json(report)
        return
    table = Table(show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in msgspec.structs.asdict(report).items():
        if name != "errors":
            table.add_row(name.replace("_", " "), _readable(value))
    print(title)
    Console().print(table)
    print_failures(getattr(report, "errors", ()))


def _readable(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def print_failures(failures: Iterable[Failure]) -> None:
    """What failed, a line each, on standard error; after twenty the rest is counted."""
    listed = list(failures)
    for failure in listed[:_LISTED]:
        where = " ".join(filter(None, (failure.symbol, failure.interval, failure.window)))
        print(f"failed: {where}: {failure.message}" if where else f"failed: {failure.message}", file=sys.stderr)
    if len(listed) > _LISTED:
        print(f"and {len(listed) - _LISTED} more; --json lists them all", file=sys.stderr)
