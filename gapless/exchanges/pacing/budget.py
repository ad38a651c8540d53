"""Who may send a request now: fixed windows of the exchange's clock, halts, and the decision. Pure, no I/O, no clock.

The exchange counts in fixed windows (the minute 00:01:00-00:02:00, not the last sixty seconds), so do we. Nothing is
reserved or leased: what was granted counts as spent until its window ends, because the exchange may have counted it
even if we were killed. So a killed process holds back at most the weight of its last window, which lapses by itself.

The same decision is written a second time in `redis_store`, as a script that Redis runs; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

DAY_MS = 86_400_000
FIRST_BAN_MS = 120_000
LONGEST_BAN_MS = 3 * DAY_MS
"""A ban lasts from two minutes to three days, growing for repeated offenders (the exchange's limits page)."""

HaltKind = Literal["banned", "limited", "firewall"]


@dataclass(frozen=True, slots=True)
class Pool:
    """A limit of the exchange: at most `limit` units in each window of `window_ms`; we use `share` of it."""

    name: str
    limit: int
    window_ms: int
    share: float = 1.0

    @property
    def usable(self) -> int:
        """What all our processes together may spend in one window."""
        return max(1, int(self.limit * self.share))


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request costs in one window of one pool.

    Attributes:
        window: index of the window, exchange time divided by its length.
        cost: units to spend; 0 only reports `at_least`.
        usable: the pool's bound in force.
        at_least: what is known to be spent in that window already (the exchange's header, or this process's memory).
        keep_ms: how long the count is kept; two windows, after which it means nothing.
    """

    pool: str
    window: int
    cost: int
    usable: int
    at_least: int
    keep_ms: int


class Halt(msgspec.Struct, frozen=True):
    """Nobody sends anything for `left_ms`. `until_ms` is the exchange's clock then, for messages; 0 if unknown."""

    kind: HaltKind
    left_ms: int
    until_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The decision on a request.

    Attributes:
        halt: the halt in force, if any.
        full: position of the charge that does not fit, if any.
        spent: for each charge what its window holds, this request included when it was granted.
    """

    halt: Halt | None
    full: int | None
    spent: tuple[int, ...]

    @property
    def granted(self) -> bool:
        """Whether the request may be sent."""
        return self.halt is None and self.full is None


def fits(charge: Charge, spent: int) -> bool:
    """Whether the charge goes into its window. A request dearer than the whole budget gets a window of its own."""
    return charge.cost == 0 or spent == 0 or spent + charge.cost <= charge.usable


def decide(
    spent: dict[str, dict[int, int]], halt: Halt | None, charges: Sequence[Charge]
) -> tuple[dict[str, dict[int, int]], Answer]:
    """The decision on a request, and what is spent by pool and window afterwards.

    All charges are granted or none. What is learnt from `at_least` is kept either way. Windows older than the one
    before a granted charge are forgotten.
    """
    after = {pool: dict(windows) for pool, windows in spent.items()}
    for charge in charges:
        windows = after.setdefault(charge.pool, {})
        if charge.at_least > windows.get(charge.window, 0):
            windows[charge.window] = charge.at_least
    before = tuple(after[charge.pool].get(charge.window, 0) for charge in charges)
    if halt:
        return after, Answer(halt, None, before)
    for place, (charge, now) in enumerate(zip(charges, before, strict=True)):
        if not fits(charge, now):
            return after, Answer(None, place, before)
    for charge in charges:
        if charge.cost:
            windows = after[charge.pool]
            windows[charge.window] = windows.get(charge.window, 0) + charge.cost
            after[charge.pool] = {w: n for w, n in windows.items() if w >= charge.window - 1}
    return after, Answer(None, None, tuple(now + charge.cost for charge, now in zip(charges, before, strict=True)))


def charges_for(pools: Iterable[tuple[Pool, int]], earliest_ms: int, latest_ms: int) -> list[Charge]:
    """The charges of a request that the exchange will count at some moment from `earliest_ms` to `latest_ms`.

    Around the turn of a window it is not known which one the exchange will count it in: then both are charged.
    """
    return [
        Charge(pool.name, window, cost, pool.usable, 0, 2 * pool.window_ms)
        for pool, cost in pools
        for window in range(earliest_ms // pool.window_ms, latest_ms // pool.window_ms + 1)
    ]


def ban_length_ms(strikes: int) -> int:
    """How long to keep still when the exchange does not say: two minutes, doubled for each repeat up to three days."""
    return int(min(FIRST_BAN_MS * 2 ** min(strikes - 1, 16), LONGEST_BAN_MS))
