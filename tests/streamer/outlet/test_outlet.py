from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from redis import Redis

from gapless.domain.live import GapEvent, Kind, gap_of
from gapless.storage.live.pipe import PipeSettings
from streamer.outlet import KindBound, Outlet, OutletSettings, OutletState, OutStream
from streamer.outlet.spool import Spool
from tests.fixtures.redis import OwnRedis, free_port

NS = 1_763_654_400_000_000_000
PIPE = PipeSettings(backoff_s=0.05, window_count=200, window_bytes=100_000)
SMALL = OutletSettings(pipe=PIPE, memory_bytes=60_000, segment_bytes=20_000, spool_bytes=10**7)
KINDS = (Kind.TRADES, Kind.DEPTH, Kind.KLINES, Kind.BOOK_TICKER, Kind.MARK_PRICE, Kind.LIQUIDATIONS)


@contextlib.asynccontextmanager
async def running(url: str, folder: Path, settings: OutletSettings = SMALL) -> AsyncIterator[Outlet]:
    outlet = Outlet(url, folder, settings)
    task = asyncio.create_task(outlet.run())
    try:
        yield outlet
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with contextlib.suppress(OSError):  # as the end of the process would
            outlet.close()


def put(outlet: Outlet, out: OutStream, number: int) -> None:
    identity, payload = b"%d" % number, b'{"p":"%0100d"}' % number
    if out.kind is Kind.DEPTH:
        payload = json.dumps({"U": number, "u": number, "b": [[str(number % 9), "1"]], "a": []}).encode()
    elif out.kind is Kind.KLINES:
        identity = b"1m:%d:1" % number if number % 3 == 0 else b"1m:%d:0:%d" % (number, number)
    outlet.put(out, 1_763_654_400_123, NS, identity, payload)


def ids(url: str, out: OutStream) -> list[str]:
    with Redis.from_url(url) as client:
        return [fields[b"i"].decode() for _, fields in client.xrange(out.key)]


def gaps(url: str) -> list[GapEvent]:
    with Redis.from_url(url) as client:
        return [gap_of(stream_id.decode(), fields) for stream_id, fields in client.xrange("md.gaps")]


async def until(true: Callable[[], bool], timeout_s: float = 20) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - of servers and processes there is no event
            await asyncio.sleep(0.005)


def balance(state: OutletState) -> int:
    """What cannot be accounted for."""
    given_up = sum(sum(c.values()) for c in (state.conflated, state.coalesced, state.dropped, state.refused))
    on_disk = state.spooled - state.unspooled
    return state.put - state.written - given_up - state.in_flight - state.waiting - on_disk - state.untold


def dead_url() -> str:
    return f"redis://127.0.0.1:{free_port()}/0"


async def test_entries_events_and_values_reach_redis(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, OutletSettings()) as outlet:
        outs = [outlet.stream(kind, "binance", "A/USDT") for kind in KINDS]
        assert outlet.stream(Kind.TRADES, "binance", "A/USDT") is outs[0]
        for number in range(1, 301):
            for out in outs:
                put(outlet, out, number)
            if number % 10 == 0:
                await asyncio.sleep(0)
        event = GapEvent(kind=Kind.TRADES, exchange="binance", symbol="A/USDT", reason="hole", at_ms=5, first="1")
        outlet.tell(event)
        outlet.keep("last.trades.binance.A/USDT", b'{"state":"live"}', 60_000)
        assert await outlet.drain(10)
        state = outlet.state()
        assert (state.put, state.written, balance(state)) == (1801, 1801, 0)
        assert state.values_written == 1
    for out in outs:
        assert len(ids(redis_url, out)) == 300
    assert gaps(redis_url) == [event]
    with Redis.from_url(redis_url) as client:
        assert client.get("last.trades.binance.A/USDT") == b'{"state":"live"}'
        assert 0 < client.pttl("last.trades.binance.A/USDT") <= 60_000


