"""600 books at once against a replica in a process of its own, its minutes and ours three seconds long."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import Snapshot, depth_weight
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.pacing import WEIGHT, FileStore, Pacer, Pool, SharedStore
from streamer.books.settings import BookSettings
from streamer.books.snapshots import SnapshotDesk
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle

FAST = 20.0
"""So many seconds of the exchange pass in one of ours."""
MINUTE_MS = 60_000
LIMIT, SHARE = 4500, 0.8


def fast_monotonic() -> float:
    return time.monotonic() * FAST


async def fast_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / FAST)


def fast_rest(market: Market, url: str, folder: Path, limit: int = LIMIT) -> BinanceRest:
    """A client whose clocks all run fast."""
    file = FileStore(folder / "pace.json", monotonic=fast_monotonic, wall=fast_monotonic)
    pacer = Pacer(
        "binance um at test",
        [Pool(WEIGHT, limit, MINUTE_MS, SHARE)],
        SharedStore(None, file),
        max_wait_s=3600,
        monotonic=fast_monotonic,
        wall=fast_monotonic,
        sleep=fast_sleep,
        jitter=lambda: 0.0,
    )
    return BinanceRest(
        market, url, pacer, monotonic=fast_monotonic, wall=fast_monotonic, sleep=fast_sleep, timeout_s=20 * FAST
    )


@dataclass
class Owner:
    """Takes every snapshot; remembers when it came and of how many levels, in the exchange's seconds."""

    wanted: int
    came: list[tuple[float, str, int]] = field(default_factory=list)
    opened: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    started_s: float = field(default_factory=fast_monotonic)

    def opening(self, raw_symbol: str) -> None:
        self.opened.add(raw_symbol)

    def arrived(self, raw_symbol: str, snapshot: Snapshot, levels: int) -> None:
        assert raw_symbol in self.opened
        assert snapshot.bids
        self.came.append((fast_monotonic() - self.started_s, raw_symbol, levels))
        if len(self.came) == self.wanted:
            self.done.set()

    def failed(self, raw_symbol: str, why: str) -> None:
        self.failures.append(f"{raw_symbol}: {why}")

    def of(self, levels: int) -> list[tuple[float, str]]:
        return [(at, symbol) for at, symbol, each in self.came if each == levels]


@pytest.fixture
def crowded(start_exchange: ReplicaFactory) -> ReplicaHandle:
    """A replica of 600 perpetuals that refuses whatever goes beyond our share of the exchange's limit."""
    replica = start_exchange("--generate", "7", "--symbols", "600", "--speed", str(FAST), "--start", "2026-11-15T12:30")
    replica.limits(um={"weight_per_minute": int(LIMIT * SHARE)})
    return replica


async def test_600_books_are_shallow_first_then_deep_within_the_share_and_in_time(
    crowded: ReplicaHandle, tmp_path: Path
) -> None:
    settings = BookSettings()
    symbols = [each["symbol"] for each in crowded.get("/fapi/v1/exchangeInfo")["symbols"]][:600]
    assert len(symbols) == 600
    volumes = {symbol: float(place) for place, symbol in enumerate(sorted(symbols))}
    crowded.set_clock("2026-11-15T12:40:00")  # a minute begins: what is granted in it can be spent in it
    async with fast_rest(Market.UM, crowded.um_rest, tmp_path) as rest:
        owner = Owner(wanted=1200)
        desk = SnapshotDesk(rest, owner, settings, monotonic=fast_monotonic)
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
