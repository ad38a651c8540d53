"""What pipeline steps hand each other: batches of work and receipts of what was done. JSON through msgspec."""

from __future__ import annotations

import hashlib

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import Window


class Batch(msgspec.Struct, frozen=True):
    """A piece of work: the bars of some symbols that complete in one window. Known by what it is, not when it runs.

    Attributes:
        symbols: pairs of unified and raw symbol, in order.
        start_ms, end_ms: the window, UTC; bars with `start < open + interval <= end` belong to it.
    """

    exchange: str
    market: Market
    symbols: tuple[tuple[str, str], ...]
    intervals: tuple[Interval, ...]
    start_ms: int
    end_ms: int
    dataset: str = "ohlcv"

    @property
    def window(self) -> Window:
        return Window(self.start_ms, self.end_ms)

    @property
    def key(self) -> str:
        """A short stable name (16 hex digits) of this exact piece of work, safe in file names."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    def __str__(self) -> str:
        names = ", ".join(symbol for symbol, _ in self.symbols[:3]) + (" ..." if len(self.symbols) > 3 else "")
        return f"{self.dataset} {self.market} {self.window} ({len(self.symbols)} symbols: {names})"


class Failure(msgspec.Struct, frozen=True):
    """One series that could not be taken; the others were. The form of the command line's `errors`."""

    symbol: str
    interval: str
    window: str
    kind: str
    message: str


class RawReceipt(msgspec.Struct, frozen=True):
    """Payloads as received, at rest in the lake's `raw/`.

    Attributes:
        server_ms: the exchange's clock before the first request; a bar that closed later than that is not taken.
        complete: whether the whole window was over by that clock.
        failures: series that are missing from this object.
    """

    batch: Batch
    uri: str
    payloads: int
    bytes: int
    requests: int
    weight: int
    server_ms: int
    complete: bool
    failures: tuple[Failure, ...] = ()


class NormalReceipt(msgspec.Struct, frozen=True):
    """Canonical bars and quarantined rows of one batch, at rest in the lake's `_work/` until they are archived."""

    batch: Batch
    bars_uri: str | None
    quarantine_uri: str | None
    rows_extracted: int
    rows: int
    rows_quarantined: int
    digest: str
    complete: bool
    failures: tuple[Failure, ...] = ()


class LoadReceipt(msgspec.Struct, frozen=True):
    """What the loader did in MySQL. `receipt_id` is stored with every bar it brought."""

    batch: Batch
    receipt_id: int
    bars_uri: str | None
    rows: int
    loaded: int
    restated: int
    unchanged: int
    outranked: int
    rows_extracted: int
    rows_quarantined: int
    digest: str
    complete: bool
    failures: tuple[Failure, ...] = ()


class ArchiveReceipt(msgspec.Struct, frozen=True):
    """What the lake holds after a run: the objects that were rewritten, each read back."""

    files: int
    rows: int
    bytes: int
    objects: tuple[str, ...] = ()
