"""Where pieces come to rest: a symbol's month in MySQL by one load, a lake object by one write. Blocking; run in
threads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa

from gapless.domain.datasets import SHAPES, Dataset, empty
from gapless.domain.digests import digests
from gapless.domain.grid import Opens
from gapless.domain.interval import Interval
from gapless.domain.receipts import Batch
from gapless.domain.window import Window, next_month
from gapless.pipeline.backfill.outcome import Outcome, open_times
from gapless.pipeline.backfill.pieces import Piece, Unit
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.lake.layout import bucket_of
from gapless.storage.mysql import (
    Draft,
    Scope,
    load_rows,
    log_lake_restatements,
    put_archive_receipts,
    read_opens,
    read_rows,
    record_quarantine,
)

COARSE = frozenset({"1h", "4h", "1d"})
"""Intervals whose lake object holds a whole month of all symbols."""


@dataclass(frozen=True, slots=True)
class AtRest:
    """What a unit's rows did: `loaded` new or changed, `restated` of them changed."""

    loaded: int
    restated: int


class Sink(Protocol):
    """One unit's way to rest."""

    def add(self, outcome: Outcome) -> None:
        """The next piece of the unit, in its order."""

    def finish(self) -> AtRest:
        """Put what was added at rest, verified; nothing of it counts before."""

    def drop(self) -> None:
        """Leave nothing behind of what was not finished."""


def open_sink(rt: Runtime, unit: Unit) -> Sink:
    """The sink of a unit."""
    return MySqlSink(rt, unit) if unit.store == "mysql" else LakeSink(rt, unit)


def stored_opens(rt: Runtime, piece: Piece) -> Opens:
    """The open times of a piece's window that its store holds."""
    series, window = piece.series, piece.window
    if piece.store == "mysql":
        if series.dataset is Dataset.OHLCV and series.interval is not None:
            return read_opens(rt.db, EXCHANGE, series.symbol, series.interval, window)
        return open_times(read_rows(rt.db, series.dataset, EXCHANGE, [series.symbol], window))
    if series.dataset is Dataset.OHLCV and series.interval is not None:
        bars = rt.lake.read(window, symbols=[series.symbol], intervals=[series.interval], exchange=EXCHANGE)
        return open_times(bars)
    return open_times(rt.lake.read_rows(series.dataset, window, symbols=[series.symbol], exchange=EXCHANGE))


def bucket_for(dataset: Dataset, label: str, symbol: str) -> int | None:
    """The bucket of a lake object; None where a month's object holds all symbols."""
    return None if dataset is Dataset.FUNDING or label in COARSE else bucket_of(symbol)


class MySqlSink:
    """All intervals of one symbol and month: one load, one receipt, so that a kill leaves all of it or nothing."""

    def __init__(self, rt: Runtime, unit: Unit) -> None:
        self._rt = rt
        self._unit = unit
        self._outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)

    def finish(self) -> AtRest:
        taken = [one for one in self._outcomes if not one.failures or one.rows.num_rows]
        if not taken:
            return AtRest(0, 0)
        first = taken[0].piece.series
        shape = SHAPES[first.dataset]
        # Each piece is in order, and so are they: one symbol, its intervals by name, one month.
        rows = pa.concat_tables([empty(first.dataset), *(one.rows for one in taken)])
        refused = [row for one in taken for row in one.refused]
        batch = _batch([one.piece for one in taken])
        draft = Draft(
            batch_key=batch.key,
            exchange=EXCHANGE,
            market=first.market,
            window=batch.window,
            scope=_scope([one.piece for one in taken if not one.failures]),
            complete=not any(one.failures for one in taken),
            digest=digests(rows, shape)[0],
            dataset=batch.dataset,
        )
        done = load_rows(self._rt.db, shape, rows, draft, refused=refused)
        return AtRest(done.counts.loaded + done.counts.restated + done.filled, done.counts.restated)

    def drop(self) -> None:
        self._outcomes.clear()


class LakeSink:
    """One object of the lake: symbols are added in its order, and it is written once."""

    def __init__(self, rt: Runtime, unit: Unit) -> None:
        piece = unit.pieces[0]
        series = piece.series
        self._rt = rt
        self._unit = unit
        self._refused: list[Outcome] = []
        self._stack = ExitStack()
        self._writer = self._stack.enter_context(
            rt.lake.month_writer(
                series.dataset,
                EXCHANGE,
                series.interval,
                piece.month_ms,
                bucket_for(series.dataset, series.label, series.symbol),
                spool_dir=rt.settings.var_dir / "spool",
                on_replaced=partial(_note, rt, series.dataset, True),
                on_outranked=partial(_note, rt, series.dataset, False),
            )
        )

    def add(self, outcome: Outcome) -> None:
        if outcome.rows.num_rows:
            self._writer.add(outcome.rows)
        if outcome.refused:
            self._refused.append(outcome)

    def finish(self) -> AtRest:
        receipts = self._writer.finish()
        self._stack.close()
        put_archive_receipts(self._rt.db, receipts, dataset=str(self._unit.pieces[0].series.dataset))
        for outcome in self._refused:
            record_quarantine(self._rt.db, outcome.refused, _batch([outcome.piece]).key)
        replaced = sum(one.replaced for one in receipts)
        return AtRest(sum(one.added + one.filled for one in receipts) + replaced, replaced)

    def drop(self) -> None:
        self._stack.close()


def _note(rt: Runtime, dataset: Dataset, applied: bool, old: pa.Table, new: pa.Table) -> None:
    log_lake_restatements(rt.db, old, new, dataset=dataset, applied=applied)


def _batch(pieces: Sequence[Piece]) -> Batch:
    """The name of a load: what it covers, never when or after which interruption it is done."""
    first = pieces[0]
    intervals = tuple(Interval(piece.series.label) for piece in pieces if piece.series.label)
    hull = Window(min(p.window.start_ms for p in pieces), max(p.window.end_ms for p in pieces))
    return Batch(
        exchange=EXCHANGE,
        market=first.series.market,
        symbols=((first.series.symbol, first.raw_symbol),),
        intervals=tuple(sorted(intervals, key=lambda interval: interval.ms)),
        start_ms=hull.start_ms,
        end_ms=min(hull.end_ms, next_month(hull.start_ms)),
        dataset=f"history:{first.series.dataset}",
    )


def _scope(pieces: Sequence[Piece]) -> Scope:
    return Scope.of((piece.series.symbol, piece.series.label) for piece in pieces if piece.series.label)
