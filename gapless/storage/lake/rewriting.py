"""Rewriting one object: merged under its lock, written whole and once, read back before it counts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES, Shape
from gapless.domain.digests import SeriesDigest
from gapless.domain.text_runs import changes
from gapless.domain.window import DAY_MS, iso
from gapless.errors import StorageError
from gapless.storage.lake.forms import LOCK_TIMEOUT_S, lock_name
from gapless.storage.lake.layout import LakeObject
from gapless.storage.lake.locks import Locks
from gapless.storage.lake.merge import Merged, times
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, uri_of
from gapless.storage.lake.parquet import damaged, footer_of, row_groups_of
from gapless.storage.lake.streams import merged_runs
from gapless.storage.lake.superseded import keep
from gapless.storage.lake.temporary import temporary_file
from gapless.storage.lake.writing import Contents, ObjectWriter, check_contents

OnPairs = Callable[[pa.Table, pa.Table], None]
"""Told old and new rows, aligned row by row, before the object that they concern is written. A write that starts again
tells them again."""

RACES = 8
"""How often a write that lost a race merges again; under a lock that all writers take, none is ever lost."""
SPOOL_SUFFIX = ".spool"
_COUNTS = ("added", "replaced", "filled", "confirmed", "unchanged", "outranked", "removed")


class ObjectReceipt(msgspec.Struct, frozen=True):
    """What one object holds after a write, read back from the store.

    Attributes:
        interval: of bars; empty for datasets without intervals.
        rows, bytes, sha256: of the whole object.
        content_digest: `gapless.domain.schema.content_digest` of all its rows.
        period_start: first day of its day or month, `2026-11-20`.
        series: the content digest of each series and day that rows were brought or taken of, after the merge.
        added, replaced, filled, confirmed, unchanged, outranked, removed: what became of the rows, see `Merged`.
        written: False when everything was there already, and the object was left as it is.
    """

    dataset: str
    key: str
    uri: str
    exchange: str
    interval: str
    period_start: str
    rows: int
    bytes: int
    sha256: str
    content_digest: str
    series: tuple[SeriesDigest, ...]
    added: int
    replaced: int
    filled: int
    confirmed: int
    unchanged: int
    outranked: int
    removed: int
    written: bool


@dataclass(frozen=True)
class Finished:
    """An object that is already made, for the case that nothing lies where it goes."""

    path: Path
    contents: Contents


@dataclass(frozen=True)
class Change:
    """What is to become of one object.

    Attributes:
        new: gives the rows at hand anew each time, in canonical order, in pieces.
        removed: keys to take out, in canonical order; None for none.
        finished: the new rows as an object, if they are one already.
        on_replaced, on_outranked: told of disagreements.
        growing: the object is part of a history that is being filled. What only adds to it takes nothing away that
            would have to be kept; without this, a settled object is kept whatever becomes of it.
        mending: an object that cannot be read is kept and replaced by the new rows alone.
    """

    new: Callable[[], Iterable[pa.Table]]
    removed: pa.Table | None = None
    finished: Finished | None = None
    on_replaced: OnPairs | None = None
    on_outranked: OnPairs | None = None
    growing: bool = False
    mending: bool = False


@dataclass
class _Tally:
    """What became of the rows of all runs of a merge."""

    counts: Counter[str] = field(default_factory=Counter)
    touched: set[tuple[str, str, str]] = field(default_factory=set)
    emptied: set[tuple[str, str, str]] = field(default_factory=set)
    changed: bool = False

    def add(self, shape: Shape, offered: pa.Table, merged: Merged) -> None:
        self.counts.update({name: getattr(merged, name) for name in _COUNTS})
        self.touched |= _series_days(shape, offered)
        self.changed |= merged.changed


class Rewriter:
    """Rewrites objects of one lake.

    Args:
        spool_dir: where an object grows while it is merged; None for in memory.
        kept_before_ms: says before what moment periods are settled: an object whose period ended by then is kept
            (`superseded.keep`) before it is replaced or deleted (but see `Change.growing`).
    """

    def __init__(
        self,
        store: ObjectStore,
        locks: Locks,
        spool_dir: Path | None = None,
        *,
        kept_before_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._store = store
        self._locks = locks
        self._spool_dir = spool_dir
        self._kept_before_ms = kept_before_ms

    def rewrite(self, target: LakeObject, change: Change) -> ObjectReceipt:
        """Merge a change into an object, which is replaced whole and at once.

        Memory: the object's bytes, compressed, at most twice, and some runs of rows.

        Raises:
            ValidationError: rows that come twice, or of an unknown source.
            LakeShrink: the object would lose rows.
            StorageError: the store did not do it, or gave other bytes back than were written; the spool is full.
        """
        return self._racing(target, lambda: self._attempt(target, change))

    def bring(self, target: LakeObject, change: Change, *, known_sha256: str | None) -> ObjectReceipt | None:
        """As `rewrite`, for rows that the object most likely holds: compared first, rewritten only when they differ.

        Args:
            known_sha256: of the object's bytes, as the books have it; None when they do not.

        Returns:
            What the object holds. None when there is neither an object nor a row for it. When nothing changed and the
            bytes are the known ones, the receipt tells what the footer says, and no series.

        Raises:
            Damaged: the object cannot be read, or is another than its footer says.
            ValidationError, LakeShrink, StorageError: as `rewrite`.
        """
        receipt = self._racing(target, lambda: self._attempt(target, change, known_sha256))
        return receipt if receipt.rows or receipt.written else None

    def _racing(self, target: LakeObject, attempt: Callable[[], ObjectReceipt]) -> ObjectReceipt:
        with self._locks.named_locks([lock_name(self._store, target.key)], timeout_s=LOCK_TIMEOUT_S):
            for _ in range(RACES):
                try:
                    return attempt()
                except PreconditionFailed:
                    continue
        raise StorageError(
            f"{uri_of(self._store, target.key)} was replaced by others {RACES} times while rows were merged into it: "
            "writers that do not share a lock are at work; stop one of them and run this again"
        )

    def _left_alone(
        self, target: LakeObject, change: Change, held: bytes, known_sha256: str | None
    ) -> ObjectReceipt | None:
        """The receipt of an object whose bytes are known and which holds all; None when it must be looked at closer."""
        measured = _measure(held)
        if measured[1] != known_sha256:
            return None
        counts = self._unchanged(target, change, held)
        if counts is None:
            return None
        told = footer_of(held, SHAPES[target.dataset], name=uri_of(self._store, target.key))
        contents = Contents(told.rows, told.content_digest, (), ())
        return self._receipt(target, measured, contents, _Tally(counts), written=False)

    def _unchanged(self, target: LakeObject, change: Change, held: bytes) -> Counter[str] | None:
        """What became of the rows, when all of them leave the object as it is; None when one does not."""
        shape, uri, counts = SHAPES[target.dataset], uri_of(self._store, target.key), Counter[str]()
        old = row_groups_of(pa.BufferReader(held), shape, name=uri)
        for _, merged in merged_runs(shape, old, change.new(), name=uri):
            if merged.changed:
                return None
            if change.on_outranked is not None and merged.outranked:
                change.on_outranked(merged.outranked_old, merged.outranked_new)
            counts.update({name: getattr(merged, name) for name in _COUNTS})
        return counts

    def _attempt(self, target: LakeObject, change: Change, known_sha256: str | None = None) -> ObjectReceipt:
        found = self._store.fetch(target.key)
        if change.mending and found is not None and self._is_damaged(target, found[0]):
            return self._mended(target, change, *found)
        if known_sha256 is not None and found is not None:
            left = self._left_alone(target, change, found[0], known_sha256)
            if left is not None:
                return left
        if change.finished is not None:
            contents = change.finished.contents
            touched = {(one.symbol, one.interval, one.day) for one in contents.series}
            if found is None:
                tally = _Tally(Counter(added=contents.rows), touched, changed=True)
                data = change.finished.path.read_bytes()
                return self._put(target, data, contents, tally, None)
            if found[1].size == change.finished.path.stat().st_size and found[0] == change.finished.path.read_bytes():
                tally = _Tally(Counter(unchanged=contents.rows), touched)
                return self._receipt(target, _measure(found[0]), contents, tally, written=False)
        with ExitStack() as held:
            sink: Any = pa.BufferOutputStream()
            if self._spool_dir is not None:
                with self._spooling(target):
                    sink = str(held.enter_context(temporary_file(self._spool_dir, suffix=SPOOL_SUFFIX))[0])
            contents, tally = self._merge(target, change, None if found is None else found[0], sink)
            if found is not None and not tally.changed:
                return self._receipt(target, _measure(found[0]), contents, tally, written=False)
            if found is not None and self._to_be_kept(target, change, tally):
                keep(self._store, target.key, found[0])
            if not contents.rows:
                if found is not None:
                    self._store.delete(target.key)
                return self._receipt(target, _measure(b""), contents, tally, written=found is not None)
            stat = None if found is None else found[1]
            del found  # the old bytes are done with before the new ones are read
            data = bytes(sink.getvalue().to_pybytes()) if self._spool_dir is None else Path(sink).read_bytes()
            del sink
            return self._put(target, data, contents, tally, stat)

    def _is_damaged(self, target: LakeObject, held: bytes) -> bool:
        try:
            for _ in row_groups_of(pa.BufferReader(held), SHAPES[target.dataset], name=target.key):
                pass
        except Damaged:
            return True
        return False

    def _mended(self, target: LakeObject, change: Change, held: bytes, stat: Stat) -> ObjectReceipt:
        """An object made of the new rows alone, in one stroke in place of one that cannot be read, which is kept."""
        keep(self._store, target.key, held)
        with ExitStack() as open_files:
            sink: Any = pa.BufferOutputStream()
            if self._spool_dir is not None:
                with self._spooling(target):
                    sink = str(open_files.enter_context(temporary_file(self._spool_dir, suffix=SPOOL_SUFFIX))[0])
            contents, tally = self._merge(target, change, None, sink)
            if not contents.rows:
                raise damaged(uri_of(self._store, target.key), "and there is no row to make it anew of")
            data = bytes(sink.getvalue().to_pybytes()) if self._spool_dir is None else Path(sink).read_bytes()
            return self._put(target, data, contents, tally, stat)

    def _to_be_kept(self, target: LakeObject, change: Change, tally: _Tally) -> bool:
        """Whether an object that is about to be replaced or deleted is settled knowledge."""
        altered = any(tally.counts[name] for name in ("replaced", "filled", "confirmed", "removed"))
        return (altered or not change.growing) and target.window.end_ms <= self._kept_before_ms()

    def _merge(self, target: LakeObject, change: Change, held: bytes | None, sink: Any) -> tuple[Contents, _Tally]:
        shape, uri, tally = SHAPES[target.dataset], uri_of(self._store, target.key), _Tally()
        old: Iterable[pa.Table] = [] if held is None else row_groups_of(pa.BufferReader(held), shape, name=uri)
        removed = [] if change.removed is None else [change.removed]
        for keys in removed:
            tally.emptied |= _series_days(shape, keys)
        with ExitStack() as held_open:
            with self._spooling(target):
                writer = ObjectWriter(sink, shape)
            held_open.callback(self._closed, writer)
            for offered, merged in merged_runs(shape, old, change.new(), removed, name=uri):
                tally.add(shape, offered, merged)
                if change.on_replaced is not None and merged.replaced:
                    change.on_replaced(merged.replaced_old, merged.replaced_new)
                if change.on_outranked is not None and merged.outranked:
                    change.on_outranked(merged.outranked_old, merged.outranked_new)
                with self._spooling(target):
                    writer.write(merged.table)
            with self._spooling(target):
                return writer.finish(), tally

    @contextmanager
    def _spooling(self, target: LakeObject) -> Iterator[None]:
        """Around what writes the spool: a full disk there is said as such."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"cannot write the spool of {target.key} in {self._spool_dir}: {error.strerror or error}; make room "
                "there, or make it writable, and run this again"
            ) from error

    @staticmethod
    def _closed(writer: ObjectWriter) -> None:
        with suppress(OSError):  # a full disk, met again while the file that is thrown away is closed
            writer.close()

    def _put(
        self, target: LakeObject, data: bytes, contents: Contents, tally: _Tally, replaces: Stat | None
    ) -> ObjectReceipt:
        uri, measured = uri_of(self._store, target.key), _measure(data)
        if replaces is None:
            self._store.put(target.key, data, if_absent=True)
        else:
            self._store.put(target.key, data, if_match=replaces.etag)
        del data
        stored = self._store.get(target.key)
        if stored is None or _measure(stored) != measured:
            size = "nothing" if stored is None else f"{len(stored)} bytes"
            raise damaged(uri, f"{measured[0]} bytes were written, {size} of other content came back")
        check_contents(stored, SHAPES[target.dataset], contents, name=uri)
        return self._receipt(target, measured, contents, tally, written=True)

    def _receipt(
        self, target: LakeObject, measured: tuple[int, str], contents: Contents, tally: _Tally, *, written: bool
    ) -> ObjectReceipt:
        return ObjectReceipt(
            dataset=str(target.dataset),
            key=target.key,
            uri=uri_of(self._store, target.key),
            exchange=target.exchange,
            interval=str(target.interval or ""),
            period_start=iso(target.period_start_ms)[:10],
            rows=contents.rows,
            bytes=measured[0],
            sha256=measured[1],
            content_digest=contents.content_digest,
            series=_said_of(target.exchange, contents, tally),
            written=written,
            **{name: tally.counts[name] for name in _COUNTS},
        )


