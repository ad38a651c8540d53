"""A backfill from request to report."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.errors import StorageError
from gapless.pipeline.backfill.accounts import Accounts
from gapless.pipeline.backfill.coverage import cover_request
from gapless.pipeline.backfill.estimate import estimate, require_room
from gapless.pipeline.backfill.late_lives import settle_lives
from gapless.pipeline.backfill.pieces import Piece, Unit, units_of
from gapless.pipeline.backfill.recheck import changed_pieces
from gapless.pipeline.backfill.request import BackfillPlan, BackfillReport, BackfillRequest, Watch
from gapless.pipeline.backfill.sinks import COARSE
from gapless.pipeline.backfill.survey import Survey, survey
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake.layout import bucket_of

UNITS_A_BATCH = 16


def plan_backfill(rt: Runtime, request: BackfillRequest) -> BackfillPlan:
    """What `run_backfill` would do. Nothing is written but what the exchange lists.

    Raises:
        ConfigError, ExchangeError, OriginMismatch: see `survey`.
    """
    return estimate(rt, request, survey(rt, request))


def run_backfill(rt: Runtime, request: BackfillRequest, watch: Watch) -> BackfillReport:
    """Fill a stretch of history, and account for every bar of it.

    What is settled already is not asked for again; what was interrupted goes on where the books end. A failure of the
    exchange or the archive costs its own pieces and is in `errors`, and so is a store that failed.

    Raises:
        ConfigError, ExchangeError, OriginMismatch: see `survey`. StorageError: there is not enough room, or the books
            cannot be read.
    """
    started = time.monotonic()
    found = survey(rt, request)
    accounts = Accounts(rt, request)
    again = changed_pieces(rt, request, found, accounts)
    pieces = _joined(found.pieces, again)
    failures: list[Failure] = [*found.failures]
    if pieces:
        from gapless.pipeline.backfill.engine import Engine

        planned = estimate(rt, request, found)
        require_room(rt, planned)
        watch.plan(planned.objects, planned.rows)
        engine = Engine(rt, request, watch, accounts, found.now_ms)
        try:
            asyncio.run(engine.run(_units(pieces, request.dataset)))
        except StorageError as error:
            failures.append(Failure("", "", str(request.window), error.kind, str(error)))
        settle_lives(rt, accounts)
    return _report(rt, request, found, accounts, failures, pieces, time.monotonic() - started)


def cut_batches(rt: Runtime, request: BackfillRequest, at_most: int = 64) -> list[BackfillRequest]:
    """The request as parts that workers can do side by side, each with its own symbols and months.

    A part holds whole months of lake objects (of a bucket's symbols, or for coarse intervals of all symbols), so that
    no object is written by two of them; none when nothing is left.
    """
    found = survey(rt, request)
    if not found.pieces or found.window is None:
        return []
    coarse = tuple(interval for interval in request.intervals if str(interval) in COARSE)
    fine = tuple(interval for interval in request.intervals if interval not in coarse)
    apart = request.dataset is Dataset.OHLCV and bool(coarse) and bool(fine)
    months = sorted({piece.month_ms for piece in found.pieces})
    spans = _split(months, max(1, min(len(months), at_most // (1 + apart))))
    groups = max(1, min(UNITS_A_BATCH, at_most // len(spans) - apart))
    whole_month = request.dataset is Dataset.FUNDING or not fine
    parts: list[BackfillRequest] = []
    for span in spans:
        members = [piece for piece in found.pieces if span[0] <= piece.month_ms <= span[-1]]
        hull = Window(min(p.window.start_ms for p in members), max(p.window.end_ms for p in members))
        every = tuple(sorted({piece.series.symbol for piece in members}))
        if groups == 1 or whole_month:
            parts.append(_part(request, every, request.intervals, hull))
            continue
        by_group: dict[int, list[str]] = defaultdict(list)
        for symbol in every:
            by_group[bucket_of(symbol) % groups].append(symbol)
        parts += [_part(request, tuple(some), fine, hull) for _, some in sorted(by_group.items())]
        if apart:  # their objects hold all symbols of a month
            parts.append(_part(request, every, coarse, hull))
    return parts


def _part(
    request: BackfillRequest, symbols: tuple[str, ...], intervals: tuple[Interval, ...], window: Window
) -> BackfillRequest:
    return BackfillRequest(
        dataset=request.dataset,
        market=request.market,
        symbols=symbols,
        intervals=intervals,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        source=request.source,
        into=request.into,
        workers=request.workers,
        recheck="none",
    )


def _split(values: Sequence[int], parts: int) -> list[list[int]]:
    size = -(-len(values) // parts)
    return [list(values[at : at + size]) for at in range(0, len(values), size)]


def _joined(left: Iterable[Piece], again: Iterable[Piece]) -> list[Piece]:
    """Each month of a series in a store once; a whole re-reading takes the place of what was left to do."""
    chosen = {(p.series.symbol, p.series.label, p.month_ms, p.store): p for p in left}
    chosen.update({(p.series.symbol, p.series.label, p.month_ms, p.store): p for p in again})
    return list(chosen.values())


def _units(pieces: Sequence[Piece], dataset: Dataset) -> list[Unit]:
    buckets = None if dataset is Dataset.FUNDING else {p.series.symbol: bucket_of(p.series.symbol) for p in pieces}
    return units_of(pieces, buckets, coarse=COARSE)


def _report(
    rt: Runtime,
    request: BackfillRequest,
    found: Survey,
    accounts: Accounts,
    failures: list[Failure],
    pieces: Sequence[Piece],
    seconds: float,
) -> BackfillReport:
    series = cover_request(rt, request, found)
    failures += _once(accounts.failures)
    expected, present = sum(one.expected for one in series), sum(one.present for one in series)
    return BackfillReport(
        rows_loaded=accounts.rows_loaded,
        bars_expected=expected,
        bars_present=present,
        gap_bars=expected - present,
        unfillable=sum(one.unfillable for one in series),
        outside_life=sum(one.outside for one in accounts.pieces),
        restated=accounts.restated,
        rows_quarantined=accounts.quarantined,
        objects=accounts.objects,
        rejected_objects=len(accounts.rejected),
        requests=accounts.requests,
        weight_used=accounts.weight,
        seconds=round(seconds, 3),
        nothing_to_do=not pieces and not failures,
        rejected=tuple(sorted(accounts.rejected, key=lambda one: one.object)),
        series=tuple(series),
        errors=tuple(failures),
    )


def _once(failures: Iterable[Failure]) -> list[Failure]:
    """One failure of a kind for each series, with the window of the first; ten years of months say it no better."""
    kept: dict[tuple[str, str, str], Failure] = {}
    for failure in failures:
        kept.setdefault((failure.symbol, failure.interval, failure.kind), failure)
    return list(kept.values())
