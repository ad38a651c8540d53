"""The books to the lake: one snapshot of all of them, proved by reading it back, finished by its manifest."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path

import msgspec
import pyarrow as pa

from gapless.domain.window import from_ms
from gapless.errors import StorageError
from gapless.pipeline.books.parts import SPOOL_SUFFIX, BookDigest, Part, PartWriter
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import Damaged, ObjectStore, uri_of
from gapless.storage.lake import book_zone as zone
from gapless.storage.lake.temporary import sweep
from gapless.storage.lake.zones import claim_origin
from gapless.storage.mysql.book_rows import BOOKS, arrow_schema, read_rows, revision_of, snapshot
from gapless.storage.mysql.origin import origin_of

LOCK = "books"
_LOCK_WAIT_S = 300.0

OnStep = Callable[[str], None]


class BooksReceipt(msgspec.Struct, frozen=True):
    """An export of the books that is whole in the lake, every object read back.

    Attributes:
        stamp: its name. uri: of its manifest.
        rows, bytes: of all books, and of all objects that hold them.
        files: those objects; `written` of them are new, `written_bytes` large, the others were there unchanged.
        digest: the manifest's.
        made: False when an export of that day was there already and nothing was done.
    """

    stamp: str
    uri: str
    revision: str
    origin: str | None
    tables: int
    rows: int
    bytes: int
    files: int
    written: int
    written_bytes: int
    digest: str
    seconds: float
    made: bool = True


@dataclass(frozen=True, slots=True)
class _Spooled:
    """A book as it was under the snapshot, in temporary files."""

    name: str
    schema: pa.Schema
    digest: BookDigest
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class _Snapshot:
    taken_ms: int
    revision: str
    origin: str | None
    books: list[_Spooled]


def export_books(rt: Runtime, day: date | None = None, on_step: OnStep = lambda what: None) -> BooksReceipt:
    """Export all books under one snapshot. Killed anywhere, it leaves no export, and nothing that the next one heeds.

    Args:
        day: a UTC day; when a finished export of that day or a later one is there, it is enough. None: always another.
        on_step: told what is being done.

    Raises:
        OriginMismatch: the lake holds data of another origin.
        StorageError: a server or the lake did not do it; what the lake gave back is not what the server held; or
            somebody else has been exporting for five minutes.
    """
    started = time.monotonic()
    store = rt.lake.store
    with rt.db.named_locks([LOCK], timeout_s=_LOCK_WAIT_S), ExitStack() as files:
        finished = zone.list_exports(store)
        newest = _newest(rt, finished)
        if day is not None and newest is not None and from_ms(zone.stamp_ms(newest.stamp)).date() >= day:
            return _receipt(store, newest, frozenset(), started, made=False)
        folder = rt.settings.spool_dir / LOCK
        try:
            sweep(folder, suffix=SPOOL_SUFFIX)
            taken = rt.db.retry("exporting the books", lambda: _spool(rt, folder, files, on_step))
        except OSError as error:
            raise StorageError(
                f"the books cannot be spooled to {folder}: {error}; nothing was exported. Make room there, or make it "
                "writable, and export again"
            ) from error
        if taken.origin is not None:
            claim_origin(store, taken.origin)
        # Only what the newest export names is named again: that one is never swept.
        known = {(book.name, each.sha256): each for book in (newest.tables if newest else ()) for each in book.objects}
        stamp = zone.stamp_of(max(taken.taken_ms, zone.stamp_ms(finished[-1]) + 1000) if finished else taken.taken_ms)
        tables: list[zone.ExportedBook] = []
        written: set[str] = set()
        for book in taken.books:
            on_step(f"storing {book.name}")
            objects = _store(store, stamp, book, known, written)
            told = (book.name, tuple(book.schema.names), book.digest.rows, book.digest.hexdigest)
            tables.append(zone.ExportedBook(*told, objects))
        manifest = zone.BooksManifest(
            format=zone.FORMAT,
            stamp=stamp,
            revision=taken.revision,
            origin=taken.origin,
            server=str(rt.db.dialect),
            lake=store.root_uri,
            snapshot_ms=taken.taken_ms,
            tables=tuple(tables),
        ).sealed()
        zone.put_manifest(store, manifest)
        return _receipt(store, manifest, frozenset(written), started)


def _spool(rt: Runtime, folder: Path, files: ExitStack, on_step: OnStep) -> _Snapshot:
    """All books as they are at one moment, in temporary files: the snapshot lasts no longer than reading takes."""
    files.close()  # of a try before this one
    with snapshot(rt.db) as connection:
        taken_ms = time.time_ns() // 1_000_000
        revision, origin = revision_of(connection), origin_of(connection)
        if revision is None:
            raise StorageError(f"{rt.db.server} has no schema: there are no books to export; run `gapless db upgrade`")
        books = []
        for table in BOOKS:
            on_step(f"reading {table.name}")
            schema = arrow_schema(table)
            writer = PartWriter(table.name, schema, folder, files)
            for rows in read_rows(connection, table, schema):
                writer.add(rows)
            books.append(_Spooled(str(table.name), schema, writer.digest, writer.finish()))
        return _Snapshot(taken_ms, revision, origin, books)


def _store(
    store: ObjectStore, stamp: str, book: _Spooled, known: dict[tuple[str, str], zone.BookObject], written: set[str]
) -> tuple[zone.BookObject, ...]:
    """Bring a book's parts into the lake, each proved; parts that the newest export holds are named again.

    Raises:
        StorageError: the parts do not hold the rows that the server gave.
    """
    objects = []
    proof = BookDigest()
    for part in book.parts:
        data = part.path.read_bytes()
        for rows in zone.rows_of(data, book.schema, f"the export of {book.name}"):
            proof.add(part.label, rows)
        held = known.get((book.name, sha256(data).hexdigest()))
        if held is None or store.get(held.key) != data:
            key = zone.object_key(stamp, book.name, part.label, part.number)
            zone.put_object(store, key, data)
            held = zone.BookObject(key, part.label, part.rows, len(data), sha256(data).hexdigest())
            written.add(key)
        objects.append(held)
    if (proof.rows, proof.hexdigest) != (book.digest.rows, book.digest.hexdigest):
        raise StorageError(
            f"the export of {book.name} does not hold the rows that the server gave; nothing was exported. "
            "Check this machine's disk and memory, and export again"
        )
    return tuple(objects)


def _newest(rt: Runtime, finished: list[str]) -> zone.BooksManifest | None:
    """The newest export; None when there is none, or it cannot be trusted: then nothing of it is used."""
    try:
        return zone.read_manifest(rt.lake.store, finished[-1]) if finished else None
    except Damaged as error:
        rt.say(f"all books are stored anew: {error}")
        return None


def _receipt(
    store: ObjectStore, manifest: zone.BooksManifest, written: frozenset[str], started: float, *, made: bool = True
) -> BooksReceipt:
    objects = [each for book in manifest.tables for each in book.objects]
    return BooksReceipt(
        stamp=manifest.stamp,
        uri=uri_of(store, zone.manifest_key(manifest.stamp)),
        revision=manifest.revision,
        origin=manifest.origin,
        tables=len(manifest.tables),
        rows=sum(book.rows for book in manifest.tables),
        bytes=sum(each.bytes for each in objects),
        files=len(objects),
        written=len(written),
        written_bytes=sum(each.bytes for each in objects if each.key in written),
        digest=manifest.digest,
        seconds=round(time.monotonic() - started, 3),
        made=made,
    )
