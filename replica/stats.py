"""What the replica counted: requests, weight by minute, refusals, faults. The exchange's own view of a client."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

from gapless.domain.instrument import Market
from gapless.domain.window import iso

_MINUTES_KEPT = 1440


@dataclass(slots=True)
class PoolStats:
    """Requests of one five-minute pool, by the exchange's clock."""

    total: int = 0
    most: int = 0
    window: int = -1
    in_window: int = 0

    def count(self, now_ms: int) -> None:
        window = now_ms // 300_000
        if window != self.window:
            self.window, self.in_window = window, 0
        self.total += 1
        self.in_window += 1
        self.most = max(self.most, self.in_window)


@dataclass(slots=True)
class MarketStats:
    """Counts of one market since the start or the last reset."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    weight: int = 0
    max_minute: int = 0
    minutes: OrderedDict[int, int] = field(default_factory=OrderedDict)
    pools: dict[str, PoolStats] = field(default_factory=dict)

    def pool(self, name: str, now_ms: int) -> None:
        """Counts a request of a five-minute pool."""
        self.pools.setdefault(name, PoolStats()).count(now_ms)

    def weigh(self, weight: int, now_ms: int) -> None:
        minute = now_ms // 60_000
        used = self.minutes.get(minute, 0) + weight
        self.minutes[minute] = used
        self.weight += weight
        self.max_minute = max(self.max_minute, used)
        if len(self.minutes) > _MINUTES_KEPT:
            self.minutes.popitem(last=False)

    def report(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "requests_total": self.requests.total(),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "refused_429": self.statuses[429],
            "refused_418": self.statuses[418],
            "rows": self.rows,
            "pools": {name: {"requests": pool.total, "max_5m": pool.most} for name, pool in sorted(self.pools.items())},
            "weight_total": self.weight,
            "weight_max_minute": self.max_minute,
            "weight_by_minute": {iso(minute * 60_000): used for minute, used in self.minutes.items()},
        }


@dataclass(slots=True)
class ArchiveStats:
    """Counts of the archive: requests by kind (`zip`, `CHECKSUM`, `list`), HEADs among them, statuses, body bytes."""

    requests: Counter[str] = field(default_factory=Counter)
    heads: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    bytes: int = 0

    def count(self, kind: str, status: int, size: int, *, head: bool = False) -> None:
        """One answer of so many bytes; a HEAD has none."""
        self.requests[kind] += 1
        self.statuses[status] += 1
        self.heads += head
        self.bytes += 0 if head else size

    def report(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "requests_total": self.requests.total(),
            "heads": self.heads,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "bytes": self.bytes,
        }


@dataclass(slots=True)
class Stats:
    """Counts of both markets and of the archive. Weight is summed over all addresses, refused requests included."""

    markets: dict[Market, MarketStats] = field(default_factory=lambda: {market: MarketStats() for market in Market})
    archive: ArchiveStats = field(default_factory=ArchiveStats)
    unknown_paths: Counter[str] = field(default_factory=Counter)

    def reset(self) -> None:
        """Starts again from nothing."""
        self.markets = {market: MarketStats() for market in Market}
        self.archive = ArchiveStats()
        self.unknown_paths.clear()

    def report(self) -> dict[str, Any]:
        """The counts as JSON values; `weight_by_minute` keeps the newest 1,440 minutes that saw a request."""
        return {
            **{market.value: stats.report() for market, stats in self.markets.items()},
            "vision": self.archive.report(),
            "unknown_paths": dict(self.unknown_paths),
        }
