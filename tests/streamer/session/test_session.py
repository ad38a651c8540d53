"""A whole session against the replica and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from gapless.domain.live import Kind
from tests.fixtures.live import START, live_in_loop
from tests.streamer.session.running import books_stay_live, gaps, heard_again, identities, lost_trades, running, settle


async def test_what_the_exchange_sends_is_written_once_and_books_are_the_oracles(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        async with running(live, redis_databases(), tmp_path) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await run.until(lambda: len(identities(run.redis, Kind.TRADES, "BTC/USDT:USDT")) > 100, "trades")
            await settle(run)
            assert await run.stop() == 0
            reasons = {gap.reason for gap in gaps(run.redis)}
            assert reasons == {"started", "stopped"}


async def test_drops_doubles_disorder_and_cuts_leave_nothing_missing_and_nothing_double(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        live.limits(spot={"attempts_per_5m": 100_000}, um={"attempts_per_5m": 100_000})
        async with running(live, redis_databases(), tmp_path) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            live.faults(
                {"match": {"kind": ["trades", "depth"], "probability": 0.02}, "action": {"drop": True}},
                {"match": {"kind": ["trades", "depth"], "probability": 0.05}, "action": {"duplicate": 1}},
                {"match": {"kind": ["trades", "depth"], "probability": 0.02}, "action": {"reorder": 2}},
                seed=5,
            )
            for _ in range(4):
                await asyncio.sleep(0.7)
                live.cut(how="reset")
            live.faults()
            await asyncio.sleep(1.0)
            live.cut(how="half_open")
            await heard_again(run)
            await books_stay_live(run)
            await run.until(lambda: not lost_trades(run.redis, "BTC/USDT:USDT"), "holes that are filled")
            await settle(run)
            assert all(applied["applied"] for applied in live.fault_counts())


async def test_a_process_after_another_goes_on_where_that_ended(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    url = redis_databases()
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        for how in ("in order", "killed", "last"):
            async with running(live, url, tmp_path) as run:
                await run.until(lambda: run.books_live(3), "three live books")
                before = len(identities(run.redis, Kind.TRADES, "BTC/USDT"))
                await run.until(
                    lambda before=before: len(identities(run.redis, Kind.TRADES, "BTC/USDT")) > before + 50,  # type: ignore[misc]
                    "trades",
                )
                if how == "in order":
                    assert await run.stop() == 0
                if how == "last":
                    await run.until(lambda: not lost_trades(run.redis, "BTC/USDT:USDT"), "holes that are filled")
                    await settle(run)
            await asyncio.sleep(0.5)
