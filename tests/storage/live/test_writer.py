from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from redis import Redis

from gapless.errors import ConfigError
from gapless.storage.live.fence import Loss
from gapless.storage.live.pipe import PipeSettings
from gapless.storage.live.resp import Command, Target, pack, pack_entry
from gapless.storage.live.writer import RedisPipe
from tests.fixtures.redis import OwnRedis
from tests.storage.live.proxies import proxied

QUICK = PipeSettings(backoff_s=0.05, connect_timeout_s=2)
NS = 1_763_654_400_000_000_000


class Owner:
    """What a pipe tells."""

    def __init__(self) -> None:
        self.room = asyncio.Event()
        self.losses: list[Loss] = []
        self.overtaken: list[Command] = []
        self.refused: list[tuple[Command, str]] = []
        self.connections = 0

    def on_room(self, is_open: bool) -> None:
        (self.room.set if is_open else self.room.clear)()

    def on_progress(self) -> None: ...

    def on_connected(self, again: bool) -> None:
        self.connections += 1

    def on_losses(self, losses: Sequence[Loss]) -> None:
        self.losses += losses

    def on_overtaken(self, command: Command) -> None:
        self.overtaken.append(command)

    def on_refused(self, command: Command, error: str) -> None:
        self.refused.append((command, error))


@contextlib.asynccontextmanager
async def piped(
    url: str, settings: PipeSettings = QUICK, previous: tuple[str, int] | None = None
) -> AsyncIterator[tuple[RedisPipe, Owner]]:
    owner = Owner()
    pipe = RedisPipe(url, settings, owner, previous=previous)
    task = asyncio.create_task(pipe.run())
    try:
        yield pipe, owner
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def send(pipe: RedisPipe, target: Target, number: int, size: int = 60) -> None:
    pipe.send(target, b"%d" % number, pack_entry(target, 1, NS, b"%d" % number, b"{" + b"x" * size + b"}"))


async def send_all(pipe: RedisPipe, owner: Owner, targets: Sequence[Target], numbers: range) -> None:
    for number in numbers:
        if not pipe.is_open:
            await asyncio.wait_for(owner.room.wait(), 20)
        send(pipe, targets[number % len(targets)], number)
        if number % 37 == 0:
            await asyncio.sleep(0)


def written(url: str, target: Target) -> list[int]:
    with Redis.from_url(url) as client:
        return [int(fields[b"i"]) for _, fields in client.xrange(target.key)]


def streams(count: int) -> list[Target]:
    return [Target(f"md.trades.binance.S{number}/USDT") for number in range(count)]


async def test_entries_are_written_in_order_and_acknowledged(redis_url: str) -> None:
    targets = streams(3)
    async with piped(redis_url) as (pipe, owner):
        await send_all(pipe, owner, targets, range(3000))
        assert await pipe.wait_idle(10)
        assert pipe.settled == pipe.accepted == 3000
        assert pipe.latencies.total == 3000
        assert pipe.in_flight_bytes == 0
    for index, target in enumerate(targets):
        assert written(redis_url, target) == list(range(index, 3000, 3))


async def test_an_entry_reads_as_the_page_for_readers_says(redis_url: str) -> None:
    target = Target("md.trades.binance.BTC/USDT")
    async with piped(redis_url) as (pipe, owner):
        await asyncio.wait_for(owner.room.wait(), 5)
        pipe.send(target, b"7", pack_entry(target, 1_763_654_400_123, NS + 5, b"7", b'{"p":"1.0"}'))
        assert await pipe.wait_idle(5)
    with Redis.from_url(redis_url) as client:
        ((_, fields),) = client.xrange(target.key)
    assert fields == {b"e": b"1763654400123", b"r": b"%d" % (NS + 5), b"i": b"7", b"d": b'{"p":"1.0"}'}


@pytest.mark.parametrize("seed", [1, 2])
async def test_two_hundred_cuts_anywhere_lose_nothing_and_double_nothing(redis_url: str, seed: int) -> None:
    chance = random.Random(seed)
    targets = streams(5)

    def cut_after() -> tuple[int, int]:
        return (chance.randint(100, 12_000), 10**9) if chance.random() < 0.6 else (10**9, chance.randint(2000, 40_000))

    settings = PipeSettings(backoff_s=0.01, connect_timeout_s=2)
    async with proxied(redis_url, cut_after) as (url, proxy), piped(url, settings) as (pipe, owner):
        number = 0
        while proxy.cuts < 100:
            await send_all(pipe, owner, targets, range(number, number + 50))
            number += 50
        proxy.cut_after = lambda: (10**9, 10**9)
        for _ in range(20):  # the connection at hand is cut once more
            await send_all(pipe, owner, targets, range(number, number + 50))
            number += 50
        assert await pipe.wait_idle(20)
        assert pipe.settled == number
        assert pipe.resent > 0
    for index, target in enumerate(targets):
        assert written(redis_url, target) == list(range(index, number, 5))


