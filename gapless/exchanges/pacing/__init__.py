"""Request budgets and bans, shared by every process behind one address (law 8 of the design)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gapless.exchanges.pacing.budget import Halt, Pool
from gapless.exchanges.pacing.file_store import FileStore
from gapless.exchanges.pacing.pacer import REQUESTS, WEIGHT, Clock, OnWait, Pacer, Standing
from gapless.exchanges.pacing.redis_store import RedisStore
from gapless.exchanges.pacing.shared import SharedStore, Store

__all__ = [
    "REQUESTS",
    "WEIGHT",
    "Clock",
    "FileStore",
    "Halt",
    "OnWait",
    "Pacer",
    "Pool",
    "RedisStore",
    "SharedStore",
    "Standing",
    "Store",
    "open_pacer",
    "scope_of",
]

_PORTS = {"http": 80, "https": 443}


def scope_of(base_url: str, market: str) -> str:
    """Who shares a budget: everything that asks this host and port for this market. `fapi.binance.com:443:um`."""
    parts = urlsplit(base_url)
    return f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 0)}:{market}"


def open_pacer(
    base_url: str,
    exchange: str,
    market: str,
    pools: Sequence[Pool],
    *,
    control_url: str | None,
    var_dir: Path,
    max_wait_s: float,
    on_wait: OnWait | None = None,
) -> Pacer:
    """The pacer of one market behind one base URL. Close it.

    Args:
        control_url: the Redis that all processes share; None for the file alone.
        var_dir: where the file lies, `<var_dir>/pacing/<scope>.json`.
    """
    scope = scope_of(base_url, market)
    file = FileStore(var_dir / "pacing" / f"{scope.replace(':', '_')}.json")
    redis = RedisStore(control_url, scope) if control_url else None
    name = f"{exchange} {market} at {urlsplit(base_url).hostname}"
    return Pacer(name, pools, SharedStore(redis, file), max_wait_s=max_wait_s, on_wait=on_wait)
