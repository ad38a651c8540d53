"""Messages that come in several frames, joined. Pure."""

from __future__ import annotations


class Fragments:
    """The frames of one message, until its last. The exchange sends none such today; the protocol allows them.

    Attributes:
        pending: whether a message has begun and not ended; asked for each frame there is.

    Raises, in all its methods:
        ValueError: a violation of the protocol, in words.
    """

    def __init__(self, max_bytes: int) -> None:
        self.pending = False
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def first(self, part: bytes) -> None:
        if self._parts:
            raise ValueError("a message began before the last frame of the one before")
        self._add(part)

    def more(self, part: bytes, *, last: bool) -> bytes | None:
        """The whole message with its last frame, else None."""
        if not self._parts:
            raise ValueError("a continuation of nothing")
        self._add(part)
        if not last:
            return None
        whole = b"".join(self._parts)
        self._parts, self._size, self.pending = [], 0, False
        return whole

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            raise ValueError(f"a message of more than {self._max_bytes} bytes")
        self._parts.append(part)
        self.pending = True
