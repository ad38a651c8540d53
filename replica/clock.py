"""The replica's clock: exchange time, from any start and at any pace, frozen or moved by hand."""

from __future__ import annotations

import time
from collections.abc import Callable

from gapless.errors import ConfigError

_LAST_MS = 4_102_444_800_000  # 2100-01-01


class ReplicaClock:
    """Exchange time in milliseconds.

    Args:
        start_ms: what it shows now; the host's time when None.
        speed: exchange seconds in a second of the host; 0 freezes it.
        monotonic: seconds of a clock that never jumps.

    Raises:
        ConfigError: the moment is not between 1970 and 2100.
    """

    def __init__(
        self, start_ms: int | None = None, speed: float = 1.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._speed = speed
        self.set(time.time_ns() // 1_000_000 if start_ms is None else start_ms)

    @property
    def speed(self) -> float:
        return self._speed

    def now_ms(self) -> int:
        """Exchange time now."""
        return self._base_ms + int((self._monotonic() - self._since) * 1000 * self._speed)

    def set(self, at_ms: int) -> None:
        """Shows `at_ms` from now on, earlier or later than before; the pace stays.

        Raises:
            ConfigError: the moment is not between 1970 and 2100.
        """
        if not 0 <= at_ms < _LAST_MS:
            raise ConfigError(f"the replica's clock goes from 1970 to 2100; {at_ms} ms is outside")
        self._base_ms, self._since = at_ms, self._monotonic()

    def advance(self, by_ms: int) -> None:
        """Moves on by `by_ms`."""
        self.set(self.now_ms() + by_ms)

    def pace(self, speed: float) -> None:
        """Goes on from the present moment at another speed."""
        self.set(self.now_ms())
        self._speed = speed
