"""Payloads that are not what their stream carries: counted by reason, and kept as they came, on disk."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from gapless.domain.live import stream_key
from gapless.errors import StorageError
from gapless.exchanges.binance.streams.names import StreamSpec
from gapless.storage.spool.refused import RefusedEntry, keep_refused

_MOST_WAITING = 10_000
_EVERY_S = 1.0


class Refusals:
    """What was refused. Taking never waits; files are written by a thread, once a second.

    Attributes:
        by_reason: counts since the start. unkept: of those, refused while too many waited, or the disk took none.
    """

    def __init__(self, spool_dir: Path, *, say: Callable[[str], None]) -> None:
        self.by_reason: Counter[str] = Counter()
        self.unkept = 0
        self._folder = spool_dir
        self._say = say
        self._waiting: list[RefusedEntry] = []
        self._complained = False

    def take(self, spec: StreamSpec | None, payload: bytes, reason: str) -> None:
        """A payload of a stream, or a frame of none. `reason`: a word, a colon, and what is wrong."""
        word = reason.partition(":")[0]
        if not self.by_reason[word]:
            self._say(
                f"refused a payload ({reason[:200]}); it is kept in {self._folder / 'refused'}, others are counted"
            )
        self.by_reason[word] += 1
        if len(self._waiting) >= _MOST_WAITING:
            self.unkept += 1
            return
        key = stream_key(spec.kind, "binance", spec.symbol) if spec else "frame"
        self._waiting.append(RefusedEntry(key, "", reason, {b"d": payload}))

    async def run(self) -> None:
        """Write what waits, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write what waits now."""
        entries, self._waiting = self._waiting, []
        if not entries:
            return
        try:
            kept = await asyncio.to_thread(keep_refused, self._folder, entries, time.time_ns() // 1_000_000)
        except StorageError as error:
            kept = 0
            if not self._complained:
                self._say(str(error))
            self._complained = True
        self.unkept += len(entries) - kept
