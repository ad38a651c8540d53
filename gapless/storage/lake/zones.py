"""What lies in the lake beside canonical bars: payloads as received, tables between two steps, the lake's origin."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import msgspec
import pyarrow as pa
import zstandard

from gapless.domain.window import DAY_MS
from gapless.errors import NotFound, OriginMismatch, StorageError
from gapless.storage.lake import layout
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, uri_of
from gapless.storage.lake.parquet import arrow_reader

T = TypeVar("T")

WORK_KEPT_MS = 2 * DAY_MS

_RAW_MAX_BYTES = 4 << 30
_DIGEST = re.compile(r"-([0-9a-f]{16})\.arrow$")
RAW_PREFIX = "raw/"
REFUSED_PREFIX = "quarantine/archive/"
_RAW = re.compile(
    r"raw/[a-z_]+/[a-z0-9_]+/[a-z]+/\d{4}-\d{2}-\d{2}/\d{2}/(?P<batch>[0-9a-f]{16})-[0-9a-f]{16}\.jsonl\.zst"
)
_REFUSED = re.compile(r"quarantine/archive/(?P<path>.+)-(?P<digest>[0-9a-f]{16})\.zip")
_RENEWED_MS = DAY_MS


class Origin(msgspec.Struct, frozen=True):
    """Whose data an installation holds: `binance`, or `replica:<seed>` for generated data."""

    origin: str


def put_raw(store: ObjectStore, key: str, payloads: Iterable[object]) -> int:
    """Store payloads as one JSON line each, zstd-compressed with a checksum; read back. Returns the stored bytes.

    Equal payloads make equal bytes, so a step that runs again leaves the same object.
    """
    text = b"".join(msgspec.json.encode(payload) + b"\n" for payload in payloads)
    data = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True).compress(text)
    _put_verified(store, key, data)
    return len(data)


def get_raw(store: ObjectStore, key: str, kind: type[T]) -> list[T]:
    """The payloads of an object of `put_raw`, each decoded strictly as `kind`.

    Raises:
        NotFound: no such object.
        StorageError: the object is damaged.
    """
    uri = uri_of(store, key)
    data = _existing(store, key)
    decoder = msgspec.json.Decoder(kind)
    try:
        frame = zstandard.get_frame_parameters(data)
        if not frame.has_checksum or frame.content_size > _RAW_MAX_BYTES:  # both are written, so the header is damaged
            raise Damaged(f"{uri} is damaged: its header is not one of ours; extract its window again")
        text = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        if text and not text.endswith(b"\n"):
            raise Damaged(f"{uri} is damaged: its last line has no end; extract its window again")
        return [decoder.decode(line) for line in text.splitlines()]
    except (zstandard.ZstdError, msgspec.MsgspecError) as error:
        raise Damaged(f"{uri} is damaged: {error}; extract its window again") from error


def put_table(store: ObjectStore, batch: str, name: str, table: pa.Table) -> str:
    """Store a table between two steps, exact in every type; read back. Returns its key, which holds a digest."""
    sink = pa.BufferOutputStream()
    table = table.combine_chunks()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    key = layout.work_key(batch, name, hashlib.sha256(data).hexdigest()[:16])
    _put_verified(store, key, data)
    return key


def get_table(store: ObjectStore, key: str) -> pa.Table:
    """The table of `put_table`, its bytes compared with the digest in its key.

    Raises:
        NotFound: no such object.
        StorageError: the object is damaged.
    """
    uri = uri_of(store, key)
    data = _existing(store, key)
    told = _DIGEST.search(key)
    if told is None or hashlib.sha256(data).hexdigest()[:16] != told[1]:
        raise StorageError(
            f"{uri} is damaged: its bytes do not match the digest in its name; run the step before again"
        )
    try:
        return pa.ipc.open_file(arrow_reader(data)).read_all()
    except pa.ArrowException as error:
        raise Damaged(f"{uri} is damaged: {error}; run the step before again") from error


def delete(store: ObjectStore, key: str) -> None:
    """Remove an object that is not canonical data.

    Raises:
        StorageError: the key lies under a dataset; rows leave the lake by `BarLake.remove` only.
    """
    if key.startswith(layout.DATASET_PREFIXES):
        raise StorageError(
            f"{uri_of(store, key)} holds canonical rows and is not deleted: take single rows out instead"
        )
    store.delete(key)


def sweep_work(store: ObjectStore, now_ms: int) -> int:
    """Remove the tables that are `old_work`; how many."""
    removed = 0
    for stat in old_work(store, now_ms):
        store.delete(stat.key)
        removed += 1
    return removed


def old_work(store: ObjectStore, now_ms: int) -> Iterator[Stat]:
    """Tables between two steps that nobody came back for in two days.

    They follow from the raw payloads, so a run that is slower than that makes its table again.
    """
    return (stat for stat in store.list(layout.WORK_PREFIX) if stat.modified_ms < now_ms - WORK_KEPT_MS)


def list_raw(store: ObjectStore) -> Iterator[tuple[Stat, str]]:
    """Payloads as received, each with the name of its batch (`Batch.key`); what is nobody's batch is passed over."""
    for stat in store.list(RAW_PREFIX):
        found = _RAW.fullmatch(stat.key)
        if found:
            yield stat, found["batch"]


def list_refused(store: ObjectStore) -> Iterator[tuple[Stat, str, str]]:
    """Files of the exchange's archive that were refused (`layout.rejected_key`), each with the file's path in the
    archive and the first 16 hex digits of its sha256."""
    for stat in store.list(REFUSED_PREFIX):
        found = _REFUSED.fullmatch(stat.key)
        if found:
            yield stat, f"{found['path']}.zip", found["digest"]


def claim_origin(store: ObjectStore, origin: str) -> None:
    """Make `origin` this lake's, if it has none yet; the first claim holds for ever.

    Raises:
        OriginMismatch: the lake holds data of another origin.
    """
    while True:
        held = store.get(layout.ORIGIN_KEY)
        if held is None:
            try:
                store.put(layout.ORIGIN_KEY, msgspec.json.encode(Origin(origin)) + b"\n", if_absent=True)
            except PreconditionFailed:
                continue  # another was first: see what it claimed
            held = store.get(layout.ORIGIN_KEY)
        found = _origin(store, held)
        if found != origin:
            raise OriginMismatch(
                f"{store.root_uri} holds data of origin {found}, not {origin}: the two are never mixed. Set "
                "GAPLESS_LAKE_URI to another place for this origin"
            )
        return


def _origin(store: ObjectStore, data: bytes | None) -> str:
    try:
        return msgspec.json.decode(data or b"", type=Origin).origin
    except msgspec.MsgspecError as error:
        raise StorageError(
            f'{uri_of(store, layout.ORIGIN_KEY)} is damaged: {error}; write {{"origin": "binance"}} or the replica\'s'
        ) from error


def _existing(store: ObjectStore, key: str) -> bytes:
    data = store.get(key)
    if data is None:
        raise NotFound(f"{uri_of(store, key)} is not there; run the step that makes it again")
    return data


def _put_verified(store: ObjectStore, key: str, data: bytes) -> None:
    held = store.fetch(key)
    # An equal object that is old already is written again: its age is counted from its last use, so that no sweep
    # takes it from the run that needs it now.
    if held is not None and held[0] == data and held[1].modified_ms > time.time_ns() // 1_000_000 - _RENEWED_MS:
        return
    store.put(key, data)
    if store.get(key) != data:
        raise StorageError(
            f"{uri_of(store, key)} came back with other bytes than were written; check the store and retry"
        )
