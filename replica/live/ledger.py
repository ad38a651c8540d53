"""What the exchange sent, as a test must know it to say that nothing is missing: by stream, and by connection."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_MOST_RANGES = 20_000


@dataclass(slots=True)
class StreamSent:
    """One stream since it was first asked for.

    Attributes:
        messages: what happened, heard or not; `first_id`, `last_id`: the exchange's ids from the first to the last.
        deliveries: messages times connections, duplicates among them.
        unheard: ids of the messages that no connection was sent, as ranges; `unheard_messages` counts them.
    """

    messages: int = 0
    first_id: int | None = None
    last_id: int | None = None
    deliveries: int = 0
    unheard_messages: int = 0
    unheard: list[list[int]] = field(default_factory=list)
    left_off: int = 0

    def happened(self, first_id: int | None, last_id: int | None) -> None:
        """Counts a message."""
        self.messages += 1
        if first_id is not None:
            if self.first_id is None:
                self.first_id = first_id
            self.last_id = last_id

    def lost(self, first_id: int | None, last_id: int | None) -> None:
        """Notes a message that reached no connection."""
        self.unheard_messages += 1
        if first_id is None or last_id is None:
            return
        if self.unheard and self.unheard[-1][1] + 1 == first_id:
            self.unheard[-1][1] = last_id
        elif len(self.unheard) < _MOST_RANGES:
            self.unheard.append([first_id, last_id])
        else:
            self.left_off += 1

    def report(self) -> dict[str, Any]:
        return {
            "messages": self.messages,
            "first_id": self.first_id,
            "last_id": self.last_id,
            "deliveries": self.deliveries,
            "unheard_messages": self.unheard_messages,
            "unheard": self.unheard,
            "unheard_left_off": self.left_off,
        }


@dataclass(slots=True)
class ConnectionCounts:
    """The connections of one market."""

    attempts: int = 0
    opened: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    asked_compression: int = 0
    pings: int = 0
    pongs: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    bytes: int = 0

    def reset(self) -> None:
        """Starts again from nothing, in place: connections hold on to it."""
        self.attempts = self.opened = self.asked_compression = self.pings = self.pongs = self.messages = self.bytes = 0
        for counter in (self.refused, self.ended, self.requests):
            counter.clear()

    def report(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            "opened": self.opened,
            "refused": {str(status): count for status, count in sorted(self.refused.items())},
            "ended": dict(self.ended),
            "asked_compression": self.asked_compression,
            "pings": self.pings,
            "pongs": self.pongs,
            "requests": dict(self.requests),
            "messages": self.messages,
            "bytes": self.bytes,
        }
