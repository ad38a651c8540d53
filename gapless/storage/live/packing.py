"""Entries on their way into one piece of bytes: kept as the parts they are made of, joined once for many. Pure.

Formatting an entry whole copies its payload twice and more; here nothing is copied but by the one joining. What is the
same for many is made once: the text of a time of receipt for all that came by one read, that of a length for ever.
"""

from __future__ import annotations

from collections.abc import Callable

from gapless.storage.live.resp import LARGEST_EVENT_MS, Target, pack_entry

Otherwise = Callable[[Target, int, int, bytes, bytes], None]

_PARTS = 8
"""What an entry is made of, see `Packer.put`."""

_LEAST, _MOST = 8, 128
_LENGTHS_KEPT = 8192


class Packer:
    """Commands that were given and are not packed yet.

    Args:
        on_first: called when there is a command after there was none.
        on_full: called when `take` should be.

    Attributes:
        straight: whether entries are taken; if not they go to `otherwise`, as do those with an impossible event time.
    """

    __slots__ = ("_mark", "_on_first", "_on_full", "_parts", "_received", "_received_ns", "_singles",
                 "otherwise", "straight")  # fmt: skip

    def __init__(self, on_first: Callable[[], None], on_full: Callable[[], None]) -> None:
        self.straight = True
        self.otherwise: Otherwise = self._put_late
        self._on_first, self._on_full = on_first, on_full
        self._parts: list[bytes] = []
        self._singles = 0
        self._mark = _LEAST * _PARTS
        self._received_ns, self._received = -1, b""

    def __len__(self) -> int:
        return (len(self._parts) - self._singles) // _PARTS + self._singles

    @property
    def size(self) -> int:
        """How many bytes it will be."""
        return sum(map(len, self._parts))

    def put(self, target: Target, event_ms: int, received_ns: int, identity: bytes, payload: bytes) -> None:
        """Take an entry of market data."""
        if not self.straight or event_ms > LARGEST_EVENT_MS:
            self.otherwise(target, event_ms, received_ns, identity, payload)
            return
        if received_ns != self._received_ns:
            self._received = b"\r\n$1\r\nr\r\n$19\r\n%019d\r\n$1\r\ni\r\n$" % received_ns
            self._received_ns = received_ns
        parts = self._parts
        parts += (
            target.prefix,
            b"%013d" % event_ms,
            self._received,
            _OF_IDENTITY[len(identity)],
            identity,
            _OF_PAYLOAD[len(payload)],
            payload,
            b"\r\n",
        )
        target.newest = identity
        if not _PARTS < len(parts) < self._mark:
            self._look()

    def add(self, packed: bytes) -> None:
        """Take any command."""
        self._parts.append(packed)
        self._singles += 1
        self._look()

    def take(self) -> tuple[bytes, int]:
        """All that was taken in one piece, and how many commands it is."""
        count, data = len(self), b"".join(self._parts)
        self._parts.clear()
        self._singles = 0
        return data, count

    def aim(self, entries: int) -> None:
        """Call `on_full` after about so many entries, within bounds."""
        self._mark = min(max(entries, _LEAST), _MOST) * _PARTS

    def _look(self) -> None:
        count = len(self)
        if count == 1:
            self._on_first()
        if count * _PARTS >= self._mark:
            self._on_full()

    def _put_late(self, target: Target, event_ms: int, received_ns: int, identity: bytes, payload: bytes) -> None:
        target.newest = identity
        self.add(pack_entry(target, event_ms, received_ns, identity, payload))


class _Lengths(dict[int, bytes]):
    def __init__(self, text: bytes) -> None:
        super().__init__()
        self._text = text

    def __missing__(self, length: int) -> bytes:
        made = self._text % length
        if len(self) < _LENGTHS_KEPT:
            self[length] = made
        return made


_OF_IDENTITY = _Lengths(b"%d\r\n")
_OF_PAYLOAD = _Lengths(b"\r\n$1\r\nd\r\n$%d\r\n")
