"""Batches on disk until MySQL has them: a file each, whole or not there, read in order, gone after the load.

    <folder>/<number>-<rows>.jsonl

A file is synced and then named, so a kill leaves whole batches and at most one that nobody was told of (`*.part`). One
process at a time: the folder is locked. All calls block: for a thread.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gapless.errors import StorageError, ValidationError
from streamer.bars.items import Item, items_of, lines_of

_NAME = re.compile(r"(\d{12})-(\d{1,9})\.jsonl")


@dataclass(frozen=True, slots=True)
class SpoolFile:
    """A batch on disk."""

    path: Path
    number: int
    rows: int
    bytes: int


class BarSpool:
    """The folder of one process.

    Attributes:
        rows, bytes: what lies in it.
        damaged: files that could not be read and were set aside as `*.damaged`.

    Raises:
        StorageError: the folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.damaged = 0
        self._folder = folder
        self._limit = limit_bytes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / "lock").open("a")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for rest in folder.glob("*.part"):
                rest.unlink()
            found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
            files = [SpoolFile(path, int(name[1]), int(name[2]), path.stat().st_size) for name, path in found]
        except BlockingIOError:
            raise StorageError(f"{folder}: another streamer of this shard uses it; stop that one first") from None
        except OSError as error:
            raise StorageError(f"{folder}: bars cannot wait there for MySQL ({error.strerror})") from None
        self._files = deque(sorted(files, key=lambda file: file.number))
        self._next = self._files[-1].number + 1 if self._files else 1
        self.rows = sum(file.rows for file in self._files)
        self.bytes = sum(file.bytes for file in self._files)

    def write(self, items: Sequence[Item]) -> None:
        """Add a batch; it is on the disk when this returns.

        Raises:
            StorageError: the disk does not take it, or the bound is reached; nothing of it is there.
        """
        text = lines_of(items)
        if self.bytes + len(text) > self._limit:
            raise StorageError(f"{self._folder}: {self.bytes} bytes of bars wait there for MySQL, and no more may")
        name = f"{self._next:012d}-{len(items)}.jsonl"
        part, path = self._folder / f"{name}.part", self._folder / name
        try:
            with part.open("wb") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            part.rename(path)
            self._sync_folder()
        except OSError as error:
            for rest in (part, path):
                rest.unlink(missing_ok=True)
            raise StorageError(f"{self._folder}: the disk takes no bars ({error.strerror})") from None
        self._files.append(SpoolFile(path, self._next, len(items), len(text)))
        self._next += 1
        self.rows += len(items)
        self.bytes += len(text)

    def read(self, most_rows: int) -> tuple[list[Item], list[SpoolFile]]:
        """The oldest batches, at most so many rows of them but at least one batch, and the files that they are.

        A file that cannot be read, or holds what is no item, is set aside: its bars are the patrol's.
        """
        items: list[Item] = []
        taken: list[SpoolFile] = []
        for file in list(self._files):
            if taken and len(items) + file.rows > most_rows:
                break
            try:
                items += list(items_of(file.path.read_bytes(), str(file.path)))
            except (ValidationError, OSError):
                self._forget(file)
                self.damaged += 1
                with suppress(OSError):  # what cannot be renamed stays, and is met again at the next start
                    file.path.rename(file.path.with_name(f"{file.path.name}.damaged"))
                continue
            taken.append(file)
        return items, taken

    def remove(self, files: Sequence[SpoolFile]) -> None:
        """These are in MySQL."""
        for file in files:
            self._forget(file)
            with suppress(OSError):  # what stays is loaded again by the next process, which changes nothing
                file.path.unlink(missing_ok=True)

    def keep_refused(self, items: Sequence[Item]) -> None:
        """Keep a batch that MySQL will never take, for a person to look at; it is read no more."""
        with suppress(OSError):  # where the disk takes nothing, what was said has to do
            (self._folder / f"{self._next:012d}-{len(items)}.jsonl.refused").write_bytes(lines_of(items))
        self._next += 1

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()

    def _forget(self, file: SpoolFile) -> None:
        self._files.remove(file)
        self.rows -= file.rows
        self.bytes -= file.bytes

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
