"""An exchange that publishes no limits leaves those we know in force, in Redis as in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.exchanges.binance.connect import pacer_for


@pytest.mark.parametrize("shared", ["redis", "file"])
async def test_no_limits_published_is_no_limit_changed(
    shared: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    control = request.getfixturevalue("redis_url") if shared == "redis" else None
    pacer = pacer_for(
        Market.UM, "http://127.0.0.1:9", control_url=control, var_dir=tmp_path, budget_share=0.8, max_wait_s=1.0
    )
    try:
        await pacer.set_limits({})
        standing = await pacer.standing()
    finally:
        await pacer.close()
    usable = {pool.name: pool.usable for pool in standing.pools}
    assert usable == {"REQUEST_WEIGHT": 1920, "FUNDING": 400, "FUTURES_DATA": 800}
