"""The books out of the lake into an empty database: all of them as they were exported, or none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec
from sqlalchemy import Connection, Table

from gapless.domain.datasets import Dataset
from gapless.errors import NotFound, OriginMismatch, StorageError
from gapless.pipeline.books.export import LOCK
from gapless.pipeline.books.parts import BookDigest, labelled
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import Damaged, ObjectStore, layout, uri_of
from gapless.storage.lake import book_zone as zone
from gapless.storage.lake.zones import claim_origin
from gapless.storage.mysql.book_claims import LakeObjectSeen, Reopened, reopen_claims
from gapless.storage.mysql.book_rows import (
    arrow_schema,
    filled_books,
    read_rows,
    revision_of,
    write_rows,
)
from gapless.storage.mysql.books import installation, metadata
from gapless.storage.mysql.origin import origin_of
from gapless.storage.mysql.rewriting import Rewritten
from gapless.storage.mysql.schema import known_revisions

OnStep = Callable[[str], None]

_LOCK_WAIT_S = 300.0
_CLOCKS_MS = 600_000
"""How far the clocks of this machine and of the lake's store may be apart."""


class ReopenedClaims(msgspec.Struct, frozen=True):
    """What the books said that need not be true any more, and what they say now: see `book_claims.Reopened`."""

    months: int = 0
    loads: int = 0
    exports: int = 0
    objects: int = 0


class BooksRestored(msgspec.Struct, frozen=True):
    """What a restore did, or would do.

    Attributes:
        stamp: of the export. uri: of its manifest. revision: of the schema it was read from.
        tables: rows by book; each read back from the server and equal to what was exported.
        rows: of all books. reopened: what is to be brought into MySQL again.
        dry_run: nothing was written; every object of the export was read and is sound.
        notes: what to know and do next, a sentence each.
    """

    stamp: str
    uri: str
    revision: str
    origin: str | None
    tables: dict[str, int]
    rows: int
    reopened: ReopenedClaims
    dry_run: bool
    notes: tuple[str, ...]
    seconds: float


class ListedExport(msgspec.Struct, frozen=True):
    """An export that can be restored, or why it cannot."""

    stamp: str
    revision: str = ""
    origin: str | None = None
    rows: int = 0
    bytes: int = 0
    damage: str = ""


def list_books(store: ObjectStore) -> list[ListedExport]:
    """The finished exports, newest first; their objects are not looked at.

    Raises:
        StorageError: the lake is away.
    """
    found = []
    for stamp in reversed(zone.list_exports(store)):
        try:
            told = zone.read_manifest(store, stamp)
        except Damaged as error:
            found.append(ListedExport(stamp, damage=str(error)))
            continue
        rows = sum(book.rows for book in told.tables)
        size = sum(each.bytes for book in told.tables for each in book.objects)
        found.append(ListedExport(stamp, told.revision, told.origin, rows, size))
    return found


def restore_books(
    rt: Runtime, stamp: str | None = None, *, dry_run: bool = False, on_step: OnStep = lambda what: None
) -> BooksRestored:
    """Load an export into a database whose books are empty; verified by reading back, all in one transaction.

    Nothing is ever overwritten or merged. Killed anywhere, nothing of it is there, and it can be done again.

    Args:
        stamp: the export's name, None for the newest.
        dry_run: check everything, the export's every object too, and write nothing.

    Raises:
        NotFound: there is no export (of that name). ConfigError: that is no name of one.
        OriginMismatch: the database or the lake holds data of another origin.
        StorageError: a book has rows; the export is damaged, or of a newer schema; a server or the lake did not do it.
    """
    started = time.monotonic()
    store = rt.lake.store
    manifest = _chosen(store, stamp)
    on_step(f"restoring the export {manifest.stamp}")

    def attempt() -> Reopened:
        with rt.db.named_locks([LOCK], timeout_s=_LOCK_WAIT_S) as connection:
            _refuse(connection, manifest, rt.db.server)
            if manifest.origin is not None and not dry_run:
                claim_origin(store, manifest.origin)
            for book in manifest.tables:
                on_step(f"{'checking' if dry_run else 'restoring'} {book.name} ({book.rows:,} rows)")
                _load(store, None if dry_run else connection, book)
            if dry_run:
                return Reopened()
            lake = _seen(store, manifest.snapshot_ms - _CLOCKS_MS)
            reopened = reopen_claims(connection, lake, store.root_uri)
            connection.commit()
            return reopened

    reopened = rt.db.retry(f"restoring the books of {manifest.stamp} into {rt.db.server}", attempt)
    return BooksRestored(
        stamp=manifest.stamp,
        uri=uri_of(store, zone.manifest_key(manifest.stamp)),
        revision=manifest.revision,
        origin=manifest.origin,
        tables={book.name: book.rows for book in manifest.tables},
        rows=sum(book.rows for book in manifest.tables),
        reopened=ReopenedClaims(reopened.months, reopened.loads, reopened.exports, reopened.objects),
        dry_run=dry_run,
        notes=tuple(_notes(manifest, reopened, store.root_uri)),
        seconds=round(time.monotonic() - started, 3),
    )


