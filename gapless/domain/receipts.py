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
        key: where it lies in the lake.
        requests, weight: what the answers cost, retries included.
        server_ms: the exchange's clock before the first request; a bar that closed later than that is not taken.
        failures: series that are missing from this object.
    """

    batch: Batch
    key: str
    payloads: int
    bytes: int
    requests: int
    weight: int
    server_ms: int
    failures: tuple[Failure, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the whole window was over by the exchange's clock."""
        return self.server_ms >= self.batch.end_ms


class NormalReceipt(msgspec.Struct, frozen=True):
    """Canonical bars of one batch, at rest in the lake's `_work/` until they are archived.

    The work file is a cache: what it holds follows from the raw object alone, so it can be made again from it.

    Attributes:
        bars_key: where it lies in the lake.
        rows_extracted: closed bars the exchange gave for the window, sound or not.
        digest: `gapless.domain.schema.content_digest` of the bars.
    """

    raw: RawReceipt
    bars_key: str
    rows_extracted: int
    rows: int
    rows_quarantined: int
    digest: str

    @property
    def batch(self) -> Batch:
        return self.raw.batch

    @property
    def failures(self) -> tuple[Failure, ...]:
        return self.raw.failures


class LoadReceipt(msgspec.Struct, frozen=True):
    """What the loader did in MySQL: `rows = loaded + restated + unchanged + outranked`.

    Attributes:
        receipt_id: stored with every bar it brought; follows from the work, the same wherever and whenever it is done.
        loaded: new bars. restated: bars that replaced stored ones of other values. unchanged: stored already.
        outranked: different from what a better source had stored, which stays.
    """

    normal: NormalReceipt
    receipt_id: int
    loaded: int
    restated: int
    unchanged: int
    outranked: int

    @property
    def batch(self) -> Batch:
        return self.normal.batch

    @property
    def failures(self) -> tuple[Failure, ...]:
        return self.normal.failures


class ArchiveReceipt(msgspec.Struct, frozen=True):
    """What the lake holds of some loads: the objects their bars lie in, each read back.

    Attributes:
        objects: their keys. written: those that were rewritten, the others held the bars already.
        rows, bytes: of all these objects.
    """

    objects: tuple[str, ...]
    written: tuple[str, ...]
    rows: int
    bytes: int
