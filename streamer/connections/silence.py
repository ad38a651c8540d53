"""Who has been silent for too long: streams by their own rhythm, connections by pings. Pure.

A socket that is open proves nothing (streams of the wrong route are acknowledged and never speak; some stop while
others go on), so each stream is watched by itself. What is normal differs by symbol and hour and is learned.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import NamedTuple

from gapless.domain.live import Kind
from gapless.exchanges.binance.streams.names import StreamSpec
from streamer.connections.seams import Take
from streamer.connections.settings import ConnectionSettings

_LONGEST_PATIENCE_S = 3_600.0
_TOGETHER = 5


class Stream:
    """A wanted stream, whichever connections carry it.

    Attributes:
        pause_s, pause_before_s: the longest pauses of this hour and of the one before.
        level: how often it was doubted since it last spoke: 1 subscribed again, 2 its connection replaced, then only
            subscribed again, ever more seldom.
        silent_s: what those doubts have waited together.
        past_messages, past_ns: of connections that ended.
    """

    __slots__ = (
        "level", "past_messages", "past_ns", "pause_before_s", "pause_s", "silent_s", "spec", "spoke", "take",
    )  # fmt: skip

    def __init__(self, spec: StreamSpec, take: Take) -> None:
        self.spec = spec
        self.take = take
        self.pause_s = self.pause_before_s = 0.0
        self.spoke = False
        self.level = 0
        self.silent_s = 0.0
        self.past_messages = 0
        self.past_ns = 0

    def hour_passed(self) -> None:
        """What is older than an hour or two is forgotten."""
        self.pause_before_s, self.pause_s = self.pause_s, 0.0

    def allowed_s(self, settings: ConnectionSettings, *, has_spoken: bool) -> float:
        """For how long it may be silent on a connection; infinite where silence is normal."""
        if self.spec.kind is Kind.LIQUIDATIONS:
            return inf
        known = settings.quiet_factor * max(self.pause_s, self.pause_before_s) if self.spoke else 0.0
        usual = self.spec.quiet_s if self.spec.quiet_s < inf else max(settings.quiet_s, known)
        first = usual if has_spoken or self.spec.quiet_s < inf else max(settings.first_message_s, known)
        if self.level < 2:
            return first
        return min(first * 2.0 ** min(self.level - 1, 20), max(_LONGEST_PATIENCE_S, first))


class Entry:
    """A stream on one connection. The first three are written by the hot path.

    Attributes:
        carried_s: monotonic, when it was named in the URL of the open connection or acknowledged; None before.
        carried_ns: the same in UTC.
        seen, since_s: `count` at the last look, and when it last changed or was doubted.
    """

    __slots__ = ("carried_ns", "carried_s", "count", "last_ns", "seen", "since_s", "stream", "take", "wanted")

    def __init__(self, stream: Stream) -> None:
        self.take = stream.take
        self.last_ns = 0
        self.count = 0
        self.stream = stream
        self.wanted = True
        self.carried_s: float | None = None
        self.carried_ns = 0
        self.seen = 0
        self.since_s = 0.0

    def carried(self, now_s: float, now_ns: int) -> None:
        self.carried_s = self.since_s = now_s
        self.carried_ns = now_ns


class Doubt(NamedTuple):
    entry: Entry
    silent_s: float


class Verdict(NamedTuple):
    """What is to be done about a connection's streams: these subscribed again; or, if `replace` says why, all of it."""

    doubts: list[Doubt]
    replace: str = ""


def look(entries: Iterable[Entry], now_s: float, settings: ConnectionSettings) -> Verdict:
    """Looks at all streams of a connection, learns pauses, and says who is in doubt.

    Silent once: the stream is subscribed again. Still silent after as long again: the connection is replaced, if the
    stream ever spoke or is bound to speak. After that it is taken for quiet: what it says next teaches its rhythm.
    Many at once are not asked one by one: the connection is replaced.
    """
    doubts: list[Doubt] = []
    speaking, replace = 0, ""
    shortest_s = min(settings.quiet_s, settings.first_message_s)
    for entry in entries:
        if entry.count != entry.seen:
            speaking += 1
            _spoke(entry, now_s)
            continue
        if entry.carried_s is None or not entry.wanted:
            continue
        stream, silent_s = entry.stream, now_s - entry.since_s
        if entry.count:
            speaking += 1
        # Cheap first: nothing below the shortest patience is worth a computation.
        if silent_s < shortest_s and silent_s < stream.spec.quiet_s:
            continue
        if silent_s <= stream.allowed_s(settings, has_spoken=entry.count > 0):
            continue
        doubts.append(Doubt(entry, silent_s))
        if stream.level == 1 and (stream.spoke or stream.spec.quiet_s < inf):
            replace = f"{stream.spec.name} is silent although it was subscribed again"
    for entry, silent_s in doubts:
        entry.since_s = now_s
        entry.stream.level += 1
        entry.stream.silent_s += silent_s
    fell_silent = sum(1 for doubt in doubts if doubt.entry.count)
    if fell_silent >= _TOGETHER and fell_silent * 2 >= speaking:
        replace = f"{fell_silent} of {speaking} streams fell silent together"
    return Verdict(doubts, replace)


def _spoke(entry: Entry, now_s: float) -> None:
    stream = entry.stream
    # Of a stream that spoke only after it was subscribed again, the pause was no habit of its own.
    if entry.seen and stream.level != 1:
        pause_s = now_s - entry.since_s + stream.silent_s
        if pause_s > stream.pause_s:
            stream.pause_s = pause_s
    entry.seen = entry.count
    entry.since_s = now_s
    stream.spoke = True
    stream.level = 0
    stream.silent_s = 0.0


class Pulse:
    """Whether a connection's peer lives: anything it sends counts, pongs too."""

    __slots__ = ("_heard", "_pinged", "_since_s")

    def __init__(self, now_s: float) -> None:
        self._heard = -1
        self._since_s = now_s
        self._pinged = False

    def look(self, heard: int, now_s: float, settings: ConnectionSettings) -> str:
        """`ping`: send one; `dead`: drop it; else empty."""
        if heard != self._heard:
            self._heard, self._since_s, self._pinged = heard, now_s, False
            return ""
        silent_s = now_s - self._since_s
        if silent_s >= settings.dead_after_s:
            return "dead"
        if silent_s >= settings.ping_after_s and not self._pinged:
            self._pinged = True
            return "ping"
        return ""


class LostTime:
    """Time in which nothing ran (a host that slept, a loop that hung), from how late it wakes who asked to be woken.

    Attributes:
        lost_s: all in all. Nobody was silent in it: it is taken from the clock that the watchdogs see.
    """

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self.lost_s = 0.0

    def woke(self, slept_s: float) -> None:
        late_s = slept_s - self._tick_s
        if late_s > self._tick_s:
            self.lost_s += late_s
