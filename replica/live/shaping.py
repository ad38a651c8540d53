"""Messages of one stream held back: delayed, or sent after later ones. Pure: the caller brings the time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Held(Generic[T]):
    """A message, and how many have yet to pass it."""

    message: T
    behind: int


class Shaper(Generic[T]):
    """What a stream's messages wait for, in its order.

    A delayed message holds back those behind it, as a stream's order demands; a reordered one is passed by the next
    so many.
    """

    def __init__(self) -> None:
        self._held: list[_Held[T]] = []
        self._late: deque[tuple[float, T]] = deque()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._held or self._late)

    def put(self, message: T, now_s: float, *, delay_s: float = 0.0, behind: int = 0) -> list[T]:
        """Takes a message; returns what is to be sent now."""
        if behind:
            self._held.append(_Held(message, behind))
            return self.due(now_s)
        ready = [message]
        for held in self._held:
            held.behind -= 1
            if not held.behind:
                ready.append(held.message)
        self._held = [held for held in self._held if held.behind]
        if not self._late and not delay_s:
            return ready
        for each in ready:
            at = self._late[-1][0] if self._late else now_s
            self._late.append((max(at, now_s + delay_s), each))
        return self.due(now_s)

    def due(self, now_s: float) -> list[T]:
        """What has waited long enough."""
        ready = []
        while self._late and self._late[0][0] <= now_s:
            ready.append(self._late.popleft()[1])
        return ready

    def release(self) -> list[T]:
        """All that waits, in its order: the fault is over."""
        ready = [message for _, message in self._late] + [held.message for held in self._held]
        self._late.clear()
        self._held = []
        return ready
