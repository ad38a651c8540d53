"""What was read from the Streams and is not yet acknowledged. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gapless.domain.live import GAPS_KEY, Entry, GapEvent, GapReason, entry_of
from gapless.errors import ValidationError
from gapless.pipeline.stream_archive import watch
from gapless.storage.live import Delivery
from gapless.storage.spool.refused import RefusedEntry

BATCH_ENTRIES = 20_000
BATCH_BYTES = 32 * 2**20


@dataclass
class Batch:
    """What was read and is not yet acknowledged."""

    entries: list[Entry] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)
    refused: list[RefusedEntry] = field(default_factory=list)
    removed: dict[str, list[str]] = field(default_factory=dict)
    bytes: int = 0
    spooled: bool = False

    def __bool__(self) -> bool:
        return bool(self.ids)

    @property
    def full(self) -> bool:
        return len(self.entries) + len(self.refused) >= BATCH_ENTRIES or self.bytes >= BATCH_BYTES

    def add(self, delivery: Delivery) -> None:
        ids = self.ids.setdefault(delivery.key, [])
        for stream_id, fields in delivery.entries:
            ids.append(stream_id)
            try:
                entry = entry_of(delivery.key, stream_id, fields)
            except ValidationError as error:
                self.refused.append(RefusedEntry(delivery.key, stream_id, str(error), fields))
                self.bytes += sum(map(len, fields.values()))
            else:
                self.entries.append(entry)
                self.bytes += len(entry.payload)
        if delivery.removed:
            ids += delivery.removed
            self.removed.setdefault(delivery.key, []).extend(delivery.removed)

    def events(self, now_ms: int) -> Iterator[GapEvent]:
        """What is wrong with a batch, an event a Stream."""
        garbled: dict[str, list[RefusedEntry]] = {}
        for entry in self.refused:
            garbled.setdefault(entry.key, []).append(entry)
        for key, entries in garbled.items():
            first, last = entries[0], entries[-1]
            if key != GAPS_KEY:
                yield watch.gap(
                    key, GapReason.GARBLED, first.stream_id, last.stream_id, len(entries), now_ms, first.reason
                )
        for key, ids in self.removed.items():
            if key != GAPS_KEY:
                detail = "removed from the Stream after it was read and before it was safe"
                yield watch.gap(key, GapReason.TRIMMED, ids[0], ids[-1], len(ids), now_ms, detail)
