"""Sums over the books, for metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import func, select

from gapless.storage.mysql.books import data_gap_log, ms_of, page
from gapless.storage.mysql.gap_states import FAILED, OPEN, REFILLING
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.sql import query

_RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class NewestCheck:
    """How the newest run of a check of a dataset ended."""

    kind: str
    dataset: str
    state: str
    finished_ms: int
    result: dict[str, Any]


def count_gap_rows(db: MySql) -> dict[tuple[str, str, str], int]:
    """Rows in the gap log by dataset, interval and state.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = data_gap_log.c
    statement = select(table.dataset, table.interval, table.state, func.sum(table.bars)).group_by(
        table.dataset, table.interval, table.state
    )
    rows = db.run("counting the gap log", lambda connection: connection.execute(statement).all())
    return {(dataset, interval, state): int(bars) for dataset, interval, state, bars in rows}


def oldest_open_gap_ms(db: MySql) -> int | None:
    """When the oldest gap that is not settled was noticed, by the clock of the host that noticed it; None without one.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    table = data_gap_log.c
    statement = select(func.min(table.noticed_at)).where(table.state.in_((OPEN, REFILLING, FAILED)))
    noticed = db.run("reading the oldest open gap", lambda connection: connection.scalar(statement))
    return None if noticed is None else ms_of(noticed)


def count_open_pages(db: MySql) -> int:
    """Pages that are not resolved.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    statement = select(func.count()).where(page.c.state != _RESOLVED)
    return int(db.run("counting the open pages", lambda connection: connection.scalar(statement)) or 0)


def read_newest_checks(db: MySql) -> list[NewestCheck]:
    """The newest run of each check of each dataset.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    rows = db.run(
        "reading the newest checks",
        lambda connection: connection.exec_driver_sql(query("newest_checks")).all(),
    )
    return [
        NewestCheck(kind, dataset, state, int(finished), msgspec.json.decode(result))
        for kind, dataset, state, finished, result in rows
    ]
