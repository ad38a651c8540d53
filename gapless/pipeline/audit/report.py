"""What an audit is asked for and what it found: plain values, JSON by msgspec."""

from __future__ import annotations

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.receipts import Failure
from gapless.domain.window import iso


class AuditRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A sample to draw.

    Attributes:
        sample: how many bars. seed: what the draw follows from: the same bars are drawn of the same content.
        market: the market of raw symbols, and the only one taken when given.
        symbols: unified or raw names, `all`, `all:USDT`; empty: all that is stored.
        start_ms, end_ms: of open times, half-open; None: no bound.
    """

    sample: int
    seed: int
    market: Market | None = None
    symbols: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ALL_INTERVALS
    start_ms: int | None = None
    end_ms: int | None = None

    def __str__(self) -> str:
        names = ", ".join(self.symbols[:3]) + (f" ... ({len(self.symbols)})" if len(self.symbols) > 3 else "")
        bounds = f" {_moment(self.start_ms)}..{_moment(self.end_ms)}" if self.start_ms or self.end_ms else ""
        return f"{names or 'all that is stored'} {','.join(self.intervals)}{bounds}"


class Mismatch(msgspec.Struct, frozen=True):
    """A stored bar that is not what the exchange has.

    Attributes:
        ts: the stored open time, ISO 8601.
        fields: what differs; `open_time` alone when the exchange has no bar of that open time.
        stored, exchange: these fields as exact texts; `exchange` is None where it has no such bar.
        store: `mysql` or `lake`. source: where the stored bar was read: `rest`, `vision`, `stream`.
        receipt_id: the load that brought it into MySQL.
        reason: in words.
    """

    symbol: str
    interval: str
    ts: str
    fields: tuple[str, ...]
    stored: dict[str, str]
    exchange: dict[str, str] | None
    store: str
    source: str
    receipt_id: int | None
    reason: str


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """An audit, in bars: `sampled = matching + mismatching + failed`.

    Attributes:
        wanted: as asked. When fewer are `sampled`, no more are stored and all of them were (`note` says so).
        failed: bars for which the exchange could not be asked; `errors` say why, by series.
        requests, weight_used: what the exchange was asked.
    """

    seed: int
    wanted: int
    sampled: int
    matching: int
    mismatching: int
    failed: int
    note: str = ""
    requests: int = 0
    weight_used: int = 0
    seconds: float = 0.0
    mismatches: tuple[Mismatch, ...] = ()
    errors: tuple[Failure, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether every bar was compared, and every one is what the exchange has."""
        return not (self.mismatching or self.failed or self.errors)


def _moment(at_ms: int | None) -> str:
    return "" if at_ms is None else iso(at_ms)
