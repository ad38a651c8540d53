"""The steps by which a month leaves MySQL: brought, exchanged away, proved, and only then dropped.

Each step can be killed anywhere and done again. Between two of them the book (`month_export`) and the twin table say
how far it has come: no row is ever in neither store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.receipts import Failure
from gapless.domain.totals import SeriesKey
from gapless.errors import StorageError
from gapless.pipeline.export.bring import Brought, bring, side_by_side
from gapless.pipeline.export.manifest import digest_of, manifest_of
from gapless.pipeline.export.prove import prove
from gapless.pipeline.export.request import Watch
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import Damaged
from gapless.storage.mysql import read_origin
from gapless.storage.mysql.archive import archived_rows
from gapless.storage.mysql.departing import Mark, MonthRows
from gapless.storage.mysql.exports import (
    COPYING,
    DROPPED,
    LEAVING,
    RESTORED,
    VERIFIED,
    MonthExport,
    newest_export,
    put_export,
    read_exports,
)
from gapless.storage.mysql.leaving import (
    Leaving,
    discard_empty_twin,
    drop_twin,
    exchange_out,
    find_twins,
    fold_empty_months,
    month_bytes,
    twin_mark,
)
from gapless.storage.mysql.ledger import move_months
from gapless.storage.mysql.partitions import Month

ROUNDS = 5
"""How often a month is brought anew because rows of it were written meanwhile, before the export gives up."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where an export stands after a step.

    Attributes:
        export: its line in the book; None: MySQL holds no row of the month, and nothing was done.
        errors: what was lost by others' hands and mended as far as it could be.
        written: objects that it made or replaced.
    """

    export: MonthExport | None
    errors: tuple[Failure, ...] = ()
    written: int = 0


def copy_month(rt: Runtime, dataset: Dataset, month: Month, watch: Watch, *, verify: bool) -> Step:
    """Bring a month whole into the lake, from one snapshot; and, if asked, prove it against the same snapshot.

    Raises:
        LakeShrink, StorageError: the lake did not take it, or does not give it back. MySQL is as it was.
    """
    finish_dropping(rt, dataset, month)
    with _frugally(), MonthRows.open(rt.db, dataset, month) as rows:
        mark = rows.mark()
        if mark.rows == 0:
            return Step(None)
        series = rows.series()
        copied = _copy(rt, rows, series, _begin(rt, dataset, month, mark), mark, watch)
        return (
            _after(copied, _verify(rt, rows, series, copied[0], watch)) if verify else Step(*copied, copied[0].written)
        )


def take_out(rt: Runtime, dataset: Dataset, month: Month, watch: Watch) -> Step:
    """Exchange a month that was brought for an empty partition, and prove what was taken out against the lake.

    A row that was written since it was brought is brought first. An earlier export's twin is proved before all else.

    Raises:
        LakeShrink, StorageError: the lake lacks a row, or a store is away. Nothing is dropped; done again, it goes on.
    """
    finish_dropping(rt, dataset, month)
    leaving = Leaving(dataset, month)
    errors: tuple[Failure, ...] = ()
    written = 0
    if not is_out(rt, leaving):
        for _ in range(ROUNDS):
            export = newest_export(rt.db, dataset, month)
            if export is None or export.state not in (COPYING, LEAVING, VERIFIED) or not export.mark:
                copied = copy_month(rt, dataset, month, watch, verify=False)
                export, errors, written = copied.export, errors + copied.errors, written + copied.written
                if export is None:
                    return Step(None, errors)
            put_export(rt.db, replace(export, state=LEAVING))
            if exchange_out(rt.db, leaving, _mark_of(export)):
                break
            watch.say(f"rows of {dataset} {month} were written meanwhile: they are brought too")
            put_export(rt.db, replace(export, state=COPYING, mark=""))
        else:
            raise StorageError(
                f"{dataset} {month}: rows were written to it during each of {ROUNDS} exports; nothing was dropped. "
                "Run it again when the backfill or repair of that month is done"
            )
    proved = prove_twin(rt, leaving, watch)
    return Step(proved.export, errors + proved.errors, written + proved.written)


def prove_twin(rt: Runtime, leaving: Leaving, watch: Watch) -> Step:
    """Prove the rows that were exchanged away; the receipt that allows to drop them.

    Raises:
        LakeShrink, StorageError: the lake lacks a row and does not take it, or a store is away. The twin stays.
    """
    with _frugally(), MonthRows.open(rt.db, leaving.dataset, leaving.month, twin=True) as rows:
        mark = rows.mark()
        export = newest_export(rt.db, leaving.dataset, leaving.month)
        if export is None or export.state in (DROPPED, RESTORED):
            export = _begin(rt, leaving.dataset, leaving.month, mark)
        export = replace(export, state=LEAVING, mark=str(mark), rows=mark.rows)
        put_export(rt.db, export)
        return _after((export, ()), _verify(rt, rows, rows.series(), export, watch), already=export.written)


def let_go(rt: Runtime, dataset: Dataset, month: Month) -> MonthExport | None:
    """Drop the rows that were exchanged away and proved, and the empty partition where it is the oldest.

    Raises:
        StorageError: no receipt allows it; or readers hold the table for as long as retries last.
    """
    leaving = Leaving(dataset, month)
    if leaving in find_twins(rt.db):
        export = newest_export(rt.db, dataset, month)
        if twin_mark(rt.db, leaving).rows == 0:
            discard_empty_twin(rt.db, leaving)
        elif export is None:
            raise StorageError(f"{leaving.twin} holds rows that no export accounts for: run the export of {month}")
        else:
            # The intent first: killed after the drop, the book still knows that the rows are gone on purpose.
            put_export(rt.db, replace(export, dropped_ms=_now_ms()))
            drop_twin(rt.db, leaving, export)
    finish_dropping(rt, dataset, month)
    gone = [each.month for each in read_exports(rt.db, dataset) if each.state == DROPPED]
    fold_empty_months(rt.db, str(dataset), max([month, *gone]).plus(1))
    return newest_export(rt.db, dataset, month)


def finish_dropping(rt: Runtime, dataset: Dataset, month: Month) -> None:
    """Enter that a month was dropped, where a kill kept that from the book."""
    export = newest_export(rt.db, dataset, month)
    if export is None or export.state != VERIFIED or export.dropped_ms is None:
        return
    if Leaving(dataset, month) not in find_twins(rt.db):
        put_export(rt.db, replace(export, state=DROPPED))
        move_months(rt.db, str(dataset), month.start_ms, source="mysql", target="lake")


def is_out(rt: Runtime, leaving: Leaving) -> bool:
    """Whether the month's rows were exchanged away and wait for their proof; an empty twin, left by a kill, is none."""
    return leaving in find_twins(rt.db) and twin_mark(rt.db, leaving).rows > 0


