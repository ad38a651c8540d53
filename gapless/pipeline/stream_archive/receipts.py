"""What publishing the live Streams leaves as data. JSON through msgspec."""

from __future__ import annotations

import msgspec

from gapless.domain.receipts import Failure
from gapless.storage.lake.hours import HourReceipt


class TradeHole(msgspec.Struct, frozen=True):
    """Trades that are not in the lake although the exchange numbered them.

    Attributes:
        first_id, last_id, ids: of the missing, and how many.
        after, before: the times of the trades around them, UTC.
        cause: what `md.gaps` says of that time; empty when it says nothing.
    """

    symbol: str
    first_id: int
    last_id: int
    ids: int
    after: str
    before: str
    cause: str


class StreamHourReceipt(msgspec.Struct, frozen=True):
    """What became of one kind's spooled hour. `entries = rows added + duplicates + conflicts + quarantined`.

    Attributes:
        hour: its start, UTC.
        files, spool_bytes: what was taken of the spool, and removed once the lake was proved to hold it.
        entries: as often as they were spooled.
        duplicates: sent or spooled more than once.
        quarantined: could not be taken; in the books with their payloads. conflicts: of these, rows of a known key that
            say something else than the stored one, which stays.
        objects: those that the rows belong to, each read back; a few rows belong to the hour before.
        holes: missing trade ids, the first of them; hole_ids: how many ids in all; unexplained: how many holes of all
            have no event in `md.gaps`.
        torn: files that ended in a write cut off, as a killed process leaves them; nothing acknowledged is lost.
        damaged: files that could not be read to their end, kept whole in the lake under these keys.
    """

    kind: str
    exchange: str
    hour: str
    files: int = 0
    spool_bytes: int = 0
    entries: int = 0
    added: int = 0
    duplicates: int = 0
    quarantined: int = 0
    conflicts: int = 0
    objects: tuple[HourReceipt, ...] = ()
    holes: tuple[TradeHole, ...] = ()
    hole_count: int = 0
    hole_ids: int = 0
    unexplained: int = 0
    torn: int = 0
    damaged: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Of all its objects."""
        return sum(each.rows for each in self.objects)

    @property
    def bytes(self) -> int:
        """Of all its objects."""
        return sum(each.bytes for each in self.objects)

    def __str__(self) -> str:
        return f"{self.kind} {self.exchange} {self.hour}"


class WaitingHour(msgspec.Struct, frozen=True):
    """An hour that lies in the spool and was not published.

    Attributes:
        why: `open` (not over for five minutes), `writing` (a living writer has its files open), `closed` (a dry run, or
            the store went away before its turn).
    """

    kind: str
    exchange: str
    hour: str
    bytes: int
    files: int
    why: str


class PublishReport(msgspec.Struct, frozen=True):
    """What publishing the spool came to.

    Attributes:
        errors: hours that failed; their spool is as it was.
    """

    hours: tuple[StreamHourReceipt, ...] = ()
    waiting: tuple[WaitingHour, ...] = ()
    errors: tuple[Failure, ...] = ()
    seconds: float = 0.0

    @property
    def lost(self) -> tuple[StreamHourReceipt, ...]:
        """Hours with trade ids that nobody can explain, or with a file that was damaged."""
        return tuple(each for each in self.hours if each.unexplained or each.damaged)

    @property
    def good(self) -> bool:
        """Whether all went as it should."""
        return not self.errors and not self.lost
