"""The network goes away for what is five minutes of the exchange; the host's clock is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gapless.domain.live import Kind
from tests.fixtures.live import START, live_in_loop
from tests.streamer.session.running import QUICK, RAW, Running, free_of_limits, gaps, identities, running, settle

MINUTE_MS = 60_000
LIVE_WITHIN_S = 3.0


def missing_bars(run: Running, symbol: str) -> list[int]:
    """Open times of minutes between the first and the last closed bar that `md.klines` lacks and nobody told."""
    closed = [int(each.split(":")[1]) for each in identities(run.redis, Kind.KLINES, symbol) if each.endswith(":1")]
    told = {(gap.first, gap.last) for gap in gaps(run.redis) if gap.kind is Kind.KLINES and gap.symbol == symbol}
    return [
        open_ms
        for open_ms in range(closed[0], closed[-1], MINUTE_MS)
        if open_ms not in closed and not any(f.isdecimal() and int(f) <= open_ms <= int(last) for f, last in told)
    ]


async def test_after_five_minutes_without_network_trades_are_complete_bars_are_there_or_told_and_books_are_true(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    # Its clock runs faster than ours does: it is read that much oftener.
    options = msgspec.structs.replace(
        QUICK,
        operations=msgspec.structs.replace(QUICK.operations, clock_s=0.2),
        continuity=msgspec.structs.replace(QUICK.continuity, bar_attempts=2),
    )
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=1, diff_ms=5000, kline_ms=10_000)
        free_of_limits(live)
        live.pace(100)
        async with running(live, redis_databases(), tmp_path, options=options) as run:
            await run.until(lambda: run.books_live(3), "three live books")

            def closed(symbol: str) -> int:
                return sum(each.endswith(":1") for each in identities(run.redis, Kind.KLINES, symbol))

            await run.until(lambda: all(closed(symbol) for symbol in RAW), "closed bars")
            live.cut_network(3.0)
            await run.until(lambda: run.books_live(0), "books that say they are stale")
            await run.until(lambda: not live.line("live/connections")["connections"], "no connection")
            before = {symbol: closed(symbol) for symbol in RAW}
            await run.until(lambda: _network_is_back(run), "the network")
            back_s = time.monotonic()
            await run.until(lambda: run.books_live(3), "live books")
            assert time.monotonic() - back_s <= LIVE_WITHIN_S
            await run.until(lambda: all(closed(symbol) > before[symbol] + 1 for symbol in RAW), "bars that go on")
            await run.until(lambda: not any(missing_bars(run, symbol) for symbol in RAW), "bars that are there or told")
            await settle(run)
            reasons = {gap.reason for gap in gaps(run.redis)}
            assert {"reconnect", "hole"} <= reasons


def _network_is_back(run: Running) -> bool:
    served = run.live.served
    assert served is not None
    return served.network.left_s() == 0


async def test_a_wrong_clock_of_the_host_is_shown_and_exchange_time_stands_everywhere(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    options = msgspec.structs.replace(QUICK, operations=msgspec.structs.replace(QUICK.operations, clock_s=0.3))
    async with live_in_loop("--generate", "7") as live:  # its clock is the host's
        live.activity(trades_per_s=50)
        async with running(live, redis_databases(), tmp_path, options=options) as run:

            def offset_ms() -> float:
                status = run.status()
                found = [each.offset_ms for each in status.markets if each.market == "um"] if status else []
                return found[0] if found and found[0] is not None else float("nan")

            await run.until(lambda: run.books_live(3), "three live books")
            await run.until(lambda: offset_ms() == offset_ms(), "a first offset")
            before = offset_ms()
            live.advance(180)
            await run.until(lambda: abs(offset_ms() - before + 180_000) < 1_000, "the new offset")
            mark_ms = live.now_ms()
            await run.until(lambda: _last(run, Kind.TRADES)["event_ms"] >= mark_ms, "trades of the new time")
            last = _last(run, Kind.TRADES)
            assert last["event_ms"] == last["data"]["E"]
            assert abs(last["event_ms"] - live.now_ms()) < 2_000, "the exchange's time"
            assert abs(last["received_ns"] / 1e9 - time.time()) < 2, "the host's"
            assert run.books_live(3)
            await settle(run)


def _last(run: Running, kind: Kind) -> dict[str, Any]:
    value: Any = run.redis.get(f"last.{kind}.binance.BTC/USDT:USDT")
    found: dict[str, Any] = json.loads(value)
    return found
