"""Closed bars and liquidations as their streams tell them, and what MySQL holds of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text

from gapless.domain.instrument import Market
from gapless.domain.live import GapEvent
from gapless.domain.window import parse_time
from gapless.exchanges.binance.streams.messages import ForceOrder, Kline, KlineBar, Liquidation
from gapless.storage.mysql import MySql
from streamer.bars.settings import BarSettings
from streamer.bars.sink import BarSink

OPEN_MS = parse_time("2026-11-20T10:00")
NOW_MS = OPEN_MS + 3_600_000
COIN = "币安/USDT:USDT"
QUICK = BarSettings(batch_s=0.02, first_pause_s=0.02, longest_pause_s=0.1, statement_s=2)


def kline(number: int = 0, *, interval: str = "1m", closed: bool = True, **fields: Any) -> Kline:
    """The n-th minute after 10:00 (a longer interval's bar opens at 10:00)."""
    at = OPEN_MS + number * 60_000
    values: dict[str, Any] = {
        "t": at, "T": at + 59_999, "i": interval, "f": 1, "L": 7, "o": "100.10", "c": "100.20", "h": "100.30000000",
        "l": "99.9", "v": "12.5", "n": 7, "x": closed, "q": "1251.25", "V": "6", "Q": "600.6",
    }  # fmt: skip
    bar = KlineBar(**values | fields)
    return Kline(E=bar.T + 40, s="BTCUSDT", k=bar)


def force_order(number: int = 0, **fields: Any) -> ForceOrder:
    """A liquidation of the n-th second after 10:00."""
    at = OPEN_MS + number * 1_000 + 123
    values: dict[str, Any] = {
        "s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "0.014", "p": "9910", "ap": "9910.10",
        "X": "FILLED", "l": "0.014", "z": "0.014", "T": at,
    }  # fmt: skip
    return ForceOrder(E=at + 5, o=Liquidation(**values | fields))


class Told:
    """What a sink told and said."""

    def __init__(self) -> None:
        self.gaps: list[GapEvent] = []
        self.said: list[str] = []


def sink_of(db: MySql, folder: Path, told: Told | None = None, settings: BarSettings = QUICK) -> BarSink:
    told = told or Told()
    return BarSink(
        db, folder, settings, shard="0-1", tell=told.gaps.append, now_ms=lambda market: NOW_MS, say=told.said.append
    )


@asynccontextmanager
async def at_work(sink: BarSink) -> AsyncIterator[BarSink]:
    """The sink at work until the block is left."""
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(what: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Wait for something to hold, while others work."""
    ends = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < ends, f"not within {timeout_s} s"
        await asyncio.sleep(0.005)


def take(
    sink: BarSink, *numbers: int, symbol: str = "BTC/USDT:USDT", market: Market = Market.UM, **fields: Any
) -> None:
    """The closes of some minutes."""
    for number in numbers:
        sink.closed(symbol, market, kline(number, **fields), time.time_ns())


def rows_of(db: MySql, statement: str) -> list[tuple[Any, ...]]:
    return db.run("a test", lambda connection: [tuple(row) for row in connection.execute(text(statement))])


def minutes(db: MySql) -> list[tuple[Any, ...]]:
    """Symbol, interval, minute and source of every stored bar."""
    return rows_of(db, "SELECT symbol, `interval`, MINUTE(ts), source FROM ohlcv ORDER BY symbol, `interval`, ts")


def payload(order: ForceOrder) -> bytes:
    return msgspec.json.encode(order)
