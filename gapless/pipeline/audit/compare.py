"""Drawn bars against the exchange's answer, and which bars are asked for together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gapless.domain.grid import Opens
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV_VALUES, Source, decimal_text
from gapless.domain.window import iso
from gapless.exchanges.binance.paging import kline_weight
from gapless.exchanges.binance.rows import Rejected
from gapless.pipeline.audit.report import Mismatch

_REACH = {Market.SPOT: (1000,), Market.UM: (99, 499)}
"""How many bars one request spans at most, for each price that is worth paying."""


def plan_requests(market: Market, opens: Sequence[int], step_ms: int) -> list[range]:
    """The requests that ask for all of some ascending open times at the least weight, and the fewest of those.

    Each is a range of open times from the first to the last bar that it is for. Bars between them are answered too.
    """
    best: list[tuple[int, int, int]] = [(0, 0, 0)]  # of the first bars: weight, requests, where the last one begins
    begins = [0] * len(_REACH[market])
    for at in opens:
        options = []
        for kind, reach in enumerate(_REACH[market]):
            while (at - opens[begins[kind]]) // step_ms >= reach:
                begins[kind] += 1
            begin = begins[kind]
            span = (at - opens[begin]) // step_ms + 1
            weight, requests, _ = best[begin]
            options.append((weight + kline_weight(market, span), requests + 1, begin))
        best.append(min(options))
    found = []
    end = len(opens)
    while end:
        begin = best[end][2]
        found.append(range(opens[begin], opens[end - 1] + step_ms, step_ms))
        end = begin
    return found[::-1]


def compare_bars(stored: pa.Table, theirs: pa.Table, rejected: Sequence[Rejected], now_ms: int) -> list[Mismatch]:
    """What of some drawn bars of one series is not as the exchange has it, in order of time.

    Compared are the nine values, the close time that follows from open time and interval, and, by having been asked
    for, open time, symbol, interval and market.

    Args:
        stored: as `gapless.pipeline.audit.draw.DRAWN`, ascending.
        theirs: what was answered, as `gapless.exchanges.binance.payloads.KLINES`; may hold more than is stored.
        rejected: rows of the answer that cannot be read exactly.
        now_ms: the exchange's clock when it was asked.
    """
    if not stored.num_rows:
        return []
    interval = Interval(stored["interval"][0].as_py())
    held, given = _millis(stored, "ts"), _millis(theirs, "ts")
    given, rows = np.unique(given, return_index=True)
    there = np.isin(held, given, assume_unique=True)
    places = rows[np.searchsorted(given, held[there])] if there.any() else np.empty(0, np.int64)
    told = theirs.take(places)
    ours = stored.filter(pa.array(there))
    differing = {name: pc.not_equal(ours[name], told[name]).to_numpy() for name in OHLCV_VALUES}
    closes = held[there] + interval.ms - 1
    differing["close_time"] = (_millis(told, "close_time") != closes) | (closes >= now_ms)
    found = [_absent(stored.slice(int(row), 1), rejected) for row in np.flatnonzero(~there)]
    for row in np.flatnonzero(np.logical_or.reduce(list(differing.values()))).tolist():
        fields = [name for name, differs in differing.items() if differs[row]]
        mine, other = ours.slice(row, 1), told.slice(row, 1)
        close = int(closes[row])
        still_open = close >= now_ms
        found.append(
            _mismatch(
                mine,
                tuple(fields),
                {name: iso(close) if name == "close_time" else _text(mine, name) for name in fields},
                {name: _text(other, name) for name in fields},
                "the exchange's bar is not closed yet" if still_open else f"{', '.join(fields)} differ",
            )
        )
    return sorted(found, key=lambda each: each.ts)


def _absent(bar: pa.Table, rejected: Sequence[Rejected]) -> Mismatch:
    ts = bar["ts"].cast(pa.int64())[0].as_py()
    unreadable = next((row for row in rejected if row.ts == ts), None)
    stored = {name: _text(bar, name) for name in OHLCV_VALUES}
    if unreadable is not None:
        reason = f"the exchange's bar cannot be read exactly ({unreadable.reason})"
        return _mismatch(bar, OHLCV_VALUES, stored, {"row": unreadable.raw}, reason)
    return _mismatch(bar, ("open_time",), {"open_time": iso(ts), **stored}, None, "the exchange has no such bar")


def _mismatch(
    bar: pa.Table, fields: tuple[str, ...], stored: dict[str, str], exchange: dict[str, str] | None, reason: str
) -> Mismatch:
    row: dict[str, Any] = bar.select(["symbol", "interval", "store", "source", "receipt_id"]).to_pylist()[0]
    known = {int(source): source.name.lower() for source in Source}
    return Mismatch(
        symbol=row["symbol"],
        interval=row["interval"],
        ts=_text(bar, "ts"),
        fields=fields,
        stored=stored,
        exchange=exchange,
        store=row["store"],
        source=known.get(row["source"], f"unknown code {row['source']}"),
        receipt_id=row["receipt_id"],
        reason=reason,
    )


def _millis(rows: pa.Table, name: str) -> Opens:
    found: Opens = rows[name].cast(pa.int64()).to_numpy()
    return found


def _text(row: pa.Table, name: str) -> str:
    if pa.types.is_timestamp(row.schema.field(name).type):
        return iso(row[name].cast(pa.int64())[0].as_py())
    return str(decimal_text(row[name])[0].as_py())
