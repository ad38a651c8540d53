"""The list of symbols changes while the session runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from gapless.domain.live import Kind
from tests.fixtures.live import START, live_in_loop
from tests.streamer.operations.samples import write
from tests.streamer.session.running import QUICK, Running, gaps, identities, running, settle

ONE = "markets:\n  um: ['BTC/USDT:USDT']\n"
TWO_MARKETS = "markets:\n  spot: [BTC/USDT]\n  um: ['BTC/USDT:USDT', 'ETH/USDT:USDT']\n"
OTHERS = "markets:\n  spot: [BTC/USDT]\n  um: ['ETH/USDT:USDT']\n"


async def test_symbols_and_markets_come_and_go_while_the_others_go_on(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    options = msgspec.structs.replace(QUICK, operations=msgspec.structs.replace(QUICK.operations, follow_s=0.1))
    symbols_file = tmp_path / "symbols.yaml"
    symbols_file.write_text(ONE)
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        async with running(
            live, redis_databases(), tmp_path / "var", symbols_file=symbols_file, options=options
        ) as run:
            await run.until(lambda: run.books_live(1), "a live book")
            write(symbols_file, TWO_MARKETS)
            await run.until(lambda: run.books_live(3), "live books of what was added, a market among it")
            assert resyncs(run)["BTC/USDT:USDT"] == 0, "the one that was there was not disturbed"
            write(symbols_file, OTHERS)
            await run.until(lambda: set(resyncs(run)) == {"BTC/USDT", "ETH/USDT:USDT"}, "one that is gone")
            await run.until(lambda: ("BTC/USDT:USDT", Kind.TRADES) in stopped(run), "what was removed told as stopped")
            assert {symbol for symbol, _ in stopped(run)} == {"BTC/USDT:USDT"}
            last = identities(run.redis, Kind.TRADES, "BTC/USDT:USDT")
            write(symbols_file, TWO_MARKETS)
            await run.until(lambda: run.books_live(3), "one that came again")
            await run.until(
                lambda: identities(run.redis, Kind.TRADES, "BTC/USDT:USDT")[-1:] > last[-1:], "its trades that go on"
            )
            await settle(run)
            assert resyncs(run)["ETH/USDT:USDT"] == resyncs(run)["BTC/USDT"] == 0


def resyncs(run: Running) -> dict[str, int]:
    status = run.status()
    return {book.symbol: book.resyncs for book in status.books} if status else {}


def stopped(run: Running) -> set[tuple[str, Kind]]:
    return {(gap.symbol, gap.kind) for gap in gaps(run.redis) if gap.reason == "stopped"}
