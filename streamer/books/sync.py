"""One symbol's book, kept true: the order of its diffs, and when it may be believed. Pure, time is passed in.

Two things are told apart. The **chain** is the order of the diffs: duplicates (a second connection) go, a diff that
came too early waits, what does not come within the patience is a gap; it goes on without any snapshot. The **book** is
live while every diff of the chain was applied to it since a snapshot. A gap, and nothing but a gap, ends that: after a
reconnect the book is stale, but if the next diff follows the last one, nothing was missed and it is live again at once.

Snapshots are asked for before they are needed (`expecting`), or are for a live book: to know more levels, or to
compare. All three join alike; diffs are kept from `expecting` on.
"""

from __future__ import annotations

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import Snapshot
from gapless.exchanges.binance.streams.messages import Depth, Levels, RawDepth
from gapless.exchanges.binance.streams.sequence import Meeting, Span, Step, sequence_of
from streamer.books.book import Book, crossed
from streamer.books.buffer import DiffBuffer
from streamer.books.checks import differences
from streamer.books.outcome import NOTHING, BookState, Gap, Item, Outcome, Why, joined
from streamer.books.settings import BookSettings

_BACKWARDS_MS = 10_000
"""A diff whose ids are old, but that happened so much later than the newest: the exchange numbers anew."""


class _Held:
    __slots__ = ("item", "since_ns", "span")

    def __init__(self, span: Span, item: Item, since_ns: int) -> None:
        self.span, self.item, self.since_ns = span, item, since_ns


