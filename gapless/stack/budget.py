"""How the shared request budgets stand, for `gapless status`: used weight, and the end of a ban."""

from __future__ import annotations

import asyncio

from gapless.config import Settings
from gapless.domain.instrument import Market
from gapless.domain.window import iso
from gapless.exchanges.binance.connect import pacer_for
from gapless.exchanges.pacing import WEIGHT
from gapless.stack.status import Budget


def read_budgets(settings: Settings) -> list[Budget]:
    """The budgets of both markets, from wherever the pacing keeps them now. No request is sent."""

    async def read() -> list[Budget]:
        return [await _read(settings, market) for market in Market]

    return asyncio.run(read())


async def _read(settings: Settings, market: Market) -> Budget:
    pacer = pacer_for(
        market,
        settings.rest_url(market),
        control_url=settings.control_url,
        var_dir=settings.var_dir,
        budget_share=settings.budget_share,
    )
    try:
        standing = await pacer.standing()
    finally:
        await pacer.close()
    halt = standing.halt
    return Budget(
        market=market.value,
        used_weight=standing.spent.get(WEIGHT, 0),
        usable_weight=next(pool.usable for pool in standing.pools if pool.name == WEIGHT),
        halted_until=None if halt is None else iso(halt.until_ms) if halt.until_ms else "",
        halted_because=halt.reason if halt else "",
    )
