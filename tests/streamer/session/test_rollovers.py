"""Connections are replaced a hundred times under load, and nothing shows of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.fixtures.live import START, live_in_loop
from tests.streamer.session.running import (
    QUICK,
    RAW,
    account_trades,
    free_of_limits,
    gaps,
    running,
    settle,
    snapshots_asked,
)

LIVES = msgspec.structs.replace(
    QUICK,
    connections=msgspec.structs.replace(
        QUICK.connections, life_s=0.3, life_jitter=0.5, lately_s=0.2, linger_s=0.05, tick_s=0.02
    ),
    books=msgspec.structs.replace(QUICK.books, checks_per_minute=0.0),  # comparisons are snapshots too
)
LANES = 3


@pytest.mark.parametrize("library", ["picows", "websockets"])
async def test_a_hundred_rollovers_and_shutdowns_lose_nothing_double_nothing_and_need_no_snapshot(
    library: str, redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=100)
        free_of_limits(live, life_s=3.0)
        async with running(live, redis_databases(), tmp_path, options=LIVES, transport=library) as run:
            await run.until(lambda: run.books_live(3), "three live books")
            await run.until(lambda: snapshots_asked(live) >= 6, "deepened books")  # a shallow one and a deep one each
            asked, shutdowns = snapshots_asked(live), 0

            def opened() -> int:
                return sum(int(live.connection_counts(market)["opened"]) for market in ("spot", "um"))

            def enough() -> bool:
                nonlocal shutdowns
                status = run.status()
                assert status is not None
                assert all(book.state == "live" for book in status.books), "a book left live"
                if opened() > LANES + 12 * shutdowns:  # a quarter of them goes because the exchange says so
                    live.shutdown(after_s=1.0)
                    shutdowns += 1
                return opened() >= LANES + 100

            await run.until(enough, "a hundred successors", 60)
            await settle(run)
            for symbol, (market, raw) in RAW.items():
                first = int(live.stream_sent(market, f"{raw.lower()}@aggTrade")["first_id"])
                written = account_trades(run, symbol)
                assert len(written) == written[-1] - written[0] + 1, f"{symbol}: missing"
                assert written[0] >= first
            assert snapshots_asked(live) == asked
            status = run.status()
            assert status is not None
            assert [book.resyncs for book in status.books] == [0, 0, 0]
            assert sum(stream.filled for stream in status.streams) == 0, "brought by REST"
            events = {(gap.reason, gap.count) for gap in gaps(run.redis)}
            assert {reason for reason, _ in events} <= {"started", "rollover"}, events
            assert {count for reason, count in events if reason == "rollover"} == {0}
