"""Monthly partitions: which are missing (pure), and the DDL that makes them.

A time-series table is `PARTITION BY RANGE COLUMNS(ts)`: `p_before` below the oldest month, one partition a month
(`p202611` holds November 2026), `pmax` above the newest. The two outer ones stay empty for ever, so that months are
split from them in milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import pairwise

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from gapless.domain.window import Window, from_ms, to_ms
from gapless.errors import ConfigError, StorageError
from gapless.storage.mysql.server import MySql

BEFORE, MAX = "p_before", "pmax"
MONTHS_AHEAD = 2


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, UTC."""

    year: int
    month: int

    @classmethod
    def of_ms(cls, at_ms: int) -> Month:
        moment = from_ms(at_ms)
        return cls(moment.year, moment.month)

    @classmethod
    def of_date(cls, day: date) -> Month:
        return cls(day.year, day.month)

    def plus(self, months: int) -> Month:
        """The month so many later (or earlier, when negative)."""
        years, month = divmod(self.year * 12 + self.month - 1 + months, 12)
        return Month(years, month + 1)

    @property
    def first_day(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def start_ms(self) -> int:
        """Its first moment, UTC."""
        return to_ms(datetime(self.year, self.month, 1, tzinfo=UTC))

    @property
    def window(self) -> Window:
        """Its times."""
        return Window(self.start_ms, self.plus(1).start_ms)

    @property
    def partition(self) -> str:
        """`p202611`."""
        return f"p{self.year:04d}{self.month:02d}"

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


@dataclass(frozen=True, slots=True)
class Partition:
    """A stored partition: rows with `ts` before `until` and not before the partition in front; None = no upper end."""

    name: str
    until: date | None


@dataclass(frozen=True, slots=True)
class Split:
    """One `REORGANIZE PARTITION`: neighbours and what they become, which together hold the same range."""

    replaced: tuple[str, ...]
    made: tuple[Partition, ...]

    def sql(self, table: str) -> str:
        made = ", ".join(f"PARTITION {part.name} VALUES LESS THAN ({_bound(part.until)})" for part in self.made)
        return f"ALTER TABLE `{table}` REORGANIZE PARTITION {', '.join(self.replaced)} INTO ({made})"


def months_of(window: Window) -> list[Month]:
    """The months that a window touches, in order."""
    return month_range(Month.of_ms(window.start_ms), Month.of_ms(window.end_ms - 1))


def month_range(first: Month, last: Month) -> list[Month]:
    """Every month from `first` to `last`, both included."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    return [first.plus(n) for n in range(count)]


def plan_months(partitions: Sequence[Partition], needed: Iterable[Month]) -> list[Split]:
    """What to split so that each needed month has a partition of exactly that month; empty when they all have.

    Months between the needed and the standing ones are made too, so that no partition is ever wider than a month. A
    month whose partition was dropped left its range to the next one, which is then split again (its rows are copied).

    Raises:
        StorageError: the table is not partitioned by month with `p_before` and `pmax` at its ends.
    """
    wanted = sorted(set(needed))
    if not wanted:
        return []
    if [part.name for part in partitions[:1]] != [BEFORE] or partitions[-1] != Partition(MAX, None):
        raise StorageError(
            f"the table is not partitioned as expected: {', '.join(p.name for p in partitions) or 'not at all'}"
        )
    border = partitions[0].until
    months = partitions[1:-1]
    if border is None or any(part.until is None or part.until.day != 1 for part in months):
        raise StorageError("the table has partitions that are not months; give each its month's end as upper bound")
    if not months:  # nothing stands yet: both outer ones are empty, and their border goes where it is needed
        return [
            Split(
                (BEFORE, MAX),
                (Partition(BEFORE, wanted[0].first_day), *_monthly(wanted[0], wanted[-1]), partitions[-1]),
            )
        ]
    oldest, end = Month.of_date(border), Month.of_date(months[-1].until or border)
    splits: list[Split] = []
    if wanted[0] < oldest:
        made = (Partition(BEFORE, wanted[0].first_day), *_monthly(wanted[0], oldest.plus(-1)))
        splits.append(Split((BEFORE,), made))
    start = oldest
    for part in months:
        until = Month.of_date(part.until or border)
        inside = month_range(start, until.plus(-1))
        misfit = len(inside) > 1 or part.name != inside[0].partition
        if misfit and any(month in inside for month in wanted):
            splits.append(Split((part.name,), tuple(_monthly(inside[0], inside[-1]))))
        start = until
    if wanted[-1] >= end:
        splits.append(Split((MAX,), (*_monthly(end, wanted[-1]), partitions[-1])))
    return splits


def own_months(partitions: Sequence[Partition]) -> list[Month]:
    """The months that have a partition of their own, of exactly that month, oldest first."""
    found: list[Month] = []
    for before, part in pairwise(partitions):
        if before.until is None or part.until is None or before.until.day != 1:
            continue
        month = Month.of_date(before.until)
        if part == Partition(month.partition, month.plus(1).first_day):
            found.append(month)
    return found


def ensure_months(db: MySql, table: str, months: Iterable[Month]) -> list[str]:
    """Give each month a partition of its own; returns the names of those made. One query when all stand.

    The DDL waits for readers of the table at most 2 s at a time, for behind a waiting DDL every later query waits too;
    it is retried like any lock wait.

    Raises:
        StorageError: the table is missing or partitioned otherwise, or readers held it for as long as retries last.
    """
    wanted = sorted(set(months))
    what = f"making partitions of {table} for {', '.join(map(str, wanted[:3]))}{' ...' if len(wanted) > 3 else ''}"
    if not db.run(what, lambda connection: plan_months(read_partitions(connection, table), wanted)):
        return []

    def attempt() -> list[str]:
        made: list[str] = []
        with db.named_locks([partitions_lock(table)]) as connection, brief_ddl(connection):
            for split in plan_months(read_partitions(connection, table), wanted):
                connection.execute(text(split.sql(table)))
                made += [part.name for part in split.made if part.name not in (*split.replaced, BEFORE, MAX)]
        return made

    return db.retry(what, attempt)


def partitions_lock(table: str) -> str:
    """The named lock under which the partitions of a table are changed."""
    return f"partitions:{table}"


@contextmanager
def brief_ddl(connection: Connection) -> Iterator[None]:
    """DDL in here waits for readers and writers of its tables at most 2 s: behind it every later query waits too.

    Each statement is committed by itself.
    """
    # MariaDB checks the rows of an exchanged table in the session's own transaction and then waits for the lock that
    # this took, unless autocommit has released it (10.11).
    connection.execute(text("SET SESSION lock_wait_timeout = 2, autocommit = 1"))
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.execute(text("SET SESSION lock_wait_timeout = 60, autocommit = 0"))
    connection.commit()


def read_partitions(connection: Connection, table: str) -> list[Partition]:
    """The partitions of a table of this database, in order.

    Raises:
        StorageError: there is no such table.
    """
    rows = _described(connection, table)
    if not rows:
        # MariaDB leaves out a table whose definition is being changed, with no more than a warning (1684). Reading the
        # table waits for that change and, until this transaction ends, holds off the next.
        try:
            connection.execute(text(f"SELECT 1 FROM `{table}` LIMIT 0"))  # noqa: S608
        except ProgrammingError as error:
            raise StorageError(f"the table {table} does not exist: run `gapless db upgrade`") from error
        rows = _described(connection, table)
    return [Partition(name, _parse_bound(bound)) for name, bound in rows if name is not None]


def _described(connection: Connection, table: str) -> list[tuple[str | None, str]]:
    rows = connection.execute(
        text(
            "SELECT PARTITION_NAME, PARTITION_DESCRIPTION FROM information_schema.PARTITIONS "
            "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = :table ORDER BY PARTITION_ORDINAL_POSITION"
        ),
        {"table": table},
    )
    return [(row[0], row[1]) for row in rows]


def _monthly(first: Month, last: Month) -> list[Partition]:
    return [Partition(month.partition, month.plus(1).first_day) for month in month_range(first, last)]


def _bound(until: date | None) -> str:
    return "MAXVALUE" if until is None else f"'{until.isoformat()}'"


def _parse_bound(bound: str) -> date | None:
    """`'2026-12-01 00:00:00'`, as both servers show it; the time of day is left out by some."""
    if bound.strip() == "MAXVALUE":
        return None
    found = re.match(r"'(\d{4}-\d{2}-\d{2})( 00:00:00(\.0+)?)?'$", bound.strip())
    if not found:
        raise StorageError(f"a partition ends at {bound}, which is not the first of a month at 00:00 UTC")
    return date.fromisoformat(found.group(1))


def parse_month(name: str) -> Month:
    """`2026-11`.

    Raises:
        ConfigError: the text is not a month.
    """
    found = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", name)
    if not found:
        raise ConfigError(f"not a month: {name!r}; write YYYY-MM")
    return Month(int(found.group(1)), int(found.group(2)))
