"""A whole session with MySQL: closed bars, liquidations and open interest are where they belong within seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gapless.domain.live import Kind
from gapless.domain.schema import Source
from gapless.storage.mysql import MySql
from streamer.bars.settings import BarSettings
from streamer.continuity.settings import ContinuitySettings
from streamer.derivatives.settings import DerivativeSettings
from streamer.operations.settings import OperationsSettings
from tests.fixtures.live import live_in_loop
from tests.streamer.bars.making import rows_of
from tests.streamer.session.running import QUICK, RAW, gaps, identities, running

OPTIONS = msgspec.structs.replace(
    QUICK,
    operations=OperationsSettings(status_s=0.2, stop_s=8.0, clock_s=0.3),
    continuity=ContinuitySettings(bar_grace_ms=1_000),
    bars=BarSettings(batch_s=0.1, patrol_first_s=0.5, patrol_s=0.5, patrol_grace_s=5.0, patrol_longest_s=300.0),
    derivatives=DerivativeSettings(history_s=1.0),
)
CHANNELS = (Kind.KLINES, Kind.MARK_PRICE, Kind.LIQUIDATIONS)


async def test_bars_liquidations_and_open_interest_are_stored(
    redis_databases: Callable[[], str], mariadb_database: MySql, tmp_path: Path
) -> None:
    db = mariadb_database
    url = db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)

    def bars(where: str = "1 = 1") -> list[tuple[Any, ...]]:
        return rows_of(db, f"SELECT symbol, MINUTE(ts), source, trades FROM ohlcv WHERE {where} ORDER BY symbol, ts")

    async with live_in_loop("--generate", "7", "--start", "2026-11-15T12:30:45") as live:
        live.activity(trades_per_s=20, liquidations_per_min=120)
        live.faults({"match": {"kind": "klines", "symbol": "ETHUSDT"}, "action": {"drop": True}})
        async with running(live, redis_databases(), tmp_path, channels=CHANNELS, options=OPTIONS, mysql_url=url) as run:
            await run.until(lambda: len(identities(run.redis, Kind.KLINES, "BTC/USDT")) > 0, "klines")
            await run.until(lambda: len(identities(run.redis, Kind.MARK_PRICE, "BTC/USDT:USDT")) > 0, "mark prices")
            live.advance(15)
            await run.until(lambda: len(bars("MINUTE(ts) = 30 AND symbol LIKE 'BTC%'")) == 2, "the closed minute")
            # No close of ETH/USDT:USDT comes: its minutes are had from REST.
            live.advance(60)
            await run.until(lambda: len(bars("MINUTE(ts) = 31")) == 3, "the minute that was not closed")
            minute = bars("MINUTE(ts) = 31")
            assert [row[2] for row in minute] == [Source.STREAM, Source.STREAM, Source.REST]
            assert minute[2][0] == "ETH/USDT:USDT"
            # What was before the start, MySQL lacked: the patrol.
            await run.until(lambda: len(bars("MINUTE(ts) BETWEEN 27 AND 29")) == 9, "the patrol")
            assert {row[2] for row in bars("MINUTE(ts) BETWEEN 27 AND 29")} == {Source.REST}
            await run.until(
                lambda: (
                    len(rows_of(db, "SELECT 1 FROM liquidation")) > 0
                    and len(rows_of(db, "SELECT 1 FROM futures_metrics WHERE open_interest > 0")) > 0
                ),
                "liquidations and open interest",
            )
            live.freeze()
            key = "last.open_interest.binance.BTC/USDT:USDT"
            await run.until(lambda: bool(run.redis.exists(key)), "the newest open interest")
            assert float(json.loads(run.redis.get(key))["data"]["openInterest"]) > 0  # type: ignore[arg-type]
            assert 0 < run.redis.pttl(key) <= 660_000  # type: ignore[operator]
            await run.until(lambda: (status := run.status()) is not None and status.bars is not None, "a status")
            assert await run.stop() == 0
            for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT"):
                written = set(identities(run.redis, Kind.LIQUIDATIONS, symbol))
                stored = rows_of(db, f"SELECT COUNT(*) FROM liquidation WHERE symbol = '{symbol}'")
                assert stored == [(len(written),)]
            holes = [gap for gap in gaps(run.redis) if gap.reason not in ("started", "stopped")]
            assert {(gap.kind, gap.reason, gap.symbol, gap.repaired) for gap in holes} == {
                (Kind.KLINES, "hole", "ETH/USDT:USDT", True)
            }
    assert {row[0] for row in bars()} == set(RAW)
    assert rows_of(db, "SELECT COUNT(*) FROM restatement") == [(0,)]
    assert rows_of(db, "SELECT COUNT(*) FROM quarantine") == [(0,)]
