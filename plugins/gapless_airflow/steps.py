"""How a task runs one step of the pipeline: settings, runtime, waits given back as slots, and a readable end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException

from gapless.domain.receipts import Batch, Failure, LoadReceipt
from gapless.errors import GaplessError

if TYPE_CHECKING:
    from gapless.pipeline.runtime import Runtime

T = TypeVar("T")

LONGEST_WAIT = timedelta(days=4)
"""A task that keeps being told to come later fails after this. The longest ban the exchange gives is three days."""

SHORTEST_WAIT = timedelta(seconds=2)
WHAT_TO_DO = """\
What to do: read the causes and correct them (a delisted symbol leaves include/symbols.yaml). Then clear extract_raw
of
those batches with its downstream, or trigger the DAG with the window as start and end. A repeat loads nothing twice."""
LISTED = 50
"""Failed series named in the error; the rest are counted."""


@contextmanager
def step(context: Mapping[str, Any]) -> Iterator[Runtime]:
    """An open runtime for one step of the pipeline; inside Airflow an error that names a time to come again is a wait.

    `RateLimited`, `Banned` and `NotYet` carry `retry_after_s`. The task then leaves its slot (up_for_reschedule) and
    is started anew when the time has come; that is no retry and counts as none. Everything else passes through, for
    the retry policy to judge.

    Raises:
        AirflowRescheduleException: come again later. Airflow's way of giving a slot back, honoured for every kind of
            task since 3.3 (docs/decisions/0060).
        AirflowFailException: the task has been coming again for four days.
    """
    from gapless.pipeline.runtime import Runtime
    from gapless_airflow.connections import task_settings

    try:
        with Runtime.open(task_settings()) as runtime:
            yield runtime
    except GaplessError as error:
        retry_after_s = getattr(error, "retry_after_s", None)
        if retry_after_s is None:
            raise
        _give_back(context, error, float(retry_after_s))


def _give_back(context: Mapping[str, Any], error: GaplessError, retry_after_s: float) -> None:
    now = datetime.now(tz=UTC)
    first = context["ti"].get_first_reschedule_date(context)
    if first is not None and now - first > LONGEST_WAIT:
        raise AirflowFailException(f"gave up after waiting since {first:%Y-%m-%d %H:%M} UTC: {error}") from error
    again = now + max(timedelta(seconds=retry_after_s), SHORTEST_WAIT)
    print(f"{error}\nThe slot is given back; this task comes again at {again:%Y-%m-%d %H:%M:%S} UTC.")
    raise AirflowRescheduleException(reschedule_date=again) from error  # type: ignore[no-untyped-call]


def name_map_index(batch: Batch) -> None:
    """Gives a mapped task its readable name in the UI (`map_index_template="{{ batch_name }}"`).

    It must be the context itself: what a task function receives as `**context` is a copy, and a name set there makes
    the template, and with it the task, fail.
    """
    get_current_context()["batch_name"] = str(batch)  # type: ignore[typeddict-unknown-key]


def to_xcom(receipt: object) -> Any:
    """A receipt as plain JSON values, the form it crosses tasks in."""
    return msgspec.to_builtins(receipt)


def from_xcom(value: object, kind: type[T]) -> T:
    """A receipt back from its XCom, checked against its type."""
    return msgspec.convert(value, kind)


def all_from_xcom(values: Any, kind: type[T]) -> list[T]:
    """The receipts of all map indexes that have one, from what Airflow resolves a mapped group's output to.

    Airflow 3.3 gives a list, but the bare value where exactly one index has left one (a single batch, or all others
    failed), and None where none has.
    """
    if values is None:
        return []
    listed = [values] if isinstance(values, Mapping) else values
    return [from_xcom(value, kind) for value in listed if value is not None]


def fail_unless_whole(planned: Sequence[Batch], receipts: Sequence[LoadReceipt]) -> None:
    """Ends a run red when anything planned is not stored, after everything else was: green means true.

    Args:
        planned: what the run set out to do.
        receipts: what was loaded.

    Raises:
        AirflowFailException: some series failed, or some batch never reached the loader. Not retried: the exchange
            was asked as often as is useful. The message names the series and what to do.
    """
    loaded = {receipt.batch.key for receipt in receipts}
    lost = [batch for batch in planned if batch.key not in loaded]
    failures = [failure for receipt in receipts for failure in receipt.failures]
    if not lost and not failures:
        return
    lines = [f"{len(failures)} series and {len(lost)} batches are missing; all others are stored and archived."]
    lines += [f"  batch not loaded: {batch}" for batch in lost[:LISTED]]
    lines += [f"  {failure_line(failure)}" for failure in failures[:LISTED]]
    unnamed = max(0, len(lost) - LISTED) + max(0, len(failures) - LISTED)
    lines += [f"  and {unnamed} more"] if unnamed else []
    lines.append(WHAT_TO_DO)
    raise AirflowFailException("\n".join(lines))


def failure_line(failure: Failure) -> str:
    """A failed series in one line: which, when, why."""
    return f"{failure.symbol} {failure.interval} {failure.window}: {failure.kind}: {failure.message}"
