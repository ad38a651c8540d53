"""Last values: of each key the newest is written, at most every so often, and expires unless refreshed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

_GRAIN_NS = 10_000_000


class _Value:
    __slots__ = ("due_ns", "expires_ns", "key", "sent_ns", "value", "waits")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.value = b""
        self.expires_ns = 0
        self.sent_ns = 0
        self.due_ns = 0
        self.waits = False


class LastValues:
    """What each key should hold.

    Attributes:
        conflated: values that a newer one replaced before they were written.
        refused: keys beyond the bound; their values are let go.
    """

    def __init__(self, every_ms: int, limit: int) -> None:
        self.conflated = 0
        self.refused = 0
        self._every_ns = every_ms * 1_000_000
        self._limit = limit
        self._values: dict[str, _Value] = {}
        self._due: dict[int, list[_Value]] = {}

    def put(self, key: str, value: bytes, expires_ms: int, now_ns: int) -> bool:
        """Keep a value. Whether it is due at once; else it is in `due` later."""
        kept = self._values.get(key)
        if kept is None:
            if len(self._values) >= self._limit:
                self._forget(now_ns)
                if len(self._values) >= self._limit:
                    self.refused += 1
                    return False
            kept = self._values[key] = _Value(key.encode())
            kept.sent_ns = now_ns - self._every_ns
        kept.value = value
        kept.expires_ns = now_ns + expires_ms * 1_000_000
        if kept.waits:
            self.conflated += 1
            return False
        self._wait(kept, max(kept.sent_ns + self._every_ns, now_ns))
        return kept.due_ns <= now_ns

    def due(self, now_ns: int) -> Iterator[tuple[bytes, bytes, int]]:
        """Key, value and its remaining life in ms, of all that may be written now."""
        for slot in [slot for slot in self._due if slot <= now_ns // _GRAIN_NS]:
            for kept in self._due.pop(slot):
                if kept.due_ns > now_ns:
                    self._due.setdefault(slot, []).append(kept)
                    continue
                kept.waits = False
                kept.sent_ns = now_ns
                left_ms = (kept.expires_ns - now_ns) // 1_000_000
                if left_ms > 0:
                    yield kept.key, kept.value, left_ms

    def next_ns(self) -> int | None:
        """When `due` gives something, about; None: when nothing new comes, never."""
        return min(self._due) * _GRAIN_NS if self._due else None

    def again(self, now_ns: int) -> None:
        """Redis may have lost them: all that have not expired are due."""
        self._forget(now_ns)
        for kept in self._values.values():
            if not kept.waits:
                self._wait(kept, now_ns)

    def _wait(self, kept: _Value, due_ns: int) -> None:
        kept.waits = True
        kept.due_ns = due_ns
        self._due.setdefault(due_ns // _GRAIN_NS, []).append(kept)

    def _forget(self, now_ns: int) -> None:
        self._values = {key: kept for key, kept in self._values.items() if kept.waits or kept.expires_ns > now_ns}
