"""Bars by REST, against the replica: what the stream never sent is confirmed, what MySQL lacks is brought."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.schema import Source
from gapless.errors import StorageError
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.rest import BinanceRest
from gapless.storage.mysql import MySql
from gapless.storage.mysql.faults import RetryPolicy
from streamer.bars.asking import ask_bars
from streamer.bars.confirming import Confirmer
from streamer.bars.patrol import Patrol, Patrolled
from streamer.bars.settings import BarSettings
from streamer.bars.sink import BarSink
from streamer.continuity.bars import Wanted
from tests.fixtures.live import LiveReplica, live_in_loop
from tests.streamer.bars.making import QUICK, Told, at_work, minutes, rows_of, sink_of, until

REST = int(Source.REST)
STARTS = ("--generate", "7", "--start", "2026-11-15T12:30:30")


@dataclass
class House:
    """A replica whose clock stands still, clients of both its markets, and a sink at work."""

    live: LiveReplica
    rests: dict[Market, BinanceRest]
    sink: BarSink
    db: MySql
    told: Told
    listed: dict[str, Instrument] = field(default_factory=dict)

    def patrol(self, *symbols: str, intervals: tuple[str, ...] = ("1m",), **changed: Any) -> Patrol:
        settings: BarSettings = msgspec.structs.replace(
            QUICK, patrol_window_s=600.0, patrol_longest_s=900.0, patrol_grace_s=20.0, **changed
        )
        made = Patrol(
            self.sink, self.db, self.rests, settings, [Interval(each) for each in intervals], say=self.told.said.append
        )
        made.follow([self.listed[symbol] for symbol in symbols])
        return made

    async def stored(self) -> list[tuple[Any, ...]]:
        assert await self.sink.drain(10)
        return minutes(self.db)


@pytest.fixture
async def house(mariadb_database: MySql, tmp_path: Path) -> AsyncIterator[House]:
    told = Told()
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(live_in_loop(*STARTS))
        live.freeze()
        rests = {}
        for market in Market:
            rest = connect(market, live.rest, control_url=None, var_dir=tmp_path, budget_share=0.8, max_wait_s=2)
            rests[market] = await stack.enter_async_context(rest)
        sink = await stack.enter_async_context(at_work(sink_of(mariadb_database, tmp_path / "spool", told)))
        made = House(live, rests, sink, mariadb_database, told)
        for rest in rests.values():
            made.listed |= {each.symbol: each for each in (await rest.instruments()).instruments}
        yield made


def minute(hour: int, number: int) -> int:
    return 1_794_700_800_000 + (hour * 60 + number) * 60_000  # 2026-11-15


async def test_rest_says_which_bars_there_are_and_the_open_one_is_none_of_them(house: House) -> None:
    opens = [minute(12, number) for number in (10, 11, 20, 29, 30, 31)]
    answer = await ask_bars(house.rests[Market.UM], house.listed["BTC/USDT:USDT"], Interval.M1, opens)
    assert sorted(answer.trades) == opens[:4]  # 12:30 is open still
    assert [item.open_ms for item in answer.items] == opens[:4]
    assert all(count for count in answer.trades.values())
    assert {item.source for item in answer.items} == {REST}


async def test_wanted_bars_are_stored_and_then_confirmed(house: House) -> None:
    confirmed: list[tuple[Market, str, Interval, Mapping[int, int | None]]] = []

    def on_confirmed(market: Market, symbol: str, interval: Interval, trades: Mapping[int, int | None]) -> None:
        confirmed.append((market, symbol, interval, trades))

    made = Confirmer(house.sink.save, house.rests, QUICK, on_confirmed)
    made.follow([house.listed["BTC/USDT"]])
    task = asyncio.create_task(made.run())
    try:
        wanted = Wanted("BTC/USDT", Interval.M1, (minute(12, 20), minute(12, 22)))
        made.want(Market.SPOT, [wanted, Wanted("BTC/USDT", Interval.M1, (minute(12, 23),))])
        made.want(Market.SPOT, [Wanted("GONE/USDT", Interval.M1, (minute(12, 20),))])
        await until(lambda: confirmed)
        assert [row[2:] for row in await house.stored()] == [(20, REST), (22, REST), (23, REST)]
        [(market, symbol, interval, trades)] = confirmed
        assert (market, symbol, interval) == (Market.SPOT, "BTC/USDT", Interval.M1)
        assert sorted(trades) == [minute(12, 20), minute(12, 22), minute(12, 23)]
        assert house.live.stats()["spot"]["requests"]["klines"] == 1
        assert made.brought == 3
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_refusal_confirms_nothing_and_the_next_wish_is_answered(house: House) -> None:
    confirmed: list[str] = []
    made = Confirmer(
        house.sink.save, house.rests, QUICK, lambda market, symbol, interval, trades: confirmed.append(symbol)
    )
    made.follow([house.listed["BTC/USDT:USDT"]])
    task = asyncio.create_task(made.run())
    wanted = Wanted("BTC/USDT:USDT", Interval.M1, (minute(12, 20),))
    try:
        house.live.rest_faults({"match": {"path": "*/klines"}, "action": {"error": {"code": -1100, "status": 400}}})
        made.want(Market.UM, [wanted])
        await until(lambda: made.failed == 1)
        assert confirmed == []
        house.live.rest_faults()
        made.want(Market.UM, [wanted])
        await until(lambda: confirmed)
        assert len(await house.stored()) == 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_series_beyond_the_bound_are_counted_and_those_that_wait_take_more_bars(
    mariadb_database: MySql, tmp_path: Path
) -> None:
    made = Confirmer(
        sink_of(mariadb_database, tmp_path).save,
        {},
        msgspec.structs.replace(QUICK, waiting_series=1),
        lambda *said: None,
    )
    made.want(
        Market.UM, [Wanted("A", Interval.M1, (1,)), Wanted("B", Interval.M1, (1,)), Wanted("A", Interval.M1, (2,))]
    )
    assert made.beyond == 1


async def test_the_patrol_brings_what_mysql_lacks_and_nothing_twice(house: House) -> None:
    patrol = house.patrol("BTC/USDT", "BTC/USDT:USDT", intervals=("1m", "5m"))
    first = await patrol.look()
    # From a quarter of an hour before on, the first time; 12:30:10 is the end, what ended later is on its way.
    assert first == Patrolled(lacking=2 * (15 + 3), brought=2 * (15 + 3))
    rows = await house.stored()
    assert {row[3] for row in rows} == {REST}
    assert [row[2] for row in rows if row[:2] == ("BTC/USDT", "1m")] == list(range(15, 30))
    assert [row[2] for row in rows if row[:2] == ("BTC/USDT:USDT", "5m")] == [15, 20, 25]
    assert await patrol.look() == Patrolled()
    house.db.run("a hole", lambda c: c.exec_driver_sql("DELETE FROM ohlcv WHERE MINUTE(ts) = 25 AND `interval` = '1m'"))
    assert await patrol.look() == Patrolled(lacking=2, brought=2)
    assert await house.stored() == rows
    assert patrol.brought == 38
    assert house.told.said[-1].startswith("patrol of um bars: 1 were lacking in MySQL, 1 brought from REST")


async def test_bars_are_the_exchanges_own(house: House) -> None:
    await house.patrol("BTC/USDT:USDT").look()
    await house.stored()
    body = await house.rests[Market.UM].klines("BTCUSDT", "1m", minute(12, 20), minute(12, 20), 1)
    [theirs] = msgspec.json.decode(body)
    ours = rows_of(house.db, "SELECT open, high, low, close, volume, trades FROM ohlcv WHERE MINUTE(ts) = 20")
    assert ours == [(*(Decimal(theirs[place]) for place in (1, 2, 3, 4, 5)), theirs[8])]


async def test_a_bar_that_the_exchange_has_not_is_asked_for_twice_and_no_more(house: House) -> None:
    house.live.rest_faults({"match": {"path": "*/klines"}, "action": {"drop_rows": list(range(15))}})
    patrol = house.patrol("BTC/USDT:USDT")
    assert await patrol.look() == Patrolled(lacking=15, absent=15)
    assert (await patrol.look()).absent == 10
    assert (await patrol.look()).lacking == 0
    assert await house.stored() == []


async def test_after_searches_that_failed_the_next_one_looks_as_far_as_needed(house: House) -> None:
    patrol = house.patrol("BTC/USDT:USDT")
    assert (await patrol.look()).brought == 15
    rows = await house.stored()
    house.live.rest_faults({"match": {"path": "*/klines"}, "action": {"error": {"code": -1100, "status": 400}}})
    house.live.advance(240)
    await house.rests[Market.UM].server_time()
    assert (await patrol.look()).failed == 1
    house.live.advance(480)
    await house.rests[Market.UM].server_time()
    house.live.rest_faults()
    assert (await patrol.look()) == Patrolled(lacking=12, brought=12)  # 12 minutes, though the usual look is 10
    assert len(await house.stored()) == len(rows) + 12


async def test_while_mysql_is_away_there_is_no_patrol_and_nothing_breaks(house: House) -> None:
    away = MySql("mysql://u:p@127.0.0.1:9/none", retry=RetryPolicy(total_s=0), statement_timeout_s=1)
    house.db = away
    patrol = house.patrol("BTC/USDT:USDT")
    assert await patrol.look() == Patrolled()
    assert "did not come through, the next one looks further" in house.told.said[-1]
    with pytest.raises(StorageError):
        away.run("looking", lambda connection: None)
    away.close()
