"""What all channels share: where their entries go, how late messages are, what was refused, the newest value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gapless.domain.live import Entry, last_key
from gapless.exchanges.binance.streams.messages import decode_message
from gapless.exchanges.binance.streams.names import StreamSpec
from streamer.channels.latency import Delays
from streamer.outlet import Outlet

EXCHANGE = "binance"
LAST_EXPIRES_MS = 15_000
"""A state key is gone so long after its writer; it is refreshed three times in it."""


@dataclass(slots=True)
class Desk:
    """What the channels of one market share.

    Attributes:
        refuse: told of a payload that is not what its stream carries, with the reason.
        offset_ms: by how much the host's clock is ahead of the exchange's.
        delays: from the exchange's event to its receipt, on the exchange's clock.
        dirty: the channels whose newest value is not in Redis yet.
    """

    outlet: Outlet
    refuse: Callable[[StreamSpec, bytes, str], None]
    offset_ms: int = 0
    delays: Delays = field(default_factory=Delays)
    dirty: list[Channel] = field(default_factory=list)


class Channel:
    """One stream on its way into Redis.

    Attributes:
        duplicates: messages that came before, by another connection.
        refused: payloads that are not what the stream carries.
        delay_ms: the sum of the delays of all that was passed on as it came.
        latest: event time, receipt and payload of the newest entry.
        last_id: what identifies it.
        state: `live`, or `stale` while no connection carries the stream.
    """

    __slots__ = (
        "delay_ms",
        "desk",
        "dirty",
        "duplicates",
        "key",
        "last_id",
        "latest",
        "out",
        "put",
        "refused",
        "spec",
        "state",
    )

    def __init__(self, spec: StreamSpec, desk: Desk) -> None:
        self.spec = spec
        self.desk = desk
        self.out = desk.outlet.stream(spec.kind, EXCHANGE, spec.symbol)
        self.put = desk.outlet.put
        self.key = last_key(spec.kind, EXCHANGE, spec.symbol, spec.interval)
        self.latest: tuple[int, int, bytes] | None = None
        self.dirty = False
        self.state = "stale"
        self.duplicates = self.refused = 0
        self.delay_ms = 0
        self.last_id: int | str = ""

    @property
    def last_event_ms(self) -> int:
        """The exchange's time of the newest entry; 0 before the first."""
        return self.latest[0] if self.latest else 0

    def take(self, data: bytes, received_ns: int) -> None:
        """One payload, as received. The hot path."""
        raise NotImplementedError

    def resume(self, entries: Sequence[Entry]) -> None:
        """Go on after what a process before this one wrote: its newest entries, oldest first."""

    def tick(self, now_ns: int) -> None:
        """What time alone brings about. `now_ns`: of the monotonic clock."""

    def carried(self, now_ns: int) -> None:
        """A connection carries the stream (again)."""
        self.state = "live"

    def dropped(self, now_ns: int) -> None:
        """No connection carries it any more: what is sent from now on may be missing."""
        self.state = "stale"
        self.show()

    def emit(self, event_ms: int, received_ns: int, identity: bytes, payload: bytes) -> None:
        """Hand an entry on, and remember it as the newest."""
        self.put(self.out, event_ms, received_ns, identity, payload)
        delay = received_ns // 1_000_000 - event_ms - self.desk.offset_ms
        self.desk.delays.counts[0 if delay < 0 else delay if delay < 60_000 else 60_000] += 1
        self.delay_ms += delay
        self.latest = (event_ms, received_ns, payload)
        if not self.dirty:
            self.dirty = True
            self.desk.dirty.append(self)

    def show(self) -> None:
        """Have the newest value written."""
        if not self.dirty and self.latest is not None:
            self.dirty = True
            self.desk.dirty.append(self)

    def publish(self) -> None:
        """Write the newest value to its key."""
        self.dirty = False
        if self.latest is not None:
            event_ms, received_ns, payload = self.latest
            self.desk.outlet.keep(self.key, state_value(event_ms, received_ns, self.state, payload), LAST_EXPIRES_MS)

    def decode(self, data: bytes, kind: type[Any]) -> Any:
        """The payload as the type that this stream carries, or None: it was refused and counted."""
        try:
            message = decode_message(data)
        except msgspec.DecodeError as error:
            return self.refuse(data, f"json: {error}")
        if type(message) is not kind:
            return self.refuse(data, f"fields: {type(message).__name__} in {self.spec.name}")
        return message

    def refuse(self, data: bytes, reason: str) -> None:
        """Count a payload that cannot be taken, and have it kept."""
        self.refused += 1
        self.desk.refuse(self.spec, data, reason)


def state_value(event_ms: int, received_ns: int, state: str, payload: bytes) -> bytes:
    """The JSON text of a state key."""
    return b'{"event_ms":%d,"received_ns":%d,"state":"%b","data":%b}' % (event_ms, received_ns, state.encode(), payload)
