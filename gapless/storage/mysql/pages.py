"""Answers of any length, some lines at a time, straight from the driver."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from MySQLdb.cursors import SSCursor
from sqlalchemy import Connection

PAGE_ROWS = 50_000


def pages_of(
    connection: Connection, statement: str, arguments: Mapping[str, object], *, converted: bool = True
) -> Iterator[Sequence[tuple[Any, ...]]]:
    """The lines of an answer, streamed in pages of `PAGE_ROWS`, in the connection's transaction.

    Args:
        statement: with `%(name)s` in it; a tuple among the arguments stands for a list.
        converted: values as Python objects; otherwise as the bytes that the server sent.
    """
    raw: Any = connection.connection.dbapi_connection
    converters = raw.converter
    if not converted:
        raw.converter = {}
    try:
        with contextlib.closing(raw.cursor(SSCursor)) as cursor:
            cursor.execute(statement, arguments)
            while page := cursor.fetchmany(PAGE_ROWS):
                yield page
    finally:
        raw.converter = converters
