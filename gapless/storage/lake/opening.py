"""Opening the lake that the settings name."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from gapless.config import Settings
from gapless.domain.window import hot_since_ms
from gapless.errors import ConfigError
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.locks import FileLocks, Locks
from gapless.storage.lake.objects import ObjectStore

if TYPE_CHECKING:
    from gapless.storage.lake.s3 import Patience


def open_store(settings: Settings, *, patience: Patience | None = None) -> ObjectStore:
    """The object store of `GAPLESS_LAKE_URI`. Nothing is contacted yet.

    Raises:
        ConfigError: the URI names no folder or bucket.
    """
    parts = urlsplit(settings.lake)
    if parts.scheme == "file":
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path.startswith("/") or path == "/":
            raise ConfigError(f"GAPLESS_LAKE_URI is wrong: {settings.lake}; write file:///folder with three slashes")
        return FileStore(Path(path))
    if not parts.netloc:
        raise ConfigError(f"GAPLESS_LAKE_URI is wrong: {settings.lake}; write s3://bucket/prefix")
    from gapless.storage.lake.s3 import Patience, S3Store  # boto3 is a quarter of a second that a folder does not need

    access, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    return S3Store(
        parts.netloc,
        unquote(parts.path),
        endpoint_url=settings.s3_endpoint_url,
        access_key=access.get_secret_value() if access else None,
        secret_key=secret.get_secret_value() if secret else None,
        region=settings.aws_region,
        patience=patience or Patience(total_s=settings.storage_patience_s),
    )


def default_locks(store: ObjectStore, settings: Settings) -> Locks:
    """Locks for all writers on this machine, for use without MySQL: beside a folder lake, under `var/` for S3.

    Writers on several machines need a server's locks, or a store with conditional writes (`store.conditional`).
    """
    if isinstance(store, FileStore):
        return FileLocks(store.root / "_locks")
    lake = hashlib.sha256(store.root_uri.encode()).hexdigest()[:12]
    return FileLocks(settings.var_dir / "locks" / f"lake-{lake}")


def open_lake(settings: Settings, *, locks: Locks | None = None) -> BarLake:
    """The lake that the settings name; `locks` shared by all its writers, by default those of this machine.

    What is replaced in months that are no longer hot (`GAPLESS_HOT_MONTHS`) is kept under `_superseded/` first.
    """
    store = open_store(settings)
    return BarLake(
        store,
        locks or default_locks(store, settings),
        kept_before_ms=lambda: hot_since_ms(time.time_ns() // 1_000_000, settings.hot_months),
    )
