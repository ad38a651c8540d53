"""Columns into a table, fast and verified: `LOAD DATA LOCAL INFILE`, or VALUES where the server forbids that.

Neither is trusted. With LOCAL a bad value is a mere warning even in strict mode, and a decimal that was rounded a mere
note; so every statement's own account must add up, and a single warning or note means that nothing is stored.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from sqlalchemy import Connection, text

from gapless.errors import StorageError
from gapless.storage.mysql.faults import error_code

log = logging.getLogger(__name__)

CHUNK_ROWS = 100_000
_VALUES_ROWS = 5_000
# The server or the driver's library forbids LOCAL: MySQL, MariaDB (two), the client.
_LOCAL_FORBIDDEN = {3948, 1148, 4166, 2068}
_forbidden_said: set[str] = set()


@dataclass(frozen=True, slots=True)
class Sent:
    """What the server says it did: rows taken, and how many of them took the place of stored ones."""

    rows: int
    replaced: int


def replace_rows(
    connection: Connection, table: str, rows: pa.Table, constants: Mapping[str, int | str], what: str
) -> Sent:
    """Write rows, replacing those of the same key, in the connection's transaction.

    Args:
        rows: columns named as in the table; exact decimals, strings of any content, UTC timestamps of whole seconds.
        constants: further columns that have one value in all rows.
        what: begins the message of an error.

    Raises:
        StorageError: the server took other rows than were sent, or warned or noted anything; the caller must roll back.
    """
    if rows.num_rows == 0:
        return Sent(0, 0)
    if not connection.in_transaction():
        connection.begin()  # the statements below go past SQLAlchemy: it must know that there is something to undo
    plain = _plain(rows)
    if _local_allowed(connection):
        try:
            return _load_local(connection, table, plain, constants, what)
        except Exception as error:
            if error_code(error) not in _LOCAL_FORBIDDEN:
                raise
    server = str(connection.engine.url.host)
    if server not in _forbidden_said:
        _forbidden_said.add(server)
        log.warning(
            "MySQL at %s forbids LOAD DATA LOCAL: loading through INSERT statements, about half as fast; "
            "SET GLOBAL local_infile = ON allows it",
            server,
        )
    return _send_values(connection, table, plain, constants, what)


def _plain(rows: pa.Table) -> pa.Table:
    """UTC timestamps as the server's DATETIME text has them: whole seconds, without a zone."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            seconds = rows[place].cast(pa.timestamp("s", tz=field.type.tz)).cast(pa.timestamp("s"))
            rows = rows.set_column(place, field.name, seconds)
    return rows


def _local_allowed(connection: Connection) -> bool:
    return bool(connection.scalar(text("SELECT @@local_infile")))


def _load_local(
    connection: Connection, table: str, rows: pa.Table, constants: Mapping[str, int | str], what: str
) -> Sent:
    raw: Any = connection.connection.dbapi_connection
    columns = ", ".join(f"`{name}`" for name in rows.schema.names)
    fixed = ", ".join(f"`{name}` = {raw.literal(value).decode()}" for name, value in constants.items())
    into = (
        f"REPLACE INTO TABLE `{table}` CHARACTER SET utf8mb4 "
        "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' LINES TERMINATED BY '\\n' "
        f"({columns})" + (f" SET {fixed}" if fixed else "")
    )
    total = Sent(0, 0)
    # The next piece is written while the server takes this one: both wait outside Python's lock.
    with ThreadPoolExecutor(1, "csv") as writer, contextlib.ExitStack() as files:
        ahead: Future[_CsvFile] | None = None
        for at in range(0, rows.num_rows, CHUNK_ROWS):
            now = ahead or _write_ahead(writer, files, rows.slice(at, CHUNK_ROWS))
            rest = rows.slice(at + CHUNK_ROWS, CHUNK_ROWS)
            ahead = _write_ahead(writer, files, rest) if rest.num_rows else None
            file = now.result()
            with contextlib.closing(raw.cursor()) as cursor:
                cursor.execute(f"LOAD DATA LOCAL INFILE '{file.path}' {into}")
            done = _account(raw, file.rows, what)
            total = Sent(total.rows + done.rows, total.replaced + done.replaced)
            file.close()
    return total


def _write_ahead(writer: ThreadPoolExecutor, files: contextlib.ExitStack, rows: pa.Table) -> Future[_CsvFile]:
    """Write a piece in the background; whatever becomes of the load, `files` closes it in the end."""
    future = writer.submit(_csv_file, rows)

    def close() -> None:
        if future.exception() is None:
            future.result().close()

    files.callback(close)
    return future


