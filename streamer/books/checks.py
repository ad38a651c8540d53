"""Is a book what the exchange says it is: the comparison, and whose turn it is to be compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.books.book import Book, Side

_MINUTE_NS = 60_000_000_000


def differences(mine: Book, theirs: Book) -> int:
    """How many levels differ between two books of the same id, where both know all levels."""
    return _differing(mine.bids, theirs.bids) + _differing(mine.asks, theirs.asks)


def _differing(mine: Side, theirs: Side) -> int:
    odd = {price for price, _ in set(mine.all()) ^ set(theirs.all())}
    return sum(mine.knows(price) and theirs.knows(price) for price in odd)


class CheckPlan:
    """Round and round over the live books, so many a minute.

    Args:
        per_minute: 0 for no checks.
    """

    def __init__(self, per_minute: float, now_ns: int) -> None:
        self._every_ns = int(_MINUTE_NS / per_minute) if per_minute > 0 else 0
        self._next_ns = now_ns + self._every_ns
        self._last = ""

    def due(self, live: Sequence[str], now_ns: int) -> str | None:
        """Whose turn it is now, if anyone's: the one after the last, by name."""
        if not self._every_ns or now_ns < self._next_ns or not live:
            return None
        self._next_ns = now_ns + self._every_ns
        self._last = min((name for name in live if name > self._last), default=min(live))
        return self._last
