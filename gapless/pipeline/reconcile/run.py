"""A comparison from request to report: what is compared, in which rounds, and what the books say afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.receipts import Failure
from gapless.errors import NotYet
from gapless.pipeline.backfill.bars import failure_of
from gapless.pipeline.backfill.pieces import Piece, Series, cut_series
from gapless.pipeline.backfill.request import BackfillRequest
from gapless.pipeline.backfill.survey import Survey, survey
from gapless.pipeline.reconcile.closing import PieceResult, SlabResult, row_of
from gapless.pipeline.reconcile.comparison import Comparison
from gapless.pipeline.reconcile.engine import BarComparison
from gapless.pipeline.reconcile.healing import heal
from gapless.pipeline.reconcile.open_gaps import denied_lately, pieces_of_gaps, standing_gaps, unlisted
from gapless.pipeline.reconcile.repair import Stores
from gapless.pipeline.reconcile.request import DiffRequest, GapReport, joined
from gapless.pipeline.reconcile.series import SeriesComparison
from gapless.pipeline.reconcile.slabs import Slab, rows_of, slabs_of
from gapless.pipeline.reconcile.witness import Witness
from gapless.pipeline.retention.rules import hot_since
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import read_origin
from gapless.storage.mysql.checks import count_up

WAITS_S = (60.0, 300.0)
"""Before the second and the third attempt to fill a gap."""

_THREADS = 2
_SUMS = ("checked", "missing", "extra", "different", "unfillable", "failed", "filled", "restated", "quarantined")

OnProgress = Callable[[int, int], None]
"""Told how many rows of how many are compared."""


@dataclass
class _Tally:
    """What the rounds of one run brought."""

    results: dict[Piece, PieceResult] = field(default_factory=dict)
    noticed: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    weight: int = 0
    healed: int = 0
    copied: int = 0

    def enter(self, result: SlabResult) -> None:
        for one in result.pieces:
            before = self.results.get(one.piece)
            if before is not None:  # a later round: what it solved was solved in this run
                one = replace(
                    one,
                    filled=one.filled + before.filled,
                    restated=one.restated + before.restated,
                    quarantined=one.quarantined + before.quarantined,
                )
            self.results[one.piece] = one
        self.copied += result.copied
        for interval, rows in result.noticed.items():
            self.noticed[interval] = self.noticed.get(interval, 0) + rows


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request means today.

    Attributes:
        found: the series that it names.
        others: series that it does not name, and that have an open gap (only of the watchlist).
        pieces: the stretches to compare.
    """

    found: Survey
    others: tuple[Series, ...]
    pieces: tuple[Piece, ...]

    @property
    def series(self) -> tuple[Series, ...]:
        return self.found.series + self.others


def scope_of(rt: Runtime, request: DiffRequest) -> Scope:
    """Resolve a request.

    Raises:
        ConfigError: the request names nothing. ExchangeError: a market did not answer. OriginMismatch: another one.
    """
    found = survey(rt, _as_backfill(request))
    pieces: list[Piece] = []
    for series in () if request.only_gaps else found.series:
        over = found.window_of(series)
        if over is not None:
            pieces += cut_series(series, over, store_of="mysql", settled={})
    if not (request.open_gaps or request.only_gaps):
        return Scope(found, (), tuple(pieces))
    others: tuple[Series, ...] = ()
    if not request.symbols and (left := unlisted(rt, request, found.series)):
        others = survey(rt, msgspec.structs.replace(_as_backfill(request), symbols=left)).series
    again = [
        *standing_gaps(rt, request, found.series + others),
        *denied_lately(rt, request, found.series, found.now_ms),
    ]
    pieces += pieces_of_gaps(again, found.series + others, None if request.only_gaps else found.window)
    return Scope(found, others, tuple(pieces))


