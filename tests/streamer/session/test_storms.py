"""Whatever befalls the session: books are the oracle's, what is lost is told, nothing is written twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gapless.domain.live import Kind
from tests.fixtures.live import START, live_in_loop
from tests.streamer.session.running import (
    QUICK,
    free_of_limits,
    gaps,
    identities,
    lost_trades,
    running,
    settle,
    snapshots_asked,
)
from tests.streamer.session.storm import storm


@pytest.mark.parametrize("seed", [1, 2, 3, 6])
async def test_after_any_schedule_of_faults_books_are_the_oracles_and_losses_are_told(
    seed: int, redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    await storm(seed, redis_databases(), tmp_path, blows=5)


async def test_trades_that_nobody_heard_and_nobody_can_bring_are_told_as_lost_with_their_ids(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    options = msgspec.structs.replace(
        QUICK, continuity=msgspec.structs.replace(QUICK.continuity, deadline_s=0.5, hold_ms=300)
    )
    symbol, stream = "BTC/USDT:USDT", "btcusdt@aggTrade"
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        free_of_limits(live)
        async with running(live, redis_databases(), tmp_path, options=options) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            live.rest_faults({"match": {"path": "*/aggTrades"}, "action": {"status": 500}})
            live.faults({"match": {"market": "um", "stream": stream, "nth": [5, 6, 7, 20]}, "action": {"drop": True}})
            await run.until(lambda: len(live.stream_sent("um", stream)["unheard"]) == 2, "ids that nobody heard")
            nobody = [(int(first), int(last)) for first, last in live.stream_sent("um", stream)["unheard"]]

            def given_up() -> bool:
                """Each is told twice: when it is noticed, and when nobody can bring it."""
                told = Counter(
                    (gap.first, gap.last)
                    for gap in gaps(run.redis)
                    if gap.kind is Kind.TRADES and gap.symbol == symbol and not gap.repaired
                )
                return all(told[str(first), str(last)] >= 2 for first, last in nobody)

            await run.until(given_up, "losses told with their first and last ids", 40)
            live.rest_faults()
            await run.until(
                lambda: int(identities(run.redis, Kind.TRADES, symbol)[-1]) > nobody[-1][1] + 10, "trades that go on"
            )
            await settle(run)
            assert lost_trades(run.redis, symbol) == {i for first, last in nobody for i in range(first, last + 1)}


async def test_a_gap_of_one_symbol_builds_that_book_anew_and_no_other(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=50)
        async with running(live, redis_databases(), tmp_path) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await run.until(lambda: snapshots_asked(live) >= 6, "deepened books")  # a shallow one and a deep one each
            asked, books = snapshots_asked(live), {}

            def see() -> bool:
                status = run.status()
                assert status is not None
                books.update({book.symbol: (book.resyncs, book.state) for book in status.books})
                return books["ETH/USDT:USDT"] == (1, "live")

            live.faults({"match": {"kind": "depth", "symbol": "ETHUSDT", "nth": 3}, "action": {"drop": True}})
            await run.until(see, "the book built anew")
            assert books == {"BTC/USDT": (0, "live"), "BTC/USDT:USDT": (0, "live"), "ETH/USDT:USDT": (1, "live")}
            assert 1 <= snapshots_asked(live) - asked <= 2, "a shallow one, and one to deepen it"
            await settle(run)
            resyncs = [gap for gap in gaps(run.redis) if gap.kind is Kind.DEPTH and gap.reason in ("hole", "resync")]
            assert {gap.symbol for gap in resyncs} == {"ETH/USDT:USDT"}
