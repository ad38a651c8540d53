"""The last steps of a month that leaves: out of its table in one stroke, dropped against a proof, folded away."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, text

from gapless.domain.datasets import Dataset
from gapless.errors import StorageError
from gapless.storage.mysql.departing import Mark, mark_of
from gapless.storage.mysql.exports import VERIFIED, MonthExport, newest_export
from gapless.storage.mysql.loader import LOCK_WAIT_S, month_lock_names
from gapless.storage.mysql.partitions import (
    BEFORE,
    Month,
    Partition,
    Split,
    brief_ddl,
    month_range,
    own_months,
    partitions_lock,
    read_partitions,
)
from gapless.storage.mysql.server import MySql
from gapless.storage.mysql.twins import drop_table, exchange_partition, is_empty, make_twin, table_exists, twin_name

T = TypeVar("T")
_TWIN = re.compile(rf"({'|'.join(Dataset)})_leaving_(\d{{4}})(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True, order=True)
class Leaving:
    """A month of a table on its way out."""

    dataset: Dataset
    month: Month

    @property
    def table(self) -> str:
        """The table that it leaves: `ohlcv`."""
        return str(self.dataset)

    @property
    def twin(self) -> str:
        """The table that its rows stand in meanwhile, out of every reader's sight: `ohlcv_leaving_202607`."""
        return twin_name(self.dataset, self.month)

    def __str__(self) -> str:
        return f"{self.dataset} {self.month}"


