"""A whole session against the replica and a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gapless.domain.live import Kind
from tests.fixtures.live import START, live_in_loop
from tests.streamer.session.running import (
    RAW,
    account_depth,
    account_trades,
    assert_book_is_true,
    gaps,
    identities,
    running,
)


async def test_what_the_exchange_sends_is_written_once_and_books_are_the_oracles(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        async with running(live, redis_databases(), tmp_path) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await run.until(lambda: len(identities(run.redis, Kind.TRADES, "BTC/USDT:USDT")) > 100, "trades")
            live.freeze()
            for symbol, (market, raw) in RAW.items():
                last = live.stream_sent(market, f"{raw.lower()}@aggTrade")["last_id"]
                await run.until(
                    lambda symbol=symbol, last=last: identities(run.redis, Kind.TRADES, symbol)[-1:] == [str(last)],
                    f"the last trade of {symbol}",
                )
                await assert_book_is_true(run, symbol)
                account_trades(run, symbol)
                account_depth(run, symbol)
            assert await run.stop() == 0
            reasons = {gap.reason for gap in gaps(run.redis)}
            assert reasons == {"started", "stopped"}
