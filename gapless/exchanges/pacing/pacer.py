"""The gate that every request passes: it waits for budget and for the end of bans, up to a bound, then says no."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from gapless.domain.window import iso
from gapless.errors import Banned, RateLimited, RegionRefused
from gapless.exchanges.pacing.budget import Answer, Charge, Halt, HaltKind, Pool, charges_for
from gapless.exchanges.pacing.shared import Store

WEIGHT = "REQUEST_WEIGHT"
REQUESTS = "RAW_REQUESTS"

FIREWALL_MS = 300_000
"""How long the exchange's firewall commonly refuses an address (reference 2.2)."""

_POLL_S = 2.0  # while waiting: a ban that another process meets must be seen
_MINUTE_MS = 60_000

OnWait = Callable[[str, int], None]
"""Told once for each new reason to wait: what for, and until when (epoch ms)."""


class Clock(Protocol):
    """Bounds of the exchange's time, None while it was never read."""

    def bounds_ms(self, at_s: float | None = None) -> tuple[int, int] | None:
        """The earliest and latest it can show at a moment of the monotonic clock (now unless given)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a scope stands, for status displays.

    Attributes:
        spent: units spent in the newest window known, by pool.
        halt: the ban or pause in force, if any.
    """

    pools: tuple[Pool, ...]
    spent: Mapping[str, int]
    halt: Halt | None


