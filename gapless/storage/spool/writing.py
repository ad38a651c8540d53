"""Appending entries to the spool, so that after `sync` they outlive the process and the machine's power."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gapless.domain.live import HOUR_MS, Entry, Kind
from gapless.errors import ConfigError, StorageError
from gapless.storage.spool.hours import CLOSED, WRITING, hour_folder, sync_folder
from gapless.storage.spool.segments import MAGIC, frames_of

SEGMENT_BYTES = 64 * 2**20
MOST_OPEN = 48
"""How many files are open at once; past it the one that was longest without an entry is closed."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Hour(NamedTuple):
    kind: Kind
    exchange: str
    hour_ms: int


class _Segment:
    """One file being written: made and locked, and its folder not yet known to be on the disk."""

    def __init__(self, root: Path, hour: _Hour, consumer: str) -> None:
        folder = hour_folder(root, *hour)
        self._folders = [folder, *folder.parents[:4]]  # the hour, the exchange, the kind, the root, and where it lies
        number = time.time_ns() // 1_000_000
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            self.path = folder / f"{consumer}-{number}{WRITING}"
            number += 1
            if self.path.with_suffix(CLOSED).exists():
                continue
            try:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except (FileExistsError, FileNotFoundError):  # another's, or the empty folder was just removed
                continue
            if self._locked():
                break
            os.close(self._file)
        self.size = 0
        self._synced = 0
        self.dirty = True

    def _locked(self) -> bool:
        """False: a publisher took the new file for one that a dead writer had left."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return self.path.stat().st_ino == os.fstat(self._file).st_ino
        except (BlockingIOError, FileNotFoundError):
            return False

    def write(self, data: bytes) -> None:
        view = memoryview(data if self.size else MAGIC + data)
        self.dirty = True
        while view:
            done = os.write(self._file, view)
            self.size += done
            view = view[done:]

    def sync(self) -> None:
        if self.dirty:
            os.fsync(self._file)
            for folder in self._folders:
                sync_folder(folder)
            self._folders = []
            self._synced = self.size
            self.dirty = False

    def close(self) -> None:
        """Close it for ever; an empty one goes. Where the rename fails, `seal` does it: the lock goes with us."""
        try:
            if self.size:
                self.path.rename(self.path.with_suffix(CLOSED))
            else:
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self._file)

    def cut(self) -> None:
        """Take back what is not synced, so that writing it again and again does not fill a disk that fails."""
        with suppress(OSError):
            os.ftruncate(self._file, self._synced)
            self.size = self._synced


class SegmentWriter:
    """Appends to the files of one consumer; one thread at a time.

    Args:
        root: of the spool (`streams_root`).
        consumer: letters, digits, `-` and `_`; other processes use other names, or the same one: files are not shared.
    """

    def __init__(self, root: Path, consumer: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        if not _NAME.fullmatch(consumer):
            raise ConfigError(f"{consumer!r} names no consumer: up to 64 letters, digits, - and _")
        self._root = root
        self._consumer = consumer
        self._segment_bytes = segment_bytes
        self._open: OrderedDict[_Hour, _Segment] = OrderedDict()

    def append(self, entries: Iterable[Entry]) -> int:
        """Write entries behind those of their kind, exchange and hour; how many bytes that took. `sync` makes it last.

        Raises:
            StorageError: the disk did not take them (full, say); nothing since the last `sync` may be acknowledged.
        """
        by_hour: dict[_Hour, list[Entry]] = {}
        for entry in entries:
            by_hour.setdefault(_Hour(entry.kind, entry.exchange, entry.hour_ms), []).append(entry)
        written = 0
        try:
            for hour, rows in by_hour.items():
                for frame in frames_of(rows):
                    written += self._append(hour, frame)
        except OSError as error:
            self._abandon()
            raise StorageError(f"{self._root}: entries could not be spooled: {error.strerror or error}") from None
        return written

    def sync(self) -> None:
        """Make what was appended last; afterwards it may be acknowledged.

        Raises:
            StorageError: the disk did not take it; nothing since the last `sync` may be acknowledged.
        """
        try:
            for segment in self._open.values():
                segment.sync()
        except OSError as error:
            self._abandon()
            raise StorageError(f"{self._root}: the spool could not be synced: {error.strerror or error}") from None

    def close_ended(self, now_ms: int, *, grace_ms: int) -> int:
        """Close the files of hours that ended `grace_ms` ago, so that a publisher may take them; how many.

        Raises:
            StorageError: the disk did not take them; nothing since the last `sync` may be acknowledged.
        """
        ended = [hour for hour in self._open if hour.hour_ms + HOUR_MS + grace_ms <= now_ms]
        self._close(ended)
        return len(ended)

    def close(self) -> None:
        """Sync and close every file.

        Raises:
            StorageError: the disk did not take them; nothing since the last `sync` may be acknowledged.
        """
        self._close(list(self._open))

    def _append(self, hour: _Hour, frame: bytes) -> int:
        segment = self._open.get(hour)
        if segment is not None and segment.size + len(frame) > self._segment_bytes:
            self._finish(hour)
            segment = None
        if segment is None:
            if len(self._open) >= MOST_OPEN:
                self._finish(next(iter(self._open)))
            segment = self._open[hour] = _Segment(self._root, hour, self._consumer)
        self._open.move_to_end(hour)
        before = segment.size
        segment.write(frame)
        return segment.size - before

    def _close(self, hours: list[_Hour]) -> None:
        try:
            for hour in hours:
                self._finish(hour)
        except OSError as error:
            self._abandon()
            raise StorageError(f"{self._root}: the spool could not be synced: {error.strerror or error}") from None

    def _finish(self, hour: _Hour) -> None:
        self._open[hour].sync()
        self._open.pop(hour).close()

    def _abandon(self) -> None:
        """After a failed write or sync nobody knows what a file holds: each is closed, and the next go to new ones."""
        for segment in self._open.values():
            segment.cut()
            with suppress(OSError):
                segment.close()
        self._open.clear()
