"""What the task of `stream_archive_hourly` does: publish what is over, say what came of it, be red for what is lost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from gapless.domain.window import parse_time
from gapless.errors import StorageError
from gapless_airflow.runs import link
from gapless_airflow.steps import LISTED, step

if TYPE_CHECKING:
    from gapless.pipeline.stream_archive.receipts import PublishReport, StreamHourReceipt

HOLES_SHOWN = 10

WHAT_TO_DO = """\
What to do: read the causes above. What failed lies in the spool as it was, and every later run (or
`gapless publish-streams`) tries it again. Missing trades without an event in md.gaps were lost before the Stream: the
streamer's log of that time says why."""


def publish(context: Mapping[str, Any]) -> Any:
    """Publish the run's hours; the summary, small enough for XCom.

    Raises:
        StorageError: an hour failed because disk, lake or MySQL was away: worth another try.
        AirflowFailException: trades are missing that nothing explains, a file was damaged, or trying again cannot help.
    """
    from gapless.pipeline.stream_archive.closed import publish_closed

    asked = context["params"].get("hour")
    with step(context) as runtime:
        report = publish_closed(
            runtime,
            now_ms=time.time_ns() // 1_000_000,
            hour_ms=parse_time(asked) if asked else None,
            link=link(context),
            on_progress=lambda line: print(f"  {line}"),
        )
    show(report)
    lines = verdict(report)
    if lines and not report.lost and all(error.kind == "storage" for error in report.errors):
        raise StorageError("\n".join(lines))
    if lines:
        raise AirflowFailException("\n".join([*lines, WHAT_TO_DO]))
    return summary(report)


def show(report: PublishReport) -> None:
    """The report as a person reads it."""
    print(f"{len(report.hours)} hours published in {report.seconds:,.1f} s, {len(report.waiting)} wait")
    for hour in report.hours[:LISTED]:
        print(
            f"{hour}: {hour.entries:,} entries, {hour.added:,} rows added, {hour.duplicates:,} duplicates, "
            f"{hour.quarantined:,} quarantined; {len(hour.objects)} objects of {hour.rows:,} rows, {hour.bytes:,} "
            f"bytes; {hour.files} files, {hour.spool_bytes:,} bytes left the spool; {hour.seconds:,.1f} s"
        )
        for hole in hour.holes[:HOLES_SHOWN]:
            print(f"  {hole_line(hole)}")
    for waiting in report.waiting[:LISTED]:
        print(f"{waiting.kind} {waiting.exchange} {waiting.hour}: waits ({waiting.why}), {waiting.bytes:,} bytes")


def verdict(report: PublishReport) -> list[str]:
    """Why the run is red, a line a cause; empty when it is not. Pure."""
    lines = [f"{error.symbol} {error.window}: {error.kind}: {error.message}" for error in report.errors[:LISTED]]
    lines += [line for hour in report.lost[:LISTED] for line in _lost(hour)]
    unnamed = max(0, len(report.errors) - LISTED) + max(0, len(report.lost) - LISTED)
    return [*lines, *([f"and {unnamed} more hours"] if unnamed else [])]


def _lost(hour: StreamHourReceipt) -> list[str]:
    lines = [f"{hour}: a damaged spool file, kept in the lake: {key}" for key in hour.damaged]
    if hour.unexplained:
        first = next((hole for hole in hour.holes if not hole.cause), None)
        named = f", the first: {hole_line(first)}" if first else ""
        lines.append(f"{hour}: {hour.unexplained:,} holes in the trades that md.gaps does not explain{named}")
    return lines


def hole_line(hole: Any) -> str:
    """A hole in one line: which trades, when, why."""
    return (
        f"missing: {hole.symbol} trades {hole.first_id} to {hole.last_id} ({hole.ids:,}), "
        f"{hole.after} to {hole.before}: {hole.cause or 'md.gaps knows nothing of it'}"
    )


def summary(report: PublishReport) -> dict[str, Any]:
    """Of all hours together, for the run's XCom."""
    return {
        "hours": len(report.hours),
        "waiting": len(report.waiting),
        "added": sum(hour.added for hour in report.hours),
        "duplicates": sum(hour.duplicates for hour in report.hours),
        "quarantined": sum(hour.quarantined for hour in report.hours),
        "missing_trades": sum(hour.hole_ids for hour in report.hours),
        "objects": sum(len(hour.objects) for hour in report.hours),
        "bytes": sum(hour.bytes for hour in report.hours),
    }
