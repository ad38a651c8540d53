"""What a comparison with the exchange is asked for, what it intends, what it found: plain values, JSON by msgspec."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Failure
from gapless.domain.window import Window

ATTEMPTS = 3
"""How often it is tried to fill a gap, before somebody is told."""


class DiffRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A window to compare.

    Attributes:
        market: the market of raw symbols, and the only one taken when given.
        symbols: unified or raw names, `all`, `all:USDT`; empty: the watchlist.
        intervals: of bars; other datasets have none.
        start_ms, end_ms: half-open, of open times (funding: nominal times).
        open_gaps: also compare whatever is still open in the gap log of these series, whenever it was; of the
            watchlist: of all series, for a symbol that left the list may have left a hole.
        only_gaps: nothing but that.
    """

    dataset: Dataset = Dataset.OHLCV
    market: Market | None = None
    symbols: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ALL_INTERVALS
    start_ms: int
    end_ms: int
    open_gaps: bool = False
    only_gaps: bool = False

    @property
    def window(self) -> Window:
        return Window(self.start_ms, self.end_ms)

    def __str__(self) -> str:
        names = ", ".join(self.symbols[:3]) + (f" ... ({len(self.symbols)})" if len(self.symbols) > 3 else "")
        intervals = f" {','.join(self.intervals)}" if self.dataset is Dataset.OHLCV else ""
        market = f" {self.market}" if self.market else ""
        series = f"{self.dataset} {names or 'watchlist'}{market}{intervals}"
        return f"open gaps of {series}" if self.only_gaps else f"{series} {self.window}"


class DiffPlan(msgspec.Struct, frozen=True):
    """What a comparison costs.

    Attributes:
        series: symbols times intervals that live in the window. rows: grid points to compare; of funding an estimate.
        lacking: of these, bars that neither store holds, by a look at the stores alone; other datasets: 0.
        open_gaps: stretches of the gap log that are compared besides.
        requests, weight: of REST, at the cheapest page sizes; `pool_requests` those of pools outside the weight.
        minutes: how long the exchange's budget makes them last, at the configured share.
    """

    series: int = 0
    rows: int = 0
    lacking: int = 0
    open_gaps: int = 0
    requests: int = 0
    weight: int = 0
    pool_requests: int = 0
    minutes: float = 0.0
    errors: tuple[Failure, ...] = ()


class GapRow(msgspec.Struct, frozen=True):
    """A maximal run of rows that are not stored: `[start, end)` on open time, ISO 8601.

    Attributes:
        interval: empty where the dataset has none.
        state: `open`: the exchange has them; `refilling`: and they could not be loaded yet; `failed`: nor will they be
            without a person, or the exchange could not be asked; `unfillable`: it has none either.
        cause: why, in words.
    """

    symbol: str
    interval: str
    start: str
    end: str
    bars: int
    state: str
    cause: str = ""


class GapReport(msgspec.Struct, frozen=True):
    """A comparison, in rows.

    Attributes:
        checked: grid points inside lifetimes that were compared.
        missing: the exchange has them, neither store does. extra: stored, and the exchange does not have them.
        different: any value differs. unfillable: on the grid, and the exchange has none.
        failed: grid points for which the exchange could not be asked.
        filled: missing ones that were loaded. restated: different ones that were replaced. quarantined: extra ones
            that were moved out of the stores. What these solved is in none of the counts above.
        copied: rows of hot months that only the lake held, and that MySQL was given too; they were never missing.
        noticed: missing ones that were not known to be, by interval; solved or not.
        requests, weight_used: what the exchange was asked.
    """

    checked: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    filled: int = 0
    unfillable: int = 0
    failed: int = 0
    restated: int = 0
    quarantined: int = 0
    copied: int = 0
    noticed: dict[str, int] = {}
    requests: int = 0
    weight_used: int = 0
    seconds: float = 0.0
    gaps: tuple[GapRow, ...] = ()
    errors: tuple[Failure, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the stores hold what the exchange has; what nobody has is no fault."""
        return not (self.errors or self.missing or self.extra or self.different or self.failed)


def joined(rows: Iterable[GapRow]) -> list[GapRow]:
    """Rows in order, those of one state and cause that touch as one: work is cut at months, gaps are not."""
    kept: list[GapRow] = []
    for row in sorted(rows, key=lambda row: (row.symbol, row.interval, row.start)):
        last = kept[-1] if kept else None
        if last and (last.symbol, last.interval, last.end, last.state, last.cause) == (
            row.symbol, row.interval, row.start, row.state, row.cause,
        ):  # fmt: skip
            kept[-1] = msgspec.structs.replace(last, end=row.end, bars=last.bars + row.bars)
        else:
            kept.append(row)
    return kept


def summed(reports: Iterable[GapReport]) -> GapReport:
    """Reports of disjoint work as one."""
    parts = list(reports)
    counts = (
        "checked", "missing", "extra", "different", "filled", "unfillable", "failed", "restated", "quarantined",
        "copied", "requests", "weight_used",
    )  # fmt: skip
    noticed: dict[str, int] = {}
    for part in parts:
        for interval, rows in part.noticed.items():
            noticed[interval] = noticed.get(interval, 0) + rows
    return GapReport(
        **{name: sum(getattr(part, name) for part in parts) for name in counts},
        noticed=noticed,
        seconds=round(sum(part.seconds for part in parts), 3),
        gaps=tuple(joined(gap for part in parts for gap in part.gaps)),
        errors=tuple(error for part in parts for error in part.errors),
    )
