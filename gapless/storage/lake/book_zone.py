"""The zone `books/`: exports of the books as Parquet, each finished by its manifest: without one it does not exist.

    books/2026-11-20T001500Z/manifest.json            what belongs to it, objects of earlier ones too, with checksums
    books/2026-11-20T001500Z/restatement.00.parquet   a book, or a part of a large one
    books/2026-11-20T001500Z/archive_series-2026-11.00.parquet    of the largest, the rows of a month

An object that did not change since the newest export is named again and not stored again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from gapless.domain.window import DAY_MS, from_ms, to_ms
from gapless.errors import ConfigError, NotFound, StorageError
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, uri_of
from gapless.storage.lake.parquet import arrow_reader

PREFIX = "books/"
ABANDONED_MS = 2 * DAY_MS
"""After this long an export without a manifest is the leftover of one that was killed."""

_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{6}Z")
_KEY = re.compile(r"books/(?P<stamp>\d{4}-\d{2}-\d{2}T\d{6}Z)/(?P<name>manifest\.json|[a-z0-9_.-]+\.parquet)")
_MANIFEST = "manifest.json"


class BookObject(msgspec.Struct, frozen=True):
    """A stored part of a book.

    Attributes:
        label: `2026-11` where the book is cut by months, else empty; the parts of a label follow each other.
        sha256: of its bytes.
    """

    key: str
    label: str
    rows: int
    bytes: int
    sha256: str


class ExportedBook(msgspec.Struct, frozen=True):
    """A book as it was exported.

    Attributes:
        columns: their names, in the order of the rows' digest.
        digest: sha256 over its labels and the digests of their rows (`gapless.domain.row_digest`), in order.
    """

    name: str
    columns: tuple[str, ...]
    rows: int
    digest: str
    objects: tuple[BookObject, ...]


class BooksManifest(msgspec.Struct, frozen=True):
    """A whole export.

    Attributes:
        stamp: when the snapshot was taken, `2026-11-20T001500Z`; its name.
        revision: of the schema. origin: whose data, None while nobody has claimed the installation.
        server: which one it was read from. lake: the address of the lake that the books speak of.
        snapshot_ms: when the snapshot was taken, UTC.
        digest: sha256 over all that stands before it.
    """

    format: int
    stamp: str
    revision: str
    origin: str | None
    server: str
    lake: str
    snapshot_ms: int
    tables: tuple[ExportedBook, ...]
    digest: str = ""

    def sealed(self) -> BooksManifest:
        """The same with its digest."""
        return msgspec.structs.replace(self, digest=self._digest())

    @property
    def sound(self) -> bool:
        """Whether the digest is the one of what stands here."""
        return self.digest == self._digest()

    def _digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, digest=""))).hexdigest()


FORMAT = 1


def stamp_of(at_ms: int) -> str:
    """The name of an export whose snapshot was taken then."""
    return f"{from_ms(at_ms):%Y-%m-%dT%H%M%SZ}"


def stamp_ms(stamp: str) -> int:
    """When an export of that name was taken.

    Raises:
        ConfigError: it is no name of an export.
    """
    try:
        if _STAMP.fullmatch(stamp):
            return to_ms(datetime.strptime(stamp, "%Y-%m-%dT%H%M%SZ").replace(tzinfo=UTC))
    except ValueError:
        pass
    raise ConfigError(f"not the name of an export of the books: {stamp!r}; `gapless restore-books --list` shows them")


def object_key(stamp: str, table: str, label: str, part: int) -> str:
    """Where a part of a book goes."""
    return f"{PREFIX}{stamp}/{table}{'-' if label else ''}{label}.{part:02}.parquet"


def manifest_key(stamp: str) -> str:
    """Where the manifest of an export lies."""
    return f"{PREFIX}{stamp}/{_MANIFEST}"


def list_exports(store: ObjectStore) -> list[str]:
    """The stamps of all exports that were finished, oldest first."""
    found = (_KEY.fullmatch(stat.key) for stat in store.list(PREFIX))
    return sorted(match["stamp"] for match in found if match is not None and match["name"] == _MANIFEST)


def read_manifest(store: ObjectStore, stamp: str) -> BooksManifest:
    """What belongs to an export.

    Raises:
        ConfigError: that is no name of an export. NotFound: there is none of that name.
        Damaged: its manifest cannot be trusted.
    """
    stamp_ms(stamp)
    uri = uri_of(store, manifest_key(stamp))
    data = store.get(manifest_key(stamp))
    if data is None:
        raise NotFound(
            f"{uri} is not there: no such export, or it was never finished; `restore-books --list` shows all"
        )
    try:
        found = msgspec.json.decode(data, type=BooksManifest)
    except msgspec.MsgspecError as error:
        raise Damaged(f"{uri} is damaged: {error}; choose another export (`gapless restore-books --list`)") from error
    if not found.sound or found.stamp != stamp:
        raise Damaged(
            f"{uri} is damaged: its digest is not that of its content; choose another export "
            "(`gapless restore-books --list`)"
        )
    if found.format != FORMAT:
        raise StorageError(f"{uri} is of format {found.format}, which this version of Gapless does not know; update it")
    return found


def put_manifest(store: ObjectStore, manifest: BooksManifest) -> None:
    """Finish an export: from now on it exists. Read back.

    Raises:
        StorageError: one of that name exists, the store did not take it, or gave other bytes back.
    """
    key, data = manifest_key(manifest.stamp), msgspec.json.encode(manifest)
    try:
        store.put(key, data, if_absent=True)
    except PreconditionFailed as error:
        raise StorageError(f"{uri_of(store, key)} exists already; export again") from error
    if store.get(key) != data:
        raise StorageError(f"{uri_of(store, key)} came back with other bytes than were written; export again")


def put_object(store: ObjectStore, key: str, data: bytes) -> None:
    """Store a part of a book; read back.

    Raises:
        StorageError: the store did not take it, or gave other bytes back.
    """
    store.put(key, data)
    if store.get(key) != data:
        raise StorageError(
            f"{uri_of(store, key)} came back with other bytes than were written; check the store and export again"
        )


def get_object(store: ObjectStore, stored: BookObject) -> bytes:
    """The bytes of a part, compared with the manifest.

    Raises:
        Damaged: it is not there, or other bytes are.
    """
    data = store.get(stored.key)
    uri, other = uri_of(store, stored.key), "choose another export (`gapless restore-books --list`)"
    if data is None:
        raise Damaged(f"{uri} is not there, though the export's manifest names it; {other}")
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise Damaged(f"{uri} is damaged: its bytes do not match the sha256 of the export's manifest; {other}")
    return data


def part_writer(sink: str, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of a part: the same rows, cut alike, make the same bytes, whenever and wherever that is done."""
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=3,
        write_page_checksum=True,
        store_schema=False,
        store_decimal_as_integer=False,
    )


