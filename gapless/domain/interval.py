"""Bar intervals, and the grid of open times each of them lays over UTC."""

from __future__ import annotations

from enum import StrEnum

from gapless.domain.window import Window
from gapless.errors import ConfigError

_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000, "4h": 14_400_000, "1d": 86_400_000}


class Interval(StrEnum):
    """A bar's length. Values are the exchange's own names, which are case-sensitive (`1m`, not `1M`).

    All six divide a UTC day, and bars are aligned to the Unix epoch, so an open time is on the grid
    when it is a multiple of `ms`.
    """

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"

    @property
    def ms(self) -> int:
        """Length in milliseconds."""
        return _MS[self.value]

    def floor(self, at_ms: int) -> int:
        """The latest grid point at or before `at_ms`."""
        return at_ms - at_ms % self.ms

    def ceil(self, at_ms: int) -> int:
        """The earliest grid point at or after `at_ms`."""
        return at_ms + -at_ms % self.ms

    def opens(self, window: Window) -> range:
        """Open times (ms) of the bars that **open** in the half-open window `[start, end)`."""
        return range(self.ceil(window.start_ms), window.end_ms, self.ms)

    def completing(self, window: Window) -> range:
        """Open times (ms) of the bars that **complete** in the window: `start < open + interval <= end`.

        This is the ETL's rule: by open time alone, the 4h and 1d bars would never be taken.
        """
        first = self.floor(window.start_ms - self.ms) + self.ms
        last = self.floor(window.end_ms - self.ms)
        return range(first, last + 1, self.ms)


ALL_INTERVALS: tuple[Interval, ...] = tuple(Interval)


def parse_intervals(text: str | None) -> tuple[Interval, ...]:
    """Intervals from a comma-separated list, shortest first, each once; `None` or `all` means all six.

    Raises:
        ConfigError: a name is not one of the six.
    """
    if text is None or text.strip() == "all":
        return ALL_INTERVALS
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _MS]
    if unknown or not names:
        wrong = ", ".join(unknown) or "(nothing)"
        raise ConfigError(f"unknown interval {wrong}: choose from {', '.join(ALL_INTERVALS)}")
    return tuple(interval for interval in ALL_INTERVALS if interval in names)