def run_diff(
    rt: Runtime,
    request: DiffRequest,
    *,
    fill: bool = False,
    waits_s: Sequence[float] = WAITS_S,
    rounds: int = 1,
    sleep: Callable[[float], None] = time.sleep,
    on_progress: OnProgress | None = None,
) -> GapReport:
    """Compare the stores, MySQL and lake as one, with the exchange, row by row; with `fill` put right what is not.

    What is missing is loaded, what differs replaced (and logged as restated), what the exchange denies twice is moved
    to quarantine. Every hole goes into the gap log with its state, repaired or not.

    Args:
        waits_s: how long after an attempt to fill a gap the next one is due.
        rounds: attempts that are made here and now, waiting in between; the gap log counts them, whoever makes them.

    Raises:
        ConfigError: the request names nothing. ExchangeError: the market did not answer at all.
        StorageError: a store failed; what was put right before stays.
    """
    began = time.monotonic()
    scope = scope_of(rt, request)
    found, tally = scope.found, _Tally()
    left = list(scope.pieces)
    for attempt in range(max(1, rounds)):
        if attempt:
            sleep(waits_s[min(attempt, len(waits_s)) - 1])
        _round(rt, request, found, left, tally, fill=fill, waits_s=waits_s, on_progress=on_progress)
        left = [piece for piece in left if not tally.results[piece].done]
        if not fill or not left:
            break
    _count(rt, request, tally)
    return _report(found, tally, time.monotonic() - began)


