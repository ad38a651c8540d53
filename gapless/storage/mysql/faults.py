"""What a database error means: worth another try, or a clear message for whoever has to act."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import MySQLdb
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gapless.errors import GaplessError, StorageError

log = logging.getLogger(__name__)
T = TypeVar("T")

# Error numbers of MySQL and MariaDB after which the same work, begun anew, may succeed.
DEADLOCK, LOCK_WAIT = 1213, 1205
_CONFLICT = {DEADLOCK, LOCK_WAIT, 1412, 1615, 1020}  # 1412: table changed under the transaction; 1020: row changed
_AWAY = {
    *(2002, 2003, 2005),  # cannot connect: no server there (yet), or its name does not resolve for the moment
    *(2006, 2013, 2055),  # connection lost
    *(1040, 1203),  # too many connections
    *(1053, 1077, 1079, 1927, 4031, 1317),  # shutting down, connection killed, idle too long, statement interrupted
    *(1158, 1159, 1160, 1161, 1184),  # network errors as the server saw them
}
# Of a server that is starting, or of a connection object that the driver has already closed.
_CLOSED = {0, None}

_HINTS = {
    1044: "the user has no rights on this database: GRANT ALL PRIVILEGES ON it",
    1045: "user or password is wrong: see GAPLESS_MYSQL_URL",
    1049: "the database does not exist: CREATE DATABASE it",
    1142: "the user lacks a right on this table: GRANT ALL PRIVILEGES ON the database",
    1146: "a table is missing: run `gapless db upgrade`",
    1054: "the schema is older than the program: run `gapless db upgrade`",
    1021: "the server's disk is full",
    1114: "the server's disk is full",
}


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long transient faults are waited out: `total_s`, in pauses that double from `first_s` up to `longest_s`.

    Attributes:
        level: of the line that is logged before each pause.
    """

    total_s: float = 120.0
    first_s: float = 0.1
    longest_s: float = 10.0
    level: int = logging.WARNING


def error_code(error: BaseException) -> int | None:
    """The server's or driver's error number, through SQLAlchemy's wrapping; None when there is none."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, MySQLdb.Error) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return None


def is_transient(error: BaseException) -> bool:
    """Whether the same work, begun anew on a fresh connection, may succeed."""
    if isinstance(error, PoolTimeout):
        return True
    origin = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(origin, MySQLdb.InterfaceError):
        return error_code(error) in _CLOSED
    return error_code(error) in _CONFLICT | _AWAY


def is_database_error(error: BaseException) -> bool:
    """Whether an exception came from the driver or from SQLAlchemy's pool."""
    return isinstance(error, DBAPIError | MySQLdb.Error | PoolTimeout)


def explain(error: BaseException) -> str:
    """One line: number, the server's words, and what to do where that is known. Never a statement or a parameter."""
    if isinstance(error, PoolTimeout):
        return "all connections of this process are in use"
    origin = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = error_code(error)
    words = str(origin.args[1]) if len(origin.args) > 1 else str(origin)
    hint = _HINTS.get(code) if code else None
    return f"{words} (error {code})" + (f"; {hint}" if hint else "")


def retrying(
    action: Callable[[], T],
    *,
    what: str,
    server: str,
    policy: RetryPolicy,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Do `action`, again after deadlocks and lost connections, until it succeeds or `policy.total_s` is over.

    `action` must be one whole unit of work on connections of its own: nothing of a failed try may be left.

    Args:
        what: the work in the user's words, with instrument and window: the beginning of every message.
        server: the server's address without password.

    Raises:
        StorageError: the fault is not transient, or lasted too long.
    """
    started = clock()
    pause = policy.first_s
    while True:
        try:
            return action()
        except GaplessError:
            raise
        except Exception as error:
            if not is_database_error(error):
                raise
            if not is_transient(error):
                raise StorageError(f"{what}: MySQL at {server} refused it: {explain(error)}") from None
            spent = clock() - started
            if spent >= policy.total_s:
                raise StorageError(
                    f"{what}: gave up on MySQL at {server} after {spent:.0f} s of retrying: {explain(error)}. "
                    "Nothing was stored; run it again when the server is back"
                ) from None
            wait = min(pause * (0.5 + jitter()), max(0.0, policy.total_s - spent))
            log.log(policy.level, "%s: %s; trying again in %.1f s", what, explain(error), wait)
            sleep(wait)
            pause = min(pause * 2, policy.longest_s)
