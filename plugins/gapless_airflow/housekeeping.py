"""What the tasks of `housekeeping_daily` do: partitions ahead, the books into the lake, a sweep, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from gapless_airflow.runs import link
from gapless_airflow.steps import LISTED, failure_line, from_xcom, step, to_xcom

if TYPE_CHECKING:
    from gapless.pipeline.housekeeping import BooksExported, PartitionsReport
    from gapless.pipeline.retention.sweep import Item, RetentionReport

HANDED_ON = 20
"""Items of a sweep that go to the report; the log of the sweep has all."""


def make_partitions(context: Mapping[str, Any]) -> Any:
    """Partitions of the months ahead; rows that lie outside of all months are found, and red in the report."""
    from gapless.pipeline import housekeeping

    with step(context) as runtime:
        report = housekeeping.make_partitions(runtime, _now_ms(), link=link(context))
    for table, ahead in report.ahead.items():
        print(f"{table}: {ahead} months ahead; made now: {', '.join(report.made.get(table, [])) or 'none'}")
    for stray in report.strays:
        print(f"{stray.table}: {stray.rows:,} rows in {stray.partition}, which must be empty")
    return to_xcom(report)


def export_books(context: Mapping[str, Any]) -> Any:
    """The books into the lake, read back; what cannot be downloaded again."""
    from gapless.pipeline import housekeeping

    with step(context) as runtime:
        exported = housekeeping.export_daily_books(runtime, _now_ms(), link=link(context))
    done = f"{exported.written_bytes:,} bytes of it new" if exported.made else "there already"
    print(f"books of {exported.taken}: {exported.rows:,} rows, {exported.bytes:,} bytes, {done}\n  {exported.uri}")
    return to_xcom(exported)


def sweep(context: Mapping[str, Any]) -> Any:
    """Remove what has been kept its days: `gapless retention --apply`."""
    import msgspec

    from gapless.pipeline import housekeeping

    with step(context) as runtime:
        report = housekeeping.sweep_all(runtime, _now_ms(), link=link(context), on_item=_print_item)
    for zone in report.zones:
        kept = "for ever" if zone.days is None else f"{zone.days} days"
        print(f"{zone.zone}: {zone.objects:,} objects, {zone.bytes:,} bytes removed; {zone.held:,} held; kept {kept}")
    for month in report.exports:
        print(f"the next export takes {month.table} {month.month}")
    left_out = report.unlisted + max(0, len(report.items) - HANDED_ON)
    return to_xcom(msgspec.structs.replace(report, items=report.items[:HANDED_ON], unlisted=left_out))


def report(context: Mapping[str, Any], partitions: Any, books: Any, swept: Any) -> dict[str, Any]:
    """Say what the day's housekeeping comes to; red when a part failed or something needs a person.

    Raises:
        AirflowFailException: the message names what, and what to do.
    """
    from gapless.pipeline.housekeeping import BooksExported, PartitionsReport
    from gapless.pipeline.retention.sweep import RetentionReport

    lines = problems(
        None if partitions is None else from_xcom(partitions, PartitionsReport),
        None if books is None else from_xcom(books, BooksExported),
        None if swept is None else from_xcom(swept, RetentionReport),
    )
    if lines:
        more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        raise AirflowFailException("\n".join([*lines[:LISTED], *more]))
    print("the house is in order: partitions, books, retention")
    return {"months_ahead": partitions["ahead"], "books": books["stamp"], "removed": swept["objects"]}


def problems(
    partitions: PartitionsReport | None, books: BooksExported | None, swept: RetentionReport | None
) -> list[str]:
    """What is not in order, a line each; a part without a report did not come to its end. Pure."""
    ran = {"make_partitions": partitions, "export_books": books, "sweep": swept}
    lines = [
        f"{name} did not come to its end: its log says why. Correct the cause and clear that task with `report`"
        for name, left in ran.items()
        if left is None
    ]
    for stray in partitions.strays if partitions else ():
        lines.append(
            f"{stray.table}: {stray.rows:,} rows in {stray.partition} belong to no month and never leave MySQL; see "
            "docs/runbooks/partitions.md"
        )
    lines += [f"sweep: {failure_line(error).strip(': ')}" for error in (swept.errors if swept else ())]
    for hour in swept.overdue if swept else ():
        lines.append(
            f"{hour.kind} {hour.exchange} {hour.hour}: spooled for {hour.hours_waiting} h and not published; see why "
            "stream_archive_hourly is red, then `gapless publish-streams`"
        )
    return lines


def _print_item(item: Item) -> None:
    print(f"  {item.zone} {item.where}: {item.days} days, {item.bytes:,} bytes; {item.why}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
