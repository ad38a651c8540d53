"""A whole session with MySQL: closed bars, liquidations and open interest are where they belong within seconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gapless.domain.live import Kind
from gapless.domain.schema import Source
from gapless.stack.mariadb import PrivateMariaDB
from gapless.storage.mysql import MySql
from gapless.storage.mysql.schema import upgrade
from streamer.bars.settings import BarSettings
from streamer.continuity.settings import ContinuitySettings
from streamer.derivatives.settings import DerivativeSettings
from streamer.operations.settings import OperationsSettings
from tests.fixtures.live import live_in_loop
from tests.fixtures.mysql import PASSWORD, USER
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


def _bar_holes(redis: Any) -> list[tuple[str, bool, str]]:
    return [(gap.symbol, gap.repaired, gap.detail) for gap in gaps(redis) if gap.reason == "hole"]


async def test_without_a_database_a_bar_that_was_not_sent_is_told_and_one_without_trades_is_not(
    redis_databases: Callable[[], str], tmp_path: Path
) -> None:
    async with live_in_loop("--generate", "7", "--start", "2026-11-15T12:30:45") as live:
        live.activity(trades_per_s=20)
        live.activity(market="um", symbols=["BTCUSDT"], trades_per_s=0)  # the exchange sends no close then
        live.faults({"match": {"kind": "klines", "symbol": "ETHUSDT"}, "action": {"drop": True}})
        async with running(live, redis_databases(), tmp_path, channels=(Kind.KLINES,), options=OPTIONS) as run:
            await run.until(lambda: len(identities(run.redis, Kind.KLINES, "BTC/USDT")) > 0, "klines")
            live.advance(90)
            await run.until(lambda: len(_bar_holes(run.redis)) > 0, "the bars that were not sent")
            live.advance(60)
            await run.until(lambda: len(_bar_holes(run.redis)) > 1, "the next one")
            assert await run.stop() == 0
            told = "1m closed: not sent; REST has it, no database is there to keep it"
            assert set(_bar_holes(run.redis)) == {("ETH/USDT:USDT", False, told)}


async def test_while_mysql_is_away_for_long_no_bar_is_called_missing(
    redis_databases: Callable[[], str], breakable: PrivateMariaDB, tmp_path: Path
) -> None:
    db = MySql(breakable.url(USER, PASSWORD, "bars"))
    upgrade(db)
    url = db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)
    # One bar that waits is a load already, and REST is asked twice at most.
    options = msgspec.structs.replace(
        OPTIONS,
        bars=msgspec.structs.replace(OPTIONS.bars, batch_rows=1, patrol_first_s=3_600.0),
        continuity=ContinuitySettings(bar_grace_ms=1_000, bar_attempts=2),
    )
    async with live_in_loop("--generate", "7", "--start", "2026-11-15T12:30:45") as live:
        live.activity(trades_per_s=20)
        live.faults({"match": {"kind": "klines", "symbol": "ETHUSDT"}, "action": {"drop": True}})
        async with running(
            live, redis_databases(), tmp_path, channels=(Kind.KLINES,), options=options, mysql_url=url
        ) as run:
            await run.until(lambda: len(identities(run.redis, Kind.KLINES, "BTC/USDT")) > 0, "klines")

            def closed() -> int:
                return sum(identity.endswith(":1") for identity in identities(run.redis, Kind.KLINES, "BTC/USDT"))

            def waiting() -> int:
                status = run.status()
                return status.bars.spooled if status is not None and status.bars is not None else 0

            def at_ms() -> int:
                return status.at_ms if (status := run.status()) is not None else 0

            breakable.stop(kill=True)
            try:
                for minute in range(1, 5):
                    live.advance(60)
                    await run.until(lambda minute=minute: closed() >= minute, "a closed minute")
                await run.until(lambda: waiting() > 4, "bars on disk")
                since_ms = at_ms()
                # What is not answered is looked at once a second, and told at the third time.
                await run.until(lambda: at_ms() > since_ms + 5_000, "five looks")
                assert _bar_holes(run.redis) == []
            finally:
                breakable.start()

            def stored() -> list[tuple[Any, ...]]:
                return rows_of(db, "SELECT MINUTE(ts), source FROM ohlcv WHERE symbol = 'ETH/USDT:USDT' ORDER BY ts")

            await run.until(lambda: [row[0] for row in stored()] == [30, 31, 32, 33], "the bars that were not sent")
            await run.until(lambda: len(_bar_holes(run.redis)) > 0, "that they were stored")
            assert await run.stop() == 0
            assert {row[1] for row in stored()} == {Source.REST}
            assert {hole[:2] for hole in _bar_holes(run.redis)} == {("ETH/USDT:USDT", True)}
    db.close()
