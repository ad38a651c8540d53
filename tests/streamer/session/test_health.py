"""What `/readyz` and `gapless stream --status` say while things go wrong and come right."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamer.operations.status_view import read_states, verdict
from tests.fixtures.live import START, live_in_loop
from tests.fixtures.redis import OwnRedis
from tests.streamer.session.running import QUICK, Running, running


def _ask(url: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


async def ready(run: Running) -> tuple[int, str]:
    line = next(line for line in run.said if line.startswith("health and metrics: "))
    return await asyncio.to_thread(_ask, line.rpartition(" ")[2])


async def until_ready(run: Running, status: int, about: str = "") -> None:
    for _ in range(300):
        said = await ready(run)
        if said[0] == status and about in said[1]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"wanted {status} {about}; it says {said}")


async def test_it_is_not_ready_while_redis_is_away_or_books_are_stale_and_then_ready_again(
    own_redis: OwnRedis, tmp_path: Path
) -> None:
    options = msgspec.structs.replace(QUICK, operations=msgspec.structs.replace(QUICK.operations, status_expires_s=1.0))
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        async with running(live, own_redis.url, tmp_path, options=options, port=0) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await until_ready(run, 200)
            assert verdict(read_states(own_redis.url)) == []

            live.faults({"match": {"market": "um"}, "action": {"refuse": {"status": 503}}})
            live.cut(market="um", how="reset")
            await until_ready(run, 503, "1 of 3 books are live")
            await run.until(lambda: bool(verdict(read_states(own_redis.url))), "a status that says what is wrong")
            live.faults()
            await until_ready(run, 200)
            await run.until(lambda: not verdict(read_states(own_redis.url)), "a status that is well")

            await asyncio.to_thread(own_redis.kill)
            await until_ready(run, 503, "Redis does not take entries")
            await asyncio.to_thread(own_redis.start)
            await until_ready(run, 200)
            await run.until(lambda: not verdict(read_states(own_redis.url)), "a status that is well")
            assert await run.stop() == 0
            run.redis.delete("last.streamer.0/1")
            assert verdict(read_states(own_redis.url)), "nothing runs"