@contextmanager
def _frugally() -> Iterator[None]:
    """Arrow takes memory from the C library, which gives back what is freed; its own allocator kept 90 MB more."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)


_Done = tuple[MonthExport, tuple[Failure, ...]]


def _after(before: _Done, verified: _Done, *, already: int = 0) -> Step:
    return Step(verified[0], before[1] + verified[1], verified[0].written - already)


def _begin(rt: Runtime, dataset: Dataset, month: Month, mark: Mark) -> MonthExport:
    """A line in the book: the last one's, or another round where that has come to its end."""
    last = newest_export(rt.db, dataset, month)
    number = 1 if last is None else last.round + (last.state in (DROPPED, RESTORED))
    begun_ms = last.begun_ms if last is not None and last.round == number else _now_ms()
    return MonthExport(dataset, month, number, COPYING, begun_ms, rows=mark.rows)


def _copy(
    rt: Runtime, rows: MonthRows, series: Mapping[SeriesKey, int], export: MonthExport, mark: Mark, watch: Watch
) -> _Done:
    began = time.monotonic()
    watch.say(f"{export.dataset} {export.month}: {export.rows:,} rows of {len(series):,} series to the lake")
    size = month_bytes(rt.db, str(export.dataset), export.month.partition)
    export = replace(export, series=len(series), table_bytes=size)
    put_export(rt.db, export)
    with side_by_side(rt, rows, export.dataset, export.month, mark) as readers:
        brought, errors = _bring(rt, readers, export, series, watch)
    export = replace(export, mark=str(mark), written=brought.written, copy_seconds=time.monotonic() - began)
    put_export(rt.db, export)
    return export, errors


