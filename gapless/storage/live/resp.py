"""Redis' protocol as the live writer speaks it: commands packed by hand, replies counted and not parsed. Pure.

What never changes for a Stream is packed once (`Target.prefix`). Replies of XADD, XTRIM and SET are an id, a number and
OK; nobody reads them, so counting lines is enough, and errors are the lines that begin with a minus. What was packed is
taken apart again only where it must be known what it was (`unpack`): after a cut, or an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

ENTRY = b"%b%013d\r\n$1\r\nr\r\n$19\r\n%019d\r\n$1\r\ni\r\n$%d\r\n%b\r\n$1\r\nd\r\n$%d\r\n%b\r\n"
"""An entry of market data: prefix, event ms, received ns, length and text of the identity and of the payload."""

LARGEST_EVENT_MS = 10**13 - 1
"""The event time has a fixed width in `ENTRY`; a larger one would break the protocol."""

_PACKED_ENTRY = re.compile(
    rb"\*11\r\n\$4\r\nXADD\r\n\$\d+\r\n([^\r]+)\r\n\$1\r\n\*\r\n\$1\r\ne\r\n\$13\r\n[^\r]{13}\r\n"
    rb"\$1\r\nr\r\n\$19\r\n[^\r]{19}\r\n\$1\r\ni\r\n\$\d+\r\n([^\r]*)\r\n\$1\r\nd\r\n\$(\d+)\r\n"
)
"""`ENTRY` with its key, its identity and the length of its payload; one with a CR in them is found by its lengths."""


class Target:
    """A Stream, or another key, that is written to.

    Attributes:
        key: as on the wire.
        prefix: the command up to the event time, see `ENTRY`.
        may_be_late: whether an entry that later ones have overtaken is still worth its place behind them.
        shared: whether others write to it too.
        ages: whether entries are removed by their age, so that it may be empty though nothing was lost.
        identify: the identity of an entry by its fields, as it was given to `RedisPipe.send`.
        newest: the identity of the entry that was given last; empty: none was, or Redis did not take it.
        last: the identity of the last entry before those that are remembered as acknowledged lately, as of the last
            start of Redis; empty: none was.
        refused: how many entries Redis will never take (the key holds something else, no permission).
    """

    __slots__ = ("ages", "identify", "key", "last", "may_be_late", "newest", "prefix", "refused", "shared")

    def __init__(
        self,
        key: str,
        *,
        may_be_late: bool = True,
        shared: bool = False,
        identify: Callable[[Mapping[bytes, bytes]], bytes] | None = None,
    ) -> None:
        self.key = key.encode()
        self.prefix = b"*11\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$1\r\n*\r\n$1\r\ne\r\n$13\r\n" % (len(self.key), self.key)
        self.may_be_late = may_be_late
        self.shared = shared
        self.ages = False
        self.identify = identify or _field_i
        self.newest = self.last = b""
        self.refused = 0


class Command(NamedTuple):
    """What is on its way: where to, what makes it one of a kind (empty: sent again by nobody), and its bytes."""

    target: Target
    identity: bytes
    packed: bytes


def pack(*words: bytes) -> bytes:
    """Any command.

    >>> pack(b"GET", b"a")
    b'*2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\na\\r\\n'
    """
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


def pack_entry(target: Target, event_ms: int, received_ns: int, identity: bytes, payload: bytes) -> bytes:
    """An XADD of market data; an event time of more digits than the year 2286 has is written as the largest."""
    known_ms = min(event_ms, LARGEST_EVENT_MS)
    return ENTRY % (target.prefix, known_ms, received_ns, len(identity), identity, len(payload), payload)


def unpack(data: bytes, targets: Mapping[bytes, Target]) -> list[Command]:
    """The commands that were packed one behind the other, XADDs with their identities.

    Args:
        targets: by key; what goes to others is given one that stands for the key only.

    >>> [(each.target.key, each.identity) for each in unpack(pack(b"XTRIM", b"a", b"MAXLEN", b"5"), {})]
    [(b'a', b'')]
    """
    found, start = [], 0
    while start < len(data):
        entry = _PACKED_ENTRY.match(data, start)
        if entry is not None:
            key, identity, size = entry.groups()
            target = targets.get(key) or Target(key.decode("utf-8", "replace"))
            end = entry.end() + int(size) + 2
        else:
            words, end = _words(data, start)
            target = targets.get(words[1]) or Target(words[1].decode("utf-8", "replace"))
            identity = b""
            if words[0] == b"XADD":
                identity = target.identify(dict(zip(words[3::2], words[4::2], strict=True)))
        found.append(Command(target, identity, data[start:end]))
        start = end
    return found


def _words(data: bytes, start: int) -> tuple[list[bytes], int]:
    end = data.index(b"\n", start) + 1
    words = []
    for _ in range(int(data[start + 1 : end])):
        start = data.index(b"\n", end) + 1
        size = int(data[end + 1 : start])
        words.append(data[start : start + size])
        end = start + size + 2
    return words, end


class ReplyCounter:
    """Counts whole replies in what comes, in whatever pieces.

    Understands replies of one line (`+OK`, `:3`, `-ERR`) and bulk strings without line breaks, as XADD's ids are. A
    bulk string is two lines, the first begins with `$`: replies are lines less those.
    """

    __slots__ = ("_rest", "errors")

    def __init__(self) -> None:
        self._rest = b""
        self.errors: list[tuple[int, str]] = []

    def feed(self, data: bytes) -> int:
        """How many replies ended in this piece; `errors` are those of them that are errors, counted from 0."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not data.endswith(b"\n"):
            end = data.rfind(b"\n") + 1
            self._rest = data[end:]
            data = data[:end]
        if self.errors:
            self.errors = []
        if data.startswith(b"-") or b"\n-" in data:
            return self._with_errors(data)
        return data.count(b"\n") - data.count(b"$")  # neither an id, nor a number, nor OK has a dollar in it

    def _with_errors(self, data: bytes) -> int:
        count = 0
        for line in data.split(b"\r\n")[:-1]:
            if line.startswith(b"$"):
                continue
            if line.startswith(b"-"):
                self.errors.append((count, line[1:].decode("utf-8", "replace")))
            count += 1
        return count


def _field_i(fields: Mapping[bytes, bytes]) -> bytes:
    return fields.get(b"i", b"")
