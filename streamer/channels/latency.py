"""How long messages were under way, counted to the millisecond. One index and one addition a message."""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_MS = 60_000


class Delays:
    """Counts by whole milliseconds; what took longer than a minute counts as a minute.

    Attributes:
        counts: by millisecond; the hot paths write it themselves. Less than nothing, which a clock that runs behind
            makes, counts as nothing.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * (LONGEST_MS + 1)

    def below(self, bounds_ms: Sequence[int]) -> list[int]:
        """How many took at most each of these, ascending; then how many there were."""
        found, at, total = [], 0, 0
        for bound in bounds_ms:
            total += sum(self.counts[at : bound + 1])
            at = bound + 1
            found.append(total)
        return [*found, total + sum(self.counts[at:])]
