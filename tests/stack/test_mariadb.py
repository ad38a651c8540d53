"""A private MariaDB: closed to everybody else, silent about secrets, and back after a crash."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import MySQLdb
import pytest

from gapless.errors import ConfigError, StorageError
from gapless.stack.mariadb import PrivateMariaDB
from gapless.storage.mysql import MySql
from tests.fixtures.mysql import free_port

USER, PASSWORD = "gapless", "s3cret/pass%'\""


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateMariaDB]:
    # A path that is longer than a socket's may be.
    folder = tmp_path_factory.mktemp("private") / ("deep-" * 20)
    server = PrivateMariaDB(folder, free_port(), buffer_pool_mb=128, durable=False)
    assert server.initialise()
    server.start()
    try:
        yield server
    finally:
        server.stop()
        with contextlib.suppress(OSError):
            server.socket.parent.rmdir()


def test_a_second_initialisation_finds_the_first(mariadb: PrivateMariaDB) -> None:
    assert not mariadb.initialise()


def test_its_folder_and_settings_are_the_owners_alone(mariadb: PrivateMariaDB) -> None:
    assert mariadb.folder.stat().st_mode & 0o077 == 0
    assert mariadb.config_file.stat().st_mode & 0o077 == 0
    assert mariadb.socket.parent.stat().st_mode & 0o077 == 0


def test_it_listens_on_loopback_only(mariadb: PrivateMariaDB) -> None:
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and int(address.rpartition(":")[2], 16) == mariadb.port:
                listening.append(address.rpartition(":")[0])
    assert listening == ["0100007F"]


def test_no_password_stands_on_a_command_line(mariadb: PrivateMariaDB) -> None:
    mariadb.create_user_and_database(USER, PASSWORD, ["gapless"])
    assert mariadb.command()[1:] == [f"--defaults-file={mariadb.config_file}"]
    assert PASSWORD not in mariadb.config_file.read_text()


def test_its_user_reaches_its_own_databases_and_nothing_else(mariadb: PrivateMariaDB) -> None:
    mariadb.create_user_and_database(USER, PASSWORD, ["gapless", "gapless_demo"])
    mariadb.create_user_and_database("other", "other", ["gaplessXdemo"])
    for database in ("gapless", "gapless_demo"):
        db = MySql(mariadb.url(USER, PASSWORD, database))
        assert db.run("asking", lambda connection: connection.exec_driver_sql("SELECT DATABASE()").scalar()) == database
        db.close()
    for database in ("mysql", "gaplessXdemo"):  # `_` in the grant must not match any character
        with pytest.raises(StorageError, match="error 1044"):
            MySql(mariadb.url(USER, PASSWORD, database)).run("asking", lambda connection: None)


def test_creating_the_user_again_sets_its_new_password(mariadb: PrivateMariaDB) -> None:
    for password in ("first", "second"):
        mariadb.create_user_and_database("changing", password, ["changing"])
        db = MySql(mariadb.url("changing", password, "changing"))
        db.run("asking", lambda connection: None)
        db.close()


def test_root_comes_in_through_the_socket_only(mariadb: PrivateMariaDB) -> None:
    with pytest.raises(MySQLdb.OperationalError):
        MySQLdb.connect(host="127.0.0.1", port=mariadb.port, user="root", password="")


def test_committed_rows_outlive_a_crash(mariadb: PrivateMariaDB) -> None:
    mariadb.create_user_and_database(USER, PASSWORD, ["gapless"])
    db = MySql(mariadb.url(USER, PASSWORD, "gapless"))
    db.run("writing", lambda connection: connection.exec_driver_sql("CREATE TABLE kept (n INT PRIMARY KEY)"))
    db.run("writing", lambda connection: connection.exec_driver_sql("INSERT INTO kept VALUES (7)"))
    mariadb.stop(kill=True)
    mariadb.start()
    assert db.run("reading", lambda connection: connection.exec_driver_sql("SELECT n FROM kept").scalar()) == 7
    db.close()


def test_a_port_that_is_taken_is_told_with_the_servers_own_words(tmp_path: Path, mariadb: PrivateMariaDB) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = PrivateMariaDB(tmp_path / "db", taken.getsockname()[1], buffer_pool_mb=128, durable=False)
        server.initialise()
        with pytest.raises(StorageError, match=r"died at its start.*[Bb]ind on TCP/IP port"):
            server.start()


def test_an_initialisation_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    server = PrivateMariaDB(tmp_path / "db", free_port(), buffer_pool_mb=128, durable=False)
    (server.folder / "data").mkdir(parents=True)
    (server.folder / "data" / "half").touch()
    assert server.initialise()
    assert not (server.folder / "data" / "half").exists()


def test_a_database_name_that_is_none_is_refused(mariadb: PrivateMariaDB) -> None:
    with pytest.raises(ConfigError, match="not a database name"):
        mariadb.create_user_and_database(USER, PASSWORD, ["a`b"])
