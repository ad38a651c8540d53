"""A made-up time for pacing: sleeping moves it, nothing waits. The exchange's clock runs beside the host's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from gapless.exchanges.pacing import FileStore, Pacer, Pool, Store

MINUTE = 60_000
NOON = 1_790_000_040_000
"""A moment of the exchange's clock, on a minute's turn."""


@dataclass
class World:
    """`monotonic`, `wall` and the exchange's clock, all moved by `sleep`."""

    exchange_ms: int = NOON + 30_000
    uncertainty_ms: int = 0
    host_ahead_s: float = 0.0
    elapsed_s: float = 1000.0
    known: bool = True
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._zero = self.exchange_ms - self.elapsed_s * 1000
        self.asleep = asyncio.Event()

    def monotonic(self) -> float:
        return self.elapsed_s

    def wall(self) -> float:
        return (self._zero + self.elapsed_s * 1000) / 1000 + self.host_ahead_s

    def now_ms(self) -> int:
        return round(self._zero + self.elapsed_s * 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.asleep.set()
        self.pass_s(seconds)
        await asyncio.sleep(0)

    def pass_s(self, seconds: float) -> None:
        self.elapsed_s += seconds

    def bounds_ms(self, at_s: float | None = None) -> tuple[int, int] | None:
        """The clock that a pacer follows."""
        if not self.known:
            return None
        at = round(self._zero + (self.elapsed_s if at_s is None else at_s) * 1000)
        return at, at + self.uncertainty_ms

    def file(self, path: Path) -> FileStore:
        return FileStore(path / "pace.json", monotonic=self.monotonic, wall=self.wall)

    def pacer(self, store: Store, *, limit: int = 100, share: float = 1.0, max_wait_s: float = 900.0) -> Pacer:
        pool = Pool("REQUEST_WEIGHT", limit, MINUTE, share)
        self.told: list[tuple[str, int]] = []
        pacer = Pacer(
            "binance um at test",
            [pool],
            store,
            max_wait_s=max_wait_s,
            on_wait=lambda why, until: self.told.append((why, until)),
            monotonic=self.monotonic,
            wall=self.wall,
            sleep=self.sleep,
            jitter=lambda: 0.5,
        )
        pacer.follow(self)
        return pacer
