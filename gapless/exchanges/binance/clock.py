"""The exchange's clock, as far as one can know it: bounds that hold, from `/time` samples and the monotonic clock.

The host's wall clock takes no part. It is only compared, so that a wrong one shows in a metric.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

STALE_AFTER_S = 600.0
"""When a sample should be renewed: the two clocks may drift apart by 0.3 s in this time."""

_DRIFT = 500e-6  # the fastest that a kernel slews its monotonic clock


@dataclass(frozen=True, slots=True)
class TimeSample:
    """The exchange's clock as it stood at some moment between sending and receiving.

    Attributes:
        sent_s, received_s: monotonic clock around the request.
        wall_s: the host's wall clock on receipt, seconds since the epoch.
    """

    server_ms: int
    sent_s: float
    received_s: float
    wall_s: float


class ExchangeClock:
    """Bounds of the exchange's time now. Without a sample there are none."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._sample: TimeSample | None = None

    def take(self, sample: TimeSample) -> None:
        """Go by this sample from now on."""
        self._sample = sample

    @property
    def stale(self) -> bool:
        """Whether a sample is missing or too old to be exact."""
        return self._sample is None or self._monotonic() - self._sample.received_s > STALE_AFTER_S

    def bounds_ms(self, at_s: float | None = None) -> tuple[int, int] | None:
        """The earliest and the latest that the exchange's clock can show at a moment of the monotonic clock.

        Now unless given; None before the first sample.
        """
        sample = self._sample
        if sample is None:
            return None
        at = self._monotonic() if at_s is None else at_s
        return (
            sample.server_ms + _ms(at - sample.received_s, fast=at < sample.received_s),
            sample.server_ms + 1 + _ms(at - sample.sent_s, fast=at > sample.sent_s),
        )

    def now_ms(self) -> int:
        """A lower bound of the exchange's time: a bar that is closed by it is closed, never too early.

        Raises:
            LookupError: there is no sample yet; `BinanceRest` takes one on entering.
        """
        bounds = self.bounds_ms()
        if bounds is None:
            raise LookupError("the exchange's clock has not been read yet")
        return bounds[0]

    @property
    def host_offset_ms(self) -> int | None:
        """How far the host's wall clock ran ahead of the exchange's (negative: behind) at the sample, or None.

        Exact to half the round trip.
        """
        sample = self._sample
        if sample is None:
            return None
        middle_s = (sample.received_s - sample.sent_s) / 2
        return round(sample.wall_s * 1000 - middle_s * 1000) - sample.server_ms


def _ms(elapsed_s: float, *, fast: bool) -> int:
    """Elapsed milliseconds of the exchange's clock, if ours runs slow (`fast`) or fast by the worst drift."""
    return math.floor(elapsed_s * 1000 * (1 + _DRIFT if fast else 1 - _DRIFT))
