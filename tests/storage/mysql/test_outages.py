"""A server that goes away, for a while or for good, and one that forbids LOAD DATA LOCAL."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from gapless.errors import StorageError
from gapless.stack.mariadb import PrivateMariaDB
from gapless.storage.mysql import MySql, bulk, load_bars, loader, read_bars
from gapless.storage.mysql.faults import RetryPolicy
from gapless.storage.mysql.schema import upgrade
from tests.fixtures.mysql import (
    KINDS,
    PASSWORD,
    USER,
    MySqlUnavailable,
    PrivateMySQL,
    free_port,
    private_server,
    unavailable,
)
from tests.storage.mysql.bars import DAY, HOUR, draft_for, make_bars

BTC = "BTC/USDT:USDT"


class Breakable:
    """A server of this test's own, and a database on it."""

    def __init__(self, server: PrivateMariaDB | PrivateMySQL) -> None:
        self.server = server
        self.count = 0

    def database(self, *, total_s: float = 60) -> MySql:
        self.count += 1
        name = f"outage{self.count}"
        self.server.create_user_and_database(USER, PASSWORD, [name])
        db = MySql(self.server.url(USER, PASSWORD, name), retry=RetryPolicy(total_s=total_s, longest_s=0.5))
        upgrade(db)
        return db

    def crash(self) -> None:
        self.server.stop(kill=True)


@pytest.fixture(scope="module", params=KINDS)
def breakable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breakable]:
    try:
        server = private_server(request.param, tmp_path_factory.mktemp("breakable") / "server", free_port())
    except MySqlUnavailable as reason:
        unavailable(str(reason))
    server.initialise()
    server.start()
    try:
        yield Breakable(server)
    finally:
        server.stop()


def test_a_server_that_comes_back_is_waited_for(breakable: Breakable, caplog: pytest.LogCaptureFixture) -> None:
    db = breakable.database()
    bars = make_bars([BTC], DAY)
    breakable.crash()
    done: list[Any] = []
    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=lambda: done.append(load_bars(db, bars, draft_for(bars))))
        thread.start()
        deadline = time.monotonic() + 30
        while "trying again" not in caplog.text:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        breakable.server.start()
        thread.join(60)
    assert done[0].counts.loaded == bars.num_rows
    assert read_bars(db, [BTC], ["1m"], DAY).equals(bars)  # type: ignore[list-item]
    db.close()


@pytest.mark.parametrize("moment", ["before commit", "after commit"])
def test_a_crash_in_the_middle_of_a_load_loses_and_doubles_nothing(
    breakable: Breakable, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    db = breakable.database()
    bars = make_bars([BTC], DAY)
    crashes: list[str] = []

    def crash_once() -> None:
        if not crashes:
            crashes.append(moment)
            breakable.crash()
            breakable.server.start()

    if moment == "before commit":
        put = loader.put_receipt

        def put_and_crash(*args: Any) -> int:
            number = put(*args)
            crash_once()
            return number

        monkeypatch.setattr(loader, "put_receipt", put_and_crash)
    else:
        # The commit reaches the server, its answer never arrives: the load cannot know, and asks.
        real = loader.MySql.named_locks

        def lose_the_answer(self: MySql, *args: Any, **kwargs: Any) -> Any:
            @contextmanager
            def locks() -> Iterator[Any]:
                with real(self, *args, **kwargs) as connection:
                    yield connection
                    if not crashes and any(str(name).startswith("batch:") for name in args[0]):
                        crash_once()
                        connection.execute(text("SELECT 1"))

            return locks()

        monkeypatch.setattr(loader.MySql, "named_locks", lose_the_answer)
    outcome = load_bars(db, bars, draft_for(bars))
    assert crashes == [moment]
    assert (outcome.added, outcome.counts.loaded, outcome.counts.rows) == (True, bars.num_rows, bars.num_rows)
    assert read_bars(db, [BTC], ["1m"], DAY).equals(bars)  # type: ignore[list-item]
    with db.engine.connect() as connection:
        assert connection.execute(text("SELECT ordinal, loaded FROM load_receipt")).all() == [(0, bars.num_rows)]
    db.close()


def test_a_server_away_for_good_is_a_clear_failure_within_the_bound(
    breakable: Breakable, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = breakable.database(total_s=1.5)
    bars = make_bars([BTC], HOUR)
    put = loader.put_receipt

    def put_and_crash(*args: Any) -> int:
        number = put(*args)
        breakable.crash()
        return number

    monkeypatch.setattr(loader, "put_receipt", put_and_crash)
    started = time.monotonic()
    with pytest.raises(StorageError) as caught:
        load_bars(db, bars, draft_for(bars))
    assert time.monotonic() - started < 20
    monkeypatch.undo()
    breakable.server.start()
    assert "gave up on MySQL at 127.0.0.1" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    with db.engine.connect() as connection:
        for table in ("ohlcv", "load_receipt", "load_scope"):
            assert connection.scalar(text(f"SELECT COUNT(*) FROM {table}")) == 0
    db.close()


def test_where_local_infile_is_off_values_do_the_same_and_it_is_said_once(
    breakable: Breakable, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = breakable.database()
    monkeypatch.setattr(bulk, "_forbidden_said", set())
    _as_root(breakable, "SET GLOBAL local_infile = OFF")
    try:
        bars = make_bars([BTC, "币安人生/USDT:USDT"], DAY)
        with caplog.at_level(logging.WARNING):
            load_bars(db, bars, draft_for(bars))
            changed = make_bars([BTC, "币安人生/USDT:USDT"], DAY, seed=1)
            outcome = load_bars(db, changed, draft_for(changed))
        assert outcome.counts.restated == bars.num_rows
        assert read_bars(db, [BTC, "币安人生/USDT:USDT"], ["1m"], DAY).equals(changed)  # type: ignore[list-item]
        assert caplog.text.count("forbids LOAD DATA LOCAL") == 1
        assert [note for note in upgrade(db).notes if "local_infile is OFF" in note]
    finally:
        _as_root(breakable, "SET GLOBAL local_infile = ON")
    assert upgrade(db).notes == ()
    db.close()


def test_a_ban_on_local_that_only_the_statement_meets_is_survived(
    breakable: Breakable, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = breakable.database()
    _as_root(breakable, "SET GLOBAL local_infile = OFF")
    try:
        monkeypatch.setattr(bulk, "_local_allowed", lambda connection: True)
        bars = make_bars([BTC], HOUR)
        assert load_bars(db, bars, draft_for(bars)).counts.loaded == 60
    finally:
        _as_root(breakable, "SET GLOBAL local_infile = ON")
    db.close()


def _as_root(breakable: Breakable, statement: str) -> None:
    connection = breakable.server._connect()
    try:
        connection.query(statement)
    finally:
        connection.close()