def find_twins(db: MySql) -> list[Leaving]:
    """The months whose twin table exists, empty or not: what a run that was killed has left.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    statement = text(
        "SELECT TABLE_NAME FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME LIKE '%leaving%'"
    )
    names = db.run("looking for months on their way out", lambda connection: list(connection.scalars(statement)))
    found = [_TWIN.fullmatch(name) for name in names]
    return sorted(Leaving(Dataset(each[1]), Month(int(each[2]), int(each[3]))) for each in found if each)


def exchange_out(db: MySql, leaving: Leaving, mark: Mark, *, lock_wait_s: float = LOCK_WAIT_S) -> bool:
    """Exchange the month's partition with its empty twin, if it still is as `mark` says; True when done.

    From then on the table has none of the month's rows, and the twin all of them. Done under every lock that loads of
    the month take: none is under way, and what comes later lands in the empty partition. Killed before the exchange,
    it leaves an empty twin, which the next run takes; killed after it, the full one. The caller must have closed its
    own snapshot of the table: DDL waits for it.

    Returns:
        False when the mark is another, or the month has no partition: nothing was changed.

    Raises:
        StorageError: the twin holds rows already (an earlier export must be finished first), or readers and loads
            held the table or the locks for as long as retries last.
    """
    what = f"taking {leaving} out of its table"

    sent = False

    def exchange(connection: Connection) -> bool:
        nonlocal sent
        if leaving.month not in own_months(read_partitions(connection, leaving.table)):
            return False
        if table_exists(connection, leaving.twin) and not is_empty(connection, f"`{leaving.twin}`"):
            if sent and mark_of(connection, f"`{leaving.twin}`") == mark:
                return True  # the connection was lost at our own exchange, which went through
            raise StorageError(
                f"{what}: {leaving.twin} holds rows of an earlier export of this month; finish that first "
                f"(`gapless export-month {leaving.month} --table {leaving.table} --drop`)"
            )
        if mark_of(connection, f"`{leaving.table}` PARTITION ({leaving.month.partition})") != mark:
            return False
        make_twin(connection, leaving.table, leaving.twin)
        sent = True
        exchange_partition(connection, leaving.table, leaving.month, leaving.twin)
        return True

    return _alone_with(db, leaving.dataset, [leaving.month], what, exchange, lock_wait_s)


def twin_mark(db: MySql, leaving: Leaving) -> Mark:
    """The mark of the twin.

    Raises:
        StorageError: there is no twin, or the server did not answer for as long as retries last.
    """
    what = f"reading the mark of {leaving.twin}"

    def read(connection: Connection) -> Mark:
        if not table_exists(connection, leaving.twin):
            raise StorageError(f"{what}: there is no such table; {leaving} is not on its way out")
        return mark_of(connection, f"`{leaving.twin}`")

    return db.run(what, read)


def drop_twin(db: MySql, leaving: Leaving, proof: MonthExport) -> None:
    """Destroy the rows of a month that the lake was proved to hold. Does nothing when the twin is gone already.

    Args:
        proof: the month's newest export, in state `verified`, as it stands in the book; its mark must be the twin's.

    Raises:
        StorageError: the proof is not of this month, not verified, not what the book says, or of other rows than the
            twin holds; or the server did not do it. Nothing was destroyed.
    """
    what = f"dropping {leaving.twin}"
    if (proof.dataset, proof.month) != (leaving.dataset, leaving.month):
        raise StorageError(f"{what}: the proof is of {proof.dataset} {proof.month}; nothing was dropped")
    if proof.state != VERIFIED:
        raise StorageError(f"{what}: its export is {proof.state}, not {VERIFIED}; nothing was dropped. Verify it first")
    entered = newest_export(db, leaving.dataset, leaving.month)
    if entered is None or (entered.round, entered.state, entered.mark) != (proof.round, VERIFIED, proof.mark):
        said = (
            "has no such export" if entered is None else f"says {entered.state}, round {entered.round}, {entered.mark}"
        )
        raise StorageError(
            f"{what}: the book {said}, but the proof round {proof.round}, {proof.mark}; nothing was dropped. "
            "Verify it again"
        )

    def drop(connection: Connection) -> None:
        if not table_exists(connection, leaving.twin):
            return
        mark = mark_of(connection, f"`{leaving.twin}`")
        if str(mark) != proof.mark:
            raise StorageError(
                f"{what}: it holds {mark.rows} rows of mark {mark}, but {proof.mark} were verified; nothing was "
                "dropped. Export the month again"
            )
        drop_table(connection, leaving.twin)

    _alone_with(db, leaving.dataset, [], what, drop)


def discard_empty_twin(db: MySql, leaving: Leaving) -> bool:
    """Drop a twin that holds no row, as a killed exchange leaves it; whether there was one.

    Raises:
        StorageError: it holds rows; nothing was dropped.
    """
    what = f"discarding {leaving.twin}"

    def discard(connection: Connection) -> bool:
        if not table_exists(connection, leaving.twin):
            return False
        if not is_empty(connection, f"`{leaving.twin}`"):
            raise StorageError(f"{what}: it holds rows; nothing was dropped. Finish the export of {leaving} first")
        drop_table(connection, leaving.twin)
        return True

    return _alone_with(db, leaving.dataset, [], what, discard)


def fold_empty_months(db: MySql, table: str, before: Month) -> list[str]:
    """Make partitions that hold nothing part of `p_before`: from the oldest on, up to the first that has a row.

    Each goes under every lock that loads of its months take, so that no row can slip in. Killed anywhere, some are
    folded and the others stand.

    Args:
        before: only months before this one are folded.

    Returns:
        The names of the partitions folded, oldest first.

    Raises:
        StorageError: `p_before` holds rows, before or afterwards (another program writes without the locks); or
            readers and loads held the table or the locks for as long as retries last.
    """
    folded: list[str] = []
    while True:
        parts = db.run(f"reading the partitions of {table}", lambda connection: read_partitions(connection, table))
        if not (found := foldable(parts, before)) or not _fold(db, Dataset(table), *found):
            return folded
        folded.append(found[0].name)


def foldable(partitions: Sequence[Partition], before: Month) -> tuple[Partition, list[Month]] | None:
    """The oldest partition of months and the months that it spans, if all of them are before `before`. Pure."""
    if len(partitions) < 2:
        return None
    border, oldest = partitions[:2]
    if border.name != BEFORE or border.until is None or oldest.until is None:
        return None
    months = month_range(Month.of_date(border.until), Month.of_date(oldest.until).plus(-1))
    return (oldest, months) if months[-1] < before else None


def standing_months(db: MySql, table: str) -> list[Month]:
    """The months that have a partition of their own, oldest first.

    Raises:
        StorageError: there is no such table, or the server did not answer for as long as retries last.
    """
    return db.run(
        f"reading the partitions of {table}", lambda connection: own_months(read_partitions(connection, table))
    )


def month_bytes(db: MySql, table: str, partition_or_table: str) -> int:
    """Bytes of a partition of a table (or of a table of its own, a twin) as InnoDB last estimated them; 0 = unknown.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """
    partition = (
        "SELECT DATA_LENGTH + INDEX_LENGTH FROM information_schema.PARTITIONS "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = :table AND PARTITION_NAME = :name"
    )
    whole = (
        "SELECT DATA_LENGTH + INDEX_LENGTH FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = :name"
    )
    fresh = db.dialect.name == "mysql"  # which otherwise repeats for a day what it answered once

    def ask(connection: Connection) -> int:
        names = {"table": table, "name": partition_or_table}
        if fresh:
            connection.execute(text("SET SESSION information_schema_stats_expiry = 0"))
        try:
            found = connection.scalar(text(partition), names) or connection.scalar(text(whole), names)
        finally:
            if fresh and not connection.invalidated:
                connection.execute(text("SET SESSION information_schema_stats_expiry = DEFAULT"))
        return int(found or 0)

    return db.run(f"measuring {partition_or_table} of {table}", ask)


def _fold(db: MySql, dataset: Dataset, partition: Partition, months: Sequence[Month]) -> bool:
    """Fold one partition if it holds nothing and still is the oldest; whether it is folded now."""
    table, what = str(dataset), f"folding {partition.name} of {dataset} into {BEFORE}"

    def fold(connection: Connection) -> bool:
        parts = read_partitions(connection, table)
        if partition not in parts:  # another did it, or our own try whose answer was lost
            return True
        _check_nothing_before(connection, table, what)
        if parts[1] != partition or not is_empty(connection, f"`{table}` PARTITION ({partition.name})"):
            return False
        connection.execute(text(_merged(partition).sql(table)))
        _check_nothing_before(connection, table, what)
        return True

    return _alone_with(db, dataset, months, what, fold)


def _merged(partition: Partition) -> Split:
    return Split((BEFORE, partition.name), (Partition(BEFORE, partition.until),))


def _check_nothing_before(connection: Connection, table: str, what: str) -> None:
    if not is_empty(connection, f"`{table}` PARTITION ({BEFORE})"):
        raise StorageError(
            f"{what}: the partition {BEFORE} of {table} holds rows, which belong to no month: another program writes "
            "there. Look at them; a partition of their month takes them up when it is made. Nothing is folded before"
        )


def _alone_with(
    db: MySql,
    dataset: Dataset,
    months: Sequence[Month],
    what: str,
    action: Callable[[Connection], T],
    lock_wait_s: float = LOCK_WAIT_S,
) -> T:
    """Do `action` while nobody loads rows of the months nor changes the table's partitions; with retries."""
    names = [partitions_lock(str(dataset)), *(name for month in months for name in month_lock_names(dataset, month))]

    def attempt() -> T:
        with db.named_locks(names, timeout_s=lock_wait_s) as connection, brief_ddl(connection):
            return action(connection)

    return db.retry(what, attempt)
