"""How often the search for missing trades may ask, so that snapshots and bars find budget beside it. Pure."""

from __future__ import annotations


class Allowance:
    """A bucket of requests: so many at once, filled again over a minute.

    Args:
        a_minute: requests.
        now_s: of the monotonic clock.
    """

    def __init__(self, a_minute: float, now_s: float) -> None:
        self._most = max(1.0, a_minute)
        self._left = self._most
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Take one; how long to wait before it may be made. Those that wait stand behind each other."""
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._most / 60.0) - 1.0
        self._at_s = now_s
        return max(0.0, -self._left * 60.0 / self._most)
