"""A cancellation ends whoever speaks to Redis, at whatever moment it comes."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis

from gapless.exchanges.pacing.heeding import heeding


async def test_a_loop_around_redis_ends_when_it_is_cancelled(redis_url: str) -> None:
    async with heeding(Redis.from_url(redis_url, socket_timeout=5.0)) as redis:
        await redis.ping()

        async def ask_for_ever() -> None:
            while True:
                await redis.ping()

        for turns in range(1, 40):  # at each of the moments that a command consists of
            task = asyncio.create_task(ask_for_ever())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=1.0)
            assert task.cancelled(), f"cancelled after {turns} turns of the loop, and it goes on"


async def test_a_time_limit_around_redis_holds_and_the_client_is_of_use_afterwards(redis_url: str) -> None:
    async with heeding(Redis.from_url(redis_url, socket_timeout=5.0)) as redis:
        for _ in range(20):
            try:
                async with asyncio.timeout(0):
                    await redis.ping()
            except TimeoutError:
                continue
            raise AssertionError("the time was over, and nobody said so")
        assert await redis.ping()
