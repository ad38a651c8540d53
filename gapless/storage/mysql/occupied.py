"""Which months of a partitioned table hold rows."""

from __future__ import annotations

from sqlalchemy import Connection, text

from gapless.storage.mysql.partitions import Month, own_months, read_partitions
from gapless.storage.mysql.server import MySql


def occupied_months(db: MySql, table: str, before: Month) -> list[Month]:
    """The months before `before` with a row in their partition, oldest first. Months already exchanged away hold none.

    Raises:
        StorageError: there is no such table, or the server did not answer for as long as retries last.
    """

    def look(connection: Connection) -> list[Month]:
        return [
            month
            for month in own_months(read_partitions(connection, table))
            if month < before
            and connection.scalar(text(f"SELECT 1 FROM `{table}` PARTITION ({month.partition}) LIMIT 1"))  # noqa: S608
        ]

    return db.run(f"reading which months of {table} hold rows", look)
