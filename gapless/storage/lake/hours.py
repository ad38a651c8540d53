"""The hours of the live Streams in the lake: what was there and what is new as one, written whole and proved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa

from gapless.domain.window import iso
from gapless.errors import LakeShrink, StorageError
from gapless.storage.lake.forms import LOCK_TIMEOUT_S, lock_name
from gapless.storage.lake.hour_layout import HourFooter, HourObject, SymbolRange, hour_prefix, parse_hour_key
from gapless.storage.lake.hour_merge import PIECE_ROWS, IdHole, MergeTally, merged
from gapless.storage.lake.hour_parquet import HourContents, HourWriter, check_hour, footer_of, hour_groups
from gapless.storage.lake.hour_runs import Runs
from gapless.storage.lake.locks import Locks
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, uri_of
from gapless.storage.lake.rewriting import RACES
from gapless.storage.lake.temporary import temporary_file

OBJECT_SUFFIX = ".hour"


class HourReceipt(msgspec.Struct, frozen=True):
    """What one object holds after a write, read back from the store.

    Attributes:
        period_start: the hour, `2026-11-20T16:00:00`.
        rows, bytes, sha256: of the whole object.
        content_digest: of all its rows, without when they were seen: to compare two installations.
        added, duplicates, conflicted: what became of the new rows, see `MergeTally`.
        written: False when everything was there already, and the object was left as it is.
    """

    dataset: str
    key: str
    uri: str
    exchange: str
    period_start: str
    rows: int
    bytes: int
    sha256: str
    content_digest: str
    added: int
    duplicates: int
    conflicted: int
    written: bool
    interval: str = ""
    series: tuple[()] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """One object's receipt and what was found on the way.

    Attributes:
        conflicts: rows that disagree with a stored one, which stays.
        holes: missing ids between its rows.
    """

    receipt: HourReceipt
    footer: HourFooter
    conflicts: tuple[pa.Table, ...]
    holes: tuple[IdHole, ...]


class HourLake:
    """The Streams' side of a lake. Writers exclude each other by `locks`; readers never wait.

    Args:
        folder: where an object grows while it is merged.
        piece_rows: a symbol with more new rows in an hour is merged in slices.
    """

    def __init__(self, store: ObjectStore, locks: Locks, folder: Path, *, piece_rows: int = PIECE_ROWS) -> None:
        self.store = store
        self._locks, self._folder, self._piece_rows = locks, folder, piece_rows

    def publish(self, target: HourObject, runs: Runs) -> Published:
        """Bring the rows that wait in `runs` into an object: a union with what is there, replaced whole and at once.

        Killed anywhere and run again, it leaves the same object. What is there already is not written. Memory: the
        object's bytes, compressed, once or twice, and a piece of one symbol.

        Raises:
            LakeShrink: the object would lose rows.
            StorageError: the store did not do it, or gave other bytes back than were written.
        """
        with self._locks.named_locks([lock_name(self.store, target.key)], timeout_s=LOCK_TIMEOUT_S):
            for _ in range(RACES):
                try:
                    return self._attempt(target, runs)
                except PreconditionFailed:
                    continue
        raise StorageError(
            f"{uri_of(self.store, target.key)} was replaced by others {RACES} times while rows were merged into it: "
            "writers that do not share a lock are at work; stop one of them and run this again"
        )

    def footer(self, target: HourObject) -> HourFooter | None:
        """What an object says of itself; None when it is not there.

        Raises:
            StorageError: the store is away, or the object is damaged.
        """
        stream = self.store.open(target.key)
        if stream is None:
            return None
        with stream:
            return footer_of(stream, target.shape, name=uri_of(self.store, target.key))

    def read(self, dataset: str, exchange: str, hour_ms: int) -> Iterator[pa.Table]:
        """The rows of an hour, object by object and group by group, each checksum compared.

        Raises:
            StorageError: the store is away, or an object is damaged.
        """
        for stat in list(self.store.list(hour_prefix(dataset, exchange, hour_ms))):
            target, data = parse_hour_key(stat.key), self.store.get(stat.key)
            if target is not None and data is not None:
                yield from hour_groups(pa.BufferReader(data), target.shape, name=uri_of(self.store, stat.key))

    def _attempt(self, target: HourObject, runs: Runs) -> Published:
        found, uri, tally = self.store.fetch(target.key), uri_of(self.store, target.key), MergeTally()
        stored = None if found is None else pa.BufferReader(found[0])
        try:
            with temporary_file(self._folder, suffix=OBJECT_SUFFIX) as (path, _):
                contents = self._write(path, target, stored, runs, tally)
                if found is not None and contents.footer.rows < tally.stored:
                    raise LakeShrink(f"{uri} holds {tally.stored} rows and would keep {contents.footer.rows}: refused")
                if found is not None and not tally.added:
                    return _published(target, uri, found[0], contents, tally, written=False)
                replaces = None if found is None else found[1]
                del found, stored  # the old bytes are done with before the new ones are read
                data = path.read_bytes()
        except OSError as error:
            raise StorageError(
                f"{self._folder}: {uri} could not be made on the local disk: {error.strerror or error}; nothing was "
                "changed: make room and run it again"
            ) from error
        return self._put(target, uri, data, contents, tally, replaces)

    def _write(
        self, path: Path, target: HourObject, stored: pa.BufferReader | None, runs: Runs, tally: MergeTally
    ) -> HourContents:
        groups: Iterable[pa.Table] = ()
        held: tuple[SymbolRange, ...] = ()
        if stored is not None:
            uri = uri_of(self.store, target.key)
            held = footer_of(stored, target.shape, name=uri).ranges
            stored.seek(0)
            groups = hour_groups(stored, target.shape, name=uri)
        writer = HourWriter(str(path), target.shape)
        try:
            for rows in merged(target, groups, held, runs, tally, piece_rows=self._piece_rows):
                writer.write(rows)
            return writer.finish(tuple(tally.ranges))
        finally:
            writer.close()

    def _put(
        self, target: HourObject, uri: str, data: bytes, contents: HourContents, tally: MergeTally, old: Stat | None
    ) -> Published:
        size, digest = len(data), hashlib.sha256(data).hexdigest()
        if old is None:
            self.store.put(target.key, data, if_absent=True)
        else:
            self.store.put(target.key, data, if_match=old.etag)
        del data
        back = self.store.get(target.key)
        if back is None or (len(back), hashlib.sha256(back).hexdigest()) != (size, digest):
            came = "nothing" if back is None else f"{len(back)} bytes"
            raise Damaged(
                f"{uri}: {size} bytes were written, {came} of other content came back. The spool keeps its entries: "
                "look at the store, then run it again"
            )
        check_hour(back, target.shape, contents, name=uri)
        return _published(target, uri, back, contents, tally, written=True)


def _published(
    target: HourObject, uri: str, data: bytes, contents: HourContents, tally: MergeTally, *, written: bool
) -> Published:
    receipt = HourReceipt(
        dataset=target.dataset,
        key=target.key,
        uri=uri,
        exchange=target.exchange,
        period_start=iso(target.hour_ms).removesuffix("Z"),
        rows=contents.footer.rows,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        content_digest=contents.footer.content_digest,
        added=tally.added,
        duplicates=tally.duplicates,
        conflicted=tally.conflicted,
        written=written,
    )
    return Published(receipt, contents.footer, tuple(tally.conflicts), tuple(tally.holes))
