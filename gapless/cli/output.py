"""Results on standard output: one JSON object for programs, a short table for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec
from rich.console import Console
from rich.table import Table

from gapless.domain.receipts import Failure
from gapless.pipeline.counting import percent

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
    facts = msgspec.structs.asdict(report)
    print(title)
    Console().print(facts_table({name.replace("_", " "): facts[name] for name in facts if name != "errors"}))
    print_failures(getattr(report, "errors", ()))


def facts_table(facts: Mapping[str, object]) -> Table:
    """Names and values, a row each."""
    table = Table(show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="right", overflow="fold")  # digests and addresses are there to be copied
    for name, value in facts.items():
        table.add_row(name, _readable(value))
    return table


class CoverageRow(Protocol):
    """How complete a series is: of a backfill's report or of the coverage command's."""

    @property
    def symbol(self) -> str: ...
    @property
    def interval(self) -> str: ...
    @property
    def expected(self) -> int: ...
    @property
    def present(self) -> int: ...
    @property
    def unfillable(self) -> int: ...
    @property
    def missing(self) -> int: ...
    @property
    def why(self) -> str: ...


def coverage_table(rows: Sequence[CoverageRow]) -> Table:
    """Expected, present, unfillable and percent, a series a row; of more than twenty the worst, and all counted.

    The worst lack most of what the exchange has; after them come those with the most that nobody has.
    """
    shown = list(rows)
    if len(shown) > _LISTED:
        shown = sorted(rows, key=lambda r: (-r.missing, -r.unfillable, r.symbol, r.interval))[:_LISTED]
    table = Table(title=f"coverage of {len(rows):,} series", title_justify="left")
    for name in ("symbol", "interval"):
        table.add_column(name, no_wrap=True)
    for name in ("expected", "present", "unfillable", "percent"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in shown:
        table.add_row(row.symbol, row.interval, *_counts((row,)))
    whole = sum(row.missing == 0 for row in rows)
    caption = [f"{whole:,} of {len(rows):,} series are complete"]
    if len(shown) < len(rows):
        table.add_row("...", "", "", "", "", "")
        table.add_row("all", "", *_counts(rows))
        caption.append(f"{len(rows) - len(shown):,} more, none worse than these; --json lists them all")
    caption += [" ".join(filter(None, (row.symbol, row.interval))) + f": {row.why}" for row in shown if row.why]
    table.caption, table.caption_justify = "\n".join(caption), "left"
    return table


class CoverageMonth(Protocol):
    """How complete a market's bars of one interval are in a month."""

    @property
    def market(self) -> str: ...
    @property
    def interval(self) -> str: ...
    @property
    def month(self) -> str: ...
    @property
    def expected(self) -> int: ...
    @property
    def present(self) -> int: ...
    @property
    def unfillable(self) -> int: ...
    @property
    def missing(self) -> int: ...
    @property
    def missing_percent(self) -> float: ...
    @property
    def within(self) -> bool: ...


def months_table(rows: Sequence[CoverageMonth], allowed_percent: float) -> Table:
    """A market, interval and month a row, all of them."""
    table = Table(title=f"coverage by month: {allowed_percent:g} % may be missing", title_justify="left")
    for name in ("market", "interval", "month"):
        table.add_column(name, no_wrap=True)
    for name in ("expected", "present", "unfillable", "missing", "missing %", "within"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        counts = (f"{count:,}" for count in (row.expected, row.present, row.unfillable, row.missing))
        share = f"{row.missing_percent:.6f}".rstrip("0").rstrip(".")
        table.add_row(row.market, row.interval, row.month, *counts, share, "yes" if row.within else "NO")
    beyond = sum(not row.within for row in rows)
    table.caption = f"{len(rows) - beyond:,} of {len(rows):,} months are within it"
    table.caption_justify = "left"
    return table


def print_gaps(report: msgspec.Struct, *, title: str) -> None:
    """Counts of a comparison, and the first twenty runs of bars that are not stored."""
    gaps = getattr(report, "gaps", ())
    print(title)
    values = {name: value for name, value in msgspec.structs.asdict(report).items() if isinstance(value, int)}
    for name, value in values.items():
        print(f"  {name:10} {value:>12,}")
    for gap in gaps[:_LISTED]:
        print(f"  {gap.state}: {gap.symbol} {gap.interval} {gap.start}..{gap.end} ({gap.bars:,} bars)")
    if len(gaps) > _LISTED:
        print(f"  and {len(gaps) - _LISTED:,} more; --json lists them all")


def _counts(rows: Sequence[CoverageRow]) -> tuple[str, str, str, str]:
    expected, present = sum(row.expected for row in rows), sum(row.present for row in rows)
    unfillable = sum(row.unfillable for row in rows)
    return (
        f"{expected:,}",
        f"{present:,}",
        f"{unfillable:,}",
        f"{percent(expected, present, unfillable):.6f}".rstrip("0").rstrip("."),
    )


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
