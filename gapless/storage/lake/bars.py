"""The lake's canonical bars: objects rewritten by merging, under a lock, read back before a write counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, OHLCV_KEY
from gapless.domain.window import DAY_MS, Window, iso
from gapless.errors import StorageError
from gapless.storage.lake import layout, zones
from gapless.storage.lake.digests import SeriesDigest, digests
from gapless.storage.lake.layout import BarsObject
from gapless.storage.lake.locks import Locks
from gapless.storage.lake.merge import Merged, merge_bars, open_times, refuse_shrinking
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, uri_of
from gapless.storage.lake.parquet import canonical, damaged, decode, encode, narrowed, read_some

T = TypeVar("T")
OnReplaced = Callable[[pa.Table, pa.Table], None]
"""Told the old and the new bars, aligned row by row, before the object that changes them is written."""

_RACES = 8
"""How often a write that lost a race merges again; under a lock that all writers take, none is ever lost."""
_RANGED_READS = 2
"""How often a read of some symbols starts again because the object was replaced, before it takes the whole object."""
_LIST_ABOVE = 16
"""A read of more objects than this lists what there is instead of asking for each."""
_LOCK_TIMEOUT_S = 120.0


class ObjectReceipt(msgspec.Struct, frozen=True):
    """What one object holds after a write, read back from the store.

    Attributes:
        rows, bytes, sha256: of the whole object.
        content_digest: `gapless.domain.schema.content_digest` of all its bars.
        period_start: first day of its day or month, `2026-11-20`.
        series: the content digest of each series and day that the write brought bars of, after the merge.
        added, replaced, confirmed, unchanged, outranked, removed: what became of the rows, see `Merged`.
        written: False when everything was there already, and the object was left as it is.
    """

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
    confirmed: int
    unchanged: int
    outranked: int
    removed: int
    written: bool


class BarLake:
    """The canonical bars of a lake. Writers exclude each other by `locks`; readers never wait."""

    def __init__(self, store: ObjectStore, locks: Locks) -> None:
        self.store = store
        self.locks = locks

    def write(self, bars: pa.Table, *, on_replaced: OnReplaced | None = None) -> list[ObjectReceipt]:
        """Merge bars, in any order and of any number of objects, into the lake; one receipt for each object they touch.

        Each object is replaced whole and at once, and read back: byte by byte, and its rows compared with what was
        merged. Killed anywhere and run again, it leaves the same objects. What is there already is not written.

        Args:
            on_replaced: called with the bars that change and what they become, before they do.

        Raises:
            ValidationError: not canonical bars, or one of them twice.
            LakeShrink: an object would lose bars.
            StorageError: the store did not do it, or gave other bytes back than were written.
        """
        bars = canonical(bars)
        return [self._rewrite(target, part, None, on_replaced) for target, part in self._parts(bars)]

    def remove(self, keys: pa.Table) -> list[ObjectReceipt]:
        """Take bars out of the lake: those whose four key columns are given. For bars that the exchange denies.

        Keep them elsewhere first (quarantine): the lake forgets them. Objects that become empty are deleted.

        Raises:
            StorageError: the store did not do it.
        """
        keys = keys.select(list(OHLCV_KEY))
        return [
            self._rewrite(target, OHLCV.empty_table(), part, None)
            for target, part in self._parts(keys)
            if self.store.head(target.key) is not None
        ]

    def read(
        self, window: Window, *, symbols: Sequence[str] | None = None, intervals: Iterable[Interval], exchange: str
    ) -> pa.Table:
        """The stored bars that open in `window`, in canonical order; what is not stored is absent.

        Args:
            symbols: unified symbols, None for all.

        Raises:
            StorageError: the store is away, or an object is damaged.
        """
        wanted = None if symbols is None else frozenset(symbols)
        parts = [OHLCV.empty_table()]
        if wanted is None or wanted:
            for interval in sorted(set(intervals)):
                parts.extend(
                    self._read_object(found.key, wanted, window)
                    for found in self._objects(exchange, interval, window)
                    if found.bucket is None
                    or wanted is None
                    or any(layout.bucket_of(s) == found.bucket for s in wanted)
                )
        bars = pa.concat_tables(parts)
        return merge_bars(None, bars).table

    def objects(self, exchange: str, interval: Interval, window: Window) -> list[Stat]:
        """The stored objects that may hold bars opening in `window`, oldest first."""
        return [stat for stat, _ in self._listed(exchange, interval, window)]

    def put_raw(self, key: str, payloads: Iterable[object]) -> int:
        """See `zones.put_raw`."""
        return zones.put_raw(self.store, key, payloads)

    def get_raw(self, key: str, kind: type[T]) -> list[T]:
        """See `zones.get_raw`."""
        return zones.get_raw(self.store, key, kind)

    def put_table(self, batch: str, name: str, table: pa.Table) -> str:
        """See `zones.put_table`."""
        return zones.put_table(self.store, batch, name, table)

    def get_table(self, key: str) -> pa.Table:
        """See `zones.get_table`."""
        return zones.get_table(self.store, key)

    def delete(self, key: str) -> None:
        """Remove an intermediate or raw object; see `zones.delete`."""
        zones.delete(self.store, key)

    def sweep_work(self, now_ms: int) -> int:
        """See `zones.sweep_work`."""
        return zones.sweep_work(self.store, now_ms)

    def claim_origin(self, origin: str) -> None:
        """See `zones.claim_origin`."""
        zones.claim_origin(self.store, origin)

    def _rewrite(
        self, target: BarsObject, new: pa.Table, removed: pa.Table | None, on_replaced: OnReplaced | None
    ) -> ObjectReceipt:
        with self.locks.named_locks([self._lock_name(target)], timeout_s=_LOCK_TIMEOUT_S):
            for _ in range(_RACES):
                try:
                    return self._attempt(target, new, removed, on_replaced)
                except PreconditionFailed:
                    continue
        raise StorageError(
            f"{uri_of(self.store, target.key)} was replaced by others {_RACES} times while {new.num_rows} bars were "
            "merged into it: writers that do not share a lock are at work; stop one of them and run this again"
        )

    def _attempt(
        self, target: BarsObject, new: pa.Table, removed: pa.Table | None, on_replaced: OnReplaced | None
    ) -> ObjectReceipt:
        key, uri = target.key, uri_of(self.store, target.key)
        found = self.store.fetch(key)
        old = None if found is None else decode(found[0], name=uri)
        merged = merge_bars(old, new, removed=removed)
        if found is not None and not merged.changed:
            return self._receipt(target, merged, new, found[0], written=False)
        if merged.table.num_rows == 0:
            self.store.delete(key)
            return self._receipt(target, merged, new, b"", written=True)
        refuse_shrinking(old, merged.table, removed, name=uri)
        whole, series = digests(merged.table)
        data = encode(merged.table, content_digest=whole)
        if on_replaced is not None and merged.replaced:
            on_replaced(merged.replaced_old, merged.replaced_new)
        if found is None:
            self.store.put(key, data, if_absent=True)
        else:
            self.store.put(key, data, if_match=found[1].etag)
        self._verify(key, data, merged.table)
        return self._receipt(target, merged, new, data, written=True, known=(whole, series))

    def _verify(self, key: str, data: bytes, table: pa.Table) -> None:
        uri = uri_of(self.store, key)
        stored = self.store.get(key)
        if stored is None or hashlib.sha256(stored).digest() != hashlib.sha256(data).digest():
            size = "nothing" if stored is None else f"{len(stored)} bytes"
            raise damaged(uri, f"{len(data)} bytes were written, {size} of other content came back")
        if not decode(stored, name=uri).equals(table):
            raise damaged(uri, "the bars read back are not the bars written")

    def _receipt(
        self,
        target: BarsObject,
        merged: Merged,
        new: pa.Table,
        data: bytes,
        *,
        written: bool,
        known: tuple[str, tuple[SeriesDigest, ...]] | None = None,
    ) -> ObjectReceipt:
        whole, series = known or digests(merged.table)
        touched = _series_days(new)
        return ObjectReceipt(
            key=target.key,
            uri=uri_of(self.store, target.key),
            exchange=target.exchange,
            interval=str(target.interval),
            period_start=iso(target.period_start_ms)[:10],
            rows=merged.table.num_rows,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            content_digest=whole,
            series=tuple(digest for digest in series if (digest.symbol, digest.day) in touched),
            added=merged.added,
            replaced=merged.replaced,
            confirmed=merged.confirmed,
            unchanged=merged.unchanged,
            outranked=merged.outranked,
            removed=merged.removed,
            written=written,
        )

    def _read_object(self, key: str, symbols: frozenset[str] | None, window: Window) -> pa.Table:
        uri = uri_of(self.store, key)
        seen: Stat | None = None
        for lost in range(_RACES):
            try:
                if symbols is None or lost >= _RANGED_READS:  # one request sees one version, however often it changes
                    data = self.store.get(key)
                    return OHLCV.empty_table() if data is None else narrowed(decode(data, name=uri), symbols, window)
                stream = self.store.open(key)
                if stream is None:
                    return OHLCV.empty_table()
                with stream:
                    return read_some(stream, name=uri, symbols=symbols, window=window)
            except PreconditionFailed:
                continue  # replaced while it was read: the new one holds at least as much
            except Damaged:
                # A server that is not atomic between its answer's head and body (rclone) mixes two versions when the
                # object is replaced in between. Damaged twice as the same version, it is damaged.
                now = self.store.head(key)
                if now is not None and now == seen:
                    raise
                seen = now
        raise StorageError(f"{uri} was replaced {_RACES} times while it was read; try again when the backfill is done")

    def _objects(self, exchange: str, interval: Interval, window: Window) -> Iterator[BarsObject]:
        usual = list(layout.objects_in(exchange, interval, window))
        if layout.period_of(interval) == "month" and len(usual) <= _LIST_ABOVE:
            yield from usual
        else:
            yield from (target for _, target in self._listed(exchange, interval, window))

    def _listed(self, exchange: str, interval: Interval, window: Window) -> list[tuple[Stat, BarsObject]]:
        months = [layout.month_prefix(exchange, interval, month.start_ms) for month in window.split_months()]
        prefixes = months if len(months) <= _LIST_ABOVE else [layout.prefix_of(exchange, interval)]
        found = [(stat, layout.parse_key(stat.key)) for prefix in prefixes for stat in self.store.list(prefix)]
        known = [(stat, target) for stat, target in found if target is not None and target.window.intersect(window)]
        return sorted(known, key=lambda pair: pair[1].key)

    def _parts(self, table: pa.Table) -> Iterator[tuple[BarsObject, pa.Table]]:
        """Cut bars (or keys) by the object they belong to."""
        ts = open_times(table)
        for exchange in table["exchange"].unique().to_pylist():
            of_exchange = np.asarray(pc.equal(table["exchange"], exchange))
            for name in sorted(table["interval"].unique().to_pylist()):
                chosen = of_exchange & np.asarray(pc.equal(table["interval"], name))
                if not chosen.any():
                    continue
                rows = np.flatnonzero(chosen)
                days = ts[rows] // DAY_MS
                if layout.period_of(Interval(name)) == "month":
                    days = days.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
                for day in np.unique(days).tolist():
                    target = layout.object_at(exchange, Interval(name), day * DAY_MS)
                    yield target, table.take(rows[days == day])

    def _lock_name(self, target: BarsObject) -> str:
        """The same for every writer of this object; at most 64 characters, as MySQL wants."""
        lake = hashlib.sha256(self.store.root_uri.encode()).hexdigest()[:8]
        return f"lake:{lake}:{target.key.removeprefix(layout.OHLCV_PREFIX).removesuffix('.parquet')}"


def _series_days(bars: pa.Table) -> set[tuple[str, str]]:
    """Each symbol and UTC day (`2026-11-20`) that occurs; the object they go to names exchange and interval."""
    days = pa.array(open_times(bars) // DAY_MS)
    found = pa.table({"symbol": bars["symbol"], "day": days}).group_by(["symbol", "day"]).aggregate([])
    pairs = zip(found["symbol"].to_pylist(), found["day"].to_pylist(), strict=True)
    return {(symbol, iso(day * DAY_MS)[:10]) for symbol, day in pairs}