async def test_under_a_dead_redis_memory_is_bounded_and_everything_is_accounted_for(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    own_redis.kill()
    async with running(own_redis.url, tmp_path) as outlet:
        outs = [outlet.stream(kind, "binance", symbol) for kind in KINDS for symbol in ("A/USDT", "B/USDT")]
        largest = 0
        for number in range(1, 2001):
            for out in outs:
                put(outlet, out, number)
            if number % 50 == 0:
                await asyncio.sleep(0.001)
                largest = max(largest, outlet.state().waiting_bytes)
        state = outlet.state()
        assert largest < 70_000
        assert (state.stage, state.spooling, balance(state)) == (4, True, 0)
        assert min(sum(state.conflated.values()), sum(state.coalesced.values()), sum(state.dropped.values())) > 0
        own_redis.start()
        await until(lambda: not outlet.state().spooling)
        for number in range(2001, 2101):
            for out in outs:
                put(outlet, out, number)
            await until(lambda: not outlet.state().in_flight)
        assert await outlet.drain(10)
        state = outlet.state()
        assert (balance(state), state.in_flight, state.waiting, state.spool_bytes) == (0, 0, 0, 0)
        assert set(state.dropped) == {"depth"}
    told = gaps(own_redis.url)
    assert sum(gap.count for gap in told if gap.reason == "shed") == state.dropped["depth"]
    assert {gap.symbol for gap in told if gap.kind is Kind.DEPTH and gap.reason == "shed"} == {"A/USDT", "B/USDT"}
    for out in outs:
        found = ids(own_redis.url, out)
        assert len(found) == len(set(found))
        if out.kind in (Kind.TRADES, Kind.LIQUIDATIONS):
            assert found == [str(number) for number in range(1, 2101)]
        elif out.kind is Kind.KLINES:
            closed = [each for each in found if each.endswith(":1")]
            assert closed == [f"1m:{number}:1" for number in range(1, 2101) if number % 3 == 0]
        else:
            assert [int(each) for each in found] == sorted(map(int, found))
            assert found[-1] == "2100"


async def test_trades_beyond_the_spool_are_told_and_asked_for_by_id(own_redis: OwnRedis, tmp_path: Path) -> None:
    own_redis.kill()
    asked: list[tuple[str, str, int, int]] = []
    settings = OutletSettings(pipe=PIPE, memory_bytes=5_000, segment_bytes=20_000, spool_bytes=50_000)
    async with running(own_redis.url, tmp_path, settings) as outlet:
        outlet.on_trades_shed = lambda *what: asked.append(what)
        trades = outlet.stream(Kind.TRADES, "binance", "A/USDT")
        for number in range(1, 1001):
            put(outlet, trades, number)
        await until(lambda: bool(asked))
        dropped = outlet.state().dropped["trades"]
        assert asked == [("binance", "A/USDT", 1001 - dropped, 1000)]
        assert balance(outlet.state()) == 0
        own_redis.start()
        await until(lambda: not outlet.state().spooling)
        put(outlet, trades, 1001)
        assert await outlet.drain(10)
    assert ids(own_redis.url, trades) == [str(n) for n in (*range(1, 1001 - dropped), 1001)]
    told = [(gap.first, gap.last, gap.count) for gap in gaps(own_redis.url) if gap.reason == "shed"]
    assert told == [(str(1001 - dropped), "1000", dropped)]


async def test_a_disk_that_is_full_costs_trades_that_are_told_and_later_ones_nothing(
    own_redis: OwnRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_redis.kill()
    asked: list[tuple[str, str, int, int]] = []
    monkeypatch.setattr("streamer.outlet.spooling.GATHERED_BYTES", 20_000)

    def full(spool: Spool, records: Sequence[object]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(Spool, "write", full)
        async with running(own_redis.url, tmp_path) as outlet:
            outlet.on_trades_shed = lambda *what: asked.append(what)
            trades = outlet.stream(Kind.TRADES, "binance", "A/USDT")
            for number in range(1, 1001):
                put(outlet, trades, number)
            await until(lambda: bool(asked) and outlet.state().last_error == "No space left on device")
            own_redis.start()
            await until(lambda: not outlet.state().spooling)
            put(outlet, trades, 1001)
            assert await outlet.drain(10)
            assert balance(outlet.state()) == 0
            lost = outlet.state().dropped["trades"]
    assert asked == [("binance", "A/USDT", 1001 - lost, 1000)]
    assert ids(own_redis.url, trades) == [str(n) for n in (*range(1, 1001 - lost), 1001)]


async def test_what_redis_did_not_take_before_the_end_is_written_at_the_next_start(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    assert own_redis.process is not None
    async with running(own_redis.url, tmp_path) as outlet:
        outs = [outlet.stream(kind, "binance", "A/USDT") for kind in (Kind.TRADES, Kind.LIQUIDATIONS)]
        book = outlet.stream(Kind.DEPTH, "binance", "A/USDT")
        await until(lambda: outlet.state().connected)
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        for number in range(1, 1001):  # in the window, in memory, on disk
            for out in (*outs, book):
                put(outlet, out, number)
        state = outlet.state()
        assert min(state.in_flight, state.waiting, state.spooled) > 0
        assert not await outlet.drain(0.2)
        os.kill(own_redis.process.pid, signal.SIGCONT)
    async with running(own_redis.url, tmp_path) as outlet:
        assert await outlet.drain(20)
        assert outlet.state().spool_bytes == 0
    for out in outs:
        assert ids(own_redis.url, out) == [str(number) for number in range(1, 1001)]
    assert any(gap.reason == "shed" and gap.kind == "depth" for gap in gaps(own_redis.url))


WRITER = """
import asyncio, sys
from pathlib import Path
from gapless.domain.live import Kind
from tests.streamer.outlet.test_outlet import PIPE, put
from streamer.outlet import Outlet, OutletSettings

async def main(url, folder, first, last):
    outlet = Outlet(url, Path(folder), OutletSettings(pipe=PIPE, memory_bytes=2_000, segment_bytes=200_000))
    task = asyncio.create_task(outlet.run())
    trades = outlet.stream(Kind.TRADES, "binance", "A/USDT")
    for number in range(int(first), int(last)):
        put(outlet, trades, number)
        if number % 500 == 0:
            await asyncio.sleep(0.001)
    while outlet._spooling._gathered_bytes:
        await asyncio.sleep(0.01)
    print(outlet.state().waiting, flush=True)  # memory keeps those that came first
    await task

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_writer_leaves_its_spool_and_the_next_one_writes_it_once(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    own_redis.kill()
    left = await _killed_after_a_line(own_redis.url, tmp_path, 1, 20_001)
    own_redis.start()
    with Redis.from_url(own_redis.url) as client:
        for share in (1, 5000, 10_000):  # killed while it brings the spool to Redis
            command = [sys.executable, "-c", WRITER, own_redis.url, str(tmp_path), "0", "0"]
            writer = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: ASYNC220
            while client.xlen("md.trades.binance.A/USDT") < share:
                assert writer.poll() is None
            writer.kill()
            writer.wait()
            assert client.xlen("md.trades.binance.A/USDT") < 20_000 - left
    async with running(own_redis.url, tmp_path) as outlet:
        assert await outlet.drain(20)
    found = ids(own_redis.url, OutStream(Kind.TRADES, "binance", "A/USDT"))
    assert found == [str(number) for number in range(1 + left, 20_001)]


async def test_a_restarted_redis_is_told_and_values_come_again(own_redis: OwnRedis, tmp_path: Path) -> None:
    async with running(own_redis.url, tmp_path) as outlet:
        trades = outlet.stream(Kind.TRADES, "binance", "A/USDT")
        for number in range(1, 11):
            put(outlet, trades, number)
        outlet.keep("last.trades.binance.A/USDT", b"1", 60_000)
        await until(lambda: outlet.state().written == 10)
        own_redis.kill()
        for path in own_redis.server.data_dir.rglob("*.aof*"):
            path.unlink()
        own_redis.start()
        await until(lambda: outlet.state().reconnects == 1)
        assert await outlet.drain(10)
    told = {(gap.reason, gap.symbol): gap for gap in gaps(own_redis.url)}
    assert told["restarted", "A/USDT"].count == -1
    assert told["redis", "*"].repaired
    assert ids(own_redis.url, trades) == [str(number) for number in range(1, 11)]
    with Redis.from_url(own_redis.url) as client:
        assert client.get("last.trades.binance.A/USDT") == b"1"


async def test_a_value_is_written_at_most_every_so_often_and_the_newest_wins(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as outlet:
        await until(lambda: outlet.state().connected)
        for number in range(200):
            outlet.keep("last.book_ticker.binance.A/USDT", b"%d" % number, 5000)
        await until(lambda: outlet.state().values_written == 2)
        assert outlet.state().values_conflated == 198
        assert await outlet.drain(5)
    with Redis.from_url(redis_url) as client:
        assert client.get("last.book_ticker.binance.A/USDT") == b"199"


async def test_streams_are_trimmed_by_their_kinds_bounds(redis_url: str, tmp_path: Path) -> None:
    bounds = {"depth": KindBound(entries=500), "trades": KindBound(entries=10_000)}
    settings = OutletSettings(trim_every_s=0.1, bounds=bounds)
    async with running(redis_url, tmp_path, settings) as outlet:
        depth, trades = (outlet.stream(kind, "binance", "A/USDT") for kind in (Kind.DEPTH, Kind.TRADES))
        for number in range(1, 2001):
            put(outlet, depth, number)
            put(outlet, trades, number)
        with Redis.from_url(redis_url) as client:
            await until(lambda: client.xlen(depth.key) < 700 and client.xlen(trades.key) == 2000)


async def test_an_event_time_that_is_none_breaks_nothing(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as outlet:
        trades = outlet.stream(Kind.TRADES, "binance", "A/USDT")
        await until(lambda: outlet.state().connected)
        for event_ms in (0, -1, 10**13, 10**30, 5):
            outlet.put(trades, event_ms, NS, b"%d" % event_ms, b"{}")
        assert await outlet.drain(5)
        assert outlet.state().written == 5
    assert len(ids(redis_url, trades)) == 5


async def _killed_after_a_line(url: str, folder: Path, first: int, last: int) -> int:
    command = [sys.executable, "-c", WRITER, url, str(folder), str(first), str(last)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:  # noqa: ASYNC220
        assert writer.stdout is not None
        line = await asyncio.to_thread(writer.stdout.readline)
        writer.kill()
    return int(line)
