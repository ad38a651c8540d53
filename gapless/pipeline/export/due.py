"""Which months are to leave MySQL: all that are no longer hot, but for those that somebody brought back on purpose."""

from __future__ import annotations

import time

from gapless.domain.datasets import Dataset
from gapless.errors import ConfigError, GaplessError
from gapless.pipeline.export.leave import is_out
from gapless.pipeline.export.request import DueMonth
from gapless.pipeline.metrics.exchange_time import ExchangeTime
from gapless.pipeline.retention.rules import hot_since
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.exports import RESTORED, newest_export
from gapless.storage.mysql.leaving import Leaving, find_twins, standing_months
from gapless.storage.mysql.partitions import Month


def due_months(rt: Runtime, now_ms: int) -> list[DueMonth]:
    """The months of all tables that the monthly export takes, oldest first; what an earlier one left comes first.

    A month that was restored stays until its hold is over.

    Raises:
        StorageError: MySQL is away. ConfigError: the file of retention rules is wrong.
    """
    out = {leaving for leaving in find_twins(rt.db) if is_out(rt, leaving)}
    due = [DueMonth(str(each.dataset), str(each.month), unfinished=True) for each in sorted(out)]
    for dataset in Dataset:
        hot = Month.of_ms(hot_since(rt.settings, dataset, now_ms))
        for month in standing_months(rt.db, str(dataset)):
            if month < hot and Leaving(dataset, month) not in out and not is_held(rt, dataset, month):
                due.append(DueMonth(str(dataset), str(month)))
    return sorted(due, key=lambda each: (not each.unfinished, each.month, each.dataset))


def is_held(rt: Runtime, dataset: Dataset, month: Month) -> bool:
    """Whether a month was restored and is to stay for now. By this host's clock, which the hold was set by."""
    export = newest_export(rt.db, dataset, month)
    if export is None or export.state != RESTORED or export.hold_until_ms is None:
        return False
    return export.hold_until_ms > time.time_ns() // 1_000_000


def now_ms(rt: Runtime) -> int:
    """The exchange's time; the host's when the exchange does not answer: an export needs nothing else of it."""
    clock = ExchangeTime()
    try:
        clock.ask(rt)
    except GaplessError as error:
        rt.say(f"the exchange's clock cannot be read ({error}); this host's is taken")
    return clock.now_ms()


def refuse_unfinished(month: Month, at_ms: int) -> None:
    """A month that is not over is never exported.

    Raises:
        ConfigError: it is not.
    """
    if month >= Month.of_ms(at_ms):
        raise ConfigError(
            f"{month} is not over by the exchange's clock: its rows are still coming. The newest month that can be "
            f"exported is {Month.of_ms(at_ms).plus(-1)}"
        )
