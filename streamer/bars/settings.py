"""What closed bars on their way to MySQL go by."""

from __future__ import annotations

import msgspec


class BarSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Batches, spool and patrol of `streamer.bars`."""

    batch_s: float = 3.0
    """How long a batch is gathered after its first bar or liquidation, seconds; then it is on disk, and on its way."""
    batch_rows: int = 5_000
    """What MySQL is given at once, at most: after an outage the spool goes in pieces of so many rows."""
    memory_rows: int = 20_000
    """What waits in memory while the disk takes nothing; more is let go, told in md.gaps, and left to the patrol."""
    spool_bytes: int = 256 * 1024 * 1024
    """What may lie on disk while MySQL is away (a million bars and more)."""
    statement_s: int = 20
    """How long MySQL may be silent before a connection counts as lost, seconds; a stop can take as long."""
    lock_wait_s: float = 15.0
    """How long a load waits for another one of the same market and day (the hourly run) before it is tried again."""
    first_pause_s: float = 0.5
    """The first wait after MySQL did not take a batch, seconds; doubled each time."""
    longest_pause_s: float = 10.0
    """The longest such wait, seconds."""
    concurrency: int = 4
    """Requests for bars under way at once."""
    waiting_series: int = 20_000
    """Series of which bars wait to be asked of REST, at most; those beyond are asked for again by who wants them."""
    patrol_s: float = 600.0
    """How often MySQL is searched for bars that it lacks, seconds."""
    patrol_first_s: float = 60.0
    """How long after the start the first time, seconds."""
    patrol_window_s: float = 1_800.0
    """How far the search looks back, seconds."""
    patrol_longest_s: float = 21_600.0
    """And how far at most, the first time and after searches that failed; older holes are the daily comparison's."""
    patrol_grace_s: float = 60.0
    """Bars that ended so lately are still on their way, seconds."""
