"""What became of one piece of history: its rows, and an account of every expected row that is not among them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.datasets import empty
from gapless.domain.grid import Opens, runs
from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.pipeline.backfill.pieces import Piece
from gapless.pipeline.backfill.request import RejectedObject
from gapless.storage.mysql import ManifestRow, RefusedRow

if TYPE_CHECKING:
    from gapless.pipeline.backfill.archive import Taken

NOBODY_HAS_IT = "neither the archive nor the exchange has it"
EXCHANGE_LACKS_IT = "the exchange has none"


@dataclass(frozen=True, slots=True)
class Hole:
    """A maximal run of expected rows that are not stored: `unfillable` or `open`, and why."""

    window: Window
    rows: int
    state: str
    cause: str


@dataclass(slots=True)
class Outcome:
    """A piece on its way: filled in source by source.

    Attributes:
        rows: canonical, sorted by key, each key once.
        stored: open times that the store held already; read only when something was missing.
        denied: open times that the exchange answered it does not have.
        archive_asked: whether the archive was asked for all that was missing.
        why_denied: the cause that the books give for them, where it is not the usual one.
        forgotten: the exchange no longer knows the symbol.
        told: holes of a dataset without a fixed grid, as its own rows tell them.
        sources: which kinds of source gave rows: `month`, `day`, `rest`.
    """

    piece: Piece
    expected: Opens
    rows: pa.Table = field(init=False)
    row_count: int = field(default=0, init=False)
    _opens: Opens = field(default_factory=lambda: np.empty(0, np.int64), init=False)
    stored: Opens = field(default_factory=lambda: np.empty(0, np.int64))
    denied: Opens = field(default_factory=lambda: np.empty(0, np.int64))
    archive_asked: bool = False
    why_denied: str = ""
    forgotten: bool = False
    told: list[Hole] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    manifest: list[ManifestRow] = field(default_factory=list)
    refused: list[RefusedRow] = field(default_factory=list)
    rejected: list[RejectedObject] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = empty(self.piece.series.dataset)

    @property
    def opens(self) -> Opens:
        """Open times of the rows at hand, or that were."""
        return self._opens

    @property
    def held(self) -> Opens:
        """Open times of the rows at hand and of those that the store held already."""
        return np.union1d(self._opens, self.stored) if len(self.stored) else self._opens

    @property
    def missing(self) -> Opens:
        """Expected open times without a row, at hand, stored, or denied by the exchange."""
        return without(without(self.expected, self.held), self.denied)

    @property
    def expected_count(self) -> int:
        return len(self.expected) + sum(hole.rows for hole in self.told)

    @property
    def present(self) -> int:
        """Expected rows that are stored when this piece is at rest."""
        return len(self.expected) - len(without(self.expected, self.held))

    @property
    def outside(self) -> int:
        """Rows at hand that no life expects."""
        return len(without(self._opens, self.expected))

    @property
    def unfillable(self) -> int:
        return len(self._unfillable()) + sum(hole.rows for hole in self.told if hole.state == "unfillable")

    @property
    def first_ms(self) -> int | None:
        held = self.held
        return int(held[0]) if len(held) else None

    @property
    def last_ms(self) -> int | None:
        held = self.held
        return int(held[-1]) if len(held) else None

    def take(self, taken: Taken, kind: str) -> None:
        """A file's rows; those that a file before it gave stay as they are."""
        self.manifest.append(taken.manifest)
        self.refused.extend(taken.refused)
        if taken.parsed is None:
            reason = taken.manifest.detail.partition(":")[0]
            self.rejected.append(RejectedObject(taken.manifest.path.rpartition("/")[2], reason, ""))
        else:
            self.add(taken.parsed.rows, kind)

    def add(self, rows: pa.Table, kind: str) -> None:
        """More rows; one that is at hand already is passed over: the earlier source was asked first for a reason."""
        inside = self._inside(rows)
        if inside.num_rows == 0:
            return
        self.sources.add(kind)
        if self.rows.num_rows:
            inside = inside.filter(pa.array(~_among(_keys(inside), np.sort(_keys(self.rows)))))
            if inside.num_rows == 0:
                return
            joined = pa.concat_tables([self.rows, inside])
            order = np.argsort(open_times(joined), kind="stable")
            self.rows = joined.take(pa.array(order)).combine_chunks()
        else:
            self.rows = inside.combine_chunks()
        self._opens, self.row_count = open_times(self.rows), self.rows.num_rows

    def forget_rows(self) -> None:
        """Let the rows go; their times and counts stay."""
        self.rows = empty(self.piece.series.dataset)

    def deny(self, opens: Opens) -> None:
        """The exchange was asked for these and does not have them."""
        self.denied = np.union1d(self.denied, opens)

    def holes(self, why_open: str) -> list[Hole]:
        """Every expected row that is not stored, in maximal runs of one state."""
        step = self.piece.series.step_ms
        if step is None:
            return self.told
        why = self.why_denied or (NOBODY_HAS_IT if self.archive_asked else EXCHANGE_LACKS_IT)
        found = [Hole(run, run.length_ms // step, "unfillable", why) for run in runs(self._unfillable(), step)]
        found += [Hole(run, run.length_ms // step, "open", why_open) for run in runs(self.missing, step)]
        return sorted(found, key=lambda hole: hole.window)

    def settle_rejected(self) -> list[RejectedObject]:
        """The refused files, and what became of their rows."""
        if not self.rejected:
            return []
        missing = len(self.missing)
        then = f"{missing} rows are missing" if missing else f"its rows came from {' and '.join(sorted(self.sources))}"
        if not missing and not self.sources:
            then = "nothing was lacking without it"
        return [RejectedObject(one.object, one.reason, then) for one in self.rejected]

    def _unfillable(self) -> Opens:
        if not len(self.denied):
            return self.denied
        denied = self.expected[_among(self.expected, self.denied)]
        return without(denied, self.held)

    def _inside(self, rows: pa.Table) -> pa.Table:
        times, window = open_times(rows), self.piece.window
        wanted = (times >= window.start_ms) & (times < window.end_ms)
        return rows if wanted.all() else rows.filter(pa.array(wanted))


def open_times(rows: pa.Table) -> Opens:
    """The column `ts` in ms."""
    return np.asarray(rows["ts"].cast(pa.int64()).to_numpy(), np.int64)


def _keys(rows: pa.Table) -> Opens:
    """What tells rows of one series apart: their time, and for funding whether the rate is a regular one."""
    times = open_times(rows)
    if "rate_type" not in rows.schema.names:
        return times
    return 2 * times + np.asarray(pc.not_equal(rows["rate_type"], "Regular"), np.int64)


def without(opens: Opens, others: Opens) -> Opens:
    """The open times that are not among others. Both are sorted, so that whole months cost a comparison."""
    if len(others) == 0:
        return opens
    if len(opens) == len(others) and np.array_equal(opens, others):
        return opens[:0]
    return opens[~_among(opens, others)]


def _among(opens: Opens, others: Opens) -> npt.NDArray[np.bool_]:
    if len(others) == 0:
        return np.zeros(len(opens), np.bool_)
    at = np.minimum(np.searchsorted(others, opens), len(others) - 1)
    return np.asarray(others[at] == opens)
