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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, text

from gapless.errors import StorageError
from gapless.storage.mysql.faults import error_code

log = logging.getLogger(__name__)

CHUNK_ROWS = 25_000
_VALUES_ROWS = 5_000
_ONE_DIGIT_EXPONENT = 9
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
        rows: columns named as in the table; exact decimals, integers, strings of any content, UTC timestamps in ms,
            dates. Nulls become NULL.
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
    """UTC timestamps as the server's DATETIME text has them, without a zone; whole seconds where all of them are."""
    for place, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            millis = rows[place].cast(pa.timestamp("ms", tz=field.type.tz)).cast(pa.timestamp("ms"))
            seconds = millis.cast(pa.timestamp("s"), safe=False)
            whole = not pc.any(pc.not_equal(seconds, millis)).as_py()
            rows = rows.set_column(place, field.name, seconds if whole else millis)
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
        Path(file.path).write_bytes(csv_lines(rows))
    except BaseException:
        file.close()
        raise
    return file


def csv_lines(rows: pa.Table) -> pa.Buffer:
    """The rows as LOAD DATA takes them here: texts in doubled quotes, decimals without the zeros at their end.

    A quarter fewer bytes than Arrow's own CSV writer, at the same cost; the server works by the byte.
    """
    lines = _joined(rows, _csv_quoted, end="\n")
    return lines.buffers()[2] if rows.num_rows else pa.py_buffer(b"")


def _csv_quoted(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'


def _send_values(
    connection: Connection, table: str, rows: pa.Table, constants: Mapping[str, int | str], what: str
) -> Sent:
    """The same through `REPLACE INTO ... VALUES`, whose text Arrow assembles; the same on both servers."""
    raw: Any = connection.connection.dbapi_connection
    names = ", ".join(f"`{name}`" for name in (*rows.schema.names, *constants))
    fixed = "".join(f",{raw.literal(value).decode()}" for value in constants.values())
    total = Sent(0, 0)
    for at in range(0, rows.num_rows, _VALUES_ROWS):
        # Decimals in quotes: a bare 1E-8 would be a float to the server.
        tuples = _joined(
            rows.slice(at, _VALUES_ROWS),
            lambda value: raw.literal(value).decode(),
            mark="'",
            start="(",
            end=fixed + ")",
        )
        statement = f"REPLACE INTO `{table}` ({names}) VALUES "  # noqa: S608
        with contextlib.closing(raw.cursor()) as cursor:
            affected = cursor.execute(statement + ",".join(tuples.to_pylist()))
        done = _account(raw, len(tuples), what, affected=affected)
        total = Sent(total.rows + done.rows, total.replaced + done.replaced)
    return total


def _joined(
    rows: pa.Table, quoted: Callable[[str], str], *, mark: str = "", start: str = "", end: str = ""
) -> pa.StringArray:
    """Each row as one text, its values separated by commas: strings by `quoted`, decimals and times between `mark`s,
    nulls as the bare word NULL."""
    texts = []
    for column in rows.combine_chunks().columns:
        values = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if pa.types.is_string(values.type):
            encoded = values.dictionary_encode()
            literals = pa.array([quoted(value) for value in encoded.dictionary.to_pylist()], pa.string())
            texts.append(literals.take(encoded.indices))
        elif pa.types.is_decimal(values.type) or pa.types.is_temporal(values.type):
            plain = _trimmed(values) if pa.types.is_decimal(values.type) else values.cast(pa.string())
            texts.append(pc.binary_join_element_wise(mark, plain, mark, "") if mark else plain)
        else:
            texts.append(values.cast(pa.string()))
        if texts[-1].null_count:  # the bare word is NULL to LOAD DATA too, when fields can be enclosed
            texts[-1] = pc.fill_null(texts[-1], "NULL")
    texts[-1] = pc.binary_join_element_wise(texts[-1], end, "")
    if start:
        texts[0] = pc.binary_join_element_wise(start, texts[0], "")
    return pc.binary_join_element_wise(*texts, ",")


def _trimmed(values: pa.Array) -> pa.StringArray:
    """Decimals without the zeros at the end of their fraction, which the server would read one by one.

    Arrow writes small values as `1.5E-7`. Up to nine places the exponent has one digit, which is no zero; beyond that,
    and where there is no fraction, the text is left as it is.
    """
    text = values.cast(pa.string())
    return pc.ascii_rtrim(text, "0") if 1 <= values.type.scale <= _ONE_DIGIT_EXPONENT else text


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
