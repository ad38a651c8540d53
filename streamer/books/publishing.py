"""Which books are to be written now, and the JSON of their keys. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from gapless.exchanges.binance.streams.messages import Levels
from streamer.books.outcome import NOTHING, BookState, Outcome
from streamer.books.settings import BookSettings
from streamer.books.sync import BookSync


class BookText(msgspec.Struct, frozen=True):
    """What `book.top...` and `book.full...` hold: levels best first, as known."""

    event_ms: int
    received_ns: int
    state: str
    id: int
    bids: Levels
    asks: Levels


_RESERVE = 10
"""A book that knows less than a tenth of its depth on a side is to be deepened before it runs out."""

_encode = msgspec.json.Encoder().encode


class Due(NamedTuple):
    """A book whose turn it is.

    Attributes:
        payload: the JSON of its best levels; None when it was just found crossed: `outcome` says what to do.
        thin: few levels are known on a side that has more: they should be asked for.
    """

    symbol: str
    payload: bytes | None
    outcome: Outcome
    thin: bool


class TopSchedule:
    """Books in turn: one that changed every `top_every_ms`, one that did not every `refresh_ms`.

    Their turns are spread over that time, so that no moment has to write them all.
    """

    def __init__(self, settings: BookSettings) -> None:
        self._settings = settings
        self._every_ns = settings.top_every_ms * 1_000_000
        self._refresh_ns = settings.refresh_ms * 1_000_000
        self._turns: deque[tuple[int, _Entry]] = deque()
        self._entries: dict[str, _Entry] = {}
        self._added = 0

    def add(self, symbol: str, sync: BookSync, now_ns: int) -> None:
        """A book from now on; it is written within `top_every_ms` after it is live."""
        entry = self._entries[symbol] = _Entry(symbol, sync)
        # Multiples of the golden ratio lie evenly in a circle however many there are.
        self._added += 1
        phase_ns = int(self._every_ns * (self._added * 0.6180339887 % 1))
        at = now_ns + phase_ns
        place = next((index for index, (due_ns, _) in enumerate(self._turns) if due_ns > at), len(self._turns))
        self._turns.insert(place, (at, entry))

    def remove(self, symbol: str) -> None:
        """No longer; its turn is passed over when it comes."""
        self._entries.pop(symbol, None)

    def due(self, now_ns: int) -> Iterator[Due]:
        """Those whose turn it is; call it ten or more times a second."""
        turns = self._turns
        if not turns or turns[0][0] > now_ns:
            return
        # Turns that were missed while the loop was busy are not made up for; the order stays as it is.
        later_ns = ((now_ns - turns[0][0]) // self._every_ns + 1) * self._every_ns
        for _ in range(len(turns)):
            if turns[0][0] > now_ns:
                break
            due_ns, entry = turns.popleft()
            if self._entries.get(entry.symbol) is not entry:
                continue
            turns.append((due_ns + later_ns, entry))
            if entry.changed() or now_ns - entry.written_ns >= self._refresh_ns:
                found = self._look(entry, now_ns)
                if found is not None:
                    yield found

    def _look(self, entry: _Entry, now_ns: int) -> Due | None:
        sync, levels = entry.sync, self._settings.top_levels
        if sync.book is None:
            return None
        bids, asks, outcome = sync.top(levels, now_ns)
        if outcome is not NOTHING:
            return Due(entry.symbol, None, outcome, thin=False)
        entry.wrote(now_ns)
        thin = is_thin(sync, levels, bids, asks)
        if not thin and now_ns - entry.judged_ns >= self._refresh_ns:
            entry.judged_ns = now_ns
            reserve = max(levels, self._settings.depth // _RESERVE)
            thin = is_thin(sync, reserve, *sync.book.top(reserve))
        return Due(entry.symbol, _text(sync, bids, asks), NOTHING, thin)


class _Entry:
    __slots__ = ("judged_ns", "symbol", "sync", "written_ns", "written_of")

    def __init__(self, symbol: str, sync: BookSync) -> None:
        self.symbol, self.sync = symbol, sync
        self.written_ns = self.judged_ns = 0
        self.written_of: tuple[int, BookState] | None = None

    def changed(self) -> bool:
        return self.written_of != (self.sync.stands()[0], self.sync.state)

    def wrote(self, now_ns: int) -> None:
        self.written_of = self.sync.stands()[0], self.sync.state
        self.written_ns = now_ns


def is_thin(sync: BookSync, wanted: int, bids: Levels, asks: Levels) -> bool:
    """Whether a live book knows fewer levels than wanted on a side that has more: a reason to ask."""
    book = sync.book
    return (
        book is not None
        and sync.state is BookState.LIVE
        and ((len(bids) < wanted and book.bids.known_to is not None)
             or (len(asks) < wanted and book.asks.known_to is not None))
    )  # fmt: skip


def full_text(sync: BookSync, now_ns: int) -> tuple[bytes | None, Outcome]:
    """All levels known as JSON; None while there is no book, or when it was just found crossed."""
    _, _, outcome = sync.top(1, now_ns)
    if sync.book is None or outcome is not NOTHING:
        return None, outcome
    return _text(sync, sync.book.bids.all(), sync.book.asks.all()), NOTHING


def _text(sync: BookSync, bids: Levels, asks: Levels) -> bytes:
    id, event_ms, received_ns = sync.stands()
    return _encode(BookText(event_ms, received_ns, sync.state, id, bids, asks))
