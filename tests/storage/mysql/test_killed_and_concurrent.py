"""Loads that are killed, doubled, or caught in a deadlock leave what an undisturbed one leaves."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import random
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from gapless.domain.interval import Interval
from gapless.domain.schema import Source
from gapless.storage.mysql import MySql, load_bars
from tests.fixtures.mysql import KINDS, Server, fresh_database
from tests.storage.mysql.bars import DAY, draft_for, make_bars, with_value
from tests.storage.mysql.loading_process import POINTS, REFUSED, load_file, orphans

SYMBOLS = ["BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT"]
KEY = "a" * 16

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.storage.mysql.loading_process"])


def contents(db: MySql) -> dict[str, list[tuple[Any, ...]]]:
    """All that a load leaves, but for the times at which it was done and numbers given in passing."""
    statements = {
        "ohlcv": "SELECT * FROM ohlcv ORDER BY symbol, `interval`, ts, exchange",
        "load_receipt": "SELECT * FROM load_receipt ORDER BY id",
        "load_scope": "SELECT * FROM load_scope",
        "restatement": "SELECT * FROM restatement ORDER BY symbol, `interval`, ts, receipt_id",
        "quarantine": "SELECT * FROM quarantine ORDER BY identity",
    }
    passing = {"loaded_at", "noticed_at", "first_seen"}
    found: dict[str, list[tuple[Any, ...]]] = {}
    with db.engine.connect() as connection:
        for table, statement in statements.items():
            rows = connection.execute(text(statement)).mappings()
            skipped = passing | ({"id"} if table in ("restatement", "quarantine") else set())
            found[table] = [tuple(value for name, value in row.items() if name not in skipped) for row in rows]
    return found


def first_and_second_reading() -> tuple[pa.Table, pa.Table]:
    """Bars as first stored, in part from the stream, and as read again: some new, some restated, some confirmed."""
    again = make_bars(SYMBOLS, DAY, [Interval.M1, Interval.H1])
    first = again.slice(0, again.num_rows // 2)
    first = with_value(first, 5, "trades", 1)
    first = with_value(first, 700, "trades", 2)
    first = with_value(first, 9, "source", int(Source.STREAM))
    return first, again


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("reading") / "again.arrow"
    _, again = first_and_second_reading()
    with pa.ipc.new_file(file, again.schema) as sink:
        sink.write_table(again)
    return file


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, mysql_servers: Callable[[str], Server]) -> Server:
    return mysql_servers(request.param)


@pytest.fixture(scope="module")
def undisturbed(server: Server) -> dict[str, list[tuple[Any, ...]]]:
    with fresh_database(server) as db:
        prepare(db)
        _, again = first_and_second_reading()
        load_bars(db, again, draft_for(again, key=KEY), refused=REFUSED)
        found = contents(db)
    assert len(found["restatement"]) == 2
    return found


def prepare(db: MySql) -> None:
    first, _ = first_and_second_reading()
    load_bars(db, first, draft_for(first, key="0" * 16))


def start(db: MySql, reading: Path, *, die_after: str | None = None) -> tuple[BaseProcess, Any]:
    """A process that is connected and waits for its start."""
    ready, go = processes.Semaphore(0), processes.Event()
    url = db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    process = processes.Process(target=load_file, args=(url, str(reading), KEY, die_after, ready, go))
    process.start()
    assert ready.acquire(timeout=60)
    return process, go


def finish(process: BaseProcess, *, exitcode: int | None = 0) -> None:
    process.join(60)
    if exitcode is not None:
        assert process.exitcode == exitcode
    process.close()


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_step_and_done_again_equals_undisturbed(
    server: Server, undisturbed: dict[str, Any], reading: Path, point: str
) -> None:
    before = orphans(Path(tempfile.gettempdir()))
    with fresh_database(server) as db:
        prepare(db)
        state = contents(db)
        process, go = start(db, reading, die_after=point)
        go.set()
        finish(process, exitcode=-9)
        # All of it, or nothing.
        with db.named_locks([f"batch:{KEY}"], timeout_s=30):  # free as soon as the server notices the death
            assert contents(db) == (undisturbed if point == "commit" else state)
        process, go = start(db, reading)
        go.set()
        finish(process)
        assert contents(db) == undisturbed
    assert orphans(Path(tempfile.gettempdir())) == before


def test_killed_at_random_moments_and_done_again_equals_undisturbed(
    server: Server, undisturbed: dict[str, Any], reading: Path
) -> None:
    chance = random.Random(7)
    with fresh_database(server) as db:
        prepare(db)
        state = contents(db)
        for _ in range(8):
            process, go = start(db, reading)
            go.set()
            process.join(chance.uniform(0.0, 0.25))  # a load takes about 0.2 s
            process.kill()
            finish(process, exitcode=None)
            with db.named_locks([f"batch:{KEY}"], timeout_s=30):
                assert contents(db) in (state, undisturbed)
        process, go = start(db, reading)
        go.set()
        finish(process)
        assert contents(db) == undisturbed


def test_two_at_once_leave_what_one_leaves(server: Server, undisturbed: dict[str, Any], reading: Path) -> None:
    with fresh_database(server) as db:
        prepare(db)
        pair = [start(db, reading) for _ in range(2)]
        for _, go in pair:
            go.set()
        for process, _ in pair:
            finish(process)
        assert contents(db) == undisturbed


@pytest.fixture
def rival(server: Server) -> Callable[[MySql, str], Any]:
    """Connections of another program, which knows nothing of the locks."""

    def connect(db: MySql, statement: str) -> Any:
        connection = server.connect()
        connection.autocommit(False)
        connection.select_db(db.database)
        connection.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        connection.query(statement)
        return connection

    return connect


def test_a_deadlock_is_retried_until_it_is_over(
    server: Server, rival: Callable[[MySql, str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with fresh_database(server) as db:
        bars = make_bars(SYMBOLS[:1], DAY)
        load_bars(db, bars, draft_for(bars))
        changed = with_value(with_value(bars, 0, "trades", 1), 1000, "trades", 2)
        times = [str(changed["ts"][at].as_py().replace(tzinfo=None)) for at in (0, 1000)]
        # The rival changes many rows, so that the server picks the loader as its victim.
        key = f"symbol = '{SYMBOLS[0]}' AND `interval` = '1m' AND ts"
        other = rival(db, f"UPDATE ohlcv SET trades = trades + 1 WHERE {key} >= '{times[1]}'")
        waiting = "SELECT trx_id FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'"
        done: list[Any] = []
        thread = threading.Thread(target=lambda: done.append(load_bars(db, changed, draft_for(changed))))
        with caplog.at_level(logging.WARNING), contextlib.closing(other):
            thread.start()
            # Not oftener: InnoDB renews this table only when nobody has read it for a tenth of a second.
            until(lambda: server.execute(waiting), pause_s=0.25)
            other.query(f"UPDATE ohlcv SET trades = 0 WHERE {key} = '{times[0]}'")  # closes the ring
            until(lambda: "error 1213" in caplog.text)
            other.rollback()
            thread.join(60)
        assert "trying again" in caplog.text
        assert done[0].counts.restated == 2
        restated = db.run("reading", lambda c: c.scalars(text("SELECT DISTINCT receipt_id FROM restatement")).all())
        assert restated == [done[0].receipt_id]


def until(condition: Callable[[], object], timeout_s: float = 30, pause_s: float = 0.01) -> None:
    """Wait for something another thread or process does."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(pause_s)
