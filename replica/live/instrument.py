"""One instrument of the live market: its trades, its book, and what listeners of its streams are sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window
from replica.live.book import Book, Changes
from replica.live.messages import Activity, LiveMessage
from replica.live.names import StreamKey, Topic
from replica.live.path import PricePath
from replica.live.payloads import Payloads
from replica.live.tape import Tape, Trade
from replica.market import GeneratedMarket
from replica.noise import stream_key
from replica.universe import Listing

Send = Callable[[LiveMessage], None]

FAR_MS = 1 << 62
LINGER_MS = 15_000
"""A book goes on so long after it was last looked at, so that a listener who comes back finds its ids unbroken."""


@dataclass(slots=True)
class _DepthFeed:
    """A depth stream that is listened to."""

    name: str
    key: StreamKey
    changes: Changes
    sent_period: int


class LiveInstrument:
    """The state of one instrument from when it was first asked for.

    Args:
        send: takes its messages.
    """

    def __init__(self, market: GeneratedMarket, listing: Listing, activity: Activity, now_ms: int, send: Send) -> None:
        self.market, self.listing, self.activity = market, listing, activity
        self.path = PricePath(market, listing)
        self._own_key = int(stream_key(market.seed, listing.market.value, listing.raw_symbol, "tape"))
        unit = listing.typical_volume * 10**listing.quantity_decimals
        self.trade_unit = max(4, unit // 60)
        self.tape = Tape(self.path, self._own_key, self.trade_unit, now_ms, activity.trades_per_s)
        self.payloads = Payloads(listing, self.path)
        self.names: dict[str, StreamKey] = {}
        self.book: Book | None = None
        self.book_until_ms = -1
        self._send = send
        self._depths: list[_DepthFeed] = []
        self._ticker = self._trades = self._fills = ""
        self._best = (0, 0, 0)
        self._halt: tuple[int, Window | None] = (-1, None)

    @property
    def wants_trades(self) -> bool:
        return bool(self._trades or self._fills)

    @property
    def wants_book(self) -> bool:
        return bool(self._depths or self._ticker)

    def book_awake(self, at_ms: int) -> bool:
        """Whether the book goes on by itself: somebody listens to it, or did a moment ago."""
        return self.book is not None and (self.wants_book or at_ms < self.book_until_ms)

    def closed_until(self, at_ms: int) -> int:
        """Until when nothing trades: 0 while it trades, `FAR_MS` when it is over."""
        listing = self.listing
        if at_ms < listing.listed_ms:
            return listing.listed_ms
        if listing.delisted_ms is not None and at_ms >= listing.delisted_ms:
            return FAR_MS
        day = at_ms // DAY_MS
        if self._halt[0] != day:
            self._halt = day, self.market.halt(listing.market, day)
        halt = self._halt[1]
        return halt.end_ms if halt is not None and halt.start_ms <= at_ms < halt.end_ms else 0

    def add(self, name: str, key: StreamKey, now_ms: int) -> None:
        """A stream has its first listener."""
        self.names[name] = key
        if key.topic is Topic.TRADES:
            self._trades = name
        elif key.topic is Topic.FILLS:
            self._fills = name
        elif key.topic is Topic.BOOK_TICKER:
            self.wake(now_ms)
            self._ticker, self._best = name, (0, 0, 0)
        elif key.topic in (Topic.DEPTH, Topic.PARTIAL):
            book = self.wake(now_ms)
            changes = Changes(book.update_id)
            book.listeners.append(changes)
            self._depths.append(_DepthFeed(name, key, changes, now_ms // key.period_ms))

    def drop(self, name: str, now_ms: int) -> None:
        """A stream lost its last listener."""
        key = self.names.pop(name)
        if key.topic is Topic.TRADES:
            self._trades = ""
        elif key.topic is Topic.FILLS:
            self._fills = ""
        elif key.topic is Topic.BOOK_TICKER:
            self._ticker = ""
        for feed in [feed for feed in self._depths if feed.name == name]:
            self._depths.remove(feed)
            if self.book is not None:
                self.book.listeners = [each for each in self.book.listeners if each is not feed.changes]
        self.book_until_ms = max(self.book_until_ms, now_ms + LINGER_MS)

    def wake(self, now_ms: int) -> Book:
        """The book, which goes on from here for a while at least."""
        awake = self.book_awake(now_ms)
        if self.book is None:
            um = self.listing.market is Market.UM
            cell = self.path.cell(now_ms)
            self.book = Book(
                self._own_key, cell, now_ms, holes=um, unit=self.trade_unit * 8, levels=self.activity.levels
            )
        elif not awake:
            self.book.awake(self.path.cell(now_ms), now_ms)
        self.book_until_ms = max(self.book_until_ms, now_ms + LINGER_MS)
        return self.book

    def trade(self, trade: Trade) -> None:
        """A trade takes place: the book gives it, its listeners are told."""
        at_ms = trade.time_ms
        symbol, market = self.listing.raw_symbol, self.listing.market
        if self._trades:
            data = self.payloads.agg_trade(trade)
            self._send(LiveMessage(market, self._trades, data, at_ms, symbol, "trades", trade.id, trade.id))
        if self._fills:
            for data in self.payloads.fills(trade):
                self._send(LiveMessage(market, self._fills, data, at_ms, symbol, "fills", trade.id, trade.id))
        book = self.book
        if book is not None and self.book_awake(at_ms):
            cell = trade.cell if trade.maker else trade.cell - 1
            if cell != book.cell:
                book.move(cell)
            book.trade(trade.quantity, sold=trade.maker)
            book.noted(at_ms)
            if self._ticker:
                self._tell_top(book, at_ms)

    def stir(self, at_ms: int) -> None:
        """The book moves on by one step, and depth streams whose time it is are sent."""
        book = self.book
        if book is None:
            return
        if not self.closed_until(at_ms):
            book.move(self.path.cell(at_ms))
            book.stir(self.activity.diff_levels)
            book.noted(at_ms)
        if self._ticker:
            self._tell_top(book, at_ms)
        for feed in self._depths:
            period = at_ms // feed.key.period_ms
            if period != feed.sent_period and feed.changes.first_id >= 0:
                self._tell_depth(book, feed, at_ms)
                feed.sent_period = period

    def _tell_top(self, book: Book, at_ms: int) -> None:
        best = book.best
        if best == self._best:
            return
        self._best = best
        listing, update_id = self.listing, book.update_id
        data = self.payloads.book_ticker(update_id, best, at_ms)
        self._send(
            LiveMessage(
                listing.market, self._ticker, data, at_ms, listing.raw_symbol, "book_ticker", update_id, update_id
            )
        )

    def _tell_depth(self, book: Book, feed: _DepthFeed, at_ms: int) -> None:
        changes, listing = feed.changes, self.listing
        before, last = changes.last_taken, book.update_id
        first = before + 1 if listing.market is Market.SPOT else changes.first_id
        ids = (first, last, before)
        if feed.key.topic is Topic.DEPTH:
            data = self.payloads.diff(book, changes.bids, changes.asks, ids, at_ms)
        else:
            data = self.payloads.partial(book, feed.key.levels, ids, at_ms)
        changes.taken(last)
        kind = feed.key.topic.value
        self._send(LiveMessage(listing.market, feed.name, data, at_ms, listing.raw_symbol, kind, first, last))