def _bring(
    rt: Runtime,
    readers: Sequence[MonthRows],
    export: MonthExport,
    series: Mapping[SeriesKey, int],
    watch: Watch,
    damaged: frozenset[str] = frozenset(),
) -> tuple[Brought, tuple[Failure, ...]]:
    """`bring`; an object that cannot be read is kept aside and made anew of the rows at hand."""
    errors: list[Failure] = []
    while True:
        try:
            if damaged:
                series = readers[0].series()  # what is made anew is made of everything
            found = bring(rt, readers, export.dataset, export.month, series, watch, damaged=damaged)
            return found, tuple(errors)
        except Damaged as error:
            if error.uri in damaged:
                raise
            damaged |= {error.uri}
            errors.append(_mending(rt, export, error, watch))


def _mending(rt: Runtime, export: MonthExport, error: Damaged, watch: Watch) -> Failure:
    """Say what is done about a damaged object; what it may have held that MySQL has not is an error."""
    watch.say(f"{error}; it is kept aside and made anew")
    known = archived_rows(rt.db, error.uri)
    message = (
        f"{error.uri} was damaged and is made anew of MySQL's rows; by the books it held {known:,} rows, and it lies "
        "under _superseded/ as it was. Rows that the lake alone had come back by: gapless gaps --fill over its days"
    )
    return Failure("", "", f"{export.dataset} {export.month}", "damaged", message)


def _verify(rt: Runtime, rows: MonthRows, series: Mapping[SeriesKey, int], export: MonthExport, watch: Watch) -> _Done:
    """Prove, bring what lacks once more, prove again; the manifest, then the receipt."""
    began = time.monotonic()
    errors: tuple[Failure, ...] = ()
    damaged: frozenset[str] = frozenset()
    for last in (False, True):
        watch.say(f"{export.dataset} {export.month}: reading the lake back")
        try:
            proof = prove(rt, rows, export.dataset, export.month, series, since_ms=export.begun_ms)
            lacking = {key: series[key] for key in proof.lacking}
            if not lacking:
                break
        except Damaged as error:
            if last:
                raise
            errors += (_mending(rt, export, error, watch),)
            damaged, lacking = frozenset({error.uri}), dict(series)
        if last:
            names = ", ".join(" ".join(key[1:]).strip() for key in sorted(lacking)[:3])
            raise StorageError(
                f"{export.dataset} {export.month}: the lake does not hold what MySQL has of {len(lacking)} series "
                f"({names}), though it was brought twice; nothing was dropped. Is another program writing to the lake?"
            )
        brought, more = _bring(rt, [rows], export, lacking, watch, damaged)
        export, errors = replace(export, written=export.written + brought.written), errors + more
    manifest = manifest_of(SHAPES[export.dataset], export.month, proof, origin=read_origin(rt.db) or "")
    uri = rt.lake.put_manifest(export.dataset, export.month.start_ms, export.round, manifest)
    verified = replace(
        export,
        state=VERIFIED,
        rows=proof.rows,
        series=len(series),
        beside=proof.beside,
        outranked=proof.outranked,
        bytes=sum(each.bytes for contents in proof.contents for each in contents.objects),
        files=sum(len(contents.objects) for contents in proof.contents),
        digest=digest_of(proof),
        manifest_uri=uri,
        verify_seconds=time.monotonic() - began,
        verified_ms=_now_ms(),
    )
    put_export(rt.db, verified)
    return verified, errors


def _mark_of(export: MonthExport) -> Mark:
    rows, receipts = export.mark.split(":")
    return Mark(int(rows), int(receipts))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
