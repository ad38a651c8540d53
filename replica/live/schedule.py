"""What is due next: timers in one heap, fired in order of time."""

from __future__ import annotations

import heapq

from replica.live.instrument import FAR_MS
from replica.live.timers import Timer


class Schedule:
    """The timers that run."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Timer]] = []
        self._numbers: dict[int, int] = {}
        self._last_number = 0

    def arm(self, timer: Timer, now_ms: int) -> None:
        """Starts a timer, or starts it anew."""
        timer.arm(now_ms)
        self._last_number += 1
        self._numbers[id(timer)] = self._last_number
        if timer.due_ms < FAR_MS:
            heapq.heappush(self._heap, (timer.due_ms, self._last_number, timer))

    def drop(self, timer: Timer) -> None:
        """Stops a timer; what the heap has of it is passed over."""
        self._numbers.pop(id(timer), None)

    def run(self, now_ms: int) -> None:
        """Everything due up to a moment happens, in order."""
        heap, numbers = self._heap, self._numbers
        while heap and heap[0][0] <= now_ms:
            due_ms, number, timer = heap[0]
            if timer.due_ms != due_ms or numbers.get(id(timer)) != number:
                heapq.heappop(heap)  # it was armed anew, or stopped
                continue
            timer.fire()
            if timer.due_ms < FAR_MS:
                heapq.heapreplace(heap, (timer.due_ms, number, timer))
            else:
                heapq.heappop(heap)

    def leap(self, now_ms: int) -> None:
        """Every timer that runs starts anew from a moment, in the order in which they were started."""
        running = sorted(self._heap, key=lambda entry: entry[1])
        self._heap = []
        for _, number, timer in running:
            if self._numbers.get(id(timer)) == number:
                self.arm(timer, now_ms)
