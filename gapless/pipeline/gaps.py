"""What is stored against what the exchange has, bar by bar: missing, extra, different. Reads; changes nothing."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.grid import Opens, runs
from gapless.domain.receipts import Failure
from gapless.domain.schema import OHLCV_VALUES
from gapless.domain.window import Window, iso
from gapless.errors import ExchangeError, RateLimited, RegionRefused
from gapless.exchanges.binance.rest import BinanceRest
from gapless.pipeline.backfill.bars import failure_of, normalise_pages, read_pages
from gapless.pipeline.backfill.outcome import open_times, without
from gapless.pipeline.backfill.pieces import Piece, cut_series
from gapless.pipeline.backfill.request import BackfillRequest
from gapless.pipeline.backfill.survey import survey
from gapless.pipeline.read import read_bars_everywhere
from gapless.pipeline.runtime import Runtime


class GapRow(msgspec.Struct, frozen=True):
    """A maximal run of bars that are not stored: `[start, end)` on open time, ISO 8601.

    Attributes:
        state: `open`: the exchange has them; `unfillable`: it has none either; `failed`: it could not be asked.
    """

    symbol: str
    interval: str
    start: str
    end: str
    bars: int
    state: str


class GapReport(msgspec.Struct, frozen=True):
    """The comparison, in bars.

    Attributes:
        checked: grid points inside lifetimes that were compared.
        missing: the exchange has them, neither store does. extra: stored, and the exchange does not have them.
        different: any of the nine values differs. unfillable: on the grid, and the exchange has none.
        failed: grid points for which the exchange could not be asked.
        filled: always 0: nothing is changed.
    """

    checked: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    filled: int = 0
    unfillable: int = 0
    failed: int = 0
    gaps: tuple[GapRow, ...] = ()
    errors: tuple[Failure, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the stores hold what the exchange has; what nobody has is no fault."""
        return not (self.errors or self.missing or self.extra or self.different or self.failed)


class Compared(msgspec.Struct, frozen=True):
    """One month of one series: open times (ms) by what is the matter with them."""

    checked: int
    missing: Opens
    extra: Opens
    different: int
    unfillable: Opens


def compare(expected: Opens, stored: pa.Table, theirs: pa.Table) -> Compared:
    """Bars of one series, stored and as the exchange has them, both in order of time. Pure."""
    held, given = open_times(stored), open_times(theirs)
    both = np.intersect1d(held, given, assume_unique=True)
    ours, told = stored.take(np.searchsorted(held, both)), theirs.take(np.searchsorted(given, both))
    differs = np.zeros(len(both), np.bool_)
    for name in OHLCV_VALUES:
        differs |= pc.not_equal(ours[name], told[name]).to_numpy()
    denied = without(expected, given)
    return Compared(
        checked=len(expected),
        missing=without(without(expected, denied), held),
        extra=without(held, given),
        different=int(differs.sum()),
        unfillable=without(denied, held),
    )


def find_gaps(rt: Runtime, request: BackfillRequest) -> GapReport:
    """Compare the stores, MySQL and lake as one, with the exchange, bar by bar.

    Raises:
        ConfigError: the request names nothing. ExchangeError: the market did not answer. StorageError: a store is away.
    """
    found = survey(rt, msgspec.structs.replace(request, source="rest", recheck="none"))
    windows = [(series, over) for series in found.series if (over := found.window_of(series)) is not None]
    pieces = [p for series, over in windows for p in cut_series(series, over, store_of="mysql", settled={})]
    counts = dict.fromkeys(("checked", "missing", "extra", "different", "unfillable", "failed"), 0)
    rows: list[GapRow] = []
    errors = list(found.failures)
    for market in sorted({piece.series.market for piece in pieces}):
        mine = [piece for piece in pieces if piece.series.market is market]
        asyncio.run(_compare_all(rt, mine, counts, rows, errors))
    ordered = sorted(rows, key=lambda row: (row.symbol, row.interval, row.start))
    return GapReport(**counts, gaps=tuple(ordered), errors=tuple(errors))


async def _compare_all(
    rt: Runtime, pieces: list[Piece], counts: dict[str, int], rows: list[GapRow], errors: list[Failure]
) -> None:
    closed: ExchangeError | None = None
    async with rt.exchange(pieces[0].series.market) as rest:
        for piece in pieces:
            try:
                if closed is not None:
                    raise closed
                result = await _compare_one(rt, rest, piece)
            except ExchangeError as error:
                if isinstance(error, RateLimited | RegionRefused):
                    closed = error  # nobody is answered any more
                errors.append(failure_of(piece, error))
                counts["failed"] += len(piece.expected)
                rows += _rows(piece, piece.expected, "failed")
                continue
            counts["checked"] += result.checked
            counts["different"] += result.different
            for name in ("missing", "extra", "unfillable"):
                counts[name] += len(getattr(result, name))
            rows += [*_rows(piece, result.missing, "open"), *_rows(piece, result.unfillable, "unfillable")]


async def _compare_one(rt: Runtime, rest: BinanceRest, piece: Piece) -> Compared:
    series, window = piece.series, piece.window
    assert series.interval is not None  # noqa: S101 - only bars are compared
    asked = Window(series.interval.ceil(window.start_ms), window.end_ms)
    theirs = normalise_pages(piece, asked, await read_pages(rest, piece, asked)).bars
    stored = read_bars_everywhere(rt, [series.symbol], [series.interval], window)
    return compare(piece.expected, stored, theirs)


def _rows(piece: Piece, opens: Opens, state: str) -> list[GapRow]:
    series, step = piece.series, piece.series.step_ms or 1
    return [
        GapRow(series.symbol, series.label, iso(run.start_ms), iso(run.end_ms), run.length_ms // step, state)
        for run in runs(opens, step)
    ]
