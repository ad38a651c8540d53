"""From the stream's close to MySQL: against real servers, with MySQL away, the disk full, and kills."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.domain.schema import Source
from gapless.domain.window import HOUR_MS, Window
from gapless.errors import StorageError
from gapless.monitoring.exposition import Sample, exposition
from gapless.monitoring.live_catalogue import LIVE_CATALOGUE
from gapless.stack.mariadb import PrivateMariaDB
from gapless.storage.mysql import MySql, load_coverage
from gapless.storage.mysql.faults import RetryPolicy
from gapless.storage.mysql.schema import upgrade
from streamer.bars.items import BarItem, bar_of_stream
from streamer.bars.loading import load_items
from streamer.bars.losses import UNSTORED
from streamer.bars.spool import BarSpool
from tests.fixtures.mysql import PASSWORD, ROOT, USER
from tests.streamer.bars.making import (
    COIN,
    NOW_MS,
    OPEN_MS,
    QUICK,
    Told,
    at_work,
    force_order,
    kline,
    minutes,
    rows_of,
    sink_of,
    take,
    until,
)

STREAM, REST = int(Source.STREAM), int(Source.REST)
WHOLE = msgspec.structs.replace


async def test_closed_bars_are_in_mysql_as_the_exchange_wrote_them(mariadb_database: MySql, tmp_path: Path) -> None:
    sink = sink_of(mariadb_database, tmp_path)
    async with at_work(sink):
        take(sink, 0, 1)
        take(sink, 0, symbol="BTC/USDT", market=Market.SPOT)
        take(sink, 2, closed=False)
        take(sink, 3, interval="3m")
        sink.liquidation(COIN, force_order(), 7)
        assert await sink.drain(10)
    assert minutes(mariadb_database) == [
        ("BTC/USDT", "1m", 0, STREAM), ("BTC/USDT:USDT", "1m", 0, STREAM), ("BTC/USDT:USDT", "1m", 1, STREAM)
    ]  # fmt: skip
    values = rows_of(mariadb_database, "SELECT CONCAT_WS(' ', open, high, low, close, volume, trades) FROM ohlcv")
    assert {value for (value,) in values} == {"100.10000000 100.30000000 99.90000000 100.20000000 12.50000000 7"}
    assert rows_of(mariadb_database, "SELECT symbol, side, price + 0 FROM liquidation") == [(COIN, "SELL", 9910)]
    state = sink.state()
    assert (state.connected, state.stored, state.liquidations, state.memory, state.disk) == (True, 3, 1, 0, 0)
    assert state.lag_s == (NOW_MS - OPEN_MS - 60_000) / 1000
    assert state.durations.counts[-1] >= 1
    told = exposition([Sample("db_upsert_duration_ms", state.durations)], LIVE_CATALOGUE)
    assert b"db_upsert_duration_ms_count" in told
    assert files(tmp_path, "jsonl") == []


async def test_receipts_are_one_a_load_and_stand_in_nobodys_way(mariadb_database: MySql, tmp_path: Path) -> None:
    db = mariadb_database
    for _ in range(2):  # the second is a batch that is offered again after a kill
        load_items(db, [_bar(0), _bar(1)], shard="0-1", lock_wait_s=5)
    load_items(db, [_bar(2)], shard="0-1", lock_wait_s=5)
    receipts = rows_of(db, "SELECT dataset, ordinal, loaded, complete FROM load_receipt ORDER BY ordinal")
    assert receipts == [("live:ohlcv", 0, 2, 1), ("live:ohlcv", 1, 1, 1)]
    assert rows_of(db, "SELECT COUNT(*) FROM load_scope") == [(0,)]
    assert (
        load_coverage(db, "binance", Market.UM, Window(OPEN_MS, OPEN_MS + HOUR_MS)) == []
    )  # the hourly run takes the hour all the same
    assert rows_of(db, "SELECT COUNT(*) FROM ohlcv o JOIN load_receipt l ON l.id = o.receipt_id") == [(3,)]


async def test_the_streams_row_never_replaces_rests_and_rests_replaces_the_streams(
    mariadb_database: MySql, tmp_path: Path
) -> None:
    sink = sink_of(mariadb_database, tmp_path)
    async with at_work(sink):
        await sink.save([_bar(0, source=Source.REST, c="100.15")])
        assert await sink.drain(10)
        take(sink, 0, 1)
        assert await sink.drain(10)
        await sink.save([_bar(1, source=Source.REST, c="100.15")])
        assert await sink.drain(10)
    assert minutes(mariadb_database) == [("BTC/USDT:USDT", "1m", 0, REST), ("BTC/USDT:USDT", "1m", 1, REST)]
    assert rows_of(mariadb_database, "SELECT DISTINCT close + 0 FROM ohlcv") == [(Decimal("100.15"),)]
    assert rows_of(
        mariadb_database, "SELECT MINUTE(ts), old_source, new_source, applied FROM restatement ORDER BY ts"
    ) == [(0, REST, STREAM, 0), (1, STREAM, REST, 1)]


async def test_a_bar_closed_twice_with_other_values_leaves_its_restatement(
    mariadb_database: MySql, tmp_path: Path
) -> None:
    sink = sink_of(mariadb_database, tmp_path)
    async with at_work(sink):
        take(sink, 0)
        take(sink, 0)
        take(sink, 0, c="100.15")
        assert await sink.drain(10)
    assert rows_of(mariadb_database, "SELECT close + 0 FROM ohlcv") == [(Decimal("100.15"),)]
    assert rows_of(mariadb_database, "SELECT store, applied FROM restatement") == [("mysql", 1)]


async def test_a_broken_bar_goes_to_quarantine_and_the_others_are_stored(
    mariadb_database: MySql, tmp_path: Path
) -> None:
    sink = sink_of(mariadb_database, tmp_path)
    async with at_work(sink):
        take(sink, 0)
        take(sink, 1, h="1")
        take(sink, 2, v="1.123456789")
        sink.liquidation(COIN, force_order(q="?"), 7)
        assert await sink.drain(10)
    assert [row[2] for row in minutes(mariadb_database)] == [0]
    assert sorted(rows_of(mariadb_database, "SELECT dataset, reason FROM quarantine")) == [
        ("liquidation", "type"), ("ohlcv", "ohlc"), ("ohlcv", "precision")
    ]  # fmt: skip
    assert sink.state().refused == 3


async def test_a_batch_that_no_load_takes_is_kept_beside_and_those_behind_it_go_on(
    mariadb_database: MySql, tmp_path: Path
) -> None:
    told = Told()
    sink = sink_of(mariadb_database, tmp_path, told)
    async with at_work(sink):
        take(sink, 0, symbol="X" * 40 + "/USDT:USDT")
        assert await sink.drain(10)
        take(sink, 1)
        assert await sink.drain(10)
    assert [row[2] for row in minutes(mariadb_database)] == [1]
    assert len(files(tmp_path, "refused")) == 1
    assert "is not what MySQL takes" in told.said[0]


async def test_nothing_is_gathered_longer_than_a_batch(mariadb_database: MySql, tmp_path: Path) -> None:
    sink = sink_of(mariadb_database, tmp_path, settings=WHOLE(QUICK, batch_s=0.3))
    async with at_work(sink):
        began = time.monotonic()
        take(sink, 0)
        await until(lambda: sink.state().stored == 1)
        assert 0.3 <= time.monotonic() - began < 5


# ---- MySQL away ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(breakable: PrivateMariaDB) -> Iterator[MySql]:
    db = MySql(
        breakable.url(USER, PASSWORD, "bars"), retry=RetryPolicy(total_s=0.2), pool_size=3, statement_timeout_s=1
    )
    upgrade(db)
    for table in ("ohlcv", "load_receipt", "liquidation"):
        rows_of_nothing = f"DELETE FROM {table}"
        db.run("emptying", lambda c, statement=rows_of_nothing: c.exec_driver_sql(statement))
    yield db
    db.close()


async def test_while_mysql_is_away_bars_wait_on_disk_and_then_drain(
    breakable: PrivateMariaDB, own: MySql, tmp_path: Path
) -> None:
    told = Told()
    sink = sink_of(own, tmp_path, told)
    async with at_work(sink):
        take(sink, 0)
        await until(lambda: sink.state().stored == 1)
        breakable.stop(kill=True)
        try:
            for number in range(1, 6):
                take(sink, number)
                await until(lambda number=number: sink.state().disk + sink.state().memory == number)
            sink.liquidation(COIN, force_order(), 7)
            await until(lambda: sink.state().disk == 6 and not sink.state().connected)
            assert sink.behind
            assert not await sink.drain(0.1)
            assert "bars wait on disk until MySQL takes them" in told.said[0]
        finally:
            breakable.start()
        await until(lambda: sink.state().disk == 0)
        assert await sink.drain(10)
    assert [row[2] for row in minutes(own)] == [0, 1, 2, 3, 4, 5]
    assert rows_of(own, "SELECT COUNT(*) FROM liquidation") == [(1,)]
    assert told.said[-1] == "MySQL takes bars again"
    assert told.gaps == []
    assert sink.state().connected


async def test_a_frozen_mysql_hinders_nobody(breakable: PrivateMariaDB, own: MySql, tmp_path: Path) -> None:
    sink = sink_of(own, tmp_path)
    process = breakable._process
    assert process is not None
    async with at_work(sink):
        take(sink, 0)
        await until(lambda: sink.state().stored == 1)
        process.send_signal(signal.SIGSTOP)
        try:
            take(sink, 1)
            await until(lambda: sink.state().disk == 1)
            take(sink, 2)  # a load hangs in its thread; the next batch is on disk all the same
            await until(lambda: sink.state().disk == 2)
        finally:
            process.send_signal(signal.SIGCONT)
        assert await sink.drain(20)
    assert [row[2] for row in minutes(own)] == [0, 1, 2]


async def test_when_neither_mysql_nor_the_disk_takes_bars_the_bound_holds_and_is_told(tmp_path: Path) -> None:
    told = Told()
    away = MySql("mysql://u:p@127.0.0.1:9/none", retry=RetryPolicy(total_s=0), statement_timeout_s=1)
    sink = sink_of(away, tmp_path, told, WHOLE(QUICK, spool_bytes=10, memory_rows=4))
    async with at_work(sink):
        take(sink, 0, 1, 2)
        await until(lambda: told.said)
        take(sink, 3, 4, 5, 7)
        sink.liquidation(COIN, force_order(), 7)
        await until(lambda: len(told.gaps) == 2)
        state = sink.state()
        assert (state.memory, state.disk, state.shed) == (4, 0, 4)
    bars, liquidation = told.gaps
    assert (bars.kind, bars.reason, bars.symbol, bars.count) == (Kind.KLINES, UNSTORED, "BTC/USDT:USDT", 3)
    assert (bars.first, bars.last) == (str(OPEN_MS + 4 * 60_000), str(OPEN_MS + 7 * 60_000))
    assert bars.repaired is False
    assert (liquidation.kind, liquidation.count, liquidation.symbol) == (Kind.LIQUIDATIONS, 1, COIN)
    away.close()


async def test_with_a_full_disk_bars_go_to_mysql_without_it(mariadb_database: MySql, tmp_path: Path) -> None:
    told = Told()
    sink = sink_of(mariadb_database, tmp_path, told, WHOLE(QUICK, spool_bytes=10))
    async with at_work(sink):
        take(sink, *range(5))
        await asyncio.wait_for(sink.save([_bar(9)]), 10)
        assert await sink.drain(10)
    assert [row[2] for row in minutes(mariadb_database)] == [0, 1, 2, 3, 4, 9]
    assert "wait in memory" in told.said[0]
    assert told.gaps == []


# ---- killed ----------------------------------------------------------------------------------------------------------

_CHILD = """
import asyncio, os, sys
from pathlib import Path
from gapless.storage.mysql import MySql
from streamer.bars import sink as module
from tests.streamer.bars.making import sink_of, take