def rows_of(data: bytes, schema: pa.Schema, name: str) -> Iterator[pa.Table]:
    """The rows of a part, row group by row group, every page's checksum compared.

    Raises:
        Damaged: it cannot be read, or has other columns; `name` begins the message.
    """
    try:
        file = pq.ParquetFile(arrow_reader(data), page_checksum_verification=True)
        for number in range(file.metadata.num_row_groups):
            rows = file.read_row_group(number, use_threads=False)
            if rows.schema.names != schema.names or rows.schema.types != schema.types:
                raise Damaged(f"{name} does not have the columns of its book; choose another export")
            yield pa.Table.from_arrays(rows.columns, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"{name} cannot be read: {error}; choose another export") from error


def sweep_books(store: ObjectStore, now_ms: int, days: int, dry: bool) -> list[Stat]:
    """Remove exports older than so many days, and what killed ones left; the newest finished export always stays.

    What a kept export names stays, wherever it lies. Safe beside an export that is being made, which names objects of
    the newest one only, and when killed: a manifest goes before its objects.

    Args:
        days: by the time of the snapshot.
        dry: remove nothing.

    Returns:
        What went (or would go), manifests first.

    Raises:
        Damaged: the manifest of a kept export cannot be read, so that nobody knows what belongs to it; nothing was
            removed.
    """
    stats = {stat.key: (stat, match) for stat in store.list(PREFIX) if (match := _KEY.fullmatch(stat.key))}
    finished = sorted(match["stamp"] for _, match in stats.values() if match["name"] == _MANIFEST)
    oldest_ms = now_ms - days * DAY_MS
    kept = {stamp for stamp in finished if stamp == finished[-1] or _taken_ms(stamp) >= oldest_ms}
    named = {each.key for stamp in sorted(kept) for book in read_manifest(store, stamp).tables for each in book.objects}
    going: list[Stat] = []
    for key, (stat, match) in stats.items():
        stamp = match["stamp"]
        abandoned = stamp not in finished and _taken_ms(stamp) < now_ms - ABANDONED_MS
        if stamp not in kept and key not in named and (stamp in finished or abandoned):
            going.append(stat)
    going.sort(key=lambda stat: (not stat.key.endswith(_MANIFEST), stat.key))
    for stat in () if dry else going:
        store.delete(stat.key)
    return going


def _taken_ms(stamp: str) -> int:
    try:
        return stamp_ms(stamp)
    except ConfigError:
        return 1 << 62  # no such time: not ours to remove
