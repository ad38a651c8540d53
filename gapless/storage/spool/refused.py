"""Entries of the live Streams that are none: kept as they came, a file a day, beside the spool."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from gapless.errors import StorageError
from gapless.storage.spool.hours import sync_folder

MOST_BYTES = 64 * 2**20
"""How large the file of a day grows; past it such entries are counted only."""


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry as Redis gave it, and why it is none."""

    key: str
    stream_id: str
    reason: str
    fields: Mapping[bytes, bytes]


def keep_refused(spool_dir: Path, entries: Sequence[RefusedEntry], now_ms: int) -> int:
    """Append entries to `<spool_dir>/refused/streams-<day>.jsonl`, on the disk when this returns; how many were kept.

    Bytes that are no UTF-8 are written as `\\xNN`.

    Raises:
        StorageError: the disk did not take them.
    """
    day = datetime.fromtimestamp(now_ms / 1000, UTC).date()
    path = spool_dir / "refused" / f"streams-{day}.jsonl"
    kept = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as stream:
            for entry in entries:
                if stream.tell() >= MOST_BYTES:
                    break
                stream.write(msgspec.json.encode(_readable(entry)) + b"\n")
                kept += 1
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path}: refused entries could not be kept: {error.strerror or error}") from None
    return kept


def _readable(entry: RefusedEntry) -> dict[str, object]:
    fields = {_text(name): _text(value) for name, value in entry.fields.items()}
    return {"stream": entry.key, "id": entry.stream_id, "reason": entry.reason, "fields": fields}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
