"""What became of every piece, entered into the books unit by unit, and summed up for the report."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.pipeline.backfill.outcome import Hole, Outcome
from gapless.pipeline.backfill.pieces import Piece, Series, Unit
from gapless.pipeline.backfill.request import BackfillRequest, RejectedObject
from gapless.pipeline.backfill.sinks import AtRest
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql import Gap, SeriesMonth, put_manifest, put_series_months, record_gaps

_WHY_OPEN = {
    "auto": "the archive lacks it and the exchange could not be asked",
    "vision": "the archive lacks it; REST was not asked (--source vision)",
    "rest": "the exchange could not be asked",
}


@dataclass(frozen=True, slots=True)
class PieceAccount:
    """The numbers of one piece that is at rest: what the report is summed from."""

    piece: Piece
    expected: int
    present: int
    unfillable: int
    outside: int
    first_ms: int | None
    last_ms: int | None
    holes: tuple[Hole, ...]
    forgotten: bool


@dataclass
class Accounts:
    """Shared by the threads that finish units."""

    rt: Runtime
    request: BackfillRequest
    pieces: list[PieceAccount] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    rejected: list[RejectedObject] = field(default_factory=list)
    rows_loaded: int = 0
    restated: int = 0
    quarantined: int = 0
    objects: int = 0
    requests: int = 0
    weight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, unit: Unit, outcomes: Sequence[Outcome], done: AtRest) -> None:
        """Books first, then the report's sums. Only called when the unit's rows are at rest.

        Raises:
            StorageError: the books did not take it; the unit's rows stay, and are found there when it is done again.
        """
        accounts = [self._account(outcome) for outcome in outcomes]
        put_manifest(self.rt.db, [row for outcome in outcomes for row in outcome.manifest])
        gaps: list[Gap] = []
        within: dict[tuple[str, str], list[Window]] = defaultdict(list)
        for account in accounts:
            series = account.piece.series
            within[series.symbol, series.label].append(account.piece.window)
            gaps += [_gap(series, hole) for hole in account.holes]
        dataset = str(unit.pieces[0].series.dataset)
        record_gaps(self.rt.db, gaps, exchange=EXCHANGE, dataset=dataset, within=within)
        put_series_months(self.rt.db, [_ledger(account, outcome) for account, outcome in
                                       zip(accounts, outcomes, strict=True)])  # fmt: skip
        with self._lock:
            self.pieces += accounts
            self.rows_loaded += done.loaded
            self.restated += done.restated
            for outcome in outcomes:
                self.failures += outcome.failures
                self.rejected += outcome.settle_rejected()
                self.quarantined += len(outcome.refused) - len(outcome.rejected)
                self.objects += sum(row.state == "loaded" for row in outcome.manifest)

    def amend(self, old: PieceAccount, new: PieceAccount) -> None:
        """Put a piece's account right, in the books too: more was expected of it than could be known at first."""
        series, piece = new.piece.series, new.piece
        record_gaps(
            self.rt.db,
            [_gap(series, hole) for hole in new.holes],
            exchange=EXCHANGE,
            dataset=str(series.dataset),
            within={(series.symbol, series.label): [piece.window]},
        )
        whole = new.expected == new.present + new.unfillable
        put_series_months(self.rt.db, [_row(new, sources="", whole=whole)])
        with self._lock:
            self.pieces[self.pieces.index(old)] = new

    def spent(self, requests: int, weight: int) -> None:
        """Requests made, of all kinds, and the weight among them."""
        with self._lock:
            self.requests += requests
            self.weight += weight

    def _account(self, outcome: Outcome) -> PieceAccount:
        why = outcome.failures[0].message if outcome.failures else _WHY_OPEN[self.request.source]
        return PieceAccount(
            piece=outcome.piece,
            expected=outcome.expected_count,
            present=outcome.present,
            unfillable=outcome.unfillable,
            outside=outcome.outside,
            first_ms=outcome.first_ms,
            last_ms=outcome.last_ms,
            holes=tuple(outcome.holes(why)),
            forgotten=outcome.forgotten,
        )


def _gap(series: Series, hole: Hole) -> Gap:
    return Gap(
        exchange=EXCHANGE,
        symbol=series.symbol,
        dataset=str(series.dataset),
        interval=series.label,
        window=hole.window,
        bars=hole.rows,
        state=hole.state,
        cause=hole.cause,
    )


def _ledger(account: PieceAccount, outcome: Outcome) -> SeriesMonth:
    whole = not outcome.failures and account.expected == account.present + account.unfillable
    return _row(account, sources=",".join(sorted(outcome.sources)), whole=whole)


def _row(account: PieceAccount, *, sources: str, whole: bool) -> SeriesMonth:
    piece, series = account.piece, account.piece.series
    expected, present, unfillable, outside = piece.before
    return SeriesMonth(
        dataset=str(series.dataset),
        exchange=EXCHANGE,
        market=series.market,
        symbol=series.symbol,
        interval=series.label,
        month_ms=piece.month_ms,
        store=piece.store,
        window=piece.settled,
        expected=expected + account.expected,
        present=present + account.present,
        unfillable=unfillable + account.unfillable,
        outside=outside + account.outside,
        state="whole" if whole else "partial",
        sources=sources,
        done_ms=time.time_ns() // 1_000_000,
    )
