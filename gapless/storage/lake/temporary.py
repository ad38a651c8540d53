"""Temporary files that outlive no process: each is locked by its maker, and one that nobody holds is swept."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def temporary_file(folder: Path, *, suffix: str) -> Iterator[tuple[Path, BinaryIO]]:
    """A new empty file, held open and locked until it is left, and gone then unless it was renamed.

    No ages and no process numbers: whoever can lock such a file knows that its maker is dead, right across containers.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        path = folder / f"{os.getpid()}-{secrets.token_hex(8)}{suffix}"
        stream = path.open("xb", buffering=0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # a sweeper was faster than the lock and removes the file: take another
        else:
            if os.fstat(stream.fileno()).st_nlink == 1:
                break
        stream.close()
    try:
        with stream:
            yield path, stream
    finally:
        path.unlink(missing_ok=True)


def sweep(folder: Path, *, suffix: str = "") -> int:
    """Remove the files of `folder` (those that end in `suffix`) whose makers are dead; how many.

    Raises:
        OSError: one of them cannot be looked at or removed.
    """
    removed = 0
    if not folder.is_dir():
        return 0
    for path in folder.iterdir():
        if not path.name.endswith(suffix):
            continue
        try:
            with path.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                removed += 1
        except (BlockingIOError, FileNotFoundError, IsADirectoryError):
            continue  # being written now, already gone, or not ours
    return removed