async def test_a_stalled_redis_is_waited_for_and_written_to_once(own_redis: OwnRedis) -> None:
    (target,) = streams(1)
    assert own_redis.process is not None
    settings = PipeSettings(backoff_s=0.05, reply_timeout_s=0.3, connect_timeout_s=0.3)
    async with piped(own_redis.url, settings) as (pipe, owner):
        await send_all(pipe, owner, [target], range(100))
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        for number in range(100, 400):
            send(pipe, target, number)
        await asyncio.wait_for(_until(lambda: not pipe.is_open), 10)  # given up for want of answers
        os.kill(own_redis.process.pid, signal.SIGCONT)
        assert await pipe.wait_idle(20)
    assert written(own_redis.url, target) == list(range(400))


async def test_what_a_dead_connection_still_brings_is_not_executed(redis_url: str) -> None:
    (target,) = streams(1)
    cuts = iter([(2000, 10**9)])
    async with proxied(redis_url, lambda: next(cuts, (10**9, 10**9))) as (url, proxy):
        proxy.late = asyncio.Event()
        async with piped(url) as (pipe, owner):
            await asyncio.wait_for(owner.room.wait(), 5)
            for number in range(200):  # one write: the way to Redis swallows most of it and gives it back too late
                send(pipe, target, number)
            assert await pipe.wait_idle(10)
            proxy.late.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_until(lambda: len(written(redis_url, target)) > 200), 0.2)
    assert proxy.cuts == 1
    assert written(redis_url, target) == list(range(200))


async def test_paused_writes_are_waited_for(own_redis: OwnRedis) -> None:
    (target,) = streams(1)
    async with piped(own_redis.url) as (pipe, owner):
        await send_all(pipe, owner, [target], range(10))
        with Redis.from_url(own_redis.url) as client:
            client.execute_command("CLIENT", "PAUSE", 300, "WRITE")
        for number in range(10, 200):
            send(pipe, target, number)
        assert await pipe.wait_idle(20)
        assert owner.connections == 1
    assert written(own_redis.url, target) == list(range(200))


async def test_a_killed_redis_has_everything_when_it_is_back(own_redis: OwnRedis) -> None:
    targets = streams(4)
    async with piped(own_redis.url) as (pipe, owner):
        await send_all(pipe, owner, targets, range(2000))
        own_redis.kill()
        for number in range(2000, 2400):
            send(pipe, targets[number % 4], number)
        own_redis.start()
        assert await pipe.wait_idle(20)
        assert owner.connections == 2
    for index, target in enumerate(targets):
        assert written(own_redis.url, target) == list(range(index, 2400, 4))


async def test_a_redis_that_comes_back_empty_is_told_and_given_the_newest_again(own_redis: OwnRedis) -> None:
    used, unused = Target("md.trades.binance.USED/USDT"), Target("md.trades.binance.UNUSED/USDT")
    async with piped(own_redis.url) as (pipe, owner):
        pipe.register(used)
        pipe.register(unused)
        await send_all(pipe, owner, [used], range(300))
        assert await pipe.wait_idle(5)
        own_redis.kill()
        for path in own_redis.server.data_dir.rglob("*.aof*"):
            path.unlink()
        own_redis.start()
        await asyncio.wait_for(_until(lambda: owner.connections == 2), 10)
        assert await pipe.wait_idle(10)
        assert [(loss.target, loss.whole, len(loss.brought_again)) for loss in owner.losses] == [(used, False, 300)]
    assert written(own_redis.url, used) == list(range(300))


