"""One moment on the clocks that matter, so that what decides reads none itself. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """Now: on the monotonic clock, by the host's (UTC) and by the exchange's."""

    ns: int
    wall_ns: int
    exchange_ms: int
