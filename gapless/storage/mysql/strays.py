"""What must always hold of partitions: nothing lies in the outer ones, and months ahead exist."""

from __future__ import annotations

from sqlalchemy import Connection, text

from gapless.storage.mysql.partitions import BEFORE, MAX, Month, own_months, read_partitions
from gapless.storage.mysql.schema import PARTITIONED
from gapless.storage.mysql.server import MySql

COUNTED = 10_000
"""Strays are counted up to here: whether there are any is what matters, and a count of millions takes seconds."""


def stray_rows(db: MySql) -> dict[tuple[str, str], int]:
    """How many rows lie outside of all months, by table and partition (`p_before`, `pmax`), each up to `COUNTED`.

    They must all be 0: rows there belong to no month, so that they never leave, and months are split from these
    partitions in milliseconds only while they are empty.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """

    def count(connection: Connection) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for table in map(str, PARTITIONED):
            for part in read_partitions(connection, table):
                if part.name in (BEFORE, MAX):
                    rows = f"SELECT 1 FROM `{table}` PARTITION ({part.name}) LIMIT {COUNTED}"  # noqa: S608
                    found[table, part.name] = int(
                        connection.scalar(text(f"SELECT COUNT(*) FROM ({rows}) AS stray")) or 0  # noqa: S608
                    )
        return found

    return db.run("counting rows outside of all months", count)


def months_ahead(db: MySql, now_ms: int) -> dict[str, int]:
    """How many months after the one of `now_ms` have a partition of their own, without a month between that has none.

    Raises:
        StorageError: the server did not answer for as long as retries last.
    """

    def count(connection: Connection) -> dict[str, int]:
        found: dict[str, int] = {}
        for table in map(str, PARTITIONED):
            standing = set(own_months(read_partitions(connection, table)))
            ahead, month = 0, Month.of_ms(now_ms).plus(1)
            while month in standing:
                ahead, month = ahead + 1, month.plus(1)
            found[table] = ahead
        return found

    return db.run("counting the months ahead", count)
