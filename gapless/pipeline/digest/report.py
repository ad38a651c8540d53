"""What a digest is asked for and what it says: plain values, JSON by msgspec."""

from __future__ import annotations

from typing import Literal

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import Window, iso


class DigestRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Series and days to digest.

    Attributes:
        market: the market of raw symbols, and the only one taken when given.
        symbols: unified or raw names, `all`, `all:USDT`; empty: all that is stored.
        intervals: of bars; other datasets have none.
        start_ms, end_ms: half-open, of open times. A day that the window cuts is digested as far as it lies inside.
        source: `rows`: every row is read. `receipts`: of whole days of which MySQL holds nothing, what the lake's
            receipts said when its objects were read back.
    """

    dataset: Dataset = Dataset.OHLCV
    market: Market | None = None
    symbols: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ALL_INTERVALS
    start_ms: int
    end_ms: int
    source: Literal["rows", "receipts"] = "rows"

    @property
    def window(self) -> Window:
        return Window(self.start_ms, self.end_ms)

    def __str__(self) -> str:
        names = ", ".join(self.symbols[:3]) + (f" ... ({len(self.symbols)})" if len(self.symbols) > 3 else "")
        intervals = f" {','.join(self.intervals)}" if self.dataset is Dataset.OHLCV else ""
        return f"{self.dataset} {names or 'all that is stored'}{intervals} {iso(self.start_ms)}..{iso(self.end_ms)}"


class DayDigest(msgspec.Struct, frozen=True, order=True, gc=False):
    """The content digest of one series and UTC day (`gapless.domain.schema.content_digest`).

    Attributes:
        interval: a bar's interval, a funding rate's type, empty where the dataset has neither.
        day: `2026-11-20`.
    """

    symbol: str
    interval: str
    day: str
    rows: int
    sha256: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.symbol, self.interval, self.day


class Different(msgspec.Struct, frozen=True):
    """A day that two installations hold differently; None where one holds nothing of it."""

    symbol: str
    interval: str
    day: str
    rows: int | None
    sha256: str | None
    other_rows: int | None
    other_sha256: str | None

    @property
    def reason(self) -> str:
        if self.sha256 is None:
            return f"is missing here, the other has {self.other_rows:,} rows"
        if self.other_sha256 is None:
            return f"is missing there, here are {self.rows:,} rows"
        if self.rows != self.other_rows:
            return f"has {self.rows:,} rows here, {self.other_rows:,} there"
        return f"has {self.rows:,} rows, and not the same ones"
