"""What a backfill says at its end: totals, refused files, what failed, how complete every series is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from gapless.cli.output import coverage_table, facts_table, print_failures, print_json
from gapless.pipeline.counting import percent

if TYPE_CHECKING:
    from gapless.pipeline.backfill.request import BackfillPlan, BackfillReport

_LISTED = 20


def print_plan(plan: BackfillPlan, *, as_json: bool, title: str) -> None:
    """What would be done: exact counts, and estimates that say so."""
    if as_json:
        print_json({**msgspec.to_builtins(plan), "dry_run": True, "nothing_to_do": plan.nothing_to_do})
        return
    print(title)
    Console().print(
        facts_table(
            {
                "series": plan.series,
                "months of series": plan.months,
                "of these to do": plan.months_to_do,
                "into MySQL": plan.into_mysql,
                "into the lake": plan.into_lake,
                "bars expected": plan.bars_expected,
                "settled already": plan.bars_present,
                "objects to fetch": plan.objects,
                "rows, about": plan.rows,
                "download, about": f"{plan.bytes / 1e6:,.1f} MB",
                "room needed, about": f"{plan.disk_bytes / 1e6:,.1f} MB",
                "request weight, about": plan.weight,
                "minutes, about": f"{plan.minutes:,.1f}",
            }
        )
    )
    if plan.nothing_to_do:
        print("nothing to do: all of it is settled")
    print_failures(plan.errors)


def print_report(report: BackfillReport, *, as_json: bool, title: str) -> None:
    """What was done, the files that were refused, and the coverage table; JSON holds every series."""
    if as_json:
        told = msgspec.to_builtins(report)
        for row in told["series"]:
            row["percent"] = percent(row["expected"], row["present"], row["unfillable"])
        print_json(told)
        return
    print(title)
    shown = msgspec.structs.asdict(report)
    facts = {name.replace("_", " "): value for name, value in shown.items() if not isinstance(value, tuple)}
    console = Console()
    console.print(facts_table(facts))
    if report.series:
        console.print(coverage_table(report.series))
    for refused in report.rejected[:_LISTED]:
        print(f"refused: {refused.object}: {refused.reason}; {refused.then}")
    if len(report.rejected) > _LISTED:
        print(f"and {len(report.rejected) - _LISTED} more refused files; --json lists them all")
    if report.nothing_to_do:
        print("nothing to do: all of it was settled")
    print_failures(report.errors)
