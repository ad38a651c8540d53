"""Manifests: what a month held when it was proved, one JSON object an export, under `manifests/`. Kept for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gapless.domain.datasets import Dataset
from gapless.domain.window import from_ms, month_start
from gapless.errors import ConfigError, NotFound
from gapless.storage.lake.objects import Damaged, ObjectStore, Stat, uri_of

PREFIX = "manifests/"
_MANIFEST = re.compile(r"manifests/(?P<dataset>[a-z_]+)/\d{4}-\d{2}\.[1-9]\d*\.json")


def manifest_key(dataset: Dataset, month_ms: int, round_: int) -> str:
    """Where a manifest lies: `manifests/ohlcv/2026-07.1.json`.

    Args:
        month_ms: the month's first moment.
        round_: 1 for the first export of the month.

    Raises:
        ConfigError: no month begins there, or no round has that number.
    """
    if month_ms != month_start(month_ms) or round_ < 1:
        raise ConfigError(
            f"not a manifest: {from_ms(month_ms):%Y-%m-%d %H:%M}, round {round_}; a month's start, and 1 up"
        )
    return f"{PREFIX}{dataset}/{from_ms(month_ms):%Y-%m}.{round_}.json"


def put_manifest(store: ObjectStore, dataset: Dataset, month_ms: int, round_: int, data: bytes) -> str:
    """Store a manifest, in place of one that the same round left before; read back. Returns its address.

    Raises:
        ConfigError: see `manifest_key`.
        StorageError: the store did not take it, or gave other bytes back.
    """
    key = manifest_key(dataset, month_ms, round_)
    if store.get(key) != data:
        store.put(key, data)
        if store.get(key) != data:
            uri = uri_of(store, key)
            raise Damaged(f"{uri} came back with other bytes than were written; check the store and retry", uri=uri)
    return uri_of(store, key)


def get_manifest(store: ObjectStore, dataset: Dataset, month_ms: int, round_: int) -> bytes:
    """A stored manifest.

    Raises:
        ConfigError: see `manifest_key`.
        NotFound: there is none.
    """
    key = manifest_key(dataset, month_ms, round_)
    data = store.get(key)
    if data is None:
        raise NotFound(
            f"{uri_of(store, key)} is not there: that month was not exported that often, or into another lake"
        )
    return data


def list_manifests(store: ObjectStore, dataset: Dataset | None = None) -> Iterator[Stat]:
    """The manifests (of one dataset), in the order of their keys."""
    prefix = PREFIX if dataset is None else f"{PREFIX}{dataset}/"
    return (stat for stat in store.list(prefix) if _MANIFEST.fullmatch(stat.key))
