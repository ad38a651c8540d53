"""What the tasks of `partition_export_monthly` do: list what is due, bring, prove, drop, and tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from gapless_airflow.steps import LISTED, all_from_xcom, failure_line, from_xcom, step, to_xcom

if TYPE_CHECKING:
    from gapless.domain.datasets import Dataset
    from gapless.pipeline.export import DueMonth, ExportReport
    from gapless.pipeline.export.leave import Step
    from gapless.pipeline.runtime import Runtime
    from gapless.storage.mysql.partitions import Month

_EVERY = 1_000_000
"""After so many rows a line in the log."""


class Told:
    """A watch whose lines are the task's log."""

    def __init__(self) -> None:
        self._next = _EVERY

    def say(self, line: str) -> None:
        """See `Watch.say`."""
        print(line, flush=True)

    def rows(self, done: int, total: int) -> None:
        """See `Watch.rows`."""
        if done >= self._next or done == total:
            self._next = done + _EVERY
            print(f"  {done:,} of {total:,} rows", flush=True)


def plan(context: Mapping[str, Any]) -> list[Any]:
    """The months that this run takes out, for one group of tasks each.

    Raises:
        ConfigError: the month that was asked for is not over.
    """
    from gapless.domain.datasets import Dataset
    from gapless.pipeline.export.due import due_months, now_ms, refuse_unfinished
    from gapless.pipeline.export.request import DueMonth
    from gapless.storage.mysql.partitions import parse_month

    asked, table = context["params"].get("month"), context["params"].get("table")
    with step(context) as runtime:
        at_ms = now_ms(runtime)
        if asked:
            refuse_unfinished(parse_month(asked), at_ms)
            due = [DueMonth(str(dataset), asked) for dataset in Dataset]
        else:
            due = due_months(runtime, at_ms)
    due = [each for each in due if table in (None, each.dataset)]
    print("\n".join([f"{len(due)} months are to leave MySQL", *(f"  {_line(each)}" for each in due)]))
    return [to_xcom(each) for each in due]


def bring(context: Mapping[str, Any], due: Any) -> Any:
    """Bring a month into the lake; what an earlier run left of it is brought to its end first."""
    from gapless.pipeline.export.leave import copy_month
    from gapless.pipeline.export.run import finish

    with _month(context, due) as (runtime, dataset, month):
        told = Told()
        steps = [*finish(runtime, dataset, month, told), copy_month(runtime, dataset, month, told, verify=False)]
        return _handed_on(due, dataset, month, steps)


def prove(context: Mapping[str, Any], brought: Any) -> Any:
    """Exchange the month away and prove it in the lake: the receipt."""
    from gapless.pipeline.export.leave import take_out

    with _month(context, brought["due"]) as (runtime, dataset, month):
        return _handed_on(brought["due"], dataset, month, [take_out(runtime, dataset, month, Told())], brought)


def drop(context: Mapping[str, Any], proved: Any) -> Any:
    """Drop what was proved; the month's whole report."""
    from gapless.pipeline.export.leave import Step, let_go

    with _month(context, proved["due"]) as (runtime, dataset, month):
        held = proved["report"]["rows"] > 0
        dropped = let_go(runtime, dataset, month)
        return _handed_on(proved["due"], dataset, month, [Step(dropped if held else None)], proved)


def report(context: Mapping[str, Any], planned: Any, dropped: Any) -> Any:
    """All months of the run in one table; red when one did not come to its end, or an object had to be mended.

    Raises:
        AirflowFailException: with what is wrong.
    """
    from gapless.pipeline.export.request import DueMonth, ExportReport

    if planned is None:
        raise AirflowFailException("Nothing was exported: the log of plan says why.")
    due = all_from_xcom(planned, DueMonth)
    found = [from_xcom(each["report"], ExportReport) for each in all_from_xcom(dropped, dict[str, Any])]
    # Plain lines: digests are there to be searched for, and a drawn table would cut them.
    print(f"{len(found)} of {len(due)} months")
    for each in found:
        print(
            f"  {each.dataset} {each.month}: {each.rows:,} rows, {each.bytes:,} bytes in {each.files:,} objects,"
            f" {each.seconds:,.1f} s; receipt {each.receipt or '-'}, digest {each.digest or '-'}"
        )
    reached = {(each.dataset, each.month) for each in found}
    lines = [f"not exported: {each}" for each in due if (each.dataset, each.month) not in reached]
    lines += [failure_line(error) for each in found for error in each.errors]
    if lines:
        shown = [f"  {line}" for line in lines[:LISTED]]
        shown += [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        raise AirflowFailException(
            "\n".join(
                [
                    "Not every month came to its end; nothing was dropped that the lake was not shown to hold.",
                    *shown,
                    "What to do: the log of the month's red task says why. Correct it and clear that task with its "
                    "downstream; docs/archive.md has the causes.",
                ]
            )
        )
    return [to_xcom(each) for each in found]


@contextmanager
def _month(context: Mapping[str, Any], due: Any) -> Iterator[tuple[Runtime, Dataset, Month]]:
    """A month of a table with nobody else at it; and the task's name in the UI."""
    from gapless.domain.datasets import Dataset
    from gapless.pipeline.export.request import DueMonth
    from gapless.pipeline.export.run import exclusively
    from gapless.storage.mysql.partitions import parse_month

    asked = from_xcom(due, DueMonth)
    get_current_context()["month"] = str(asked)  # type: ignore[typeddict-unknown-key]
    dataset, month = Dataset(asked.dataset), parse_month(asked.month)
    with step(context) as runtime, exclusively(runtime, dataset, month):
        yield runtime, dataset, month


def _handed_on(due: Any, dataset: Dataset, month: Month, steps: Sequence[Step], before: Any = None) -> dict[str, Any]:
    """What the next task needs: which month, and what is known of it."""
    from gapless.pipeline.export.request import ExportReport
    from gapless.pipeline.export.run import report_of

    found = report_of(dataset, month, list(steps), 0.0)
    if before is not None:
        earlier = from_xcom(before["report"], ExportReport)
        both = {"errors": (*earlier.errors, *found.errors), "written": earlier.written + found.written}
        found = msgspec.structs.replace(found if found.rows else earlier, **both)
    found = msgspec.structs.replace(found, seconds=round(found.copy_seconds + found.verify_seconds, 3))
    print(_facts(found))
    return {"due": due, "report": to_xcom(found)}


def _facts(found: ExportReport) -> str:
    facts = msgspec.structs.asdict(found)
    return "\n".join(f"  {name:15} {value}" for name, value in facts.items() if name != "errors")


def _line(due: DueMonth) -> str:
    return f"{due} (an earlier export of it was not finished)" if due.unfinished else str(due)
