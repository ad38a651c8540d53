"""How long messages were under way, counted to the millisecond. One index and one addition a message."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_MS = 60_000


class Delays:
    """Counts by whole milliseconds; what took longer than a minute counts as a minute.

    Attributes:
        counts: by millisecond; the hot paths write it themselves.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * (LONGEST_MS + 1)

    def add(self, ms: int) -> None:
        """Count one; a clock that runs behind makes less than nothing, which counts as nothing."""
        self.counts[0 if ms < 0 else ms if ms < LONGEST_MS else LONGEST_MS] += 1

    def below(self, bounds_ms: Sequence[int]) -> list[int]:
        """How many took at most each of these, ascending; then how many there were."""
        found, at, total = [], 0, 0
        for bound in bounds_ms:
            total += sum(self.counts[at : bound + 1])
            at = bound + 1
            found.append(total)
        return [*found, total + sum(self.counts[at:])]

    def quantile(self, share: float) -> float:
        """The delay in ms that this share stayed within; 0 when there was none."""
        wanted, seen = share * sum(self.counts), 0
        for ms, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return float(ms)
        return 0.0
