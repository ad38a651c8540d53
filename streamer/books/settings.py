"""Settings of the books."""

from __future__ import annotations

import msgspec

from gapless.domain.instrument import Market


class BookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How books are built, kept and published."""

    depth: int = 1000
    """Levels a side that a book is deepened to, and kept at; beyond twice as many are let go."""
    shallow_spot: int = 100
    """Levels a side of the first snapshot of a spot book (weight 5; a deep one 50)."""
    shallow_um: int = 50
    """Levels a side of the first snapshot of a USD-M book (weight 2; a deep one 20)."""
    patience_ms: int = 300
    """How long a diff that comes too early waits for the one before it: another connection may bring that."""
    held: int = 64
    """Diffs of a symbol that may wait so; one more and the hole is taken for a loss."""
    buffer_diffs: int = 6000
    """Diffs of a symbol that are remembered for a snapshot on its way; the older half goes at the bound."""
    buffer_prices: int = 16_000
    """Prices of a symbol that these may have touched; likewise."""
    concurrency: int = 4
    """Snapshot requests of a market under way at once."""
    first_pause_s: float = 1.0
    """Before a snapshot that came too old is asked for again; doubled each time."""
    longest_pause_s: float = 60.0
    """The longest such pause."""
    top_levels: int = 20
    """Levels a side of `book.top...`."""
    top_every_ms: int = 1000
    """How often `book.top...` of a symbol that changed is written."""
    refresh_ms: int = 5000
    """How often one that did not change is written all the same, so that it does not expire."""
    checks_per_minute: float = 2.0
    """Live books of a market that are compared with the exchange's, each minute; 0 for none."""
    check_levels: int = 100
    """Levels a side of these comparisons (weight 5 on both markets)."""

    def shallow(self, market: Market) -> int:
        """Levels of a first snapshot."""
        return self.shallow_spot if market is Market.SPOT else self.shallow_um
