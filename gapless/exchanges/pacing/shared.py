"""Where the shared budget lies: in Redis, and in a locked file while Redis is absent or away."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from redis.exceptions import RedisError

from gapless.exchanges.pacing.budget import Answer, Charge, Halt, HaltKind

log = logging.getLogger(__name__)
T = TypeVar("T")

_RETRY_AFTER_S = 5.0


class Store(Protocol):
    """Shared knowledge of one scope. Every method is atomic among all processes that use the store."""

    async def ask(self, charges: Sequence[Charge]) -> Answer:
        """Decide on a request and book it, see `budget.decide`."""

    async def halt(self, kind: HaltKind, length_ms: int | None, now_ms: int, reason: str) -> Halt:
        """Stop everybody for `length_ms`, and return the halt then in force (an earlier, longer one may win).

        Without a length (a ban that does not say until when) it is `budget.ban_length_ms` of the bans counted, unless
        one is in force already: then this is its echo. `now_ms` is the exchange's time for messages, 0 if unknown.
        """

    async def standing(self, pools: Sequence[str]) -> tuple[dict[str, dict[int, int]], Halt | None]:
        """What is spent by pool and window, and the halt in force."""

    async def limits(self) -> dict[str, int]:
        """The exchange's limits by pool, as some process read them from exchangeInfo."""

    async def remember_limits(self, limits: Mapping[str, int]) -> None:
        """Tell the other processes the exchange's limits."""

    async def close(self) -> None:
        """Let go of connections."""


class SharedStore:
    """Redis first. When it fails, the file at once, and Redis again after five seconds.

    A process that has lost Redis and one that still has it do not see each other's spending for that time; the
    exchange's own used-weight header, which both take up, closes the gap. Halts are written to both.
    """

    def __init__(self, redis: Store | None, file: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._file = file
        self._monotonic = monotonic
        self._away_until: float | None = None

    @property
    def redis_away(self) -> bool:
        """Whether Redis is configured and failed at the last try."""
        return self._away_until is not None

    async def ask(self, charges: Sequence[Charge]) -> Answer:
        return await self._first(lambda store: store.ask(charges))

    async def halt(self, kind: HaltKind, length_ms: int | None, now_ms: int, reason: str) -> Halt:
        halt = await self._first(lambda store: store.halt(kind, length_ms, now_ms, reason))
        if self._redis and not self.redis_away:
            await self._file.halt(halt.kind, halt.left_ms, now_ms, halt.reason)
        return halt

    async def standing(self, pools: Sequence[str]) -> tuple[dict[str, dict[int, int]], Halt | None]:
        return await self._first(lambda store: store.standing(pools))

    async def limits(self) -> dict[str, int]:
        return await self._first(lambda store: store.limits())

    async def remember_limits(self, limits: Mapping[str, int]) -> None:
        await self._first(lambda store: store.remember_limits(limits))

    async def close(self) -> None:
        if self._redis:
            await self._redis.close()
        await self._file.close()

    async def _first(self, action: Callable[[Store], Awaitable[T]]) -> T:
        if self._redis and (self._away_until is None or self._monotonic() >= self._away_until):
            try:
                result = await action(self._redis)
            except (RedisError, OSError, TimeoutError) as error:
                if self._away_until is None:
                    log.warning("Redis is away (%s); the request budget is kept in a file until it is back", error)
                self._away_until = self._monotonic() + _RETRY_AFTER_S
            else:
                if self._away_until is not None:
                    log.info("Redis is back; the request budget is kept there again")
                    self._away_until = None
                return result
        return await action(self._file)