class Pacer:
    """Requests of one scope (one address of the exchange and one market), paced together with all other processes.

    For asyncio; one event loop. Tasks are served in the order they came.

    Args:
        name: how messages call the scope, `binance um at fapi.binance.com`.
        pools: the limits assumed until the exchange's own are known (`set_limits`, by any process).
        max_wait_s: how long one `acquire` may wait unless it says otherwise.
        on_wait: see `OnWait`.
    """

    def __init__(
        self,
        name: str,
        pools: Sequence[Pool],
        store: Store,
        *,
        max_wait_s: float,
        on_wait: OnWait | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.max_wait_s = max_wait_s
        self._pools = {pool.name: pool for pool in pools}
        self._store = store
        self._on_wait = on_wait
        self._monotonic = monotonic
        self._wall = wall
        self._sleep = sleep
        self._jitter = jitter
        self._clock: Clock | None = None
        self._turn = asyncio.Lock()
        self._told: tuple[str, int] | None = None
        self._unbooked: dict[str, int] = {}
        self._known: dict[tuple[str, int], int] = {}
        self._limits_read = False

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The limits in force."""
        return tuple(self._pools.values())

    def follow(self, clock: Clock) -> None:
        """Go by this clock of the exchange; before, only halts are heeded and spending is booked late."""
        self._clock = clock

    async def set_limits(self, limits: Mapping[str, tuple[int, int]]) -> None:
        """Take the exchange's own limits: pool -> (limit, window in ms). Only pools we know are taken."""
        known = {name: limit for name, (limit, window) in limits.items() if self._window_of(name) == window}
        if known:
            self._apply(known)
            await self._store.remember_limits(known)

    async def acquire(
        self, weight: int, *, also: Mapping[str, int] | None = None, max_wait_s: float | None = None
    ) -> None:
        """Wait until one request of this weight may be sent, and book it. Send it at once after.

        Args:
            also: units of other pools; each request counts once in the pool of raw requests where there is one.

        Raises:
            Banned: the exchange has banned this address for longer than may be waited.
            RateLimited: the budget will not be back in time. Both carry `retry_after_s`.
            RegionRefused: the exchange's firewall refuses this address for longer than may be waited.
        """
        costs = {WEIGHT: weight, **({REQUESTS: 1} if REQUESTS in self._pools else {}), **(also or {})}
        wait_s = self.max_wait_s if max_wait_s is None else max_wait_s
        deadline = self._monotonic() + wait_s
        async with self._in_turn(wait_s):
            if not self._limits_read:
                self._limits_read = True
                self._apply(await self._store.limits())
            while True:
                charges = self._charges(costs)
                answer = await self._store.ask(charges)
                self._learn(charges, answer)
                if answer.granted:
                    self._book(costs, charges)
                    return
                await self._wait(answer, charges, deadline)

    def observe(self, used_weight: int, sent_s: float) -> None:
        """Take up the exchange's own count, from the header of an answer just received.

        It overrules ours upwards, for all processes, with the next request. An answer that straddles the turn of
        a minute is passed over: it does not say which minute it counts.
        """
        pool = self._pools[WEIGHT]
        at_send, now = self._bounds(sent_s), self._bounds()
        if at_send and now and at_send[0] // pool.window_ms == now[1] // pool.window_ms:
            self._remember(WEIGHT, now[1] // pool.window_ms, used_weight)

    async def banned(self, *, retry_after_s: float | None, until_ms: int | None, date_ms: int | None) -> Halt:
        """The exchange said 418. Until when: `Retry-After`, else the moment in its text, else growing guesses.

        `date_ms` is the answer's own date, by which `until_ms` is read while the clock was never sampled.
        """
        bounds = self._bounds()
        now = bounds[0] if bounds else date_ms or 0
        length: int | None = None
        if retry_after_s:
            length = int(retry_after_s * 1000)
        elif until_ms and now and 0 < until_ms - now <= 4 * 86_400_000:
            length = until_ms - now
        return await self._halt("banned", length, "the exchange banned this address (HTTP 418)")

    async def limited(self, *, retry_after_s: float | None) -> Halt:
        """The exchange said 429: nothing until `Retry-After`, or until its next minute begins."""
        if retry_after_s:
            length = int(retry_after_s * 1000)
        else:
            bounds = self._bounds()
            length = _MINUTE_MS - (bounds[0] % _MINUTE_MS if bounds else 0)
        return await self._halt(
            "limited", length + int(self._jitter() * 1000), "the exchange counts too many requests (HTTP 429)"
        )

    async def firewalled(self) -> Halt:
        """The exchange's firewall said 403: nothing for minutes."""
        return await self._halt("firewall", FIREWALL_MS, "the exchange's firewall refuses this address (HTTP 403)")

    async def standing(self) -> Standing:
        """How the scope stands now."""
        windows, halt = await self._store.standing(tuple(self._pools))
        spent = {name: counts[max(counts)] if counts else 0 for name, counts in windows.items()}
        return Standing(self.pools, spent, halt)

    async def close(self) -> None:
        """Hand over what was learnt since the last request, and let go of the store."""
        if self._known and (bounds := self._bounds()):
            await self._store.ask([self._informed(charge) for charge in self._zero_charges(bounds)])
        await self._store.close()

    @asynccontextmanager
    async def _in_turn(self, wait_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(max(wait_s, 0.0) + _POLL_S):
                await self._turn.acquire()
        except TimeoutError:
            raise RateLimited(
                f"{self.name}: other requests of this process waited {wait_s:g} s for the request budget; "
                "ask for less at once, or raise the longest wait (--max-wait)",
                retry_after_s=_MINUTE_MS / 1000,
            ) from None
        try:
            yield
        finally:
            self._turn.release()

    async def _wait(self, answer: Answer, charges: Sequence[Charge], deadline: float) -> None:
        """Sleep a while, or say no when the wait would outlast the caller's patience."""
        wait_ms, why = self._obstacle(answer, charges)
        bounds = self._bounds()
        until_ms = answer.halt.until_ms if answer.halt else 0
        until_ms = until_ms or (bounds[0] if bounds else int(self._wall() * 1000)) + wait_ms
        if self._monotonic() + wait_ms / 1000 > deadline:
            raise self._refusal(answer.halt, why, wait_ms, until_ms)
        if self._on_wait and self._told != (why, until_ms // 1000):
            self._told = (why, until_ms // 1000)
            self._on_wait(why, until_ms)
        await self._sleep(min(wait_ms / 1000 + self._jitter() * 0.1, _POLL_S))

    def _obstacle(self, answer: Answer, charges: Sequence[Charge]) -> tuple[int, str]:
        """What is in the way, and for how many milliseconds at most (at least one)."""
        if answer.halt:
            return max(answer.halt.left_ms, 1), answer.halt.reason
        charge = charges[answer.full or 0]
        pool = self._pools[charge.pool]
        bounds = self._bounds() or (0, 0)
        left = (charge.window + 1) * pool.window_ms - bounds[0]
        return max(left, 1), (
            f"the request budget is spent ({pool.usable} of the exchange's {pool.limit} {pool.name} "
            f"in {pool.window_ms // 1000} s)"
        )

    def _refusal(self, halt: Halt | None, why: str, wait_ms: int, until_ms: int) -> RateLimited | RegionRefused:
        text = f"{self.name}: {why} until {iso(until_ms // 1000 * 1000)}, in {wait_ms / 1000:.0f} s"
        if halt and halt.kind == "firewall":
            return RegionRefused(f"{text}; try again then, and less at once, or from another network")
        text += f"; try again then, or allow a longer wait than {self.max_wait_s:g} s (--max-wait)"
        kind = Banned if halt and halt.kind == "banned" else RateLimited
        return kind(text, retry_after_s=wait_ms / 1000)

    def _charges(self, costs: Mapping[str, int]) -> list[Charge]:
        bounds = self._bounds()
        if bounds is None:
            return []
        owed = {name: cost + self._unbooked.get(name, 0) for name, cost in costs.items() if cost}
        pools = [(self._pools[name], cost) for name, cost in owed.items()]
        return [self._informed(charge) for charge in charges_for(pools, *bounds)]

    def _zero_charges(self, bounds: tuple[int, int]) -> list[Charge]:
        return charges_for([(self._pools[WEIGHT], 0)], *bounds)

    def _informed(self, charge: Charge) -> Charge:
        return replace(charge, at_least=self._known.get((charge.pool, charge.window), 0))

    def _book(self, costs: Mapping[str, int], charges: Sequence[Charge]) -> None:
        """A request sent before the exchange's clock was known is owed, and booked with the next one."""
        if charges:
            self._unbooked.clear()
            return
        for name, cost in costs.items():
            self._unbooked[name] = self._unbooked.get(name, 0) + cost

    def _learn(self, charges: Sequence[Charge], answer: Answer) -> None:
        for charge, spent in zip(charges, answer.spent, strict=True):
            self._remember(charge.pool, charge.window, spent)

    def _remember(self, pool: str, window: int, spent: int) -> None:
        """This process's own memory of the newest windows: it outlives a store that is lost."""
        known = self._known.get((pool, window), 0)
        self._known[pool, window] = max(known, spent)
        if not known:
            self._known = {key: n for key, n in self._known.items() if key[0] != pool or key[1] >= window - 1}

    def _bounds(self, at_s: float | None = None) -> tuple[int, int] | None:
        return self._clock.bounds_ms(at_s) if self._clock else None

    async def _halt(self, kind: HaltKind, length_ms: int | None, reason: str) -> Halt:
        bounds = self._bounds()
        return await self._store.halt(kind, length_ms, bounds[0] if bounds else 0, reason)

    def _window_of(self, name: str) -> int | None:
        return self._pools[name].window_ms if name in self._pools else None

    def _apply(self, limits: Mapping[str, int]) -> None:
        for name, limit in limits.items():
            if name in self._pools and limit > 0:
                self._pools[name] = replace(self._pools[name], limit=limit)
