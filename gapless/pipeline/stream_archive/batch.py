"""What was read from the Streams and is not yet acknowledged, and what of it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gapless.domain.live import GAPS_KEY, Entry, GapEvent, GapReason, Kind, entry_of, parse_stream_key, stream_key
from gapless.errors import ValidationError
from gapless.pipeline.stream_archive import watch
from gapless.storage.live import Delivery
from gapless.storage.spool import spooled_ids
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

    def forgive(self, spool: Path) -> None:
        """What was removed before it was acknowledged, but after it was synced by one who died then, is not lost.

        Raises:
            OSError: the spool cannot be read.
        """
        asked: dict[tuple[Kind, str], set[tuple[str, str]]] = {}
        for key, ids in self.removed.items():
            if key != GAPS_KEY:
                kind, exchange, symbol = parse_stream_key(key)
                asked.setdefault((kind, exchange), set()).update((symbol, each) for each in ids)
        for (kind, exchange), wanted in asked.items():
            safe = spooled_ids(spool, kind, exchange, wanted)
            for symbol in {symbol for symbol, _ in safe}:
                key = stream_key(kind, exchange, symbol)
                self.removed[key] = [each for each in self.removed[key] if (symbol, each) not in safe]
        self.removed = {key: ids for key, ids in self.removed.items() if ids}

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
