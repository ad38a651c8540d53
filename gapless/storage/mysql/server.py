"""A MySQL or MariaDB server as the house uses it: sessions, retries, and named locks."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, create_engine, event, exc, text
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from gapless.errors import ConfigError, StorageError
from gapless.storage.mysql.faults import RetryPolicy, is_database_error, retrying

T = TypeVar("T")

SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE"
_LOCK_NAME_MAX = 64
_LOCK_SLICE_S = 5.0

# Every session is the same whatever the server's own defaults: UTC, strict, notes counted among warnings (a decimal
# that would be rounded is only a note), and no wait without an end.
_SESSION = (
    f"SET SESSION time_zone = '+00:00', sql_mode = '{SQL_MODE}', sql_notes = 1, "
    "innodb_lock_wait_timeout = 20, lock_wait_timeout = 60, wait_timeout = 3600",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which server it is: `mariadb` or `mysql`, and its version."""

    name: Literal["mariadb", "mysql"]
    version: tuple[int, ...]

    @classmethod
    def parse(cls, version: str) -> Dialect:
        """From `SELECT VERSION()`: `10.11.19-MariaDB-0+deb12u1`, `5.5.5-10.11.2-MariaDB`, `9.7.4`."""
        mariadb = "mariadb" in version.lower()
        numbers = re.match(r"\d+(\.\d+)*", version.removeprefix("5.5.5-") if mariadb else version)
        parts = tuple(int(part) for part in numbers.group().split(".")) if numbers else ()
        return cls("mariadb" if mariadb else "mysql", parts)

    def __str__(self) -> str:
        return f"{'MariaDB' if self.name == 'mariadb' else 'MySQL'} {'.'.join(map(str, self.version))}"