real = module.load_items
def load(*args, **options):
    if sys.argv[3] == "after":
        real(*args, **options)
    print("now", flush=True)
    import time; time.sleep(60)
module.load_items = load

async def main():
    sink = sink_of(MySql(sys.argv[1]), Path(sys.argv[2]))
    take(sink, 0, 1, 2)
    await sink.run()

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_before_or_after_the_load_leaves_the_same_rows(
    mariadb_database: MySql, tmp_path: Path, when: str
) -> None:
    url = mariadb_database.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    await asyncio.to_thread(_killed_at_its_load, url, tmp_path, when)
    assert len(minutes(mariadb_database)) == (3 if when == "after" else 0)
    told = Told()
    sink = sink_of(mariadb_database, tmp_path, told)
    async with at_work(sink):
        assert await sink.drain(10)
    assert told.said[0] == "3 bars of an earlier run wait on disk for MySQL"
    assert [row[2:] for row in minutes(mariadb_database)] == [(0, STREAM), (1, STREAM), (2, STREAM)]
    assert rows_of(mariadb_database, "SELECT COUNT(*), SUM(loaded) FROM load_receipt") == [(1, 3)]
    assert rows_of(mariadb_database, "SELECT COUNT(*) FROM restatement") == [(0,)]


def _killed_at_its_load(url: str, folder: Path, when: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, url, str(folder), when],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with child:
        assert child.stdout is not None
        said = child.stdout.readline()
        child.kill()
    assert said == b"now\n"


