"""Sessions, locks and retries of a server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import MySQLdb
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from gapless.errors import ConfigError, StorageError
from gapless.storage.mysql import Dialect, MySql
from gapless.storage.mysql.faults import RetryPolicy, retrying
from gapless.storage.mysql.server import SQL_MODE, lock_name
from tests.fixtures.mysql import PASSWORD, Server, fresh_database


@pytest.mark.parametrize(
    ("version", "dialect", "shown"),
    [
        ("10.11.19-MariaDB-0+deb12u1", Dialect("mariadb", (10, 11, 19)), "MariaDB 10.11.19"),
        ("5.5.5-10.11.2-MariaDB-1:10.11.2+maria~ubu2204", Dialect("mariadb", (10, 11, 2)), "MariaDB 10.11.2"),
        ("9.7.4", Dialect("mysql", (9, 7, 4)), "MySQL 9.7.4"),
        ("8.4.3-0ubuntu1", Dialect("mysql", (8, 4, 3)), "MySQL 8.4.3"),
    ],
)
def test_the_server_is_known_by_its_version(version: str, dialect: Dialect, shown: str) -> None:
    assert Dialect.parse(version) == dialect
    assert str(dialect) == shown


def test_sessions_are_strict_and_utc_whatever_the_server_says(database: MySql) -> None:
    with database.engine.connect() as connection:
        row = connection.execute(
            text("SELECT @@session.time_zone, @@session.sql_mode, @@session.sql_notes, @@character_set_connection")
        ).one()
        isolation = connection.scalar(
            text(
                "SELECT @@session.tx_isolation"
                if database.dialect.name == "mariadb"
                else "SELECT @@session.transaction_isolation"
            )
        )
    assert row[0] == "+00:00"
    assert set(SQL_MODE.split(",")) == set(row[1].split(","))
    assert tuple(row[2:]) == (1, "utf8mb4")
    assert isolation == "READ-COMMITTED"


@pytest.mark.parametrize("url", ["mysql://host", "postgresql://host/db", "mysql:///db"])
def test_a_wrong_url_is_a_setting_error(url: str) -> None:
    with pytest.raises(ConfigError, match="GAPLESS_MYSQL_URL is wrong: write mysql://"):
        MySql(url)


def test_a_wrong_password_is_told_without_any_password(database: MySql) -> None:
    url = database.engine.url.set(drivername="mysql", password="wr0ng-one").render_as_string(hide_password=False)
    with pytest.raises(StorageError, match=r"error 1045\); user or password is wrong: see GAPLESS_MYSQL_URL") as caught:
        MySql(url).run("trying", lambda connection: connection.execute(text("SELECT 1")))
    assert "wr0ng-one" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


def test_locks_exclude_each_other_and_name_the_one_who_waits_in_vain(database: MySql) -> None:
    with database.named_locks(["b", "a"]):
        with database.named_locks(["c"]):  # others are free
            pass
        message = r"the lock 'b' of .* is held by another process"
        with pytest.raises(StorageError, match=message), database.named_locks(["b"], timeout_s=0.2):
            pytest.fail("two hold one lock")
    with database.named_locks(["b"], timeout_s=0):
        pass


def test_locks_are_given_back_when_the_work_fails_or_their_taking_does(database: MySql) -> None:
    with pytest.raises(ZeroDivisionError), database.named_locks(["a", "b"]):
        raise ZeroDivisionError
    with database.named_locks(["b"]):
        with pytest.raises(StorageError), database.named_locks(["a", "b"], timeout_s=0.1):
            pytest.fail("two hold one lock")
        with database.named_locks(["a"], timeout_s=0):  # what the failed attempt had taken is free again
            pass


def test_locks_wait_for_their_holder(database: MySql) -> None:
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        waiting.set()
        with database.named_locks(["x", "y"], timeout_s=30):
            order.append("second")

    thread = threading.Thread(target=second)
    with database.named_locks(["y"]):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_the_lock_dies_with_the_connection_that_does_the_work(database: MySql, sql_server: Server) -> None:
    def work() -> None:
        with database.named_locks(["a"]) as connection:
            number = connection.scalar(text("SELECT CONNECTION_ID()"))
            sql_server.execute(f"KILL {number}")
            connection.execute(text("SELECT 1"))

    with pytest.raises(OperationalError):
        work()
    with database.named_locks(["a"], timeout_s=5):
        pass


def test_two_databases_do_not_hinder_each_other(sql_server: Server, database: MySql) -> None:
    with (
        fresh_database(sql_server, schema=False) as other,
        database.named_locks(["a"]),
        other.named_locks(["a"], timeout_s=0),
    ):
        pass


def test_lock_names_fit_and_tell_apart_what_differs() -> None:
    names = {lock_name("gapless", name) for name in ("ohlcv:um:2026-11-20", "X", "x", "币安", "币", "l" * 70, "l" * 71)}
    assert len(names) == 7
    assert all(len(name) <= 64 and name.isascii() and name == name.lower() for name in names)
    assert "gapless:ohlcv:um:2026-11-20" in names


class _Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def _failing(times: int, error: Exception) -> Callable[[], str]:
    left = [times]

    def action() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "done"

    return action


def _retry(action: Callable[[], str], clock: _Clock) -> str:
    return retrying(
        action,
        what="loading BTC/USDT 1m",
        server="db:3306/gapless",
        policy=RetryPolicy(total_s=60),
        sleep=clock.sleep,
        clock=lambda: clock.now,
        jitter=lambda: 0.5,
    )


@pytest.mark.parametrize("code", [1213, 1205, 2002, 2003, 2006, 2013, 1040, 1053])
def test_transient_faults_are_waited_out_with_growing_pauses(code: int, caplog: pytest.LogCaptureFixture) -> None:
    clock = _Clock()
    with caplog.at_level(logging.WARNING):
        assert _retry(_failing(3, MySQLdb.OperationalError(code, "away")), clock) == "done"
    assert clock.pauses == pytest.approx([0.1, 0.2, 0.4])
    assert "loading BTC/USDT 1m: away" in caplog.text


def test_patience_has_an_end_and_the_message_says_what_was_not_done() -> None:
    clock = _Clock()
    with pytest.raises(
        StorageError, match=r"loading BTC/USDT 1m: gave up on MySQL at db:3306/gapless after 60 s .*away"
    ) as caught:
        _retry(_failing(10**6, MySQLdb.OperationalError(2003, "away")), clock)
    assert clock.now == pytest.approx(60)
    assert max(clock.pauses) <= 10
    assert caught.value.__cause__ is None


def test_other_faults_are_told_at_once() -> None:
    clock = _Clock()
    with pytest.raises(StorageError, match="run `gapless db upgrade`"):
        _retry(_failing(1, MySQLdb.ProgrammingError(1146, "Table 'x.ohlcv' doesn't exist")), clock)
    with pytest.raises(KeyError):
        _retry(_failing(1, KeyError("a bug stays a bug")), clock)
    assert clock.pauses == []
