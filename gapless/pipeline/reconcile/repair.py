"""What the stores lack or have wrong is put right in each of them; blocking. Done again it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import Batch
from gapless.domain.window import Window, month_start, next_month
from gapless.pipeline.reconcile.bars import only
from gapless.pipeline.reconcile.slabs import Slab
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.quality.compare import compare
from gapless.storage.lake import ObjectReceipt
from gapless.storage.mysql import (
    Draft,
    RefusedRow,
    Scope,
    count_days,
    load_rows,
    log_lake_restatements,
    put_archive_receipts,
    record_quarantine,
)
from gapless.storage.mysql.loader import LOCK_WAIT_S
from gapless.storage.mysql.removal import quarantine_rows
from gapless.storage.mysql.rewriting import Rewritten, begin_rewriting, forget_contents, unfinished_objects

EXTRA = "extra"
"""The reason in quarantine of a stored row that the exchange does not have."""

_EXTRA_DETAIL = "stored, but the exchange was asked twice and has no such row"


@dataclass(frozen=True)
class Stores:
    """Where rows of a month belong.

    Attributes:
        hot_since_ms: months from then on are MySQL's.
    """

    rt: Runtime
    dataset: Dataset
    market: Market
    hot_since_ms: int

    def load(self, slab: Slab, rows: pa.Table, refused: Sequence[RefusedRow]) -> None:
        """Rows of the exchange that are missing or differ, into every store that has their month.

        MySQL has the hot months, and of colder ones the series it holds rows of; the lake has what is cold, and the
        days of hot months that the hourly runs have archived.

        Raises:
            StorageError, LakeShrink: a store did not take them. What it took before stays, and is found there again.
        """
        batch = self._batch(slab)
        shape = SHAPES[self.dataset]
        ordered = rows.sort_by([(name, "ascending") for name in shape.key]).combine_chunks()
        into_mysql, into_lake = self._split(slab, ordered)
        if refused:
            record_quarantine(self.rt.db, refused, batch.key)
        if into_mysql.num_rows:
            draft = Draft(
                batch_key=batch.key,
                exchange=EXCHANGE,
                market=self.market,
                window=batch.window,
                scope=Scope.of(()),  # single rows: no series is covered by them
                complete=False,
                digest=digests(into_mysql, shape)[0],
                dataset=batch.dataset,
            )
            load_rows(self.rt.db, shape, into_mysql, draft)
        if into_lake.num_rows:
            self._rewrite(into_lake, lambda: self._write(into_lake))

    def remove(self, slab: Slab, rows: pa.Table) -> None:
        """Stored rows that the exchange does not have, out of both stores into quarantine.

        Raises:
            StorageError: a store did not do it; what is in quarantine by then stays there, and the rest is found again.
        """
        shape = SHAPES[self.dataset]
        plain = rows.select(shape.schema.names)
        key = self._batch(slab).key
        quarantine_rows(self.rt.db, shape, plain, reason=EXTRA, detail=_EXTRA_DETAIL, batch_key=key)
        self._rewrite(plain, lambda: self.rt.lake.remove(plain, dataset=self.dataset))

    def finish_rewriting(self) -> None:
        """Enter what objects hold whose rewriting was killed before the books heard of it.

        Raises:
            StorageError: a store is away, or an object is damaged.
        """
        with self.rt.db.named_locks([self._lock], timeout_s=LOCK_WAIT_S):
            for uri in unfinished_objects(self.rt.db, str(self.dataset)):
                rows = self.rt.lake.read_object(uri)
                gone = rows is None or rows.num_rows == 0
                forget_contents(self.rt.db, uri, gone=gone)
                if not gone:
                    put_archive_receipts(self.rt.db, self._write(rows), dataset=str(self.dataset))

    def _rewrite(self, rows: pa.Table, change: Callable[[], list[ObjectReceipt]]) -> None:
        """Change objects of the lake and enter them; a kill in between is on record."""
        with self.rt.db.named_locks([self._lock], timeout_s=LOCK_WAIT_S):
            targets = [
                Rewritten(uri, str(self.dataset), EXCHANGE, str(target.interval or ""), target.period_start_ms)
                for uri, target in self.rt.lake.targets(rows, dataset=self.dataset)
            ]
            begin_rewriting(self.rt.db, targets)
            put_archive_receipts(self.rt.db, change(), dataset=str(self.dataset))
            left = set(unfinished_objects(self.rt.db, str(self.dataset)))
            for each in targets:
                if each.uri in left:  # nothing lies there: there was nothing to remove
                    forget_contents(self.rt.db, each.uri, gone=True)

    def _write(self, rows: pa.Table) -> list[ObjectReceipt]:
        return self.rt.lake.write(
            rows,
            dataset=self.dataset,
            on_replaced=partial(self._note, applied=True),
            on_outranked=partial(self._note, applied=False),
        )

    @property
    def _lock(self) -> str:
        return f"repair:{self.dataset}"

    def _split(self, slab: Slab, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The rows that belong into MySQL, and those that belong into the lake."""
        if month_start(slab.window.start_ms) >= self.hot_since_ms:
            ours, theirs = rows, rows.slice(0, 0)
        else:
            ours = self.kept_in_mysql(slab, rows)
            theirs = rows.take(pa.array(compare(SHAPES[self.dataset], ours, rows).missing))
        return ours, pa.concat_tables([theirs, self.rt.lake.of_stored_objects(ours, dataset=self.dataset)])

    def kept_in_mysql(self, slab: Slab, rows: pa.Table) -> pa.Table:
        """Those of some rows of a slab whose series MySQL holds anything of in that month.

        Raises:
            StorageError: MySQL is away.
        """
        if rows.num_rows == 0:
            return rows
        month_ms = month_start(slab.window.start_ms)
        symbols = rows["symbol"].unique().to_pylist()
        held = count_days(self.rt.db, self.dataset, EXCHANGE, Window(month_ms, next_month(month_ms)), symbols)
        return only(rows, set(zip(held["symbol"].to_pylist(), held["interval"].to_pylist(), strict=True)))

    def _batch(self, slab: Slab) -> Batch:
        """The name of a repair: what it covers, never when it is done."""
        intervals = {piece.series.label for piece in slab.pieces if piece.series.label}
        return Batch(
            exchange=EXCHANGE,
            market=self.market,
            symbols=tuple(dict.fromkeys((piece.series.symbol, piece.raw_symbol) for piece in slab.pieces)),
            intervals=tuple(interval for interval in Interval if str(interval) in intervals),
            start_ms=slab.window.start_ms,
            end_ms=slab.window.end_ms,
            dataset=f"repair:{self.dataset}",
        )

    def _note(self, old: pa.Table, new: pa.Table, *, applied: bool) -> None:
        log_lake_restatements(self.rt.db, old, new, dataset=self.dataset, applied=applied)