class BookSync:
    """A symbol's book.

    Attributes:
        id: the `u` of the last diff in order, -1 before the first; of a live book, its id.
        book: None until it was live once.
        event_ms, received_ns: of the last diff in order.
        since_ns: since when it is in its state.
        duplicates, gaps, resyncs, crossings, differing, snapshots: counts since the start; `differing` of levels.
    """

    __slots__ = (
        "_buffer", "_doubtful", "_held", "_intact", "_kept", "_patience_ns", "_pending", "_plain", "_regular", "_rules",
        "_settings", "_span", "_stood", "book", "crossings", "differing", "duplicates", "event_ms", "gaps", "id",
        "received_ns", "resyncs", "since_ns", "snapshots", "state",
    )  # fmt: skip

    def __init__(self, market: Market, settings: BookSettings, now_ns: int = 0) -> None:
        self._rules = sequence_of(market)
        self._regular = self._rules.regular
        self._span = self._rules.span
        self._settings = settings
        self._patience_ns = settings.patience_ms * 1_000_000
        self._buffer = DiffBuffer(self._rules, diffs=settings.buffer_diffs, prices=settings.buffer_prices)
        self._kept = True
        self._plain = False
        self._intact = False
        self._stood = -1, 0, 0
        self._doubtful = False
        self._held: dict[int, _Held] = {}
        self._pending: tuple[Snapshot, int] | None = None
        self.state = BookState.EMPTY
        self.book: Book | None = None
        self.id = -1
        self.event_ms = self.received_ns = 0
        self.since_ns = now_ns
        self.duplicates = self.gaps = self.resyncs = self.crossings = self.differing = self.snapshots = 0

    def regular(self, diff: RawDepth, size: int, received_ns: int) -> bool:
        """The usual case, fast: of a live book the next diff. Pass it on. Else nothing was done: `take` it.

        Args:
            size: of the message, bytes.
        """
        if self._plain and self._regular(diff.U, diff.pu, self.id):
            self.book.defer(diff.b, diff.a, size)  # type: ignore[union-attr] # a live book is one
            self.id = diff.u
            self.event_ms = diff.E
            self.received_ns = received_ns
            return True
        return False

    def take(self, diff: Depth, raw: bytes, received_ns: int, now_ns: int) -> Outcome:
        """Any diff.

        Raises:
            ValueError: a futures diff without `pu`.
        """
        span = self._span(diff.U, diff.u, diff.pu)
        item = Item(diff, raw, received_ns)
        if self.id < 0:
            return self._follow(span, item, now_ns)
        step = self._rules.step(span, self.id)
        if step is Step.NEXT:
            return self._follow(span, item, now_ns)
        if step is Step.OLD:
            if self.event_ms and diff.E - self.event_ms > _BACKWARDS_MS:
                return self._begin_anew(span, item, now_ns)
            self.duplicates += 1
            return NOTHING
        if span.last in self._held:
            self.duplicates += 1
            return NOTHING
        self._held[span.last] = _Held(span, item, now_ns)
        self._plain = False
        if self._doubtful or len(self._held) > self._settings.held:
            return self._skip(now_ns, now_ns)
        return NOTHING

    def due(self, now_ns: int) -> Outcome:
        """What the time alone brings about: gaps whose patience is over. Ask a few times a second while `waiting`."""
        if not self._held:
            return NOTHING
        return self._skip(now_ns - self._patience_ns, now_ns)

    @property
    def waiting(self) -> bool:
        """Whether diffs wait for one that is missing."""
        return bool(self._held)

    @property
    def joining(self) -> bool:
        """Whether a snapshot waits for the diffs that follow it."""
        return self._pending is not None

    def stands(self) -> tuple[int, int, int]:
        """Of what the levels are: update id, event time in ms, receipt in ns. Of a stale book, when it was given up."""
        return (self.id, self.event_ms, self.received_ns) if self._intact else self._stood

    def resume(self, id: int, event_ms: int) -> None:
        """Before the first diff: the last one that a process before this one passed on. What lies between is a gap."""
        if self.id < 0:
            self.id, self.event_ms = id, event_ms
            self._doubtful = True

    def lost(self, now_ns: int) -> Outcome:
        """No connection carries the diffs any more. What comes next may follow, or begin after a gap."""
        if self.id < 0:
            return NOTHING
        outcome = self._skip(now_ns, now_ns) if self._held else NOTHING
        self._doubtful = True
        return joined(outcome, self._end(Why.LOST, now_ns))

    def resync(self, why: Why, now_ns: int) -> Outcome:
        """Give a book up that is live, or may be again, and build it anew from a snapshot."""
        if not self._intact:
            return NOTHING
        outcome = self._end(why, now_ns)
        self._give_up()
        return outcome._replace(ask=why)

    def expecting(self) -> None:
        """A snapshot is about to be asked for: keep the diffs from now on."""
        if not self._kept:
            self._kept = True
            self._plain = False
            self._buffer.clear()

    def unexpected(self) -> None:
        """None will come after all: a live book need not keep diffs."""
        if self._intact and self._pending is None:
            self._kept = False
            self._buffer.clear()
            self._look()

    def snapshot(self, snapshot: Snapshot, levels: int, now_ns: int) -> Outcome:
        """A snapshot of so many levels a side as asked for. It joins now, or with a later diff, or is refused."""
        self.snapshots += 1
        self.expecting()
        self._pending = snapshot, levels
        return self._join(now_ns)

    def top(self, n: int, now_ns: int) -> tuple[Levels, Levels, Outcome]:
        """The best `n` levels known of each side. A book found crossed is given up, and shows nothing."""
        if self.book is None:
            return [], [], NOTHING
        bids, asks = self.book.top(n)
        if self.book.broken:
            return [], [], self.resync(Why.GARBLED, now_ns)
        if not crossed(bids, asks):
            return bids, asks, NOTHING
        self.crossings += self._intact
        return [], [], self.resync(Why.CROSSED, now_ns)

    def _follow(self, span: Span, item: Item, now_ns: int) -> Outcome:
        """A diff that is next, and what waited for it."""
        became, ask = None, None
        if self._doubtful:
            self._doubtful = False
            if self._intact:
                became = self._enter(BookState.LIVE, now_ns)
        self._accept(span, item)
        publish = [item]
        while self._held and (held := self._next_held()) is not None:
            self._accept(held.span, held.item)
            publish.append(held.item)
        self._look()
        if self.state is BookState.EMPTY:
            became = self._enter(BookState.BUFFERING, now_ns)
            ask = None if self._pending else Why.STARTED
        outcome = Outcome(publish, became=became, ask=ask)
        return outcome if self._pending is None else joined(outcome, self._join(now_ns))

    def _accept(self, span: Span, item: Item) -> None:
        diff = item.diff
        if self._intact and self.book is not None:
            self.book.apply(diff.b, diff.a)
        if self._kept:
            self._buffer.add(span, diff.b, diff.a)
        self.id = span.last
        self.event_ms = diff.E
        self.received_ns = item.received_ns

    def _next_held(self) -> _Held | None:
        """Take out the one that is next; those that have become old go."""
        for last, held in sorted(self._held.items()):
            step = self._rules.step(held.span, self.id)
            if step is Step.NEXT:
                return self._held.pop(last)
            if step is Step.OLD:
                del self._held[last]
                self.duplicates += 1
        return None

    def _skip(self, before_ns: int, now_ns: int) -> Outcome:
        """Take the hole for a loss before every diff that has waited since `before_ns` or longer."""
        outcome = NOTHING
        while self._held and min(held.since_ns for held in self._held.values()) <= before_ns:
            held = self._held.pop(min(self._held))
            gap = Gap(*self._rules.missing(held.span, self.id))
            self.gaps += 1
            ended = self._end(Why.GAP, now_ns)
            self._doubtful = False
            self._give_up()
            outcome = joined(outcome, ended._replace(gaps=(gap,), ask=Why.GAP))
            outcome = joined(outcome, self._follow(held.span, held.item, now_ns))
        return outcome

    def _begin_anew(self, span: Span, item: Item, now_ns: int) -> Outcome:
        """The exchange numbers anew; nobody can say what is missing."""
        ended = self._end(Why.BACKWARDS, now_ns)
        self._held.clear()
        self._pending = None
        self._doubtful = False
        self._give_up()
        return joined(ended._replace(ask=Why.BACKWARDS), self._follow(span, item, now_ns))

    def _end(self, why: Why, now_ns: int) -> Outcome:
        if self.state is not BookState.LIVE:
            return NOTHING
        return Outcome(became=self._enter(BookState.STALE, now_ns), why=why)

    def _give_up(self) -> None:
        """The levels are no longer to be believed: diffs are kept for a snapshot."""
        if self._intact:
            self._stood = self.id, self.event_ms, self.received_ns
            self.resyncs += 1
        self._intact = False
        self._kept = True
        self._buffer.clear()

    def _enter(self, state: BookState, now_ns: int) -> BookState:
        self.state = state
        self.since_ns = now_ns
        self._look()
        return state

    def _look(self) -> None:
        """Whether the next diff needs nothing but to be applied."""
        self._plain = self.state is BookState.LIVE and not self._kept and not self._held

    def _join(self, now_ns: int) -> Outcome:
        """Whether the snapshot that waits and the diffs make a book."""
        if self._pending is None or self.id < 0:
            return NOTHING
        snapshot, levels = self._pending
        at = snapshot.last_update_id
        meeting = self._buffer.meeting(at)
        if meeting is Meeting.OLDER and at != self.id:
            if at > self.id:
                return NOTHING
            meeting = Meeting.NEWER
        self._pending = None
        if meeting in (Meeting.HOLE, Meeting.NEWER):
            return Outcome(ask=Why.HOLE if meeting is Meeting.HOLE else Why.TOO_OLD)
        book = Book(snapshot.bids, snapshot.asks, levels=levels, depth=self._settings.depth)
        book.apply(*self._buffer.updates())
        if book.crossed():
            self.crossings += 1
            return self.resync(Why.CROSSED, now_ns) if self._intact else Outcome(ask=Why.CROSSED)
        return self._adopt(book, now_ns)

    def _adopt(self, book: Book, now_ns: int) -> Outcome:
        if self._intact and self.book is not None:
            count = differences(self.book, book)
            if self.book.broken:
                return self.resync(Why.GARBLED, now_ns)
            if count:
                self.differing += count
                return self.resync(Why.DIFFERS, now_ns)._replace(differences=count)
            self.book.widen(book)
        else:
            self.book = book
            self._intact = True
        self._kept = False
        self._buffer.clear()
        if self._doubtful or self.state is BookState.LIVE:
            self._look()
            return NOTHING
        return Outcome(became=self._enter(BookState.LIVE, now_ns))
