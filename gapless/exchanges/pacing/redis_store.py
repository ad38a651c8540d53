"""The budget in Redis: what all processes behind one address share. Each operation is one atomic script.

Keys carry one hash tag, `{gapless:pace:<scope>}`, so that a cluster keeps a scope's keys on one node, and each expires:
    ...:pool:<name>  hash, window index -> units spent; gone two windows after its last use
    ...:halt         a halt as JSON; its time to live is what is left of it, so that no clock needs comparing
    ...:strikes      bans counted; a day after the last one ended they are forgiven
    ...:limits       hash, pool -> the exchange's limit, as last read from exchangeInfo; a day
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gapless.exchanges.pacing.budget import DAY_MS, FIRST_BAN_MS, LONGEST_BAN_MS, Answer, Charge, Halt, HaltKind
from gapless.exchanges.pacing.heeding import heeding

_TIMEOUT_S = 2.0

# The decision of `budget.decide`, letter for letter. Five arguments a charge: window, cost, usable, at_least, keep_ms.
_ASK = """
local spent, full = {}, -1
for i = 1, #KEYS - 1 do
  local at = (i - 1) * 5
  local window, least = ARGV[at + 1], tonumber(ARGV[at + 4])
  local now = tonumber(redis.call('HGET', KEYS[i + 1], window) or '0')
  if least > now then
    now = least
    redis.call('HSET', KEYS[i + 1], window, least)
    redis.call('PEXPIRE', KEYS[i + 1], ARGV[at + 5])
  end
  spent[i] = now
end
local left = redis.call('PTTL', KEYS[1])
if left > 0 then
  return {left, redis.call('GET', KEYS[1]), full, unpack(spent)}
end
for i = 1, #KEYS - 1 do
  local at = (i - 1) * 5
  local cost, usable = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  if full < 0 and cost > 0 and spent[i] > 0 and spent[i] + cost > usable then
    full = i - 1
  end
end
if full < 0 then
  for i = 1, #KEYS - 1 do
    local at = (i - 1) * 5
    local window, cost = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    if cost > 0 then
      spent[i] = redis.call('HINCRBY', KEYS[i + 1], ARGV[at + 1], cost)
      redis.call('PEXPIRE', KEYS[i + 1], ARGV[at + 5])
      if redis.call('HLEN', KEYS[i + 1]) > 1 then
        for _, old in ipairs(redis.call('HKEYS', KEYS[i + 1])) do
          if tonumber(old) < window - 1 then redis.call('HDEL', KEYS[i + 1], old) end
        end
      end
    end
  end
end
return {0, '', full, unpack(spent)}
"""

# Arguments: kind, length in ms (-1: by strikes), the exchange's time now (0: unknown), reason, then the three bounds.
_HALT = """
local kind, length, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local left = redis.call('PTTL', KEYS[1])
local current = left > 0 and redis.call('GET', KEYS[1]) or nil
local same = current and cjson.decode(current).kind == kind
if length < 0 and same then return {left, current} end
if kind == 'banned' and not same then redis.call('INCR', KEYS[2]) end
if length < 0 then
  local strikes = math.max(tonumber(redis.call('GET', KEYS[2]) or '1'), 1)
  length = math.min(tonumber(ARGV[5]) * 2 ^ math.min(strikes - 1, 16), tonumber(ARGV[6]))
end
if kind == 'banned' then redis.call('PEXPIRE', KEYS[2], length + tonumber(ARGV[7])) end
if current and left >= length then return {left, current} end
local until_ms = now > 0 and now + length or 0
local value = cjson.encode({kind = kind, reason = ARGV[4], until_ms = string.format('%.0f', until_ms)})
redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', length))
return {length, value}
"""


class _Standstill(msgspec.Struct):
    kind: HaltKind
    reason: str
    until_ms: str  # text: a number of this size would pass through cjson's floats


class RedisStore:
    """One scope's budget in Redis. Errors of Redis pass through; `shared` takes the file then."""

    def __init__(self, url: str, scope: str) -> None:
        self._redis: Redis = heeding(
            Redis.from_url(
                url,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 1),  # one new connection, when an idle one was closed at the other end
                decode_responses=True,
            )
        )
        self._prefix = f"{{gapless:pace:{scope}}}"
        self._ask_script = self._redis.register_script(_ASK)
        self._halt_script = self._redis.register_script(_HALT)

    async def ask(self, charges: Sequence[Charge]) -> Answer:
        """Decide on a request and book it."""
        keys = [self._key("halt"), *(self._pool(charge.pool) for charge in charges)]
        arguments: list[int] = []
        for charge in charges:
            arguments += (charge.window, charge.cost, charge.usable, charge.at_least, charge.keep_ms)
        left, halt, full, *spent = await self._ask_script(keys=keys, args=arguments)
        return Answer(_halt(left, halt) if left > 0 else None, full if full >= 0 else None, tuple(spent))

    async def halt(self, kind: HaltKind, length_ms: int | None, now_ms: int, reason: str) -> Halt:
        """Stop everybody; see `Store.halt`."""
        length = -1 if length_ms is None else length_ms
        bounds = (FIRST_BAN_MS, LONGEST_BAN_MS, DAY_MS)
        left, halt = await self._halt_script(
            keys=[self._key("halt"), self._key("strikes")], args=[kind, length, now_ms, reason, *bounds]
        )
        return _halt(left, halt)

    async def standing(self, pools: Sequence[str]) -> tuple[dict[str, dict[int, int]], Halt | None]:
        """What is spent by pool and window, and the halt in force."""
        answer = await self.ask(())
        spent: dict[str, dict[int, int]] = {}
        for pool in pools:
            windows: Any = await self._redis.hgetall(self._pool(pool))
            spent[pool] = {int(window): int(units) for window, units in windows.items()}
        return spent, answer.halt

    async def limits(self) -> dict[str, int]:
        """The exchange's limits by pool, as some process read them."""
        found: Any = await self._redis.hgetall(self._key("limits"))
        return {pool: int(limit) for pool, limit in found.items()}

    async def remember_limits(self, limits: Mapping[str, int]) -> None:
        """Tell the other processes the exchange's limits."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(self._key("limits"), mapping={pool: str(limit) for pool, limit in limits.items()})
            pipe.pexpire(self._key("limits"), DAY_MS)
            await pipe.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"

    def _pool(self, name: str) -> str:
        return self._key(f"pool:{name}")


def _halt(left_ms: int, value: str) -> Halt:
    standstill = msgspec.json.decode(value, type=_Standstill)
    return Halt(standstill.kind, left_ms, int(standstill.until_ms), standstill.reason)