def _chosen(store: ObjectStore, stamp: str | None) -> zone.BooksManifest:
    if stamp is None:
        finished = zone.list_exports(store)
        if not finished:
            raise NotFound(
                f"{uri_of(store, zone.PREFIX)} holds no export of the books; is GAPLESS_LAKE_URI the one it was?"
            )
        stamp = finished[-1]
    return zone.read_manifest(store, stamp)


def _refuse(connection: Connection, manifest: zone.BooksManifest, server: str) -> None:
    """Raise unless the export fits this database, which holds no books yet."""
    what = f"the export {manifest.stamp} is not restored into {server}"
    revision, known = revision_of(connection), known_revisions()
    if revision is None or revision not in known:
        raise StorageError(f"{what}: its schema is at revision {revision}; run `gapless db upgrade` first")
    if manifest.revision not in known[: known.index(revision) + 1]:
        raise StorageError(
            f"{what}: it was made at the schema's revision {manifest.revision}, newer than {revision} here; update "
            "Gapless to the version that made it, and run `gapless db upgrade`"
        )
    held = origin_of(connection)
    if held is not None and held != manifest.origin:
        raise OriginMismatch(
            f"{what}: it is of origin {manifest.origin!r}, the database holds data of origin {held!r}. Set "
            "GAPLESS_MYSQL_URL to another database"
        )
    filled = filled_books(connection)
    if filled:
        raise StorageError(
            f"{what}: {', '.join(filled)} {'have' if len(filled) > 1 else 'has'} rows already, and nothing is "
            "overwritten or merged. Stop what writes to it (Airflow, commands) and restore into a new database, made "
            "by `gapless db upgrade`"
        )
    unknown = sorted({book.name for book in manifest.tables} - set(metadata.tables))
    if unknown:
        raise StorageError(
            f"{what}: it holds the books {', '.join(unknown)}, which this version of Gapless does not know"
        )


def _load(store: ObjectStore, connection: Connection | None, book: zone.ExportedBook) -> None:
    """Read a book out of the lake, into the connection's transaction if there is one, and prove it at both ends."""
    table = metadata.tables[book.name]
    schema = arrow_schema(table, book.columns)
    read = BookDigest()
    if connection is not None and table is installation:
        connection.execute(installation.delete())  # at most the line of the same origin, written when it was claimed
    for each in book.objects:
        for rows in zone.rows_of(zone.get_object(store, each), schema, uri_of(store, each.key)):
            read.add(each.label, rows)
            if connection is not None:
                write_rows(connection, table, rows)
    if (read.rows, read.hexdigest) != (book.rows, book.digest):
        raise Damaged(
            f"the export's objects of {book.name} do not hold the {book.rows:,} rows of its manifest; nothing was "
            "restored. Choose another export (`gapless restore-books --list`)"
        )
    if connection is not None:
        _verify(connection, table, book)


def _verify(connection: Connection, table: Table, book: zone.ExportedBook) -> None:
    stored = BookDigest()
    for rows in read_rows(connection, table, arrow_schema(table, book.columns)):
        for label, mine in labelled(book.name, rows):
            stored.add(label, mine)
    if (stored.rows, stored.hexdigest) != (book.rows, book.digest):
        raise StorageError(
            f"the server gives other rows of {book.name} than were restored ({stored.rows:,} of {book.rows:,}); "
            "nothing was restored. Stop what else writes to this database (Airflow, commands) and restore again"
        )


def _seen(store: ObjectStore, since_ms: int) -> dict[str, LakeObjectSeen]:
    """The lake's objects of canonical rows, by address."""
    found = {}
    for prefix in layout.DATASET_PREFIXES:
        for stat in store.list(prefix):
            target = layout.parse_key(stat.key)
            if target is not None:
                uri = uri_of(store, stat.key)
                interval = str(target.interval or "")
                entry = Rewritten(uri, str(target.dataset), target.exchange, interval, target.period_start_ms)
                found[uri] = LakeObjectSeen(entry, stat.size, stat.modified_ms >= since_ms)
    return found


def _notes(manifest: zone.BooksManifest, reopened: Reopened, root_uri: str) -> Iterable[str]:
    if manifest.lake != root_uri:
        yield (
            f"the books speak of the lake {manifest.lake}, and this is {root_uri}: receipts of the old address stay as "
            "they are, and every object here is entered anew by the repairs"
        )
    if reopened.months:
        yield f"{reopened.months:,} months of series that MySQL held are open again: `gapless backfill` brings them"
    if reopened.loads:
        yield f"{reopened.loads:,} hourly loads are taken again by the next run of ohlcv_etl"
    if reopened.objects:
        yield (
            f"{reopened.objects:,} objects of the lake are not as these books say: `gapless gaps --fill` "
            f"({', '.join(Dataset)}) reads them and enters what they hold"
        )


__all__ = ["BooksRestored", "ListedExport", "list_books", "restore_books"]
