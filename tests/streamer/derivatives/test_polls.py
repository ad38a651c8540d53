"""Open interest: the newest by polls, its history as the exchange has it; against the replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Instrument, Market
from gapless.domain.window import Window
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import fetch_metrics
from gapless.storage.mysql import Draft, MySql, Scope, load_rows, read_rows
from streamer.bars.thread import OneThread
from streamer.derivatives.history import MetricsHistory
from streamer.derivatives.open_interest import OpenInterestPoll, open_interest_key
from streamer.derivatives.settings import DerivativeSettings
from tests.fixtures.live import LiveReplica, live_in_loop
from tests.streamer.bars.making import until

UM = ("BTC/USDT:USDT", "ETH/USDT:USDT")
STEP_MS = 300_000


@dataclass
class Exchange:
    """A replica whose clock stands still, and a client."""

    live: LiveReplica
    rest: BinanceRest
    listed: list[Instrument]
    kept: dict[str, tuple[dict[str, object], int]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def rests(self) -> dict[Market, BinanceRest]:
        return {Market.UM: self.rest}

    def keep(self, key: str, value: bytes, expires_ms: int) -> None:
        self.kept[key] = (msgspec.json.decode(value), expires_ms)

    def poll(self, **changed: float) -> OpenInterestPoll:
        made = OpenInterestPoll(self.rests, DerivativeSettings(**changed), self.keep, say=self.said.append)  # type: ignore[arg-type]
        made.follow(self.listed)
        return made


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Exchange]:
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(live_in_loop("--generate", "7", "--start", "2026-11-15T12:32:00"))
        live.freeze()
        rest = await stack.enter_async_context(
            connect(Market.UM, live.rest, control_url=None, var_dir=tmp_path, budget_share=0.8, max_wait_s=0.5)
        )
        listed = [each for each in (await rest.instruments()).instruments if each.symbol in UM]
        yield Exchange(live, rest, listed)


async def test_the_newest_open_interest_of_each_symbol_is_kept_until_two_polls_are_missed(exchange: Exchange) -> None:
    poll = exchange.poll()
    await poll.sweep(exchange.rest, exchange.rest.clock.now_ms() + 150)
    assert set(exchange.kept) == {open_interest_key(symbol) for symbol in UM}
    value, expires_ms = exchange.kept["last.open_interest.binance.BTC/USDT:USDT"]
    assert expires_ms == 660_000
    assert value["state"] == "live"
    data = value["data"]
    assert isinstance(data, dict)
    assert data["symbol"] == "BTCUSDT"
    assert float(data["openInterest"]) > 0
    assert value["event_ms"] == data["time"] <= exchange.rest.clock.now_ms() + 1_000
    assert (poll.asked, poll.skipped) == (2, 0)


async def test_what_does_not_come_in_its_period_is_left_out_and_counted(exchange: Exchange) -> None:
    exchange.live.rest_faults({"match": {"path": "*/openInterest", "symbol": "BTCUSDT"}, "action": {"hang": 5}})
    poll = exchange.poll(poll_share=0.1)
    await poll.sweep(exchange.rest, exchange.rest.clock.now_ms() + 200)
    assert poll.asked + poll.skipped == 2
    assert poll.skipped >= 1
    assert open_interest_key("BTC/USDT:USDT") not in exchange.kept
    exchange.live.rest_faults({"match": {"path": "*/openInterest"}, "action": {"error": {"code": -1100}}})
    await poll.sweep(exchange.rest, exchange.rest.clock.now_ms() + 100)
    assert poll.skipped >= 3
    assert len(exchange.said) == 1


async def test_polls_are_aligned_on_the_exchanges_clock(exchange: Exchange) -> None:
    poll = exchange.poll(poll_s=0.2, poll_share=0.5)
    task = asyncio.create_task(poll.run())
    try:
        await until(lambda: poll.asked >= 6)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    requests = exchange.live.stats()["um"]["requests"]["openInterest"]
    assert requests >= 6


async def test_without_perpetuals_nothing_is_asked(exchange: Exchange) -> None:
    poll = exchange.poll()
    poll.follow([])
    task = asyncio.create_task(poll.run())
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "openInterest" not in exchange.live.stats()["um"]["requests"]


# ---- history ---------------------------------------------------------------------------------------------------------


async def test_history_is_the_exchanges_own_and_what_comes_after_it_finds_nothing_to_restate(
    exchange: Exchange, mariadb_database: MySql
) -> None:
    db, thread = mariadb_database, OneThread("a test")
    made = MetricsHistory(
        db, thread, exchange.rests, DerivativeSettings(history_window_s=3_600.0), shard="0-1", say=exchange.said.append
    )
    bitcoin = next(each for each in exchange.listed if each.symbol == UM[0])
    now_ms = exchange.rest.clock.now_ms()
    end_ms = (now_ms - 900_000) // STEP_MS * STEP_MS
    window = Window(end_ms - 3_600_000, end_ms)
    assert await made.bring(exchange.rest, [bitcoin]) == 12
    stored = read_rows(db, Dataset.METRICS, "binance", [UM[0]], window)
    truth = await fetch_metrics(exchange.rest, bitcoin.raw_symbol, UM[0], window)
    assert stored.equals(truth.rows)
    assert stored["top_account_ratio"].null_count == 0
    requests = exchange.live.stats()["um"]["requests"]["openInterestHist"]
    assert await made.bring(exchange.rest, [bitcoin]) == 0  # nothing is lacking: nothing is asked
    assert exchange.live.stats()["um"]["requests"]["openInterestHist"] == requests
    draft = Draft("0" * 16, "binance", Market.UM, window, Scope.of([(UM[0], "")]), True, "0" * 64, "futures_metrics")
    outcome = load_rows(db, SHAPES[Dataset.METRICS], truth.rows, draft)
    assert (outcome.counts.unchanged, outcome.counts.restated) == (12, 0)
    assert made.brought == 12
    thread.close()


async def test_only_what_is_lacking_is_stored_and_errors_leave_it_to_the_next_hour(
    exchange: Exchange, mariadb_database: MySql
) -> None:
    db, thread = mariadb_database, OneThread("a test")
    settings = DerivativeSettings(history_window_s=3_600.0, history_s=0.01)
    made = MetricsHistory(db, thread, exchange.rests, settings, shard="0-1", say=exchange.said.append)
    exchange.live.rest_faults({"match": {"path": "*/openInterestHist"}, "action": {"error": {"code": -1100}}})
    made.follow(exchange.listed)
    task = asyncio.create_task(made.run())
    try:
        await until(lambda: made.skipped >= 2)
        assert made.brought == 0
        exchange.live.rest_faults()
        await until(lambda: made.brought == 24)
        with db.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM futures_metrics WHERE MINUTE(ts) IN (0, 20)")
        await until(lambda: made.brought == 28)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        thread.close()
    assert len(exchange.said) == 1
    assert "is left to the next hour" in exchange.said[0]
