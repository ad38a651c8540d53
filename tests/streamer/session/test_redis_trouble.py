"""Redis dies, stalls, fills up, forgets: afterwards Streams are complete or the loss is told, as docs/redis.md says."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from gapless.domain.live import Kind
from streamer.operations.settings_file import StreamerSettings
from streamer.outlet.settings import OutletSettings
from tests.fixtures.live import START, live_in_loop
from tests.fixtures.redis import OwnRedis
from tests.streamer.session.running import QUICK, RAW, Running, gaps, heard_again, identities, running, settle

SMALL = msgspec.structs.replace(QUICK, outlet=OutletSettings(memory_bytes=150_000))
BTC = "BTC/USDT:USDT"


@asynccontextmanager
async def working(own: OwnRedis, var_dir: Path, options: StreamerSettings = QUICK) -> AsyncIterator[Running]:
    """A session with live books and some trades."""
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=100)
        async with running(live, own.url, var_dir, options=options) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await run.until(lambda: len(identities(run.redis, Kind.TRADES, BTC)) > 50, "trades")
            yield run


def lost_of_redis(run: Running) -> set[str]:
    return {gap.reason for gap in gaps(run.redis)} - {"started"}


async def test_a_redis_that_is_killed_and_started_again_has_every_trade_once_and_true_books(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    async with working(own_redis, tmp_path) as run:
        for _ in range(2):
            await asyncio.to_thread(own_redis.kill)
            await asyncio.sleep(0.5)
            await asyncio.to_thread(own_redis.start)
            await heard_again(run)
        await settle(run)
        assert "redis" in lost_of_redis(run)
        assert run.redis.exists(*(f"book.top.binance.{symbol}" for symbol in RAW)) == 3


async def test_a_redis_that_forgot_everything_is_told_as_restarted(own_redis: OwnRedis, tmp_path: Path) -> None:
    async with working(own_redis, tmp_path) as run:
        await asyncio.sleep(2.5)  # older than what is remembered: that is lost for good
        first = {symbol: identities(run.redis, Kind.TRADES, symbol)[0] for symbol in RAW}
        await asyncio.to_thread(own_redis.kill)
        shutil.rmtree(own_redis.server.data_dir / "appendonlydir")
        await asyncio.to_thread(own_redis.start)
        await heard_again(run)
        await settle(run)
        restarted = [gap for gap in gaps(run.redis) if gap.reason == "restarted"]
        assert {gap.symbol for gap in restarted if gap.kind is Kind.TRADES} == set(RAW)
        for gap in restarted:
            if gap.kind is Kind.TRADES:
                written = identities(run.redis, Kind.TRADES, gap.symbol)
                assert int(first[gap.symbol]) < int(written[0]), "nothing was forgotten"
                assert (gap.first, gap.last, gap.repaired) == ("", str(int(written[0]) - 1), False)


async def test_a_redis_that_stands_still_for_seconds_loses_nothing(own_redis: OwnRedis, tmp_path: Path) -> None:
    pipe = msgspec.structs.replace(QUICK.outlet.pipe, reply_timeout_s=0.7)  # given up, and brought to the end again
    options = msgspec.structs.replace(QUICK, outlet=msgspec.structs.replace(QUICK.outlet, pipe=pipe))
    async with working(own_redis, tmp_path, options) as run:
        process = own_redis.process
        assert process is not None
        for still_s in (0.4, 2.5):
            process.send_signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(still_s)
            finally:
                process.send_signal(signal.SIGCONT)
            await heard_again(run)
        await settle(run)
        status = run.status()
        assert status is not None
        assert [book.resyncs for book in status.books] == [0, 0, 0], "books live in memory"


async def test_a_redis_without_memory_gets_everything_when_it_has_some(own_redis: OwnRedis, tmp_path: Path) -> None:
    async with working(own_redis, tmp_path) as run:
        run.redis.config_set("maxmemory", "1mb")
        before = {symbol: len(identities(run.redis, Kind.TRADES, symbol)) for symbol in RAW}
        await asyncio.sleep(1.5)
        assert {symbol: len(identities(run.redis, Kind.TRADES, symbol)) for symbol in RAW} == before
        run.redis.config_set("maxmemory", "0")
        await heard_again(run)
        await settle(run)


async def test_what_redis_does_not_take_goes_to_disk_and_then_to_redis(own_redis: OwnRedis, tmp_path: Path) -> None:
    async with working(own_redis, tmp_path, SMALL) as run:
        await asyncio.to_thread(own_redis.kill)
        await run.until(lambda: any("go to disk" in said for said in run.said), "the spool")
        await asyncio.sleep(0.5)
        await asyncio.to_thread(own_redis.start)
        await run.until(lambda: any("spool is empty" in said for said in run.said), "an empty spool")
        await heard_again(run)
        await settle(run)
        assert "shed" in lost_of_redis(run), "diffs had no room"


async def test_with_redis_away_and_the_disk_full_it_says_so_and_goes_on_when_both_are_back(
    own_redis: OwnRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with working(own_redis, tmp_path, SMALL) as run:
        monkeypatch.setattr("streamer.outlet.spooling.GATHERED_BYTES", 20_000)
        monkeypatch.setattr("streamer.outlet.spool.os.pwrite", full)
        await asyncio.to_thread(own_redis.kill)
        await run.until(lambda: any("the disk takes nothing" in said for said in run.said), "a clear line")
        await asyncio.sleep(1.5)
        monkeypatch.setattr("streamer.outlet.spool.os.pwrite", written)
        await asyncio.to_thread(own_redis.start)
        await heard_again(run)
        await settle(run, timeout_s=30)
        shed = [gap for gap in gaps(run.redis) if gap.reason == "shed" and gap.kind is Kind.TRADES]
        assert shed, "trades had no room, and it was told"
        assert all(gap.first and gap.last for gap in shed)


async def test_what_a_dead_streamer_said_last_expires(own_redis: OwnRedis, tmp_path: Path) -> None:
    async with working(own_redis, tmp_path) as run:
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)
        left_ms = {
            key: run.redis.pttl(key)
            for key in [*run.redis.scan_iter("last.*"), *run.redis.scan_iter("book.*")]
            if not key.startswith(b"last.open_interest.")
        }  # asked for every five minutes, it stays for longer
        assert len(left_ms) > 3 * len(RAW)
        assert {key: left for key, left in left_ms.items() if not 0 < int(left) <= 15_000} == {}


async def test_a_stop_while_redis_is_away_keeps_on_disk_what_the_next_start_brings(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    options = msgspec.structs.replace(QUICK, operations=msgspec.structs.replace(QUICK.operations, stop_s=2.0))
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=100)
        async with running(live, own_redis.url, tmp_path, options=options) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await asyncio.to_thread(own_redis.kill)
            await asyncio.sleep(0.5)
            assert await run.stop() == 1
            assert any("are on disk" in said for said in run.said)
        await asyncio.to_thread(own_redis.start)
        async with running(live, own_redis.url, tmp_path) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await heard_again(run)
            await settle(run)
            reasons = [gap.reason for gap in gaps(run.redis) if gap.symbol == BTC and gap.kind is Kind.TRADES]
            assert reasons.index("stopped") < len(reasons) - 1 - reasons[::-1].index("started")
