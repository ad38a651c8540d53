"""What the outlet says of itself."""

from __future__ import annotations

import msgspec


class OutletState(msgspec.Struct, frozen=True, kw_only=True):
    """At one moment; counts are since the start of the process.

    Every entry that was put is in one of: written, refused, conflated, coalesced, dropped, waiting, in flight; or it
    was spooled and not yet unspooled.

    Attributes:
        connected: whether Redis takes commands now. connected_ms: since when, UTC ms.
        reconnects: connections after the first.
        put: entries and events that came in.
        written: entries that Redis acknowledged, those that an earlier process had left on disk included.
        resent: entries sent again after a cut, because Redis did not have them.
        in_flight, in_flight_bytes: sent and not acknowledged.
        waiting, waiting_bytes: in memory behind that. stage: how far the shedding has gone, `Stage`.
        spooling: whether entries pass over the disk. spool_bytes: what lies there.
        spooled, unspooled: records that went there and that were sent on from there, of an earlier process included.
        conflated, coalesced, dropped, refused: entries by kind.
        values_written, values_conflated: last values.
        untold: events of `md.gaps` that neither memory nor disk had room for.
        spool_damaged: pieces of the spool that could not be read.
        latency_bounds_ms, latency_counts, latency_sum_ms: from `put` to the acknowledgement; the last count is of what
            took longer than all bounds.
        p50_ms, p99_ms: the bounds below which these shares lie.
        last_error: of Redis or the disk; may be long over.
    """

    connected: bool
    connected_ms: int
    reconnects: int
    put: int
    written: int
    resent: int
    in_flight: int
    in_flight_bytes: int
    waiting: int
    waiting_bytes: int
    stage: int
    spooling: bool
    spool_bytes: int
    spooled: int
    unspooled: int
    conflated: dict[str, int]
    coalesced: dict[str, int]
    dropped: dict[str, int]
    refused: dict[str, int]
    values_written: int
    values_conflated: int
    untold: int
    spool_damaged: int
    latency_bounds_ms: tuple[float, ...]
    latency_counts: tuple[int, ...]
    latency_sum_ms: float
    p50_ms: float
    p99_ms: float
    last_error: str
