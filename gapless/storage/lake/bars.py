"""The lake's canonical rows: written by merging into whole objects, read by what is wanted of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset, Shape
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import StorageError, ValidationError
from gapless.storage.lake import layout, manifests, reports, zones
from gapless.storage.lake.arriving import Arrival, arrivals_of, bring
from gapless.storage.lake.cutting import months_of, parts_of, usual_form
from gapless.storage.lake.forms import Forms
from gapless.storage.lake.layout import Form, LakeObject, Month
from gapless.storage.lake.locks import Locks
from gapless.storage.lake.merge import in_order
from gapless.storage.lake.months import MonthWriter
from gapless.storage.lake.objects import Damaged, ObjectStore, PreconditionFailed, Stat, uri_of
from gapless.storage.lake.parquet import decode, read_some
from gapless.storage.lake.rewriting import RACES, Change, ObjectReceipt, OnPairs, Rewriter
from gapless.storage.lake.totals import MonthContents, read_back

T = TypeVar("T")

_RANGED_READS = 2
"""How often a read of some symbols starts again because the object was replaced, before it takes the whole object."""
_LIST_ABOVE = 16
"""A read of more objects than this lists what there is instead of asking for each."""


class BarLake:
    """The canonical rows of a lake. Writers exclude each other by `locks`; readers never wait.

    Args:
        kept_before_ms: says before what moment (UTC milliseconds) periods are settled. An object whose period ended by
            then is kept under `_superseded/` before it is replaced or deleted; by default no period is settled. A
            `month_writer` that only adds to it keeps nothing: all of it lies in the new one as it was.
    """

    def __init__(self, store: ObjectStore, locks: Locks, *, kept_before_ms: Callable[[], int] = lambda: 0) -> None:
        self.store = store
        self.locks = locks
        self._forms = Forms(store, locks)
        self._kept_before_ms = kept_before_ms

    def write(
        self,
        rows: pa.Table,
        *,
        dataset: Dataset = Dataset.OHLCV,
        on_replaced: OnPairs | None = None,
        on_outranked: OnPairs | None = None,
    ) -> list[ObjectReceipt]:
        """Merge rows, in any order and of any number of objects, into the lake; one receipt for each object they touch.

        Each object is replaced whole and at once, and read back: byte by byte, and its rows compared with what was
        merged. Killed anywhere and run again, it leaves the same objects. What is there already is not written.

        Args:
            on_replaced: called with the rows that change and what they become, before they do.
            on_outranked: called with what stands and the rows of lesser sources that were refused, before the write.

        Raises:
            ValidationError: not canonical rows, or one of them twice.
            LakeShrink: an object would lose rows.
            StorageError: the store did not do it, or gave other bytes back than were written.
        """
        rewriter, receipts = self._rewriter(), []
        for month, of_month in months_of(dataset, in_order(SHAPES[dataset], rows, side="new")):
            for target, part in parts_of(month, self._forms.claim(month, usual_form(month)), of_month):
                change = Change(lambda part=part: [part], on_replaced=on_replaced, on_outranked=on_outranked)  # type: ignore[misc]
                receipts.append(rewriter.rewrite(target, change))
        return receipts

    def month_writer(
        self,
        dataset: Dataset,
        exchange: str,
        interval: Interval | None,
        month_ms: int,
        bucket: int | None,
        *,
        spool_dir: Path,
        on_replaced: OnPairs | None = None,
        on_outranked: OnPairs | None = None,
    ) -> MonthWriter:
        """A writer of a cold month, or of one of its symbol buckets (see `layout.buckets`), symbol by symbol.

        Args:
            month_ms: the month's first moment.
            bucket: 0 to 15 for 1m, 5m, 15m bars and for metrics, None for what lies whole.
            spool_dir: on a disk with room for the object, twice.
            on_replaced, on_outranked: as in `write`, called from `finish`.

        Raises:
            ConfigError: no such month or bucket.
        """
        return MonthWriter(
            Month(dataset, exchange, interval, month_ms),
            bucket,
            forms=self._forms,
            rewriter=self._rewriter(spool_dir),
            spool_dir=spool_dir,
            on_replaced=on_replaced,
            on_outranked=on_outranked,
        )

    def arrivals(self, month: Month, symbols: Collection[str]) -> list[Arrival]:
        """The objects that a month of these symbols goes into, in the form that it has; none for no symbols.

        A month that nobody wrote before is claimed for the form in which months grow hour by hour.

        Raises:
            StorageError: the store did not do it, or the month's objects are of two forms.
        """
        return arrivals_of(month, self._forms.claim(month, usual_form(month)), symbols) if symbols else []

    def bring(
        self,
        arrival: Arrival,
        pieces: Callable[[], Iterator[pa.Table]],
        *,
        known_sha256: str | None,
        spool_dir: Path,
        on_replaced: OnPairs | None = None,
        on_outranked: OnPairs | None = None,
        mend: bool = False,
    ) -> ObjectReceipt | None:
        """Merge rows into one object of a month, unless it holds them all.

        An object whose bytes are the known ones is compared first, row by row, without anything being encoded; when
        nothing is new it is left alone, and the receipt (`written=False`) has no `series`: the books know them. Rows
        that the lake outranks stay as the lake has them, and are counted in `outranked`. Memory: the object's bytes,
        compressed, at most twice, and some runs of rows.

        Args:
            pieces: gives the rows anew each time it is called: canonical order, whole symbols a piece.
            known_sha256: what the books say of the object's bytes; None when they say nothing.
            spool_dir: on a disk with room for the object.
            on_replaced, on_outranked: as in `write`.
            mend: an object that cannot be read is kept under `_superseded/` and replaced, in one stroke, by one of
                these rows alone; so they must be all that there are.

        Returns:
            None when there was no row for the object and no object: none is made.

        Raises:
            ValidationError: rows that do not belong there, come twice, or are of an unknown source.
            Damaged: the object cannot be read; `error.uri` says which.
            StorageError: the store did not do it, or gave other bytes back than were written; the spool is full.
        """
        return bring(
            self._rewriter(spool_dir),
            self.store,
            arrival,
            pieces,
            known_sha256=known_sha256,
            spool_dir=spool_dir,
            on_replaced=on_replaced,
            on_outranked=on_outranked,
            mend=mend,
        )

    def read_back(self, month: Month, *, threads: int = 2) -> MonthContents:
        """See `totals.read_back`."""
        return read_back(self.store, month, threads=threads)

    def put_manifest(self, dataset: Dataset, month_ms: int, round_: int, data: bytes) -> str:
        """See `manifests.put_manifest`."""
        return manifests.put_manifest(self.store, dataset, month_ms, round_, data)

    def remove(self, keys: pa.Table, *, dataset: Dataset = Dataset.OHLCV) -> list[ObjectReceipt]:
        """Take rows out of the lake: those whose key columns are given. For rows that the exchange denies.

        Keep them elsewhere first (quarantine): the lake forgets them. Objects that become empty are deleted.

        Raises:
            StorageError: the store did not do it.
        """
        shape, rewriter = SHAPES[dataset], self._rewriter()
        keys = keys.select(list(shape.key)).sort_by([(name, "ascending") for name in shape.key])
        receipts = []
        for month, of_month in months_of(dataset, keys):
            form = self._forms.lying(month)
            for target, part in parts_of(month, form, of_month) if form is not None else ():
                if self.store.head(target.key) is not None:
                    receipts.append(rewriter.rewrite(target, Change(list, removed=part)))
        return receipts

    def targets(self, rows: pa.Table, *, dataset: Dataset = Dataset.OHLCV) -> list[tuple[str, LakeObject]]:
        """The objects that rows (in canonical order) belong to, each with its address; whether they lie there or not.

        Raises:
            StorageError: the store is away.
        """
        found = []
        for month, of_month in months_of(dataset, rows):
            form = self._forms.lying(month) or usual_form(month)
            found += [(uri_of(self.store, target.key), target) for target, _ in parts_of(month, form, of_month)]
        return found

    def read_object(self, uri: str) -> pa.Table | None:
        """All rows of one object by its address; None when it does not lie there, or is none of canonical rows.

        Raises:
            StorageError: the store is away, or the object is damaged.
        """
        target = layout.parse_key(uri.removeprefix(uri_of(self.store, "")))
        if target is None or self.store.head(target.key) is None:
            return None
        return self._read_object(target, SHAPES[target.dataset], None, target.window)

    def of_stored_objects(self, rows: pa.Table, *, dataset: Dataset = Dataset.OHLCV) -> pa.Table:
        """Those of the rows (in canonical order) whose object lies in the lake already.

        Raises:
            StorageError: the store is away.
        """
        kept = [rows.slice(0, 0)]
        for month, of_month in months_of(dataset, rows):
            form = self._forms.lying(month)
            for target, part in parts_of(month, form, of_month) if form is not None else ():
                if self.store.head(target.key) is not None:
                    kept.append(part)
        return pa.concat_tables(kept)

    def read(
        self, window: Window, *, symbols: Sequence[str] | None = None, intervals: Iterable[Interval], exchange: str
    ) -> pa.Table:
        """The stored bars that open in `window`, in canonical order; what is not stored is absent.

        Args:
            symbols: unified symbols, None for all.

        Raises:
            StorageError: the store is away, or an object is damaged.
        """
        return self._read(Dataset.OHLCV, sorted(set(intervals)), window, symbols, exchange)

    def read_rows(
        self, dataset: Dataset, window: Window, symbols: Sequence[str] | None = None, *, exchange: str = "binance"
    ) -> pa.Table:
        """The stored rows of funding or metrics (what has no intervals) with a `ts` in `window`, in canonical order.

        Raises:
            ConfigError: bars have intervals: `read` them.
            StorageError: the store is away, or an object is damaged.
        """
        return self._read(dataset, [None], window, symbols, exchange)

    def objects(
        self, exchange: str, interval: Interval | None, window: Window, *, dataset: Dataset = Dataset.OHLCV
    ) -> list[Stat]:
        """The stored objects that may hold rows with a `ts` in `window`, in the order of their keys."""
        return [stat for stat, _ in self._listed(dataset, exchange, interval, window)]

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

    def put_report(self, key: str, data: bytes) -> None:
        """See `reports.put_report`."""
        reports.put_report(self.store, key, data)

    def get_report(self, key: str) -> bytes:
        """See `reports.get_report`."""
        return reports.get_report(self.store, key)

    def list_reports(self, kind: str) -> Iterator[Stat]:
        """See `reports.list_reports`."""
        return reports.list_reports(self.store, kind)

    def sweep_reports(self, now_ms: int, days: int) -> int:
        """See `reports.sweep_reports`."""
        return reports.sweep_reports(self.store, now_ms, days)

    def claim_origin(self, origin: str) -> None:
        """See `zones.claim_origin`."""
        zones.claim_origin(self.store, origin)

    def _rewriter(self, spool_dir: Path | None = None) -> Rewriter:
        return Rewriter(self.store, self.locks, spool_dir, kept_before_ms=self._kept_before_ms)

    def _read(
        self,
        dataset: Dataset,
        intervals: Sequence[Interval | None],
        window: Window,
        symbols: Sequence[str] | None,
        exchange: str,
    ) -> pa.Table:
        shape, wanted = SHAPES[dataset], None if symbols is None else frozenset(symbols)
        parts = [shape.schema.empty_table()]
        if wanted is None or wanted:
            buckets = None if wanted is None else {layout.bucket_of(symbol) for symbol in wanted}
            parts.extend(
                self._read_object(found, shape, wanted, window)
                for interval in intervals
                for found in self._objects(dataset, exchange, interval, window)
                if found.bucket is None or buckets is None or found.bucket in buckets
            )
        try:
            return in_order(shape, pa.concat_tables(parts), side="stored")
        except ValidationError as error:
            raise StorageError(
                f"{self.store.root_uri}/{dataset} {window}: {error}. A month lies there in days and in buckets: move "
                "one of the two to the lake's _superseded/"
            ) from error

    def _read_object(
        self, target: LakeObject, shape: Shape, symbols: frozenset[str] | None, window: Window
    ) -> pa.Table:
        key, uri = target.key, uri_of(self.store, target.key)
        seen: Stat | None = None
        for lost in range(RACES):
            try:
                if symbols is None or lost >= _RANGED_READS:  # one request sees one version, however often it changes
                    data = self.store.get(key)
                    if data is None:
                        return shape.schema.empty_table()
                    if symbols is None and window.covers(target.window):
                        return decode(data, shape, name=uri)
                    return read_some(pa.BufferReader(data), shape, name=uri, symbols=symbols, window=window)
                stream = self.store.open(key)
                if stream is None:
                    return shape.schema.empty_table()
                with stream:
                    return read_some(stream, shape, name=uri, symbols=symbols, window=window)
            except PreconditionFailed:
                continue  # replaced while it was read: the new one holds at least as much
            except Damaged:
                # A server that is not atomic between its answer's head and body (rclone) mixes two versions when the
                # object is replaced in between. Damaged twice as the same version, it is damaged.
                now = self.store.head(key)
                if now is not None and now == seen:
                    raise
                seen = now
        raise StorageError(f"{uri} was replaced {RACES} times while it was read; try again when the backfill is done")

    def _objects(
        self, dataset: Dataset, exchange: str, interval: Interval | None, window: Window
    ) -> Iterator[LakeObject]:
        months = list(layout.months_in(dataset, exchange, interval, window))
        if len(months) <= _LIST_ABOVE and all(month.forms == (Form.WHOLE,) for month in months):
            yield from (month.whole() for month in months)
        else:
            yield from (target for _, target in self._listed(dataset, exchange, interval, window))

    def _listed(
        self, dataset: Dataset, exchange: str, interval: Interval | None, window: Window
    ) -> list[tuple[Stat, LakeObject]]:
        months = [month.prefix for month in layout.months_in(dataset, exchange, interval, window)]
        prefixes = months if len(months) <= _LIST_ABOVE else [layout.prefix_of(dataset, exchange, interval)]
        found = [(stat, layout.parse_key(stat.key)) for prefix in prefixes for stat in self.store.list(prefix)]
        known = [(stat, target) for stat, target in found if target is not None and target.window.intersect(window)]
        return sorted(known, key=lambda pair: pair[1].key)
