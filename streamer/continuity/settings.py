"""What the continuity of trades and bars goes by."""

from __future__ import annotations

import msgspec


class ContinuitySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds and patience of `streamer.continuity`."""

    patience_ms: int = 300
    """How long a hole may be closed by what is still under way (another connection, a reorder) before REST is asked."""
    hold_ms: int = 5_000
    """How long trades wait for an earlier one that is missing; then they go on, and it follows out of order."""
    held_trades: int = 50_000
    """Trades of a symbol that wait at once, at most."""
    held_bytes: int = 16 * 1024 * 1024
    """Payload bytes of a symbol that wait at once, at most."""
    room_bytes: int = 64 * 1024 * 1024
    """Payload bytes of all symbols of a market that wait at once, at most."""
    holes: int = 1_000
    """Holes of a symbol that are open at once, at most; the oldest beyond are lost."""
    renumbered_s: float = 300.0
    """After so long of nothing but ids from before, the exchange has begun to number anew."""
    budget_share: float = 0.5
    """What the search for missing trades may take of the request budget, 0 to 1; snapshots and bars need the rest."""
    concurrency: int = 2
    """Requests for missing trades under way at once, of a market."""
    searches: int = 2_000
    """Searches for missing trades that are open at once, of a market; holes beyond wait in their line."""
    gather_ms: int = 5_000
    """While a symbol's search is under way, its further holes wait so long for one search of their own together."""
    deadline_s: float = 1_800.0
    """How long a search goes on while the exchange or the network is away; then its trades are lost."""
    first_pause_s: float = 0.5
    """The first wait before a search asks again; doubled each time, with jitter."""
    longest_pause_s: float = 30.0
    """The longest such wait."""
    confirm_ms: int = 2_000
    """An id that REST lacks is asked for again after so long before it counts as never given."""
    ids: int = 200_000
    """Trades of one hole that are brought back, at most: the newest; older ones are lost."""
    resume_minutes: float = 60.0
    """A hole over a restart that is older is not searched for: it is lost."""
    tick_ms: int = 100
    """How often open holes are looked at."""
    bar_grace_ms: int = 10_000
    """How long after its end, by the exchange's clock, a closed bar is awaited before REST is asked."""
    bar_attempts: int = 10
    """How often REST is asked for a bar that did not come before it is told as missing."""
    boundary_spacing_s: float = 60.0
    """A stream that comes and goes is told once in this time; what lies between is counted in the next event."""
