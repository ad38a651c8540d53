"""What all connections of a process share: seams, settings, clocks, budgets, counts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gapless.domain.instrument import Market
from streamer.connections.patience import AttemptBudget, Refusals
from streamer.connections.seams import ConnectionsState, Intake
from streamer.connections.settings import ConnectionSettings
from streamer.connections.silence import LostTime
from streamer.transport import Transport

_FAILURES_WITHIN_S = 600.0


@dataclass
class Office:
    """One a process.

    Attributes:
        clock: monotonic seconds. utc_ns: the host's clock. random: from [0, 1).
        closing: no connection is opened any more.
    """

    intake: Intake
    transport: Transport
    urls: Mapping[Market, str]
    settings: ConnectionSettings
    proxy_for: Callable[[str], str | None]
    say: Callable[[str], None]
    clock: Callable[[], float]
    utc_ns: Callable[[], int]
    random: Callable[[], float]
    state: ConnectionsState = field(default_factory=ConnectionsState)
    refusals: Refusals = field(default_factory=Refusals)
    closing: bool = False

    def __post_init__(self) -> None:
        self.budget = AttemptBudget(self.settings.attempts, self.settings.attempts_s)
        self.lost = LostTime(self.settings.tick_s)
        self.connecting = asyncio.Semaphore(self.settings.connecting)
        self._failures: deque[float] = deque(maxlen=self.settings.failures + 1)

    def awake_s(self) -> float:
        """Monotonic seconds without those in which the process did not run: what silence is measured by."""
        return self.clock() - self.lost.lost_s

    def failed(self) -> bool:
        """Whoever takes messages raised: a bug. True: too often, and the sidecar must stop for it to be seen."""
        now_s = self.clock()
        self.state.failures += 1
        self._failures.append(now_s)
        full = len(self._failures) == self._failures.maxlen
        return full and now_s - self._failures[0] <= _FAILURES_WITHIN_S
