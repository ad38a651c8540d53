"""A process that takes a month out of its table, and can be told to die just after a given step."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from gapless.domain.datasets import Dataset
from gapless.storage.mysql import MySql, leaving
from gapless.storage.mysql.departing import Mark, MonthRows
from gapless.storage.mysql.exports import newest_export
from gapless.storage.mysql.leaving import Leaving
from gapless.storage.mysql.partitions import Month

EXCHANGE = ("make_twin", "exchange_partition", "exchange_out")
DROP = ("drop_table", "drop_twin")
FOLD = ("_fold", "fold_empty_months")


def leave(url: str, dataset: Dataset, month: Month, die_after: str | None) -> None:
    """The body of the process: exchange, drop against the book's newest export, fold."""
    if die_after:
        setattr(leaving, die_after, _dying(getattr(leaving, die_after)))
    take_out(MySql(url), Leaving(dataset, month))


def take_out(db: MySql, one: Leaving) -> None:
    """Finish what a killed run left, or begin; what is in the book counts as verified."""
    if one in leaving.find_twins(db) and leaving.twin_mark(db, one) == Mark(0, 0):
        leaving.discard_empty_twin(db, one)
    if one not in leaving.find_twins(db):
        with MonthRows.open(db, one.dataset, one.month) as rows:
            mark = rows.mark()
        if mark.rows:
            leaving.exchange_out(db, one, mark)
    if proof := newest_export(db, one.dataset, one.month):
        leaving.drop_twin(db, one, proof)
    leaving.fold_empty_months(db, one.table, one.month.plus(1))


def _dying(step: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        step(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    return wrapped
