"""A database server that a test may kill."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gapless.stack.mariadb import PrivateMariaDB
from tests.fixtures.mysql import PASSWORD, USER, free_port, private_server


@pytest.fixture(scope="module")
def breakable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMariaDB]:
    """With an empty database `bars`; who stops it starts it again."""
    server = private_server("mariadb", tmp_path_factory.mktemp("breakable") / "server", free_port())
    assert isinstance(server, PrivateMariaDB)
    server.initialise()
    server.start()
    server.create_user_and_database(USER, PASSWORD, ["bars"])
    try:
        yield server
    finally:
        server.stop(kill=True)
