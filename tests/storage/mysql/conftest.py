"""One database for all tests of a file, emptied before each: making and dropping one costs more than most of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, text

from gapless.storage.mysql import MySql
from gapless.storage.mysql.leaving import find_twins
from tests.fixtures.mysql import KINDS, Server, fresh_database

_FILLED = (
    *("ohlcv", "funding_rate", "futures_metrics"),
    *("load_receipt", "load_scope", "restatement", "quarantine", "month_export"),
)


@pytest.fixture(scope="module", params=KINDS)
def _either(request: pytest.FixtureRequest, mysql_servers: Callable[[str], Server]) -> Iterator[MySql]:
    with fresh_database(mysql_servers(request.param)) as db:
        yield db


@pytest.fixture(scope="module")
def _mariadb(mysql_servers: Callable[[str], Server]) -> Iterator[MySql]:
    with fresh_database(mysql_servers("mariadb")) as db:
        yield db


@pytest.fixture
def emptied(_either: MySql) -> MySql:
    """A database with the schema and no rows, on either server; its partitions are those that earlier tests made."""
    return _empty(_either)


@pytest.fixture
def emptied_mariadb(_mariadb: MySql) -> MySql:
    """The same on MariaDB, for tests whose subject is not the server."""
    return _empty(_mariadb)


def _empty(db: MySql) -> MySql:
    statements = [f"DROP TABLE {each.twin}" for each in find_twins(db)] + [f"DELETE FROM {name}" for name in _FILLED]

    def empty(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    db.run("emptying the database", empty)
    return db