async def test_what_is_refused_for_want_of_memory_is_written_in_order_when_there_is_some(own_redis: OwnRedis) -> None:
    targets = streams(3)
    with Redis.from_url(own_redis.url) as client:
        async with piped(own_redis.url) as (pipe, owner):
            await send_all(pipe, owner, targets, range(300))
            assert await pipe.wait_idle(5)
            client.config_set("maxmemory", "1")
            for number in range(300, 900):
                send(pipe, targets[number % 3], number)
            await asyncio.wait_for(_until(lambda: "OOM" in pipe.last_error), 10)
            assert not pipe.is_open
            assert pipe.settled == 300
            client.config_set("maxmemory", "0")
            assert await pipe.wait_idle(10)
            assert pipe.settled == 900
            assert not owner.refused
    for index, target in enumerate(targets):
        assert written(own_redis.url, target) == list(range(index, 900, 3))


async def test_a_key_that_is_no_stream_costs_its_own_entries_alone(redis_url: str) -> None:
    good, bad = streams(2)
    with Redis.from_url(redis_url) as client:
        client.set(bad.key, "occupied")
    async with piped(redis_url) as (pipe, owner):
        await send_all(pipe, owner, [good, bad], range(200))
        assert await pipe.wait_idle(5)
        assert bad.refused == len(owner.refused) == 100
        assert pipe.is_open
    assert written(redis_url, good) == list(range(0, 200, 2))


async def test_a_wrong_password_is_a_clear_error(own_redis: OwnRedis) -> None:
    url = own_redis.url.replace("test-only-password", "wrong")
    with pytest.raises(ConfigError, match="GAPLESS_REDIS_URL"):
        async with asyncio.timeout(5):
            await RedisPipe(url, QUICK, Owner()).run()


async def test_a_window_full_of_unanswered_commands_closes_the_pipe(own_redis: OwnRedis) -> None:
    (target,) = streams(1)
    assert own_redis.process is not None
    settings = PipeSettings(window_count=100, window_bytes=100_000)
    async with piped(own_redis.url, settings) as (pipe, owner):
        await asyncio.wait_for(owner.room.wait(), 5)
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        sent = 0
        while pipe.is_open:
            send(pipe, target, sent)
            sent += 1
        os.kill(own_redis.process.pid, signal.SIGCONT)
        assert 50 < sent <= 100
        await asyncio.wait_for(owner.room.wait(), 5)
        assert await pipe.wait_idle(5)
    assert written(own_redis.url, target) == list(range(sent))


async def test_answers_are_read_within_a_long_turn_of_the_loop(redis_url: str) -> None:
    (target,) = streams(1)
    settings = PipeSettings(window_count=200, window_bytes=200_000, flush_bytes=2_000)
    async with piped(redis_url, settings) as (pipe, owner):
        await asyncio.wait_for(owner.room.wait(), 5)
        with Redis.from_url(redis_url) as client:
            for start in range(0, 2000, 100):
                for number in range(start, start + 100):
                    send(pipe, target, number)
                pipe.flush()
                assert pipe.is_open  # though the loop never ran
                while client.xlen(target.key) < start + 100:
                    pass
                client.ping()  # one turn of the server later the answers to the entries were written too
        assert await pipe.wait_idle(5)
    assert written(redis_url, target) == list(range(2000))


async def test_what_an_earlier_process_left_in_doubt_is_written_once(own_redis: OwnRedis) -> None:
    (target,) = streams(1)
    commands = [Command(target, b"%d" % n, pack_entry(target, 1, NS, b"%d" % n, b"{}")) for n in range(50)]
    async with piped(own_redis.url) as (pipe, owner):
        await asyncio.wait_for(owner.room.wait(), 5)
        for command in commands[:20]:
            pipe.send(*command)
        assert await pipe.wait_idle(5)
    pipe = RedisPipe(own_redis.url, QUICK, Owner())
    pipe.doubt(commands)
    task = asyncio.create_task(pipe.run())
    assert pipe.settled == 0
    assert await pipe.wait_idle(5)
    assert pipe.settled == pipe.accepted == 50
    assert pipe.resent == 30
    task.cancel()
    assert written(own_redis.url, target) == list(range(50))


async def test_values_are_not_sent_again_after_a_cut(redis_url: str) -> None:
    async with piped(redis_url) as (pipe, owner):
        await asyncio.wait_for(owner.room.wait(), 5)
        pipe.send(Target("a value"), b"", pack(b"SET", b"a value", b"1"))
        pipe._hang_up("the test cut it")
        assert await pipe.wait_idle(5)
        assert pipe.resent == 0


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - of servers and processes there is no event
        await asyncio.sleep(0.005)
