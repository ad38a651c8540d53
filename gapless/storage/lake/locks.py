"""Who may rewrite a lake object: named locks, taken by all writers of one lake."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout

from gapless.errors import StorageError


class Locks(Protocol):
    """Mutual exclusion by name. A holder that dies gives its locks back at once or within seconds.

    MySQL's `GET_LOCK` where writers sit on several machines; `FileLocks` on one.
    """

    def named_locks(self, names: Iterable[str], *, timeout_s: float = ...) -> AbstractContextManager[object]:
        """Hold all of `names`, taken in sorted order.

        Raises:
            StorageError: not all of them were free within `timeout_s`.
        """


class FileLocks:
    """Locks as locked files in a folder: for all processes of one machine (or of one NFSv4 share).

    The kernel drops a lock with its holder, so a killed process leaves nothing held. The small files stay.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def named_locks(self, names: Iterable[str], *, timeout_s: float = 60.0) -> Iterator[None]:
        """See `Locks.named_locks`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"no lock folder at {self._folder}: {error.strerror}; make it writable") from error
        deadline = time.monotonic() + timeout_s
        with ExitStack() as held:
            for name in sorted(set(names)):
                lock = FileLock(self._folder / f"{_file_name(name)}.lock", thread_local=False)
                try:
                    held.enter_context(lock.acquire(timeout=max(0.0, deadline - time.monotonic()), poll_interval=0.01))
                except Timeout:
                    raise StorageError(
                        f"the lock {name!r} is held by another process, still after {timeout_s:.0f} s; "
                        "try again when that work is done"
                    ) from None
                except OSError as error:
                    raise StorageError(f"cannot lock {lock.lock_file}: {error.strerror or error}") from error
            yield


def _file_name(name: str) -> str:
    readable = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in name)
    return f"{readable[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
