"""A Binance REST client with everything it needs, from plain values."""

from __future__ import annotations

from pathlib import Path

from gapless.domain.instrument import Market
from gapless.exchanges.binance.pools import POOLS
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.exchanges.pacing import REQUESTS, WEIGHT, OnWait, Pacer, Pool, open_pacer

_MINUTE_MS = 60_000
_LIMITS = {
    Market.SPOT: {WEIGHT: (6_000, _MINUTE_MS), REQUESTS: (300_000, 5 * _MINUTE_MS)},
    Market.UM: {WEIGHT: (2_400, _MINUTE_MS), **POOLS},
}
"""The exchange's limits in 2026 (reference 2.2), until its exchangeInfo is read."""


def connect(
    market: Market,
    base_url: str,
    *,
    control_url: str | None,
    var_dir: Path,
    budget_share: float,
    max_wait_s: float,
    on_wait: OnWait | None = None,
    concurrency: int = 8,
    timeout_s: float = 10.0,
    attempts: int = 4,
) -> BinanceRest:
    """A client to enter with `async with`, paced together with all other processes behind this address.

    Args:
        base_url: `Settings.rest_url(market)`.
        control_url: `Settings.control_url`; None keeps the budget in a file under `var_dir`.
        budget_share: `Settings.budget_share`.
        max_wait_s: the longest one call waits for budget or a ban before it raises `RateLimited` or `Banned`.
        on_wait: told what is waited for and until when (epoch ms), once for each new reason.
    """
    pacer = pacer_for(
        market,
        base_url,
        control_url=control_url,
        var_dir=var_dir,
        budget_share=budget_share,
        max_wait_s=max_wait_s,
        on_wait=on_wait,
    )
    return BinanceRest(market, base_url, pacer, concurrency=concurrency, timeout_s=timeout_s, attempts=attempts)


def pacer_for(
    market: Market,
    base_url: str,
    *,
    control_url: str | None,
    var_dir: Path,
    budget_share: float,
    max_wait_s: float = 0.0,
    on_wait: OnWait | None = None,
) -> Pacer:
    """The pacer alone, for its `standing()`: used weight and the end of a ban. Close it."""
    pools = [Pool(name, limit, window_ms, budget_share) for name, (limit, window_ms) in _LIMITS[market].items()]
    return open_pacer(
        base_url,
        EXCHANGE,
        market,
        pools,
        control_url=control_url,
        var_dir=var_dir,
        max_wait_s=max_wait_s,
        on_wait=on_wait,
    )
