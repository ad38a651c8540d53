"""What waits in memory for Redis, within a bound of bytes, and what is given up there, in a declared order. Pure.

At the bound: of book tickers, mark prices and open bars the newest replaces the others; diffs of a book are merged,
then dropped, the largest book's first; what must not be lost is handed back, to be kept on disk. Order within a Stream
is kept; between Streams there is none.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from gapless.domain.live import Kind
from gapless.storage.live.resp import Command, pack_entry
from streamer.outlet.merging import Diff, first_and_last, merge_diffs
from streamer.outlet.streams import OutStream, Way, is_closed_bar

_OVERHEAD = 200
"""What an entry takes besides its bytes."""
_WORTH_MERGING = 4
"""From so many diffs on that have not been merged yet merging a book is tried before it is dropped."""


class Stage(IntEnum):
    """How far the shedding has gone."""

    NONE = 0
    CONFLATING = 1
    COALESCING = 2
    DROPPING_DEPTH = 3
    SPOOLING = 4


@dataclass(slots=True)
class Dropped:
    """Diffs of a book that were given up, in a row."""

    out: OutStream
    first: str
    last: str
    count: int


@dataclass(slots=True)
class _Waiting:
    items: deque[Command | Diff] = field(default_factory=deque)
    bytes: int = 0
    unmerged: int = 0


class Backlog:
    """Entries by Stream.

    Args:
        limit_bytes: the bound, overheads included.

    Attributes:
        bytes, entries: what waits.
        stage: how far the shedding has gone since all was last well.
        conflated, coalesced, dropped: entries given up, by kind.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.bytes = 0
        self.entries = 0
        self.stage = Stage.NONE
        self.conflated: Counter[Kind] = Counter()
        self.coalesced: Counter[Kind] = Counter()
        self.dropped: Counter[Kind] = Counter()
        self._limit = limit_bytes
        self._waiting: dict[OutStream, _Waiting] = {}
        self._shut: dict[OutStream, Dropped] = {}
        self._news: list[Dropped] = []

    def __bool__(self) -> bool:
        return self.entries > 0

    def put(self, out: OutStream, event_ms: int, received_ns: int, identity: bytes, payload: bytes) -> bool:
        """Keep an entry, or what the bound leaves of it. False: it must not be lost and there is no room."""
        if out.way is Way.COALESCE:
            return self._put_diff(out, Diff(event_ms, received_ns, identity, payload))
        return self.put_command(out, identity, pack_entry(out, event_ms, received_ns, identity, payload))

    def put_command(self, out: OutStream, identity: bytes, packed: bytes) -> bool:
        """The same of a packed command, no diff."""
        size = len(packed) + _OVERHEAD
        replaces = out.way is Way.CONFLATE or (out.way is Way.BARS and not is_closed_bar(identity))
        full = self.bytes + size > self._limit
        if full and not (replaces and self.stage) and not self._make_room(size) and not replaces:
            return False
        if replaces and self.stage:
            self._conflate(out, identity)
        self._append(out, Command(out, identity, packed), size)
        return True

    def take(self, limit_bytes: int, *, bars: bool = True) -> list[Command]:
        """What is sent next, at least one command if there is any, about as many bytes as asked for.

        Args:
            bars: whether bars too; while closed ones lie on disk, the open ones have to wait behind them.
        """
        taken: list[Command] = []
        held_back: list[OutStream] = []
        while limit_bytes > 0 and len(held_back) < len(self._waiting):
            out = next(iter(self._waiting))
            waiting = self._waiting.pop(out)
            if out.way is Way.BARS and not bars:
                held_back.append(out)
                self._waiting[out] = waiting
                continue
            while waiting.items and limit_bytes > 0:
                item = waiting.items.popleft()
                size = _size(item)
                waiting.bytes -= size
                waiting.unmerged = min(waiting.unmerged, len(waiting.items))
                self.bytes -= size
                self.entries -= 1
                limit_bytes -= size
                taken.append(item if isinstance(item, Command) else _packed(out, item))
            if waiting.items:
                self._waiting[out] = waiting
        return taken

    def relax(self) -> None:
        """Entries are taken again: when half the room is free, shedding ends, and what it cost is news."""
        if self.stage and self.bytes * 2 < self._limit:
            self.stage = Stage.NONE
            self._end_shut()

    def has_next(self, *, bars: bool = True) -> bool:
        """Whether `take` would give something."""
        return self.entries > 0 and (bars or any(out.way is not Way.BARS for out in self._waiting))

    @property
    def has_news(self) -> bool:
        """Whether `news` has something."""
        return bool(self._news)

    def news(self) -> list[Dropped]:
        """Diffs that were dropped, to be told: those that had waited at once, those that came after when it is over."""
        news, self._news = self._news, []
        return news

    def close(self) -> list[Command]:
        """All that must not be lost, in order of each Stream; the rest is dropped and counted."""
        for out, waiting in self._waiting.items():
            lost = [item for item in waiting.items if isinstance(item, Diff)]
            if lost:
                self._drop(out, lost)
        lossless = [item for _, item in self._commands() if _must_stay(item)]
        for out, item in self._commands():
            if not _must_stay(item):
                self.dropped[out.kind] += 1
        self._end_shut()
        self._waiting.clear()
        self.bytes = self.entries = 0
        return lossless

    def closed_bars(self) -> list[Command]:
        """Take out the closed bars, which go to disk before those that come after them; the newest open ones stay."""
        found: list[Command] = []
        for out in [out for out in self._waiting if out.way is Way.BARS]:
            self._keep_newest_bars(out)
            items = [item for item in self._waiting[out].items if isinstance(item, Command)]
            closed = [item for item in items if is_closed_bar(item.identity)]
            found += closed
            self._replace(out, [item for item in items if not is_closed_bar(item.identity)])
        return found

    # ---- the stages ----------------------------------------------------------------------------------------------

    def _make_room(self, size: int) -> bool:
        """Go as far as is needed for `size` bytes; whether that helped."""
        if self.stage < Stage.CONFLATING:
            self.stage = Stage.CONFLATING
            for out in list(self._waiting):
                if out.way is Way.CONFLATE:
                    self._conflate(out, b"", keep=1)
                elif out.way is Way.BARS:
                    self._keep_newest_bars(out)
        while self.bytes + size > self._limit:
            books = [(waiting, out) for out, waiting in self._waiting.items() if out.way is Way.COALESCE]
            if not books:
                self.stage = Stage.SPOOLING
                return False
            waiting, out = max(books, key=lambda each: each[0].unmerged)
            if waiting.unmerged >= _WORTH_MERGING:
                self.stage = max(self.stage, Stage.COALESCING)
                before = len(waiting.items)
                self._replace(out, merge_diffs([item for item in waiting.items if isinstance(item, Diff)]))
                self.coalesced[out.kind] += before - len(waiting.items)
                waiting.unmerged = 0
                continue
            self.stage = max(self.stage, Stage.DROPPING_DEPTH)
            waiting, out = max(books, key=lambda each: each[0].bytes)
            lost = [item for item in waiting.items if isinstance(item, Diff)]
            self._replace(out, [])
            self._drop(out, lost)
        return True

    def _put_diff(self, out: OutStream, diff: Diff) -> bool:
        size = _size(diff)
        shut = self._shut.get(out)
        if shut is not None:
            shut.first = shut.first or first_and_last([diff])[0]
            shut.last = diff.identity.decode()
            shut.count += 1
            self.dropped[out.kind] += 1
        elif self.bytes + size > self._limit and not self._make_room(size):
            self._drop(out, [diff])
        elif out in self._shut:  # dropped by what was just done
            return self._put_diff(out, diff)
        else:
            self._append(out, diff, size)
            self._waiting[out].unmerged += 1
        return True

    def _drop(self, out: OutStream, diffs: list[Diff]) -> None:
        """Give these up, and all of this book that come until there is room again."""
        self.dropped[out.kind] += len(diffs)
        self._news.append(Dropped(out, *first_and_last(diffs), len(diffs)))
        self._shut.setdefault(out, Dropped(out, "", "", 0))

    def _end_shut(self) -> None:
        self._news += [dropped for dropped in self._shut.values() if dropped.count]
        self._shut.clear()

    def _conflate(self, out: OutStream, identity: bytes, keep: int = 0) -> None:
        """Give up what an entry that comes replaces."""
        waiting = self._waiting.get(out)
        if waiting is None:
            return
        if out.way is Way.BARS:
            interval = identity.partition(b":")[0]
            items = [item for item in waiting.items if not _is_open_of(item, interval)]
        else:
            items = list(waiting.items)[-keep:] if keep else []
        self.conflated[out.kind] += len(waiting.items) - len(items)
        self._replace(out, items)

    def _keep_newest_bars(self, out: OutStream) -> None:
        items: list[Command | Diff] = []
        seen: set[bytes] = set()
        for item in reversed(self._waiting[out].items):
            identity = item.identity
            interval = identity.partition(b":")[0]
            if is_closed_bar(identity) or interval not in seen:
                items.append(item)
            seen.add(interval)
        self.conflated[out.kind] += len(self._waiting[out].items) - len(items)
        self._replace(out, items[::-1])

    def _append(self, out: OutStream, item: Command | Diff, size: int) -> None:
        waiting = self._waiting.get(out)
        if waiting is None:
            waiting = self._waiting[out] = _Waiting()
        waiting.items.append(item)
        waiting.bytes += size
        self.bytes += size
        self.entries += 1

    def _replace(self, out: OutStream, items: list[Command] | list[Diff] | list[Command | Diff]) -> None:
        waiting = self._waiting[out]
        self.entries += len(items) - len(waiting.items)
        self.bytes -= waiting.bytes
        waiting.items = deque(items)
        waiting.bytes = sum(map(_size, items))
        self.bytes += waiting.bytes
        if not items:
            del self._waiting[out]

    def _commands(self) -> Iterator[tuple[OutStream, Command]]:
        for out, waiting in self._waiting.items():
            for item in waiting.items:
                if isinstance(item, Command):
                    yield out, item


def _must_stay(item: Command) -> bool:
    out = item.target
    assert isinstance(out, OutStream)  # noqa: S101 - it came in as one
    return out.way is Way.LOSSLESS or (out.way is Way.BARS and is_closed_bar(item.identity))


def _is_open_of(item: Command | Diff, interval: bytes) -> bool:
    return not is_closed_bar(item.identity) and item.identity.partition(b":")[0] == interval


def _size(item: Command | Diff) -> int:
    return _OVERHEAD + len(item.packed if isinstance(item, Command) else item.payload)


def _packed(out: OutStream, diff: Diff) -> Command:
    return Command(out, diff.identity, pack_entry(out, *diff))