def retry_gaps(
    rt: Runtime, request: DiffRequest, *, waits_s: Sequence[float] = WAITS_S, now_ms: int | None = None
) -> GapReport:
    """One more attempt at every gap of the request's series that is due; then what the gap log says of them.

    The request's window does not matter, only which series it names. Gaps whose attempts are spent are left alone.

    Returns:
        `filled`, `unfillable` and so on of this attempt; `missing` and `gaps` of all that stands now.

    Raises:
        NotYet: some gaps wait for their next attempt; come again then.
    """
    began = time.monotonic()
    at_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    scope = scope_of(rt, msgspec.structs.replace(request, open_gaps=True))
    found = scope.found
    standing = [gap for gap in standing_gaps(rt, request, scope.series) if gap.state != "failed"]
    due = [gap for gap in standing if gap.next_try_ms is None or gap.next_try_ms <= at_ms]
    tally = _Tally()
    if due:
        pieces = pieces_of_gaps(due, scope.series, None)
        _round(rt, request, found, pieces, tally, fill=True, waits_s=waits_s, on_progress=None)
        _count(rt, request, tally)
    left = standing_gaps(rt, request, scope.series)
    waiting = [gap.next_try_ms for gap in left if gap.state != "failed" and gap.next_try_ms is not None]
    if waiting:
        wait_s = max(1.0, (min(waiting) - time.time_ns() // 1_000_000) / 1000)
        raise NotYet(
            f"{len(waiting)} gaps of {request.dataset} are tried again in {wait_s:.0f} s at the earliest",
            retry_after_s=wait_s,
        )
    report = _report(found, tally, time.monotonic() - began)
    return msgspec.structs.replace(
        report, missing=sum(gap.bars for gap in left), gaps=tuple(row_of(gap) for gap in left)
    )


def settle(first: GapReport, last: GapReport | None) -> GapReport:
    """A comparison and what later attempts left of it, as one report.

    Args:
        first: of the first attempt. last: of the last `retry_gaps`; None when there was none.
    """
    if last is None:
        return first
    solved = max(0, first.missing - last.missing)
    nobodys = min(solved, last.unfillable)
    unfillable = tuple(gap for gap in first.gaps if gap.state == "unfillable")
    return msgspec.structs.replace(
        first,
        missing=last.missing,
        filled=first.filled + solved - nobodys,
        unfillable=first.unfillable + nobodys,
        different=first.different + last.different,
        extra=first.extra + last.extra,
        requests=first.requests + last.requests,
        weight_used=first.weight_used + last.weight_used,
        gaps=(*unfillable, *last.gaps),
    )


def _as_backfill(request: DiffRequest) -> BackfillRequest:
    return BackfillRequest(
        dataset=request.dataset,
        market=request.market,
        symbols=request.symbols,
        intervals=request.intervals,
        start_ms=request.start_ms,
        end_ms=request.end_ms,
        source="rest",
        recheck="none",
    )


def _round(
    rt: Runtime,
    request: DiffRequest,
    found: Survey,
    pieces: Sequence[Piece],
    tally: _Tally,
    *,
    fill: bool,
    waits_s: Sequence[float],
    on_progress: OnProgress | None,
) -> None:
    total, done = sum(rows_of(piece) for piece in pieces), 0

    def on_slab(slab: Slab, result: SlabResult) -> None:
        nonlocal done
        tally.enter(result)
        done += sum(rows_of(piece) for piece in slab.pieces)
        if on_progress is not None:
            on_progress(done, total)

    hot_ms = hot_since(rt.settings, request.dataset, found.now_ms)
    for market in sorted({piece.series.market for piece in pieces}):
        slabs = slabs_of(piece for piece in pieces if piece.series.market is market)
        stores = Stores(rt, request.dataset, market, hot_ms)
        if fill:
            stores.finish_rewriting()
        heals = found if fill and request.open_gaps else None
        asyncio.run(_compare(stores, slabs, tally, heals, fill=fill, waits_s=waits_s, on_slab=on_slab))


async def _compare(
    stores: Stores,
    slabs: Sequence[Slab],
    tally: _Tally,
    heals: Survey | None,
    *,
    fill: bool,
    waits_s: Sequence[float],
    on_slab: Callable[[Slab, SlabResult], None],
) -> None:
    rt = stores.rt
    kind = BarComparison if stores.dataset is Dataset.OHLCV else SeriesComparison
    with ThreadPoolExecutor(_THREADS, "compare") as threads:
        witness = Witness(rt, threads, read_origin(rt.db) or "")
        try:
            if heals is not None:
                tally.healed += await heal(stores, witness, heals.series, heals.now_ms)
            async with rt.exchange(stores.market) as rest:
                try:
                    work = Comparison(
                        stores=stores,
                        rest=rest,
                        witness=witness,
                        threads=threads,
                        fill=fill,
                        waits_s=waits_s,
                        on_slab=on_slab,
                    )
                    await kind(work).run(slabs)
                finally:
                    tally.requests += rest.requests
                    tally.weight += rest.weight
        finally:
            await witness.close()


def _count(rt: Runtime, request: DiffRequest, tally: _Tally) -> None:
    if request.dataset is Dataset.OHLCV:
        intervals = {str(interval): tally.noticed.get(str(interval), 0) for interval in request.intervals}
        count_up(rt.db, "missing_bars", {(("interval", name),): rows for name, rows in intervals.items()})


def _report(found: Survey, tally: _Tally, seconds: float) -> GapReport:
    results = list(tally.results.values())
    gaps = joined(row for one in results for row in one.gaps)
    sums = {name: sum(getattr(one, name) for one in results) for name in _SUMS}
    sums["filled"] += tally.healed
    failures = [*found.failures, *_once(failure_of(one.piece, one.error) for one in results if one.error is not None)]
    return GapReport(
        **sums,
        copied=tally.copied,
        noticed=dict(tally.noticed),
        requests=tally.requests,
        weight_used=tally.weight,
        seconds=round(seconds, 3),
        gaps=tuple(gaps),
        errors=tuple(failures),
    )


def _once(failures: Iterable[Failure]) -> list[Failure]:
    """One failure of a kind for each series."""
    kept: dict[tuple[str, str, str], Failure] = {}
    for failure in failures:
        kept.setdefault((failure.symbol, failure.interval, failure.kind), failure)
    return list(kept.values())


__all__ = ["WAITS_S", "OnProgress", "Scope", "retry_gaps", "run_diff", "scope_of", "settle"]