class MySql:
    """One database on one server. Cheap to make: nothing is connected before it is used.

    Args:
        url: `mysql://user:password@host:port/database`, user and password percent-encoded.
        retry: how long transient faults are waited out.
        pool_size: connections of this process, at most (a loader uses two).
        statement_timeout_s: silence on the wire after which a connection counts as lost; no statement here is longer.

    Raises:
        ConfigError: the URL is not of that form.
    """

    def __init__(
        self,
        url: str,
        *,
        retry: RetryPolicy | None = None,
        pool_size: int = 8,
        statement_timeout_s: int = 300,
    ) -> None:
        parts = urlsplit(url)
        self.database = unquote(parts.path.strip("/"))
        if parts.scheme != "mysql" or not parts.hostname or not self.database:
            raise ConfigError("GAPLESS_MYSQL_URL is wrong: write mysql://user:password@host:3306/database")
        self.retry_policy = retry or RetryPolicy()
        self.server = f"{parts.hostname}:{parts.port or 3306}/{self.database}"
        self.engine = create_engine(
            URL.create(
                "mysql+mysqldb",
                username=unquote(parts.username) if parts.username else None,
                password=unquote(parts.password) if parts.password else None,
                host=parts.hostname,
                port=parts.port or 3306,
                database=self.database,
            ),
            connect_args={
                "charset": "utf8mb4",
                "local_infile": 1,
                "connect_timeout": 10,
                "read_timeout": statement_timeout_s,
                "write_timeout": statement_timeout_s,
            },
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=30,
            pool_pre_ping=True,
            pool_recycle=1800,
            hide_parameters=True,
        )
        event.listen(self.engine, "connect", _prepare_session)
        event.listen(self.engine, "checkout", _refuse_inherited)

    @cached_property
    def dialect(self) -> Dialect:
        """Which server it is; asked once."""
        return Dialect.parse(
            self.run("reading the server's version", lambda c: str(c.scalar(text("SELECT VERSION()"))))
        )

    def run(self, what: str, action: Callable[[Connection], T]) -> T:
        """Do `action` in one transaction on a connection of its own, with retries; commit when it returns.

        Raises:
            StorageError: see `retrying`; `what` begins the message.
        """

        def attempt() -> T:
            with self.engine.begin() as connection:
                return action(connection)

        return self.retry(what, attempt)

    def retry(self, what: str, attempt: Callable[[], T]) -> T:
        """`retrying` under this database's policy and name."""
        return retrying(attempt, what=what, server=self.server, policy=self.retry_policy)

    @contextmanager
    def named_locks(self, names: Iterable[str], *, timeout_s: float = 60.0) -> Iterator[Connection]:
        """Hold all of these server-wide locks; yields the connection that holds them.

        Work that the locks protect is best done on that very connection: when it is lost, so are the locks **and** the
        transaction, and nobody ever writes without the lock. Taken in sorted order, so that two who want the same ones
        never wait for each other in a ring; released always, at the latest when the connection ends. The names are
        this database's own (locks are server-wide): two databases on a server do not hinder each other.

        Raises:
            StorageError: not all of them were free within `timeout_s`.
        """
        wanted = sorted({lock_name(self.database, name): name for name in names}.items())
        shown = ", ".join(name for _, name in wanted[:3]) + (" ..." if len(wanted) > 3 else "")

        def acquire() -> Connection:
            deadline = time.monotonic() + timeout_s
            connection = self.engine.connect()
            try:
                for full, name in wanted:
                    self._take(connection, full, name, deadline, timeout_s)
                connection.rollback()  # ends the transaction that the SELECTs began, not the locks
            except BaseException:
                _give_back(connection)
                raise
            return connection

        connection = self.retry(f"taking the locks {shown}", acquire)
        try:
            yield connection
        finally:
            _give_back(connection)

    def _take(self, connection: Connection, full: str, name: str, deadline: float, timeout_s: float) -> None:
        statement = text("SELECT GET_LOCK(:name, :wait)")
        while True:
            wait = max(0.0, min(_LOCK_SLICE_S, deadline - time.monotonic()))
            if connection.scalar(statement, {"name": full, "wait": wait}) == 1:
                return
            if time.monotonic() >= deadline:
                holder = connection.scalar(text("SELECT IS_USED_LOCK(:name)"), {"name": full})
                raise StorageError(
                    f"the lock {name!r} of {self.server} is held by another process (its connection id there is "
                    f"{holder}), still after {timeout_s:.0f} s; try again when that work is done"
                )

    def close(self) -> None:
        """Close this process's idle connections."""
        self.engine.dispose()


def lock_name(database: str, name: str) -> str:
    """A server-wide lock name of at most 64 characters; lock names ignore case, so a hash tells apart what differs."""
    full = f"{database}:{name}"
    if len(full) <= _LOCK_NAME_MAX and full == full.lower() and full.isascii():
        return full
    digest = sha256(full.encode()).hexdigest()[:24]
    readable = re.sub(r"[^a-z0-9:._-]", "-", full.lower())
    return f"{readable[: _LOCK_NAME_MAX - 25]}#{digest}"


def _give_back(connection: Connection) -> None:
    """Release all locks and return the connection; one that cannot is closed for good, which has the same effect."""
    try:
        connection.rollback()
        connection.execute(text("SELECT RELEASE_ALL_LOCKS()"))
        connection.rollback()
    except BaseException as error:
        connection.invalidate()
        if not is_database_error(error) and not isinstance(error, exc.SQLAlchemyError):
            raise
    finally:
        connection.close()


def _prepare_session(raw: Any, entry: ConnectionPoolEntry) -> None:
    entry.info["pid"] = os.getpid()
    cursor = raw.cursor()
    try:
        for statement in _SESSION:
            cursor.execute(statement)
    finally:
        cursor.close()


def _refuse_inherited(_: Any, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
    """A forked child must not speak on its parent's socket: the pool opens a connection of its own instead."""
    if entry.info["pid"] != os.getpid():
        entry.dbapi_connection = None  # type: ignore[misc]  # so SQLAlchemy's manual does it
        raise exc.DisconnectionError("this connection belongs to the parent process")
