"""600 books at once against a replica in a process of its own, in a time that passes by waiting alone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import depth_weight
from streamer.books.settings import BookSettings
from streamer.books.snapshots import SnapshotDesk
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle
from tests.streamer.books.hurry import Made, Owner, rest_in

LIMIT, SHARE = 2400, 0.8
"""What USD-M allows a minute, and how much of it is ours."""


@pytest.fixture
def crowded(start_exchange: ReplicaFactory) -> ReplicaHandle:
    """A replica of 600 perpetuals that refuses whatever goes beyond our share of the exchange's limit."""
    replica = start_exchange("--generate", "7", "--symbols", "600", "--speed", "0", "--start", "2026-11-15T12:30")
    replica.limits(um={"weight_per_minute": int(LIMIT * SHARE)})
    return replica


async def test_600_books_are_shallow_first_then_deep_within_the_share_and_in_time(
    crowded: ReplicaHandle, tmp_path: Path
) -> None:
    settings = BookSettings()
    symbols = [each["symbol"] for each in crowded.get("/fapi/v1/exchangeInfo")["symbols"]][:600]
    assert len(symbols) == 600
    volumes = {symbol: float(place) for place, symbol in enumerate(sorted(symbols))}
    made = Made(crowded)
    async with rest_in(made, crowded.um_rest, tmp_path, limit=LIMIT, share=SHARE) as rest:
        owner = Owner(made, wanted=1200)
        desk = SnapshotDesk(rest, owner, settings, monotonic=made.monotonic)
        desk.rank(volumes)
        for symbol in symbols:
            desk.build(symbol)
        task = asyncio.create_task(desk.run())
        await asyncio.wait_for(owner.done.wait(), 60)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        sent = rest.requests - 1, rest.weight - 1  # one read the clock
    weight = 600 * (depth_weight(Market.UM, settings.shallow_um) + depth_weight(Market.UM, settings.depth))
    shallow, deep = owner.of(settings.shallow_um), owner.of(settings.depth)
    assert (len(shallow), len(deep), owner.failures, desk.limited) == (600, 600, [], 0)
    assert sent == (1200, weight)  # each asked for once: none was refused
    assert shallow[-1][0] < 120
    # Four are under way at once and may overtake each other by as many.
    by_volume = sorted(symbols, key=lambda symbol: -volumes[symbol])
    for came in (shallow, deep):
        assert all(abs(by_volume.index(symbol) - place) < 8 for place, (_, symbol) in enumerate(came))
    assert max(shallow)[0] <= deep[4][0]
    assert deep[-1][0] <= 1.1 * 60 * weight / (LIMIT * SHARE)
