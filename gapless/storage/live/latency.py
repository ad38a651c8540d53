"""How long things took, as counts in fixed buckets: cheap to add to, enough for quantiles and for Prometheus."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000)
_BOUNDS_NS = [int(bound * 1_000_000) for bound in BOUNDS_MS]


class Latencies:
    """Counts by upper bound in `BOUNDS_MS`; the last count is of what took longer.

    >>> taken = Latencies()
    >>> taken.add(3_000_000, 10)
    >>> taken.quantile_ms(0.5)
    5
    """

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_MS) + 1)
        self.sum_ns = 0

    def add(self, took_ns: int, times: int = 1) -> None:
        """Count `times` things that took this long."""
        self.counts[bisect_left(_BOUNDS_NS, took_ns)] += times
        self.sum_ns += took_ns * times

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def quantile_ms(self, share: float) -> float:
        """The bound below which this share lies; infinite past the last, 0 when nothing was counted."""
        wanted = share * self.total
        if not wanted:
            return 0.0
        seen = 0
        for bound, count in zip(BOUNDS_MS, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return float("inf")
