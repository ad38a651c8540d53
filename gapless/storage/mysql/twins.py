"""Twins, the tables that months stand in while they leave: the statements that make, exchange and drop them."""

from __future__ import annotations

import re

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from gapless.domain.datasets import Dataset
from gapless.errors import StorageError
from gapless.storage.mysql.faults import error_code
from gapless.storage.mysql.partitions import Month

_NO_SUCH_TABLE = 1146


def twin_name(dataset: Dataset, month: Month) -> str:
    """`ohlcv_leaving_202607`."""
    return f"{dataset}_leaving_{month.partition[1:]}"


def make_twin(connection: Connection, table: str, twin: str) -> None:
    """An empty table as the partitioned one is today, instead of the twin that stands, which the caller knows is empty.

    That one may be as the table was before a migration.
    """
    definition = str(connection.execute(text(f"SHOW CREATE TABLE `{table}`")).one()[1])
    connection.execute(text(f"DROP TABLE IF EXISTS `{twin}`"))
    connection.exec_driver_sql(twin_definition(definition, table, twin).replace("%", "%%"))


def twin_definition(definition: str, table: str, twin: str) -> str:
    """The statement that makes a twin, from what SHOW CREATE TABLE says of the table: without its partitions. Pure.

    One statement, so that no half-made twin can be left (`CREATE TABLE ... LIKE` copies the partitions, and taking
    them off is another step).

    Raises:
        StorageError: the table is not partitioned.
    """
    body, partitioned, _ = re.sub(r"/\*!\d+\s+PARTITION BY", "PARTITION BY", definition).partition("PARTITION BY")
    head = f"CREATE TABLE `{table}` "
    if not partitioned or not body.startswith(head):
        raise StorageError(f"{table} is not partitioned as expected; the server describes it as {definition}")
    return f"CREATE TABLE `{twin}` {body.removeprefix(head).rstrip()}"


def exchange_partition(connection: Connection, table: str, month: Month, twin: str) -> None:
    """The month's rows into the twin, and the twin's into the partition: at once, however many they are."""
    connection.execute(text(f"ALTER TABLE `{table}` EXCHANGE PARTITION {month.partition} WITH TABLE `{twin}`"))


def drop_table(connection: Connection, name: str) -> None:
    """Destroy a table and its rows."""
    connection.execute(text(f"DROP TABLE `{name}`"))


def table_exists(connection: Connection, name: str) -> bool:
    """Whether this database has a table of that name; DDL on it that is under way is waited for.

    Not asked of `information_schema`, which in MariaDB leaves out a table whose definition is being changed.
    """
    try:
        connection.execute(text(f"SELECT 1 FROM `{name}` LIMIT 0"))  # noqa: S608
    except ProgrammingError as error:
        if error_code(error) != _NO_SUCH_TABLE:
            raise
        return False
    return True


def is_empty(connection: Connection, source: str) -> bool:
    """Whether no row stands behind FROM."""
    return connection.scalar(text(f"SELECT 1 FROM {source} LIMIT 1")) is None  # noqa: S608
