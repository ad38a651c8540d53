"""A slab that was judged is brought to its end: repaired if asked, entered into the books, told in counts; blocking."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from gapless.domain.datasets import SHAPES
from gapless.domain.grid import Opens, runs
from gapless.domain.keys import opens_by_series
from gapless.domain.window import Window, iso
from gapless.errors import ExchangeError, RateLimited
from gapless.pipeline.backfill.outcome import EXCHANGE_LACKS_IT, without
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.reconcile.bars import Theirs, only
from gapless.pipeline.reconcile.judgement import NONE, Judged, Key, SeriesFound
from gapless.pipeline.reconcile.repair import Stores
from gapless.pipeline.reconcile.request import ATTEMPTS, GapRow
from gapless.pipeline.reconcile.slabs import Slab
from gapless.pipeline.reconcile.stored import Stored, copies
from gapless.pipeline.runtime import EXCHANGE
from gapless.storage.mysql import Gap, read_gaps, record_gaps
from gapless.storage.mysql.ledger import reopen_months

NOT_STORED = "the exchange has it, the stores do not"
BROKEN = "what the exchange has breaks a rule; it is in quarantine"
MOST_UNHEARD = 20
"""How many stored rows of a series are moved out on REST's word alone, while the archive cannot be heard. More of them
at once look like an exchange that has lost its records, not like rows that never were: they stay, and are told."""

STANDING = ("open", "refilling", "failed")
"""States of a gap that somebody still has to do something about."""


@dataclass(frozen=True, slots=True)
class PieceResult:
    """What became of one piece: counts of rows, as of `GapReport`, and what is left of it."""

    piece: Piece
    checked: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    unfillable: int = 0
    failed: int = 0
    filled: int = 0
    restated: int = 0
    quarantined: int = 0
    gaps: tuple[GapRow, ...] = ()
    error: ExchangeError | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to repair."""
        return not (self.missing or self.extra or self.different or self.failed)


@dataclass(slots=True)
class SlabResult:
    """What became of a slab.

    Attributes:
        noticed: missing rows that were not on record as such, by interval.
        copied: rows of a hot month that only the lake held, and that MySQL has now too.
    """

    pieces: list[PieceResult] = field(default_factory=list)
    noticed: dict[str, int] = field(default_factory=dict)
    copied: int = 0


def known_gaps(stores: Stores, slab: Slab) -> dict[Key, list[Gap]]:
    """What the log says of a slab's series in its window."""
    found: dict[Key, list[Gap]] = defaultdict(list)
    for gap in read_gaps(stores.rt.db, EXCHANGE, str(slab.dataset), slab.window, slab.symbols):
        found[gap.symbol, gap.interval].append(gap)
    return found


def close(
    stores: Stores,
    slab: Slab,
    judged: Judged,
    theirs: Theirs,
    stored: Stored,
    *,
    fill: bool,
    waits_s: Sequence[float],
) -> SlabResult:
    """Repair what can be, then let the gap log say what is known now of every series of the slab.

    Args:
        judged: of the series that the exchange answered for; `theirs` has the others.
        waits_s: how long after an attempt the next one is due.

    Raises:
        StorageError: a store did not take it; done again, it goes on.
    """
    known = known_gaps(stores, slab)
    extras = {_key(one): len(one.extra) > 0 and _is_sure(one, theirs) for one in judged.series}
    result = SlabResult()
    if fill:
        copied = copies(slab.dataset, stored.beside, theirs.rows, judged.to_load)
        if judged.to_load.num_rows or copied.num_rows or theirs.refused:
            stores.load(slab, pa.concat_tables([judged.to_load, copied]), theirs.refused)
        result.copied = copied.num_rows
        sure = only(judged.extras, {key for key, extra in extras.items() if extra})
        if sure.num_rows:
            stores.remove(slab, sure)
    gaps: list[Gap] = []
    within: dict[Key, list[Window]] = {}
    for one in judged.series:
        series = one.piece.series
        key = (series.symbol, series.label)
        within[key] = [one.piece.window]
        moved = fill and extras[key]
        mine = _gaps_of(one, known.get(key, ()), fill=fill, moved=moved, waits_s=waits_s)
        gaps += mine
        result.pieces.append(_result(one, mine, fill=fill, moved=moved))
    held = opens_by_series(SHAPES[slab.dataset], only(stored.rows, set(theirs.failed))) if theirs.failed else {}
    for piece in slab.pieces:
        key = (piece.series.symbol, piece.series.label)
        if key in theirs.failed:
            mine = _unasked(
                piece, theirs.failed[key], held.get(key, NONE), known.get(key, ()), fill=fill, waits_s=waits_s
            )
            gaps += mine
            result.pieces.append(_failed(piece, theirs.failed[key]))
    if fill:
        touched = {_name(one.piece) for one in result.pieces if one.filled or one.quarantined}
        reopen_months(stores.rt.db, slab.dataset, EXCHANGE, touched, slab.window.start_ms)
    result.noticed = record_gaps(stores.rt.db, gaps, within=within, exchange=EXCHANGE, dataset=str(slab.dataset))
    return result


def _is_sure(one: SeriesFound, theirs: Theirs) -> bool:
    """Whether stored rows that REST denies may be moved out: the archive was heard too, or they are few."""
    return _key(one) not in theirs.unheard or len(one.extra) <= MOST_UNHEARD


