"""One stream and all who listen to it: its messages through the fault script, to each connection in its form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from gapless.domain.instrument import Market
from replica.live.connection import Connection
from replica.live.fault_schema import LiveAction
from replica.live.faults import LiveFaults, StreamRules, skewed, spoilt
from replica.live.framing import combined, text_frame
from replica.live.ledger import StreamSent
from replica.live.messages import LiveMessage
from replica.live.shaping import Shaper


@dataclass(slots=True)
class Fate:
    """What becomes of a message: whether anybody was sent it, and how many copies are still on their way."""

    first_id: int
    last_id: int
    copies: int
    heard: bool = False


class Item(NamedTuple):
    """A copy of a message on its way."""

    data: bytes
    event_ms: int
    fate: Fate


class Blow(NamedTuple):
    """What a rule does to a connection."""

    connection: Connection
    action: LiveAction


@dataclass(slots=True)
class _Shape:
    """What the rules make of a message."""

    data: bytes
    dropped: bool = False
    copies: int = 1
    delay_s: float = 0.0
    behind: int = 0
    blow: LiveAction | None = None

    def take(self, actions: Iterable[LiveAction]) -> _Shape:
        for action in actions:
            if action.drop or action.of_connection:
                self.dropped = True
                self.blow = action if action.of_connection else None
                break
            self.copies += int(action.duplicate)
            self.behind = max(self.behind, int(action.reorder))
            self.delay_s += (action.delay_ms or 0) / 1000
            if action.wrong is not None:
                self.data = spoilt(self.data, action.wrong)
            if action.skew_ms is not None:
                self.data = skewed(self.data, action.skew_ms)
        return self


class Fan:
    """A stream of one market. `watched`: its market is asked for it; `empty_since`: nobody listens since then."""

    def __init__(self, market: Market, stream: str) -> None:
        self.market, self.stream = market, stream
        self.sent = StreamSent()
        self.watched = False
        self.empty_since = 0.0
        self._raw: list[Connection] = []
        self._combined: list[Connection] = []
        self._rules: StreamRules | None = None
        self._looked_at: LiveFaults | None = None
        self._shaper: Shaper[Item] = Shaper()
        self._shapers: dict[Connection, Shaper[Item]] = {}

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._raw or self._combined)

    @property
    def holds(self) -> bool:
        """Whether messages wait for their time."""
        return bool(self._shaper) or any(self._shapers.values())

    def join(self, connection: Connection, *, in_envelope: bool) -> None:
        """A connection listens from now on; once more changes the form."""
        self.leave(connection)
        (self._combined if in_envelope else self._raw).append(connection)

    def leave(self, connection: Connection) -> None:
        """It does so no more."""
        for listeners in (self._raw, self._combined):
            if connection in listeners:
                listeners.remove(connection)
        shaper = self._shapers.pop(connection, None)
        for item in shaper.release() if shaper else ():
            self._settled(item)

    def happened(self, event: LiveMessage, faults: LiveFaults, now_s: float) -> Iterator[Blow]:
        """Sends a message as the script has it. Nearly all take the first, short way."""
        self.sent.happened(event.first_id, event.last_id)
        if self._looked_at is not faults:
            self._looked_at = faults
            self._rules = faults.of_stream(self.market, self.stream, event.raw_symbol, event.kind)
        if self._rules is None and not self._shaper and not self._shapers:
            if not self._to_all(event.data):
                self.sent.lost(event.first_id, event.last_id)
            return
        works = self._rules.once if self._rules else []
        shape = _Shape(event.data).take(faults.meeting(works, event.event_ms))
        if shape.dropped:
            self.sent.lost(event.first_id, event.last_id)
            return
        item = Item(shape.data, event.event_ms, Fate(event.first_id, event.last_id, shape.copies))
        for ready in _shaped(self._shaper, shape, item, now_s):
            yield from self._to_each(ready, faults, now_s)

    def due(self, faults: LiveFaults, now_s: float, *, at_once: bool = False) -> Iterator[Blow]:
        """Sends what has waited long enough; `at_once`: all that waits."""
        for item in self._shaper.release() if at_once else self._shaper.due(now_s):
            yield from self._to_each(item, faults, now_s)
        for connection, shaper in list(self._shapers.items()):
            for item in shaper.release() if at_once else shaper.due(now_s):
                self._to_one(connection, item)
            if not shaper:
                del self._shapers[connection]

    def _to_all(self, data: bytes) -> int:
        """Sends a payload to all who listen; to how many."""
        heard = 0
        if self._combined:
            frame = text_frame(combined(self.stream, data))
            for connection in self._combined:
                if not connection.muted or not connection.is_muted(self.stream):
                    heard += connection.send(frame)
        if self._raw:
            frame = text_frame(data)
            for connection in self._raw:
                if not connection.muted or not connection.is_muted(self.stream):
                    heard += connection.send(frame)
        self.sent.deliveries += heard
        return heard

    def _to_each(self, item: Item, faults: LiveFaults, now_s: float) -> Iterator[Blow]:
        if not self._shapers and (self._rules is None or not self._rules.each):
            item.fate.heard |= bool(self._to_all(item.data))
            self._settled(item)
            return
        works = self._rules.each if self._rules else []
        for connection in [*self._combined, *self._raw]:
            shape = _Shape(item.data).take(faults.meeting(works, item.event_ms, connection.number))
            if shape.blow is not None:
                yield Blow(connection, shape.blow)
            if shape.dropped:
                continue
            item.fate.copies += shape.copies
            shaper = self._shapers.pop(connection, None) or Shaper()
            for ready in _shaped(shaper, shape, item._replace(data=shape.data), now_s):
                self._to_one(connection, ready)
            if shaper:
                self._shapers[connection] = shaper
        self._settled(item)

    def _to_one(self, connection: Connection, item: Item) -> None:
        if not connection.muted or not connection.is_muted(self.stream):
            in_envelope = connection in self._combined
            frame = text_frame(combined(self.stream, item.data) if in_envelope else item.data)
            if connection.send(frame):
                self.sent.deliveries += 1
                item.fate.heard = True
        self._settled(item)

    def _settled(self, item: Item) -> None:
        """A copy has come to its end; after the last one it is known whether anybody was sent the message."""
        fate = item.fate
        fate.copies -= 1
        if not fate.copies and not fate.heard:
            self.sent.lost(fate.first_id, fate.last_id)


def _shaped(shaper: Shaper[Item], shape: _Shape, item: Item, now_s: float) -> list[Item]:
    ready: list[Item] = []
    for _ in range(shape.copies):
        ready += shaper.put(item, now_s, delay_s=shape.delay_s, behind=shape.behind)
    return ready
