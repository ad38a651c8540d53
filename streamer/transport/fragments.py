"""Messages that come in several frames, joined. Pure."""

from __future__ import annotations


class Fragments:
    """The frames of one message, until its last. The exchange sends none such today; the protocol allows them.

    Raises, in all its methods:
        ValueError: a violation of the protocol, in words.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def pending(self) -> bool:
        return bool(self._parts)

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
        self._parts, self._size = [], 0
        return whole

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_bytes:
            raise ValueError(f"a message of more than {self._max_bytes} bytes")
        self._parts.append(part)
