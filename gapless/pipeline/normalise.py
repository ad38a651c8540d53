"""Payloads as received become canonical bars: parsed, held against the rules, split from quarantine. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gapless.domain.grid import Opens
from gapless.domain.interval import Interval
from gapless.domain.receipts import Batch
from gapless.domain.schema import OHLCV, Source
from gapless.domain.window import Window
from gapless.exchanges.binance.payloads import parse_klines
from gapless.exchanges.binance.rows import open_time, readable, split_rows
from gapless.quality.rules import check_bars, interval_lengths, open_times

Flags = npt.NDArray[np.bool_]


class Page(msgspec.Struct, frozen=True):
    """One answer of the exchange, as received, with what was asked.

    Attributes:
        start_ms, end_ms: startTime and endTime of the request.
        body: the response's text, untouched.
    """

    symbol: str
    interval: str
    start_ms: int
    end_ms: int
    body: str


class Quarantined(msgspec.Struct, frozen=True):
    """A row that was not taken: why, and what the exchange sent.

    Attributes:
        ts: its open time in ms, None where it cannot be read.
        reason: the name of the broken rule; of parsing (`json`, `columns`, `type`, `time`, `precision`) or of
            `gapless.quality.rules` (`alignment`, `close_time`, `order`, `price`, `ohlc`, `volume`, `taker`).
        payload: the row's JSON text as received.
    """

    symbol: str
    interval: str
    ts: int | None
    reason: str
    payload: str


@dataclass(frozen=True, slots=True)
class Normalised:
    """Canonical closed bars of one batch, sorted, and the rows that were not taken."""

    bars: pa.Table
    quarantined: tuple[Quarantined, ...]

    @property
    def extracted(self) -> int:
        """Rows the exchange gave for the window, taken or not; open bars and bars nobody asked for are not counted."""
        return int(self.bars.num_rows) + len(self.quarantined)


def normalise(batch: Batch, pages: Sequence[Page], *, server_ms: int) -> Normalised:
    """Parse the pages of a batch and keep the sound bars that completed in its window.

    A bar counts as closed when its interval was over by `server_ms`, the exchange's clock before the pages were
    asked for; the open bar that the exchange sends last is left alone, as is any bar outside the window.

    Args:
        pages: in any order.
    """
    start_ms, end_ms = batch.start_ms, min(batch.end_ms, server_ms)

    def completes(opens: Opens, lengths: Opens) -> Flags:
        closes = opens + lengths
        return (closes > start_ms) & (closes <= end_ms)

    return _sound(batch.exchange, pages, completes)


def normalise_opened(exchange: str, pages: Sequence[Page], window: Window) -> Normalised:
    """The same of bars that **open** in a window; all of them must be over by the exchange's clock."""

    def opens_inside(opens: Opens, _: Opens) -> Flags:
        return (opens >= window.start_ms) & (opens < window.end_ms)

    return _sound(exchange, pages, opens_inside)


def _sound(exchange: str, pages: Sequence[Page], wanted: Callable[[Opens, Opens], Flags]) -> Normalised:
    # In canonical order from here on: the rules see to it that the rows of a series only ever go forward.
    pages = sorted(pages, key=lambda page: (page.symbol, page.interval, page.start_ms))
    payloads = ((exchange, page.symbol, page.interval, page.body) for page in pages)
    received, rejected = parse_klines(payloads, Source.REST)
    asked = received
    if received.num_rows:
        inside = wanted(open_times(received), interval_lengths(received))
        asked = received if inside.all() else received.filter(pa.array(inside))
    checked = check_bars(asked)
    quarantined = [
        Quarantined(row.symbol, row.interval, row.ts, row.reason, row.raw)
        for row in rejected
        if row.ts is None or wanted(np.array([row.ts]), np.array([Interval(row.interval).ms])).all()
    ]
    if checked.broken:
        quarantined += _as_received(asked, [(row.row, row.reason) for row in checked.broken], pages)
    return Normalised(checked.good.select(OHLCV.names), tuple(quarantined))


def _as_received(bars: pa.Table, broken: Sequence[tuple[int, str]], pages: Sequence[Page]) -> list[Quarantined]:
    """Broken rows with the text that was sent: the n-th bar of an open time is the n-th in its series' pages."""
    times = open_times(bars)
    found: list[Quarantined] = []
    texts: dict[tuple[str, str], dict[int | None, list[str]]] = {}
    for row, reason in broken:
        symbol, interval = bars["symbol"][row].as_py(), bars["interval"][row].as_py()
        series = (symbol, interval)
        if series not in texts:
            texts[series] = _texts_by_time(page for page in pages if (page.symbol, page.interval) == series)
        ts = int(times[row])
        same = np.flatnonzero(times[:row] == ts)
        earlier = sum(1 for at in same if (bars["symbol"][at].as_py(), bars["interval"][at].as_py()) == series)
        found.append(Quarantined(symbol, interval, ts, reason, texts[series][ts][earlier]))
    return found


def _texts_by_time(pages: Iterable[Page]) -> dict[int | None, list[str]]:
    texts: dict[int | None, list[str]] = {}
    for page in pages:
        for row in split_rows(page.body.encode()) or []:
            if readable(row):  # what is not was rejected before, and is no bar to count
                texts.setdefault(open_time(row), []).append(row.decode())
    return texts
