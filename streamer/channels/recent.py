"""What came lately, to tell a message that came before from one that comes late. Pure."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Key = TypeVar("Key")


class Recent(Generic[Key]):
    """The newest so many identities of a stream."""

    __slots__ = ("_known", "_order")

    def __init__(self, size: int) -> None:
        self._order: deque[Key] = deque(maxlen=size)
        self._known: set[Key] = set()

    def is_new(self, key: Key) -> bool:
        """Whether it did not come lately; it has from now on."""
        known = self._known
        if key in known:
            return False
        order = self._order
        if len(order) == order.maxlen:
            known.discard(order[0])
        order.append(key)
        known.add(key)
        return True