class _CsvFile:
    """A CSV file that nobody has to clean up after: in memory where the system can, so that a kill leaves nothing."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._fd: int | None = None
        self._named: Path | None = None
        if hasattr(os, "memfd_create") and Path("/proc/self/fd").exists():
            self._fd = os.memfd_create("gapless-load")
            self.path = f"/proc/self/fd/{self._fd}"
        else:
            fd, self.path = tempfile.mkstemp(prefix="gapless-load-", suffix=".csv")
            os.close(fd)
            self._named = Path(self.path)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        if self._named is not None:
            self._named.unlink(missing_ok=True)
            self._named = None


def _csv_file(rows: pa.Table) -> _CsvFile:
    file = _CsvFile(rows.num_rows)
    try:
        pacsv.write_csv(rows, file.path, pacsv.WriteOptions(include_header=False, quoting_style="needed"))
    except BaseException:
        file.close()
        raise
    return file


def _send_values(
    connection: Connection, table: str, rows: pa.Table, constants: Mapping[str, int | str], what: str
) -> Sent:
    """The same through `REPLACE INTO ... VALUES`, whose text Arrow assembles; the same on both servers."""
    raw: Any = connection.connection.dbapi_connection
    names = ", ".join(f"`{name}`" for name in (*rows.schema.names, *constants))
    fixed = "".join(f",{raw.literal(value).decode()}" for value in constants.values())
    tuples = _tuples(raw, rows, fixed)
    total = Sent(0, 0)
    for at in range(0, rows.num_rows, _VALUES_ROWS):
        piece = tuples.slice(at, _VALUES_ROWS).to_pylist()
        with contextlib.closing(raw.cursor()) as cursor:
            affected = cursor.execute(f"REPLACE INTO `{table}` ({names}) VALUES " + ",".join(piece))  # noqa: S608
        done = _account(raw, len(piece), what, affected=affected)
        total = Sent(total.rows + done.rows, total.replaced + done.replaced)
    return total


def _tuples(raw: Any, rows: pa.Table, fixed: str) -> pa.ChunkedArray:
    columns = []
    for name in rows.schema.names:
        column = rows[name].combine_chunks()
        if pa.types.is_string(column.type):
            encoded = column.dictionary_encode()
            literals = pa.array([raw.literal(value).decode() for value in encoded.dictionary.to_pylist()])
            columns.append(literals.take(encoded.indices))
        elif pa.types.is_timestamp(column.type):
            columns.append(pc.binary_join_element_wise("'", column.cast(pa.string()), "'", ""))
        elif pa.types.is_decimal(column.type):
            # In quotes: a bare 1E-8 would be a float to the server.
            columns.append(pc.binary_join_element_wise("'", column.cast(pa.string()), "'", ""))
        else:
            columns.append(column.cast(pa.string()))
    inner = pc.binary_join_element_wise(*columns, ",")
    return pc.binary_join_element_wise("(", inner, fixed + ")", "")


def _account(raw: Any, sent: int, what: str, *, affected: int | None = None) -> Sent:
    """The server's account of the statement just done, if it adds up.

    `Records: 3  Deleted: 1  Skipped: 0  Warnings: 0` after LOAD DATA (INSERT says `Duplicates`; nothing for one row,
    where the affected rows count: one for the new row, one more for the old).
    """
    for warning in _warnings(raw):
        raise StorageError(f"{what}: MySQL would not store a value as it is: {warning}. Nothing was stored")
    info = raw.info()
    said = dict(re.findall(r"(\w+): (\d+)", info.decode() if isinstance(info, bytes) else info or ""))
    rows = int(said.get("Records", sent if affected is not None else -1))
    replaced = int(said.get("Deleted", -1)) if affected is None else affected - rows
    if rows != sent or replaced < 0 or int(said.get("Skipped", 0)) or int(said.get("Warnings", 0)):
        raise StorageError(f"{what}: {sent} rows were sent, but MySQL says {info!r}. Nothing was stored")
    return Sent(rows, replaced)


def _warnings(raw: Any) -> Iterator[str]:
    if raw.warning_count() == 0:
        return
    with contextlib.closing(raw.cursor()) as cursor:
        cursor.execute("SHOW WARNINGS LIMIT 3")
        shown = cursor.fetchall()
    for level, code, message in shown or [("Warning", 0, "(the server does not say which)")]:
        yield f"{level} {code}: {message}"
