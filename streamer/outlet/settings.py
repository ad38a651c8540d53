"""How the way into Redis is bounded."""

from __future__ import annotations

import msgspec

from gapless.domain.live import Kind
from gapless.storage.live.pipe import PipeSettings


class KindBound(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a kind's entries stay in a Stream.

    Attributes:
        minutes: older ones go; 0: not by age. The archive removes what it takes by itself; a bound by age here would
            take entries from it.
        entries: more than about so many of one Stream never stay.
    """

    minutes: int = 0
    entries: int = 200_000


def _bounds() -> dict[str, KindBound]:
    return {
        Kind.TRADES: KindBound(minutes=0, entries=200_000),
        Kind.DEPTH: KindBound(minutes=15, entries=10_000),
        Kind.KLINES: KindBound(minutes=180, entries=10_000),
        Kind.BOOK_TICKER: KindBound(minutes=15, entries=50_000),
        Kind.MARK_PRICE: KindBound(minutes=0, entries=5_000),
        Kind.LIQUIDATIONS: KindBound(minutes=0, entries=20_000),
        Kind.GAPS: KindBound(minutes=0, entries=10_000),
    }


class OutletSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of the outlet.

    Attributes:
        pipe: the connection to Redis and its window of unanswered commands.
        memory_bytes: what waits in memory behind a full window or while Redis is away; then the shedding begins.
        spool_bytes: what may lie on disk; then trades are dropped, told, and brought again by their ids.
        segment_bytes: size of a file of the spool.
        value_every_ms: a last value is written at most so often for each key.
        value_keys: so many keys of last values are looked after; more are counted and let go.
        gap_events: so many events of `md.gaps` wait in memory when the disk takes none either.
        trim_every_s: in this time each Stream is trimmed once.
        bounds: how long entries of a kind stay; a kind that is left out has its default.
    """

    pipe: PipeSettings = PipeSettings()
    memory_bytes: int = 32 * 2**20
    spool_bytes: int = 1 << 30
    segment_bytes: int = 8 * 2**20
    value_every_ms: int = 100
    value_keys: int = 50_000
    gap_events: int = 20_000
    trim_every_s: float = 30.0
    bounds: dict[str, KindBound] = msgspec.field(default_factory=_bounds)

    def bound(self, kind: Kind) -> KindBound:
        """How long entries of a kind stay."""
        return self.bounds.get(kind) or _bounds()[kind]
