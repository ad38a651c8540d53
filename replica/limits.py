"""The exchange's request limits: weight by fixed clock minute and address, 429 beyond it, 418 for who goes on.

Rules: counters belong to one IP address and one market and start again with each minute of the exchange's clock;
`Retry-After` is documented for spot alone; a ban lasts from two minutes to three days, longer for repeat offenders.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from gapless.domain.instrument import Market

MINUTE_MS = 60_000
RAW_WINDOW_MS = 300_000
_LONGEST_BAN_S = 3 * 86_400
_ADDRESSES_KEPT = 1024


@dataclass(frozen=True, slots=True)
class LimitRules:
    """The limits of one market.

    Attributes:
        weight_per_minute: request weight an address may use in a minute; 0 for no limit.
        raw_per_5m: requests of any weight in five minutes, None where the exchange names no limit.
        ban_after: how many 429 in a row are answered before the address is banned.
        ban_s: length of a first ban; each further one is twice as long, up to three days.
        funding_per_5m: requests of fundingRate and fundingInfo together, outside the weight; None for none.
        futures_data_per_5m: requests of `/futures/data/` together, outside the weight; None for none.
        retry_after: whether 429 and 418 carry the `Retry-After` header.
    """

    weight_per_minute: int
    raw_per_5m: int | None
    ban_after: int = 10
    ban_s: int = 120
    retry_after: bool = True
    funding_per_5m: int | None = None
    futures_data_per_5m: int | None = None


EXCHANGE_LIMITS = {
    Market.SPOT: LimitRules(6000, 300_000),
    Market.UM: LimitRules(2400, None, retry_after=False, funding_per_5m=500, futures_data_per_5m=1000),
}
"""What the exchange's own exchangeInfo named in 2026."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the limiter says to one request.

    Attributes:
        status: 200 (go on), 429 or 418.
        used: weight used by this address in this minute, this request included.
        retry_after_s: seconds of exchange time until it may come again, for the header; None for no header.
        message: the exchange's text for code -1003; empty with 200.
    """

    status: int
    used: int
    retry_after_s: int | None = None
    message: str = ""


@dataclass(slots=True)
class _Address:
    minute: int = -1
    used: int = 0
    raw_window: int = -1
    raw: int = 0
    pools: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    bans: int = 0
    banned_until_ms: int = 0


@dataclass(slots=True)
class Limiter:
    """The counters of one market."""

    rules: LimitRules
    _addresses: OrderedDict[str, _Address] = field(default_factory=OrderedDict)

    def admit(self, address: str, weight: int, now_ms: int, pool: str | None = None) -> Verdict:
        """Counts a request and says whether it may be answered. A refused one counts too.

        Args:
            pool: the pool it also counts in, by its name in the rules; pools are counted in fixed five minutes.
        """
        seen = self._address(address)
        minute = now_ms // MINUTE_MS
        if seen.minute != minute:
            seen.minute, seen.used = minute, 0
        if seen.raw_window != now_ms // RAW_WINDOW_MS:
            seen.raw_window, seen.raw = now_ms // RAW_WINDOW_MS, 0
            seen.pools.clear()
        seen.used += weight
        seen.raw += 1
        if now_ms < seen.banned_until_ms:
            return self._banned(seen, now_ms)
        limit = self.rules.weight_per_minute
        raw_limit = self.rules.raw_per_5m
        pool_limit = None
        if pool is not None:
            seen.pools[pool] = seen.pools.get(pool, 0) + 1
            pool_limit = getattr(self.rules, pool)
        if limit and seen.used > limit:
            left_ms = MINUTE_MS - now_ms % MINUTE_MS
            message = self.too_much
        elif limit and raw_limit and seen.raw > raw_limit:
            left_ms = RAW_WINDOW_MS - now_ms % RAW_WINDOW_MS
            message = _too_many(raw_limit)
        elif pool is not None and pool_limit is not None and seen.pools[pool] > pool_limit:
            left_ms = RAW_WINDOW_MS - now_ms % RAW_WINDOW_MS
            message = _too_many(pool_limit)
        else:
            seen.refused = 0
            return Verdict(200, seen.used)
        seen.refused += 1
        if seen.refused > self.rules.ban_after:
            return self.ban(address, min(self.rules.ban_s << seen.bans, _LONGEST_BAN_S), now_ms)
        return Verdict(429, seen.used, self._header(left_ms), message)

    def ban(self, address: str, seconds: float, now_ms: int) -> Verdict:
        """Bans an address from now on and gives the answer to its request."""
        seen = self._address(address)
        seen.bans += 1
        seen.refused = 0
        seen.banned_until_ms = now_ms + int(seconds * 1000)
        return self._banned(seen, now_ms)

    @property
    def too_much(self) -> str:
        """The exchange's text with 429."""
        limit = self.rules.weight_per_minute
        return (
            f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API."
        )

    def forgive(self) -> None:
        """Forgets all counts and bans."""
        self._addresses.clear()

    def _banned(self, seen: _Address, now_ms: int) -> Verdict:
        message = (
            f"Way too much request weight used; IP banned until {seen.banned_until_ms}. "
            "Please use WebSocket Streams for live updates to avoid bans."
        )
        return Verdict(418, seen.used, self._header(seen.banned_until_ms - now_ms), message)

    def _header(self, left_ms: int) -> int | None:
        return -(-left_ms // 1000) if self.rules.retry_after else None

    def _address(self, address: str) -> _Address:
        seen = self._addresses.setdefault(address, _Address())
        self._addresses.move_to_end(address)
        if len(self._addresses) > _ADDRESSES_KEPT:
            self._addresses.popitem(last=False)
        return seen


def _too_many(limit: int) -> str:
    return (
        f"Too many requests; current limit is {limit} requests per 5 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
