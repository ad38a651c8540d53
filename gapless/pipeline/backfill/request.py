"""What a backfill is asked for, what it intends, what it did: plain values that cross processes as JSON."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Failure
from gapless.domain.window import Window, iso

SourceChoice = Literal["auto", "vision", "rest"]
IntoChoice = Literal["auto", "mysql", "lake"]
Recheck = Literal["recent", "all", "none"]


class BackfillRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of history.

    Attributes:
        market: the market of raw symbols, and the only one taken when given.
        symbols: unified or raw names, `all`, `all:USDT`; empty: the watchlist.
        intervals: of bars; other datasets have none.
        start_ms, end_ms: half-open window on open time (for funding on the settlement's nominal time).
        source: `auto`: the archive, then REST for what it lacks; `vision` or `rest`: that one alone.
        into: `auto`: hot months into MySQL, older ones into the lake.
        workers: threads that parse; 0: one for each core.
        recheck: which archive files that were loaded before are compared with their checksum of today: those of the
            last 35 days, all, or none.
    """

    dataset: Dataset = Dataset.OHLCV
    market: Market | None = None
    symbols: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ALL_INTERVALS
    start_ms: int
    end_ms: int
    source: SourceChoice = "auto"
    into: IntoChoice = "auto"
    workers: int = 0
    recheck: Recheck = "recent"

    @property
    def window(self) -> Window:
        return Window(self.start_ms, self.end_ms)

    def __str__(self) -> str:
        names = ", ".join(self.symbols[:3]) + (f" ... ({len(self.symbols)})" if len(self.symbols) > 3 else "")
        intervals = f" {','.join(self.intervals)}" if self.dataset is Dataset.OHLCV else ""
        market = f" {self.market}" if self.market else ""
        return f"{names or 'watchlist'}{market}{intervals} {iso(self.start_ms)[:10]}..{iso(self.end_ms)[:10]}"


class BackfillPlan(msgspec.Struct, frozen=True):
    """What a backfill would do: counts that are exact, and estimates that say so.

    Attributes:
        series, months: symbols times intervals that are asked for, and months of them in all.
        bars_expected: grid points inside lifetimes; 0 for funding, whose grid is only known from its data.
        bars_present: of those, settled by an earlier backfill (present or known to be unfillable).
        months_to_do, into_mysql, into_lake: months of series that are left, and where they go.
        objects: archive files that will be asked for, at least.
        rows, bytes, weight, minutes: estimates of what is left: rows, archive bytes to download, request weight, time.
        disk_bytes: estimate of the room that the rows take where they go.
        errors: symbols that nothing answers to.
    """

    series: int = 0
    months: int = 0
    bars_expected: int = 0
    bars_present: int = 0
    months_to_do: int = 0
    into_mysql: int = 0
    into_lake: int = 0
    objects: int = 0
    rows: int = 0
    bytes: int = 0
    weight: int = 0
    minutes: float = 0.0
    disk_bytes: int = 0
    errors: tuple[Failure, ...] = ()

    @property
    def nothing_to_do(self) -> bool:
        return self.months_to_do == 0


class SeriesCoverage(msgspec.Struct, frozen=True):
    """How complete one series is in the window that was asked for.

    Attributes:
        interval: empty for datasets without intervals.
        unfillable: expected, but neither the archive nor the exchange has them.
        why: causes of what is missing, most bars first; empty when nothing is.
    """

    symbol: str
    interval: str
    expected: int
    present: int
    unfillable: int
    why: str = ""

    @property
    def missing(self) -> int:
        """Bars that are neither stored nor known to be unfillable."""
        return self.expected - self.present - self.unfillable


class RejectedObject(msgspec.Struct, frozen=True):
    """An archive file that could not be trusted: its name, why, and what became of its bars."""

    object: str
    reason: str
    then: str


class BackfillReport(msgspec.Struct, frozen=True):
    """What a backfill did, as the command line prints it.

    Attributes:
        rows_loaded: rows new or changed in MySQL or the lake.
        bars_expected, bars_present: of the window that was asked for, inside lifetimes.
        gap_bars: expected bars that are not stored, the unfillable included: expected - present.
        unfillable: of those, the ones that neither the archive nor the exchange has.
        outside_life: rows stored that lie outside their instrument's lifetime (flat bars after a delisting).
        restated: stored rows that were replaced by other values.
        rows_quarantined: rows that broke a rule, in `quarantine` with their text.
        objects: archive files taken. rejected_objects: files refused, named in `rejected`.
        requests, weight_used: all requests of this run, archive and REST, and the request weight among them.
        nothing_to_do: everything was settled before.
    """

    rows_loaded: int = 0
    bars_expected: int = 0
    bars_present: int = 0
    gap_bars: int = 0
    unfillable: int = 0
    outside_life: int = 0
    restated: int = 0
    rows_quarantined: int = 0
    objects: int = 0
    rejected_objects: int = 0
    requests: int = 0
    weight_used: int = 0
    seconds: float = 0.0
    nothing_to_do: bool = False
    rejected: tuple[RejectedObject, ...] = ()
    series: tuple[SeriesCoverage, ...] = ()
    errors: tuple[Failure, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is left failed: every expected bar is stored or known not to exist."""
        return not self.errors and self.gap_bars == self.unfillable


class Watch(Protocol):
    """Told how a backfill gets on. Called from its event loop only; must not block."""

    def plan(self, objects: int, rows: int) -> None:
        """How many archive files and rows are expected; called again when that changes."""

    def object_done(self, name: str, bytes: int) -> None:
        """An archive file, or a stretch read by REST, was taken."""

    def rows_done(self, rows: int) -> None:
        """So many more rows are at rest."""

    def waiting(self, what: str | None) -> None:
        """What is being waited for (a ban's end, a network that is away); None: nothing any more."""

    def say(self, line: str) -> None:
        """A line that stays."""
