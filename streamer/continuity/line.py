"""Contiguous ids of one symbol: what is next, what is missing, what waits for it. Pure.

The caller takes the regular case itself, as it runs for each trade: `if id == line.expected: line.expected = id + 1`
and the trade goes on. Everything else is `irregular`. While trades wait behind a hole, `expected` is -1: no id is that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from streamer.continuity.holes import Hole, Lost, Range, cut, drop, first_of
from streamer.continuity.settings import ContinuitySettings

T = TypeVar("T")
_DEFAULTS = ContinuitySettings()


class Room:
    """Bytes that the waiting trades of many lines may take together."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int = _DEFAULTS.room_bytes) -> None:
        self.limit = limit
        self.used = 0


class Line(Generic[T]):
    """The ids of one symbol, in order, each once.

    A missing id holds up what follows, within bounds of count, bytes and time. At a bound the oldest hole is
    *deferred*: what waited behind it goes on, and its trades, when they come, follow at once, out of order. What is
    deferred, and what is lost at the last bound, stands in `deferred` and `lost` until somebody takes and tells it.

    Args:
        settings: bounds and patience.
        room: shared by the lines of a market; own unless given.
        weigh: the bytes of an item.

    Attributes:
        expected: the next id; -1 before the first and while a hole is open.
        duplicates: ids that came again, or from before the beginning.
        reordered: ids that came late and closed a hole by themselves.
        filled: ids that `fill` brought.
        deferred, lost: not told yet, oldest first.
        held_bytes: of what waits.
    """

    __slots__ = (
        "_behind_since_ns",
        "_behind_top",
        "_first_behind",
        "_frontier",
        "_held",
        "_holes",
        "_horizon",
        "_late",
        "_room",
        "_settings",
        "_weigh",
        "deferred",
        "duplicates",
        "expected",
        "filled",
        "held_bytes",
        "lost",
        "reordered",
    )

    def __init__(
        self,
        settings: ContinuitySettings = _DEFAULTS,
        *,
        room: Room | None = None,
        weigh: Callable[[T], int] = lambda item: 500,
    ) -> None:
        self.expected = -1
        self.duplicates = self.reordered = self.filled = self.held_bytes = 0
        self.deferred: list[Range] = []
        self.lost: list[Lost] = []
        self._settings = settings
        self._room = room if room is not None else Room(settings.room_bytes)
        self._weigh = weigh
        self._holes: list[Hole] = []  # what follows them waits; the first begins where emitting stopped
        self._late: list[Hole] = []  # deferred: all below what was emitted
        self._held: dict[int, T] = {}
        self._horizon = -1  # while there are holes: one beyond the greatest id seen
        self._frontier = self._behind_since_ns = self._behind_top = self._first_behind = -1

    @property
    def troubled(self) -> bool:
        """Whether somebody has to look: ids are missing, or there is something to tell."""
        return bool(self._holes or self._late or self.deferred or self.lost)

    @property
    def held(self) -> int:
        """How many items wait."""
        return len(self._held)

    @property
    def next_id(self) -> int:
        """The first id that was not emitted; -1 before the first."""
        return self._holes[0].first if self._holes else self.expected

    def resume(self, last_id: int) -> None:
        """Go on after an id that was emitted before this process began. Only before the first id."""
        if self.expected < 0 and not self._holes:
            self.expected = last_id + 1

    def reopen(self, first: int, last: int) -> None:
        """Ids from before that are missing still: they are searched for, and follow out of order. After `resume`."""
        last = min(last, self.next_id - 1)
        if first <= last and not any(hole.first <= last and first <= hole.last for hole in self._late):
            self._late.append(Hole(first, last))
            self._late.sort(key=first_of)

    def irregular(self, id: int, item: T, now_ns: int) -> Sequence[T]:
        """Anything but the expected id. What may go on now, in order.

        Args:
            now_ns: of any clock that is the same for all calls.
        """
        if not self._holes:
            expected = self.expected
            if id == expected or expected < 0:
                self.expected = id + 1
                return (item,)
            if id < expected:
                return self._behind(id, item, now_ns)
            self._holes.append(Hole(expected, id - 1))
            self.expected = -1
        elif id >= self._horizon:
            if id > self._horizon:
                self._holes.append(Hole(self._horizon, id - 1))
        elif id < self._holes[0].first:
            return self._behind(id, item, now_ns)
        else:
            start = self._holes[0].first
            if not cut(self._holes, id):
                self.duplicates += 1
                return ()
            self.reordered += 1
            self._hold(id, item)
            return self._release(start)
        self._horizon = id + 1
        self._hold(id, item)
        return self._within_bounds()

    def due(self, now_ns: int) -> list[Range]:
        """Holes that nothing closed within the patience (those deferred: at once), each returned once.

        A hole's age counts from the first look at it.
        """
        found = []
        for hole in self._late:
            if not hole.asked:
                hole.asked = True
                found.append(Range(hole.first, hole.last))
        for hole in self._holes:
            if not hole.asked and hole.age_ns(now_ns) >= self._settings.patience_ms * 1_000_000:
                hole.asked = True
                found.append(Range(hole.first, hole.last))
        return found

    def waiting_ns(self, now_ns: int) -> int:
        """For how long the oldest hole that `due` has not returned has been open; -1 if there is none."""
        return max((each.age_ns(now_ns) for holes in (self._late, self._holes) for each in holes if not each.asked),
                   default=-1)  # fmt: skip

    def overdue(self, now_ns: int) -> Sequence[T]:
        """Defer the holes that have held up others for too long; what may go on now."""
        found: list[T] = []
        while self._holes and self._holes[0].age_ns(now_ns) >= self._settings.hold_ms * 1_000_000:
            found += self._defer()
        return found

    def missing(self, first: int, last: int) -> list[Range]:
        """What of these ids is missing still, ascending."""
        return [
            Range(max(first, hole.first), min(last, hole.last))
            for holes in (self._late, self._holes)
            for hole in holes
            if hole.first <= last and first <= hole.last
        ]

    def fill(self, items: Iterable[tuple[int, T]]) -> Sequence[T]:
        """Items brought from elsewhere, by ascending id; those not missing are let go. What may go on now."""
        found: list[T] = []
        start = self.next_id
        for id, item in items:
            if cut(self._late, id):
                found.append(item)
            elif cut(self._holes, id):
                self._hold(id, item)
            else:
                continue
            self.filled += 1
        found += self._release(start)
        found += self._within_bounds()
        return found

    def give_up(self, first: int, last: int) -> Sequence[T]:
        """Wait for these ids no longer. What may go on now; `missing` says before what is lost by it."""
        start = self.next_id
        drop(self._late, first, last)
        drop(self._holes, first, last)
        return self._release(start)

    def finish(self) -> Sequence[T]:
        """Wait for nothing any longer: all holes are deferred; what may go on now."""
        found: list[T] = []
        while self._holes:
            found += self._defer()
        return found

    def _behind(self, id: int, item: T, now_ns: int) -> Sequence[T]:
        if cut(self._late, id):
            self.reordered += 1
            return (item,)
        frontier = self._horizon if self._holes else self.expected
        if frontier != self._frontier:
            self._frontier, self._behind_since_ns = frontier, now_ns
            self._first_behind = self._behind_top = id
        elif now_ns - self._behind_since_ns >= self._settings.renumbered_s * 1e9 and id > self._behind_top:
            return self._renumber(id, item)
        self._behind_top = max(self._behind_top, id)
        self.duplicates += 1
        return ()

    def _renumber(self, id: int, item: T) -> Sequence[T]:
        found = [*self.finish()]
        self.deferred.clear()
        old = "the exchange began to number anew before they came"
        self.lost += [Lost(hole.first, hole.last, old) for hole in self._late]
        self._late.clear()
        self.lost.append(
            Lost(min(self._first_behind, id - 1), id - 1, "taken for old ones: the exchange numbers anew", came=True)
        )
        self.expected, self._frontier = id + 1, -1
        found.append(item)
        return found

    def _hold(self, id: int, item: T) -> None:
        self._held[id] = item
        weight = self._weigh(item)
        self.held_bytes += weight
        self._room.used += weight

    def _release(self, start: int) -> list[T]:
        """What waits from `start` to the first hole."""
        held = self._held
        if not held:
            return []
        end = self._holes[0].first if self._holes else self._horizon
        # A hole that was given up may be far wider than all that waits.
        ids = range(start, end) if end - start <= 4 * len(held) else sorted(id for id in held if id < end)
        found = [held.pop(id) for id in ids if id in held]
        weight = sum(map(self._weigh, found))
        self.held_bytes -= weight
        self._room.used -= weight
        if not self._holes:
            self.expected = self._horizon
        return found

    def _within_bounds(self) -> list[T]:
        settings, found = self._settings, []
        while self._holes and (
            len(self._held) > settings.held_trades
            or self.held_bytes > settings.held_bytes
            or self._room.used > self._room.limit
            or len(self._holes) > settings.holes
        ):
            found += self._defer()
        return found

    def _defer(self) -> list[T]:
        hole = self._holes.pop(0)
        self.deferred.append(Range(hole.first, hole.last))
        self._late.append(hole)
        if len(self._late) > self._settings.holes:
            oldest = self._late.pop(0)
            self.lost.append(Lost(oldest.first, oldest.last, f"more than {self._settings.holes} holes at once"))
        return self._release(hole.first)
