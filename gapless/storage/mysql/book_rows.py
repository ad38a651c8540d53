"""The books' rows as columns, exact in every type: read under one snapshot, and written into empty tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from alembic.runtime.migration import MigrationContext
from MySQLdb.cursors import SSCursor
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Double,
    Integer,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import String, TypeEngine

from gapless.domain.schema import TIMESTAMP
from gapless.errors import StorageError
from gapless.storage.mysql.books import installation, metadata
from gapless.storage.mysql.bulk import replace_rows
from gapless.storage.mysql.server import MySql

BOOKS: tuple[Table, ...] = tuple(metadata.tables[name] for name in sorted(metadata.tables))
"""Every table that is no partitioned time series, by name."""

_DIALECT = mysql.dialect()
# Lines fetched at once, by the longest text that a line can hold: 16 MiB, 64 KiB, or names.
_LONG, _TEXT, _NAMES = 64, 1_000, 20_000
_STATEMENT_BYTES = 4 << 20


def arrow_schema(table: Table, columns: Sequence[str] | None = None) -> pa.Schema:
    """The columns of a book, or some of them in that order, as Arrow types that hold every value exactly.

    Times are UTC milliseconds, BIGINT UNSIGNED is uint64, DECIMAL(38, 18) is decimal128(38, 18).

    Raises:
        StorageError: the book has no such column.
    """
    names = [column.name for column in table.columns] if columns is None else list(columns)
    unknown = [name for name in names if name not in table.columns]
    if unknown:
        raise StorageError(f"the book {table.name} has no column {', '.join(unknown)} in this version of Gapless")
    return pa.schema([_field(table.columns[name]) for name in names])


@contextmanager
def snapshot(db: MySql) -> Iterator[Connection]:
    """A connection that sees all tables as they are at this moment, whatever others write meanwhile; it only reads."""
    with db.engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        with contextlib.closing(raw.cursor()) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            yield connection
        finally:
            if not connection.invalidated:
                raw.rollback()


def revision_of(connection: Connection) -> str | None:
    """The schema's revision as the connection's transaction sees it, None where there is no schema."""
    return MigrationContext.configure(connection).get_current_revision()


def read_rows(connection: Connection, table: Table, schema: pa.Schema) -> Iterator[pa.Table]:
    """All rows of a book in the order of its key, streamed in the connection's transaction.

    Memory: the lines fetched at once, at most 64 where a column holds megabytes, 1,000 of long texts, 20,000 of names.

    Raises:
        StorageError: a value that its column's type cannot hold exactly.
    """
    names = ", ".join(f"`{name}`" for name in schema.names)
    order = ", ".join(f"`{column.name}`" for column in table.primary_key)
    raw: Any = connection.connection.dbapi_connection
    converters = raw.converter
    raw.converter = {}  # the bytes that the server sent: no float, no rounded time
    try:
        with contextlib.closing(raw.cursor(SSCursor)) as cursor:
            cursor.execute(f"SELECT {names} FROM `{table.name}` ORDER BY {order}")  # noqa: S608
            while page := cursor.fetchmany(_lines(table)):
                yield _typed(page, table, schema)
    finally:
        raw.converter = converters


def write_rows(connection: Connection, table: Table, rows: pa.Table) -> None:
    """Write rows of a book with all their keys, in the connection's transaction; the next key given is a new one.

    Raises:
        StorageError: a value is not stored as it is, or a row was there already; the caller must roll back.
    """
    what = f"restoring the book {table.name}"
    for place, field in enumerate(rows.schema):
        if pa.types.is_boolean(field.type):
            rows = rows.set_column(place, field.name, rows[place].cast(pa.int8()))
    for piece in _pieces(rows):
        sent = replace_rows(connection, table.name, piece, {}, what)
        if sent.replaced:
            raise StorageError(
                f"{what}: {sent.replaced} of its rows were there already. Nothing was restored; stop what writes to "
                "this database (Airflow, commands) and restore into one fresh from `gapless db upgrade`"
            )


def filled_books(connection: Connection) -> list[str]:
    """The books that hold rows, by name; the one line that says whose the installation is does not count."""
    ours = [table for table in BOOKS if table is not installation]
    filled = "SELECT EXISTS(SELECT 1 FROM `{}`)"
    return [table.name for table in ours if connection.scalar(text(filled.format(table.name)))]


def _pieces(rows: pa.Table) -> Iterator[pa.Table]:
    """Rows in order, at most so many bytes at once that a statement of them fits any server's packet."""
    if rows.nbytes <= _STATEMENT_BYTES or rows.num_rows == 1:
        yield rows
        return
    half = rows.num_rows // 2
    yield from _pieces(rows.slice(0, half))
    yield from _pieces(rows.slice(half))


def _typed(page: Sequence[Sequence[Any]], table: Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field, values in zip(schema, zip(*page, strict=True), strict=True):
        try:
            column = pa.array(values, pa.binary()).cast(pa.string())
            if field.type == TIMESTAMP:
                column = column.cast(pa.timestamp("ms"))
            columns.append(column.cast(field.type))
        except pa.ArrowException as error:
            raise StorageError(
                f"the book {table.name} cannot be exported: `{field.name}` holds what is no {field.type} ({error}); "
                "correct the row"
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _lines(table: Table) -> int:
    kinds = [_kind(column) for column in table.columns]
    if any(isinstance(kind, mysql.MEDIUMTEXT) for kind in kinds):
        return _LONG
    return _TEXT if any(isinstance(kind, Text) for kind in kinds) else _NAMES


def _field(column: Column[Any]) -> pa.Field:
    return pa.field(str(column.name), _arrow(_kind(column), column), nullable=bool(column.nullable))


def _kind(column: Column[Any]) -> TypeEngine[Any]:
    return column.type.dialect_impl(_DIALECT)


def _arrow(kind: TypeEngine[Any], column: Column[Any]) -> pa.DataType:
    if isinstance(kind, Boolean):
        return pa.bool_()
    if isinstance(kind, BigInteger) and getattr(kind, "unsigned", False):
        return pa.uint64()
    if isinstance(kind, Integer):
        return pa.int64()
    if isinstance(kind, DateTime):
        return TIMESTAMP
    if isinstance(kind, Date):
        return pa.date32()
    if isinstance(kind, Double):
        return pa.float64()
    if isinstance(kind, Numeric):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, String):
        return pa.string()
    raise StorageError(f"the column {column.table.name}.{column.name} has a type that is not exported: {kind!r}")
