"""A lake in a folder: `file://`. Objects are files, replaced by an atomic rename."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gapless.errors import StorageError
from gapless.storage.lake.objects import PreconditionFailed, Stat, checked_key
from gapless.storage.lake.temporary import sweep, temporary_file

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STRIPES = 64
_SWEEP_EVERY_S = 600.0


class FileStore:
    """Objects as files under a folder. Safe for many processes and threads at once.

    A write goes to `_tmp/` on the same filesystem, is synced, and renamed over the object, and the folder is synced:
    a reader sees the old or the new file, a crash leaves the old one. A temporary file is locked by its writer for as
    long as it lives, so one that nobody holds is the leftover of a killed process, and is swept.
    """

    conditional = True

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow a link the user made on purpose
        self._swept_at = -_SWEEP_EVERY_S
        self._sweeping = threading.Lock()

    @property
    def root(self) -> Path:
        """The lake's folder."""
        return self._root

    @property
    def root_uri(self) -> str:
        return f"file://{self._root}"

    def head(self, key: str) -> Stat | None:
        try:
            return _stat(key, self._path(key).stat())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failure("look at", key, error) from error

    def get(self, key: str) -> bytes | None:
        fetched = self.fetch(key)
        return None if fetched is None else fetched[0]

    def fetch(self, key: str) -> tuple[bytes, Stat] | None:
        stream = self.open(key)
        if stream is None:
            return None
        with stream:
            try:
                return stream.read(), _stat(key, os.fstat(stream.fileno()))
            except OSError as error:
                raise self._failure("read", key, error) from error

    def open(self, key: str) -> BinaryIO | None:
        try:
            return self._path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failure("read", key, error) from error

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> Stat:
        self.sweep()
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._temporary(data) as temporary, self._stripe(key):
                self._check(key, if_match, if_absent)
                stat = _stat(key, temporary.stat())  # a rename keeps inode and time, and so the mark
                temporary.replace(path)
                _sync_folders(path.parent, self._root)
                return stat
        except OSError as error:
            raise self._failure("write", key, error) from error

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            with self._stripe(key):
                path.unlink(missing_ok=True)
                if path.parent.exists():
                    _sync(path.parent)
        except NotADirectoryError:
            return
        except OSError as error:
            raise self._failure("delete", key, error) from error

    def list(self, prefix: str) -> Iterator[Stat]:
        folder, _, start = prefix.rpartition("/")
        base = self._root / folder if folder else self._root
        try:
            for path in _files_below(base, start):
                key = path.relative_to(self._root).as_posix()
                try:
                    found = _stat(key, path.stat())
                except FileNotFoundError:  # deleted since it was seen: then it is not there
                    continue
                yield found
        except OSError as error:
            raise self._failure("list", prefix, error) from error

    def sweep(self, *, force: bool = False) -> int:
        """Remove leftovers of killed writers from `_tmp/`; how many. Done by itself before a write, now and then."""
        with self._sweeping:
            now = time.monotonic()
            if not force and now - self._swept_at < _SWEEP_EVERY_S:
                return 0
            self._swept_at = now
        try:
            return sweep(self._root / "_tmp")
        except OSError as error:
            raise self._failure("sweep", "_tmp", error) from error

    @contextmanager
    def _temporary(self, data: bytes) -> Iterator[Path]:
        """A synced file in `_tmp/` holding `data`; gone afterwards unless it was renamed."""
        with temporary_file(self._root / "_tmp", suffix=".part") as (path, stream):
            left = memoryview(data)
            while left:
                left = left[stream.write(left) :]
            os.fsync(stream.fileno())
            yield path

    @contextmanager
    def _stripe(self, key: str) -> Iterator[None]:
        """Hold this key's short lock, which makes check and rename one step for all processes."""
        folder = self._root / "_locks"
        folder.mkdir(parents=True, exist_ok=True)
        number = sum(key.encode()) % _STRIPES
        with (folder / f"put-{number:02}").open("ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _check(self, key: str, if_match: str | None, if_absent: bool) -> None:
        if if_match is None and not if_absent:
            return
        current = self.head(key)
        if if_absent and current is not None:
            raise PreconditionFailed(f"{self._path(key)} already exists; it was left as it is")
        if if_match is not None and (current is None or current.etag != if_match):
            raise PreconditionFailed(
                f"{self._path(key)} was replaced by another writer meanwhile; merge again and retry"
            )

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)

    def _failure(self, verb: str, key: str, error: OSError) -> StorageError:
        where = self._root / key
        if error.errno in _NO_SPACE:
            free = _free_bytes(self._root)
            return StorageError(
                f"no space left to {verb} {where} ({free} bytes free, or a quota or file size limit is reached): "
                "nothing was changed; make room and run it again"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return StorageError(
                f"not allowed to {verb} {where}: {error.strerror}; make the lake's folder writable for this user"
            )
        return StorageError(f"cannot {verb} {where}: {error.strerror or error}; check the lake's disk")


def _stat(key: str, stat: os.stat_result) -> Stat:
    etag = f"{stat.st_ino:x}-{stat.st_mtime_ns:x}-{stat.st_size:x}"
    return Stat(key, stat.st_size, etag, stat.st_mtime_ns // 1_000_000)


def _files_below(folder: Path, start: str = "") -> Iterator[Path]:
    """Files in and below a folder whose first name begins with `start`, in order of their keys' UTF-8 bytes; a folder
    that vanishes holds none. One folder at a time is held in memory."""
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    named = [(f"{entry.name}/" if entry.is_dir() else entry.name, entry.path) for entry in entries]
    for name, path in sorted(named, key=lambda each: os.fsencode(each[0])):
        if not name.startswith(start):
            continue
        if name.endswith("/"):
            yield from _files_below(Path(path))
        else:
            yield Path(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(folder: Path, root: Path) -> None:
    """Make a rename in `folder` last: the folder, and its parents up to the root, which may be new themselves."""
    _sync(folder)
    while folder != root:
        folder = folder.parent
        _sync(folder)


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
