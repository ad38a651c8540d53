"""Statuses and instruments to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gapless.domain.instrument import Instrument, Market, unified_symbol
from streamer.operations.status import (
    BarsStatus,
    BookStatus,
    LaneStatus,
    MarketStatus,
    OutletStatus,
    StreamerStatus,
    StreamStatus,
)

AT_MS = 1_790_000_000_000


def instrument(base: str, market: Market = Market.UM, *, status: str = "TRADING", quote: str = "USDT") -> Instrument:
    symbol = unified_symbol(market, base, quote)
    return Instrument("binance", symbol, market, f"{base}{quote}", base, quote, status)


def status(**changes: Any) -> StreamerStatus:
    """A streamer that is well, but for the changes."""
    well = StreamerStatus(
        shard="0/1",
        host="here",
        pid=7,
        version="0.1.0",
        started_ms=AT_MS - 3_600_000,
        at_ms=AT_MS,
        transport="picows",
        symbols=1,
        channels=("depth", "trades"),
        lanes=(LaneStatus(market="um", route="/public", state="open", streams=2, messages_per_s=10),),
        streams=(
            StreamStatus(kind="depth", market="um", symbol="BTC/USDT:USDT", messages=10, rate_per_s=10),
            StreamStatus(
                kind="trades",
                market="um",
                symbol="BTC/USDT:USDT",
                messages=5,
                last_id="77",
                exchange_ms=4.5,
                last_event_age_s=0.5,
                duplicates=2,
                filled=3,
            ),
        ),
        books=(BookStatus(market="um", symbol="BTC/USDT:USDT", state="live", last_id=9, bids=1000, asks=990),),
        outlet=OutletStatus(connected=True, acknowledged=15, p50_ms=0.4, p99_ms=2.0, shed={"depth": 1}),
        bars=BarsStatus(connected=True, stored=60, lag_s=3.1),
        markets=(MarketStatus(market="um", used=120, usable=1_920, offset_ms=-3.0),),
        gaps={"hole": 1},
    )
    return msgspec.structs.replace(well, **changes)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds; ten seconds at most."""
    for _ in range(5_000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that")


def write(path: Path, text: str, *, swapped: bool = False) -> None:
    """Write a file, or put another in its place."""
    if not swapped:
        path.write_text(text)
        return
    path.unlink()
    other = path.with_name("other")
    other.write_text(text)
    other.replace(path)