def _key(one: SeriesFound) -> Key:
    return _name(one.piece)


def _name(piece: Piece) -> Key:
    return piece.series.symbol, piece.series.label


def _gaps_of(one: SeriesFound, known: Sequence[Gap], *, fill: bool, moved: bool, waits_s: Sequence[float]) -> list[Gap]:
    """What stays missing of a series, and what nobody has."""
    left = one.broken if fill else one.missing
    gaps = [_unfillable(one, window, rows, known) for window, rows in _unfillable_runs(one, moved=moved)]
    for run in runs(left, one.step_ms):
        cause = BROKEN if len(without(_inside(left, run), one.broken)) == 0 else NOT_STORED
        gaps.append(_standing(one.piece, run, one.step_ms, cause, known, fill=fill, waits_s=waits_s))
    return gaps


def _unfillable_runs(one: SeriesFound, *, moved: bool) -> list[tuple[Window, int]]:
    """Stretches that nobody has; a stored row that was moved out on the way lies in one."""
    if not moved or one.piece.series.step_ms is None:
        return list(one.unfillable)
    unheld = [np.arange(run.start_ms, run.end_ms, one.step_ms) for run, _ in one.unfillable]
    out = np.intersect1d(one.extra, one.denied)
    return [(run, run.length_ms // one.step_ms) for run in runs(np.unique(np.concatenate([*unheld, out])), one.step_ms)]


def _unfillable(one: SeriesFound, window: Window, rows: int, known: Sequence[Gap]) -> Gap:
    causes = [gap.cause for gap in known if gap.state == "unfillable" and gap.window.intersect(window) and gap.cause]
    return _gap(one.piece, window, rows, "unfillable", causes[0] if causes else EXCHANGE_LACKS_IT)


def _standing(
    piece: Piece, run: Window, step_ms: int, cause: str, known: Sequence[Gap], *, fill: bool, waits_s: Sequence[float]
) -> Gap:
    before = [gap for gap in known if gap.state in STANDING and gap.window.intersect(run)]
    attempts = max((gap.attempts for gap in before), default=0) + int(fill)
    state, next_try_ms = "open", None
    if attempts >= ATTEMPTS:
        state = "failed"
    elif attempts:
        state = "refilling"
        if fill:
            next_try_ms = int((time.time() + waits_s[min(attempts, len(waits_s)) - 1]) * 1000) if waits_s else None
        else:
            next_try_ms = max((gap.next_try_ms for gap in before if gap.next_try_ms), default=None)
    return _gap(piece, run, run.length_ms // step_ms, state, cause, attempts, next_try_ms)


def _unasked(
    piece: Piece,
    error: ExchangeError,
    held: Opens,
    known: Sequence[Gap],
    *,
    fill: bool,
    waits_s: Sequence[float],
) -> list[Gap]:
    """Of a series that could not be asked: what is not stored, as far as it is not known that nobody has it."""
    step = piece.series.step_ms
    if step is None:
        return []
    left = without(piece.expected, held)
    for gap in known:
        if gap.state == "unfillable":
            left = left[(left < gap.window.start_ms) | (left >= gap.window.end_ms)]
    cause = f"the exchange could not be asked: {error}"
    fill = fill and not isinstance(error, RateLimited)  # to be told to wait is no attempt
    return [_standing(piece, run, step, cause, known, fill=fill, waits_s=waits_s) for run in runs(left, step)]


def _gap(
    piece: Piece, window: Window, rows: int, state: str, cause: str, attempts: int = 0, next_try_ms: int | None = None
) -> Gap:
    return Gap(
        exchange=EXCHANGE,
        symbol=piece.series.symbol,
        dataset=str(piece.series.dataset),
        interval=piece.series.label,
        window=window,
        bars=rows,
        state=state,
        cause=cause,
        attempts=attempts,
        next_try_ms=next_try_ms,
    )


def _result(one: SeriesFound, gaps: Sequence[Gap], *, fill: bool, moved: bool) -> PieceResult:
    broken = len(one.broken)
    return PieceResult(
        piece=one.piece,
        checked=one.checked,
        missing=broken if fill else len(one.missing),
        extra=0 if moved else len(one.extra),
        different=0 if fill else one.different,
        unfillable=sum(gap.bars for gap in gaps if gap.state == "unfillable"),
        filled=len(one.missing) - broken if fill else 0,
        restated=one.different if fill else 0,
        quarantined=len(one.extra) if moved else 0,
        gaps=tuple(row_of(gap) for gap in gaps),
    )


def _failed(piece: Piece, error: ExchangeError) -> PieceResult:
    step = piece.series.step_ms
    expected = piece.expected
    rows = tuple(
        GapRow(piece.series.symbol, piece.series.label, iso(run.start_ms), iso(run.end_ms),
               run.length_ms // (step or 1), "failed", str(error))
        for run in runs(expected, step or 1)
    )  # fmt: skip
    return PieceResult(piece=piece, failed=max(1, len(expected)), gaps=rows, error=error)


def row_of(gap: Gap) -> GapRow:
    """A gap as reports have it."""
    window = gap.window
    return GapRow(gap.symbol, gap.interval, iso(window.start_ms), iso(window.end_ms), gap.bars, gap.state, gap.cause)


def _inside(opens: Opens, window: Window) -> Opens:
    return opens[(opens >= window.start_ms) & (opens < window.end_ms)]
