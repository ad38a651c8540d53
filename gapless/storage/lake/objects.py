"""What the lake needs of an object store, whichever it is: whole objects, replaced at once, listed by prefix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from gapless.errors import ConfigError, StorageError


@dataclass(frozen=True, slots=True)
class Stat:
    """One stored object.

    Attributes:
        key: its name below the lake's root, `/`-separated UTF-8, without a leading slash.
        size: bytes.
        etag: the store's mark of this very version; other bytes, other mark.
        modified_ms: when the store says it was written, by the store's clock.
    """

    key: str
    size: int
    etag: str
    modified_ms: int


class PreconditionFailed(StorageError):
    """The object is not (or no longer) the version that the write was made for. Merge again and retry."""

    kind = "precondition"


class Damaged(StorageError):
    """A stored object's bytes cannot be trusted: a checksum, a count or a digest does not match.

    Attributes:
        uri: the object's address; empty where it is not known.
    """

    kind = "damaged"

    def __init__(self, message: str, *, uri: str = "") -> None:
        super().__init__(message)
        self.uri = uri


class ObjectStore(Protocol):
    """Whole objects under keys. Safe to share between threads.

    Every method raises `StorageError` that names the key and what to do, after retrying what passes by itself (a
    server away, throttling) up to the store's bound.
    """

    @property
    def root_uri(self) -> str:
        """`file:///folder` or `s3://bucket/prefix`, without a trailing slash."""

    @property
    def conditional(self) -> bool:
        """Whether `if_match` and `if_absent` are decided by the store in one step with the write.

        Where they are not (some S3-compatible servers ignore them), they are checked just before the write: enough
        under a lock that all writers take, not without one.
        """

    def head(self, key: str) -> Stat | None:
        """What lies under `key`, None when nothing does."""

    def get(self, key: str) -> bytes | None:
        """The whole object, None when there is none."""

    def fetch(self, key: str) -> tuple[bytes, Stat] | None:
        """The whole object together with the mark of the version that was read."""

    def open(self, key: str) -> BinaryIO | None:
        """The object for reading here and there; every read sees the version that was opened, or fails."""

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> Stat:
        """Write the object whole: readers see the old one or the new one, and after a failure the old one.

        Args:
            if_match: only replace the version with this etag.
            if_absent: only write when nothing lies there.

        Raises:
            PreconditionFailed: the condition does not hold; nothing was written.
        """

    def delete(self, key: str) -> None:
        """Remove the object; removing what is not there is no error."""

    def list(self, prefix: str) -> Iterator[Stat]:
        """Objects whose key begins with `prefix`, in order of their keys' UTF-8 bytes."""


def uri_of(store: ObjectStore, key: str) -> str:
    """Where an object lies, for people and receipts: `file:///srv/lake/ohlcv/...`."""
    return f"{store.root_uri}/{key}"


def key_of(store: ObjectStore, uri: str) -> str:
    """The key of an object's URI, which must lie in this store.

    Raises:
        StorageError: the URI belongs to another lake.
    """
    if not uri.startswith(store.root_uri + "/"):
        raise StorageError(f"{uri} does not lie in this lake ({store.root_uri}); is GAPLESS_LAKE_URI the one it was?")
    return uri[len(store.root_uri) + 1 :]


def checked_key(key: str) -> str:
    """`key` when it is one: relative, no empty, `.` or `..` part, no control characters, nothing unencodable.

    Raises:
        ConfigError: it is not.
    """
    parts = key.split("/")
    bad = any(part in ("", ".", "..") for part in parts) or any(ord(char) < 32 or char == "\\" for char in key)
    if bad or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts) or not _encodable(key):
        raise ConfigError(f"not a lake key: {key!r}; keys are relative, with plain parts of at most 255 bytes")
    return key


def _encodable(key: str) -> bool:
    try:
        return len(key.encode()) <= 1024  # S3's limit
    except UnicodeEncodeError:
        return False