def _said_of(exchange: str, contents: Contents, tally: _Tally) -> tuple[SeriesDigest, ...]:
    """The series-days that the change was about as they are now; those that it emptied too."""
    held = {(one.symbol, one.interval, one.day): one for one in contents.series}
    nothing = hashlib.sha256(b"").hexdigest()
    return tuple(
        held.get(key) or SeriesDigest(exchange, *key, 0, nothing)
        for key in sorted(tally.touched | tally.emptied)
        if key in held or key in tally.emptied
    )


def _measure(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def _series_days(shape: Shape, rows: pa.Table) -> set[tuple[str, str, str]]:
    """Each symbol, label and UTC day (`2026-11-20`) that occurs; the object they go to names the exchange."""
    if not rows.num_rows:
        return set()
    days = times(rows) // DAY_MS
    starts = np.union1d(changes(rows, shape.key[:-1]), np.flatnonzero(np.diff(days)) + 1)
    places = pa.array(starts)
    symbols = rows["symbol"].take(places).to_pylist()
    labels = rows[shape.label].take(places).to_pylist() if shape.label else [""] * len(starts)
    return {
        (symbol, label, iso(day * DAY_MS)[:10])
        for symbol, label, day in set(zip(symbols, labels, days[starts].tolist(), strict=True))
    }
