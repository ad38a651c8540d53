"""A Redis client that ends when its task is cancelled.

`redis` sends by `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes just as the sending is
done (https://github.com/python/cpython/issues/86296): a loop around such a client then goes on for ever, and whoever
waits for its end with it. To be dropped with Python 3.11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection


def heeding(redis: Redis) -> Redis:
    """The same client, before it was used; a cancellation while it sends is raised when that is done."""
    pool = redis.connection_pool
    pool.connection_class = type("HeedingConnection", (_Heeding, pool.connection_class), {})
    return redis


class _Heeding(AbstractConnection):
    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True, **more: Any
    ) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0  # more than 0 where somebody cleans up after a cancellation
        await super().send_packed_command(command, check_health, **more)
        if task is not None and task.cancelling() > before:
            await self.disconnect(nowait=True)  # its answer will not be read
            raise asyncio.CancelledError
