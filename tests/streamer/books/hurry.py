"""REST clients in a time of their own, beside a replica that keeps it too, and somebody who takes snapshots."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import Snapshot
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.pacing import WEIGHT, FileStore, Pacer, Pool, SharedStore
from tests.fixtures.replica import ReplicaHandle

MINUTE_MS = 60_000


class Timed(Protocol):
    """Some time that a client lives in."""

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True)
class Fast:
    """So many seconds of the exchange pass in one of ours."""

    factor: float

    def monotonic(self) -> float:
        return time.monotonic() * self.factor

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.factor)

    def within(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout(seconds / self.factor)


@dataclass
class Made:
    """Only sleeping takes time, which the replica's clock is told: no machine is too slow for it."""

    replica: ReplicaHandle
    now_ms: int = 1_000_000

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        passed_ms = math.ceil(seconds * 1000)
        await asyncio.to_thread(self.replica.advance, passed_ms / 1000)
        self.now_ms += passed_ms


def rest_in(
    timed: Timed, url: str, folder: Path, *, limit: int, share: float, max_wait_s: float = 3600.0
) -> BinanceRest:
    """A client of USD-M that goes by this time in all it does."""
    file = FileStore(folder / "pace.json", monotonic=timed.monotonic, wall=timed.monotonic)
    pacer = Pacer(
        "binance um at test",
        [Pool(WEIGHT, limit, MINUTE_MS, share)],
        SharedStore(None, file),
        max_wait_s=max_wait_s,
        monotonic=timed.monotonic,
        wall=timed.monotonic,
        sleep=timed.sleep,
        jitter=lambda: 0.0,
    )
    return BinanceRest(
        Market.UM, url, pacer,
        monotonic=timed.monotonic, wall=timed.monotonic, sleep=timed.sleep, timeout_s=1200,
    )  # fmt: skip


@dataclass
class Owner:
    """Takes every snapshot; remembers when it came and of how many levels, in seconds since its own start."""

    timed: Timed
    wanted: int
    came: list[tuple[float, str, int]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    then: Callable[[str], None] = lambda symbol: None

    def __post_init__(self) -> None:
        self.started_s = self.timed.monotonic()

    def opening(self, raw_symbol: str) -> None:
        self.opened.append(raw_symbol)
        self.busy.set()

    def arrived(self, raw_symbol: str, snapshot: Snapshot, levels: int) -> None:
        assert raw_symbol in self.opened
        assert snapshot.bids
        self.came.append((self.timed.monotonic() - self.started_s, raw_symbol, levels))
        self.then(raw_symbol)
        if len(self.came) == self.wanted:
            self.done.set()

    def failed(self, raw_symbol: str, why: str) -> None:
        self.failures.append(f"{raw_symbol}: {why}")
        self.told.set()

    def of(self, levels: int) -> list[tuple[float, str]]:
        return [(at, symbol) for at, symbol, each in self.came if each == levels]
