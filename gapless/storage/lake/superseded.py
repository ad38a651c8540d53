"""What lay in the lake before: settled objects that were replaced, and damaged ones; kept for a bounded time.

    _superseded/ohlcv/binance-1m-2026-07-09.parquet-5f3c9a60c1d2e4b7        the key it had, and of what bytes

The names end in no `.parquet`, so nothing that looks for Parquet below the lake meets them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from gapless.domain.window import DAY_MS
from gapless.errors import ConfigError, StorageError
from gapless.storage.lake.objects import ObjectStore, Stat, uri_of

PREFIX = "_superseded/"
_COPY = re.compile(r"_superseded/(?P<key>.+)-[0-9a-f]{16}")


def superseded_key(key: str, sha256: str) -> str:
    """Where a version of an object is kept.

    Args:
        sha256: of the version's bytes, hex.
    """
    return f"{PREFIX}{key}-{sha256[:16]}"


def original_key(key: str) -> str | None:
    """Where a kept version lay when it was live; None for a key of anything else."""
    found = _COPY.fullmatch(key)
    return None if found is None else found["key"]


def keep(store: ObjectStore, key: str, data: bytes) -> str:
    """Keep bytes that are about to be replaced or deleted, read back; returns the copy's key.

    A copy that lies there already, whole, is not written again: a writer that is killed between the copy and what it
    was made for leaves nothing that the next one trips over.

    Raises:
        StorageError: the store did not take them, or gave other bytes back.
    """
    copy = superseded_key(key, hashlib.sha256(data).hexdigest())
    if store.get(copy) == data:
        return copy
    store.put(copy, data)
    if store.get(copy) != data:
        raise StorageError(
            f"{uri_of(store, copy)} came back with other bytes than were written, so {uri_of(store, key)} was left "
            "as it was; check the store and run this again"
        )
    return copy


def list_superseded(store: ObjectStore) -> Iterator[Stat]:
    """The kept versions, in the order of their keys; what lies there under other names (moved by hand) is left out."""
    return (stat for stat in store.list(PREFIX) if original_key(stat.key) is not None)


def old_superseded(store: ObjectStore, now_ms: int, days: int) -> list[Stat]:
    """The versions that were kept for so many days; nothing is removed.

    Args:
        now_ms: compared with the store's own times of writing.

    Raises:
        ConfigError: less than one day.
        StorageError: the store is away.
    """
    if days < 1:
        raise ConfigError(f"superseded objects kept for {days} days: write 1 or more")
    return [stat for stat in list_superseded(store) if stat.modified_ms <= now_ms - days * DAY_MS]
