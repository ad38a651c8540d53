"""A sidecar that is killed at any moment and started again: nothing double, nothing missing that is not told."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from redis import Redis

from gapless.domain.live import Kind
from streamer.operations.request import Orders
from streamer.operations.status import status_key
from tests.fixtures.forks import Forked
from tests.fixtures.live import START, LiveFactory
from tests.streamer.session.running import RAW, Running, free_of_limits, identities, lost_trades, settle


async def test_killed_at_random_moments_and_started_again_it_doubles_nothing_and_tells_every_hole(
    redis_databases: Callable[[], str], start_live: LiveFactory, tmp_path: Path
) -> None:
    draw = random.Random(11)
    url = redis_databases()
    live = start_live("--generate", "7", "--start", START)
    live.activity(trades_per_s=200)
    free_of_limits(live)
    environment = {
        **live.environment,
        "GAPLESS_MODE": "demo",
        "GAPLESS_REDIS_URL": url,
        "GAPLESS_REDIS_CONTROL_URL": url,
        "GAPLESS_VAR_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "gapless", "stream", "--symbols", ",".join(RAW), "--port", "0"]
    never = asyncio.create_task(asyncio.Event().wait())
    with Redis.from_url(url) as redis:
        run = Running(live, redis, never, Orders())

        def more_than(count: int) -> bool:
            return len(identities(redis, Kind.TRADES, "BTC/USDT")) > count

        for number in range(5):
            redis.delete(status_key("0/1"))
            with Forked(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                try:
                    written = len(identities(redis, Kind.TRADES, "BTC/USDT"))
                    if number < 4:
                        if number:  # from the first trade on, while holes are brought, with live books
                            await run.until(partial(more_than, written), "trades")
                        else:
                            await run.until(lambda: run.books_live(3), "three live books")
                        await asyncio.sleep(draw.uniform(0, 0.6))
                    else:
                        await run.until(lambda: run.books_live(3), "three live books")
                        await run.until(lambda: not any(lost_trades(redis, symbol) for symbol in RAW), "filled holes")
                        await settle(run)
                finally:
                    process.kill()
                    process.wait(10)
    never.cancel()