def test_a_second_process_of_the_shard_is_refused(mariadb_database: MySql, tmp_path: Path) -> None:
    spool = BarSpool(tmp_path, 1)
    with pytest.raises(StorageError, match="another streamer of this shard"):
        sink_of(mariadb_database, tmp_path)
    spool.close()


def _bar(number: int, source: Source = Source.STREAM, **fields: str) -> BarItem:
    item = bar_of_stream("BTC/USDT:USDT", Market.UM, kline(number, **fields).k, 7)
    return WHOLE(item, source=int(source))


def files(folder: Path, suffix: str) -> list[str]:
    return [path.name for path in folder.glob(f"*.{suffix}")]


async def test_who_brings_many_bars_waits_until_the_newest_have_gone(mariadb_database: MySql, tmp_path: Path) -> None:
    sink = sink_of(mariadb_database, tmp_path, settings=WHOLE(QUICK, batch_rows=3))
    await asyncio.wait_for(sink.room(), 1)
    take(sink, 0, 1, 2)
    waiting = asyncio.create_task(sink.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    async with at_work(sink):
        await asyncio.wait_for(waiting, 10)
    assert len(minutes(mariadb_database)) == 3


async def test_what_rest_gave_waits_for_room_and_pushes_nothing_out(mariadb_database: MySql, tmp_path: Path) -> None:
    told = Told()
    sink = sink_of(mariadb_database, tmp_path, told, WHOLE(QUICK, batch_rows=4, memory_rows=8))
    async with at_work(sink):
        bars = [_bar(number, source=Source.REST) for number in range(60)]
        saving = [asyncio.create_task(sink.save(bars[at : at + 3])) for at in range(0, 60, 3)]
        take(sink, 60)
        await asyncio.wait_for(asyncio.gather(*saving), 20)
        assert await sink.drain(10)
    assert rows_of(mariadb_database, "SELECT COUNT(*) FROM ohlcv") == [(61,)]
    assert (told.gaps, sink.state().shed) == ([], 0)
