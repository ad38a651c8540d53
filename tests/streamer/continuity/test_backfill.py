"""Missing trades brought back: against the replica's REST, and against answers of every kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gapless.domain.instrument import Market
from gapless.domain.live import Entry, GapEvent, GapReason, Kind
from gapless.errors import BadSymbol, ExchangeError, GaplessError, RateLimited, Unreachable
from gapless.exchanges.binance.live_rest import RestTrade, agg_trades
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.stream_rows import parse_stream
from gapless.exchanges.pacing import FileStore, Pacer, Pool
from streamer.continuity.backfill import TradeBackfill
from streamer.continuity.holes import Range
from streamer.continuity.line import Line
from streamer.continuity.settings import ContinuitySettings
from tests.fixtures.live import START, LiveReplica, live_in_loop

QUICK = {"patience_ms": 5, "tick_ms": 1, "first_pause_s": 0.001, "longest_pause_s": 0.01, "confirm_ms": 5}
Answering = Callable[..., Awaitable[Sequence[tuple[RestTrade, bytes]]]]


class Trade(NamedTuple):
    id: int
    event_ms: int
    received_ns: int
    payload: bytes


class Desk:
    """A backfill with one symbol, what came of it, and a way to wait for that."""

    def __init__(self, ask: Answering, market: Market, **changed: Any) -> None:
        self.out: list[Trade] = []
        self.told: list[GapEvent] = []
        self.changed = asyncio.Event()
        settings = ContinuitySettings(**{**QUICK, **changed})
        self.backfill = TradeBackfill(market, ask, Trade, settings, tell=self.tell)
        self.line: Line[Trade] = self.backfill.line(lambda trade: len(trade.payload))

    def tell(self, event: GapEvent) -> None:
        self.told.append(event)
        self.changed.set()

    def release(self, trades: Sequence[Trade]) -> None:
        self.out += trades
        self.changed.set()

    def track(self, **how: Any) -> None:
        self.backfill.track("BTC/USDT", "BTCUSDT", self.line, self.release, **how)

    def take(self, *ids: int) -> None:
        for id in ids:
            self.release(self.line.irregular(id, Trade(id, 1, 1, b"{}"), 0))
        if self.line.troubled:
            self.backfill.look_at("BTC/USDT")

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not done():
                self.changed.clear()
                await self.changed.wait()

    async def settled(self) -> None:
        await self.until(lambda: bool(self.told) and not self.line.troubled and len(self.told) >= 2)

    @property
    def ids(self) -> list[int]:
        return [trade.id for trade in self.out]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.backfill.run())
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def row(id: int, **changed: Any) -> tuple[RestTrade, bytes]:
    said = {"a": id, "p": "1.0", "q": "2", "f": id * 2, "l": id * 2 + 1, "T": 1_763_700_000_000, "m": True, **changed}
    return RestTrade(id, said["T"]), json.dumps(said).encode()


def scripted(*answers: GaplessError | list[int]) -> Answering:
    left = list(answers)

    async def ask(raw_symbol: str, first: int, limit: int) -> Sequence[tuple[RestTrade, bytes]]:
        answer = left.pop(0) if left else list(range(first, first + limit))
        if isinstance(answer, GaplessError):
            raise answer
        return [row(id) for id in answer][:limit]

    return ask


@pytest.fixture
async def live() -> AsyncIterator[LiveReplica]:
    async with live_in_loop("--generate", "7", "--start", START) as replica:
        yield replica


def client(live: LiveReplica, market: Market, home: Path) -> BinanceRest:
    pools = [Pool("REQUEST_WEIGHT", 6_000, 60_000, 0.8)]
    pacer = Pacer("a replica", pools, FileStore(home / "pace.json"), max_wait_s=5.0)
    return BinanceRest(market, live.rest, pacer, attempts=1)


@pytest.mark.parametrize("market", [Market.SPOT, Market.UM])
async def test_a_hole_is_brought_from_the_exchange_to_the_byte_and_the_archive_reads_it(
    live: LiveReplica, market: Market, tmp_path: Path
) -> None:
    live.activity(trades_per_s=50)
    async with client(live, market, tmp_path) as rest:
        await agg_trades(rest, "BTCUSDT", 0, 1)
        live.freeze()
        live.advance(60)
        newest = live.truth(str(market), "BTCUSDT")["last_trade_id"]
        desk = Desk(partial(agg_trades, rest), market)
        desk.track()
        async with desk.running():
            desk.take(newest - 1_500, newest - 5, newest)
            await desk.settled()
    assert desk.ids == list(range(newest - 1_500, newest + 1))
    assert [(event.count, event.repaired) for event in desk.told] == [(1_498, False), (1_498, True)]
    truth = {each["a"]: each for each in live.trades(str(market), "BTCUSDT", newest - 1_499, newest - 1)}
    brought = [trade for trade in desk.out if trade.payload != b"{}"]
    assert [json.loads(trade.payload) for trade in brought] == [truth[trade.id] for trade in brought]
    assert all(trade.event_ms == truth[trade.id]["T"] and trade.received_ns > 1 for trade in brought)
    entries = [
        Entry(Kind.TRADES, "binance", "BTC/USDT", "1-0", each.event_ms, each.received_ns, str(each.id), each.payload)
        for each in brought
    ]
    rows, refused = parse_stream("trades", "binance", entries, {"BTC/USDT": "BTCUSDT"})
    assert (rows.num_rows, refused) == (1_498, [])


async def test_while_the_exchange_is_away_it_is_asked_again_and_the_hole_is_brought_in_the_end(
    live: LiveReplica, tmp_path: Path
) -> None:
    live.activity(trades_per_s=50)
    async with client(live, Market.UM, tmp_path) as rest:
        await agg_trades(rest, "BTCUSDT", 0, 1)
        live.freeze()
        live.advance(10)
        newest = live.truth("um", "BTCUSDT")["last_trade_id"]
        desk = Desk(partial(agg_trades, rest), Market.UM, hold_ms=50)
        desk.track()
        live.cut_network(3_600)
        async with desk.running():
            desk.take(newest - 100, newest)
            await desk.until(lambda: newest in desk.ids)  # what follows did not wait
            live.cut_network(0)
            await desk.settled()
            await desk.until(lambda: desk.told[-1].repaired)
    assert sorted(desk.ids) == list(range(newest - 100, newest + 1))
    assert desk.backfill.state().lost == 0


async def test_trades_older_than_the_exchange_serves_are_lost(live: LiveReplica, tmp_path: Path) -> None:
    live.freeze()
    async with client(live, Market.UM, tmp_path) as rest:
        [(oldest, _)] = await agg_trades(rest, "BTCUSDT", 0, 1)
        desk = Desk(partial(agg_trades, rest), Market.UM, ids=10**12)
        desk.backfill._exchange_ms = rest.clock.now_ms
        desk.track()
        async with desk.running():
            desk.take(oldest.a - 50, oldest.a + 20)
            await desk.until(lambda: not desk.line.troubled and len(desk.told) >= 3)
    lost = desk.told[-1]
    assert (int(lost.first), int(lost.last), lost.repaired) == (oldest.a - 49, oldest.a - 1, False)
    assert desk.ids == [oldest.a - 50, *range(oldest.a, oldest.a + 21)]


async def test_a_symbol_that_is_gone_is_lost_at_once() -> None:
    desk = Desk(scripted(BadSymbol("no such symbol")), Market.UM)
    desk.track()
    async with desk.running():
        desk.take(1, 4)
        await desk.settled()
    assert desk.ids == [1, 4]
    assert desk.told[-1].detail == "no such symbol"


async def test_errors_that_pass_are_survived_and_refusals_only_so_often() -> None:
    passing = [Unreachable("away"), RateLimited("later", retry_after_s=0.001), GaplessError("the store of the budget")]
    desk = Desk(scripted(*passing, ExchangeError("no"), []), Market.UM)
    desk.track()
    async with desk.running():
        desk.take(1, 4)
        await desk.settled()
    assert desk.ids == [1, 2, 3, 4]
    assert desk.backfill.state().failures == 4
    refused = Desk(scripted(*[ExchangeError("code -1130")] * 9), Market.UM)
    refused.track()
    async with refused.running():
        refused.take(1, 4)
        await refused.settled()
    assert refused.ids == [1, 4]
    assert (refused.backfill.requests, refused.told[-1].detail) == (4, "code -1130")


async def test_spots_void_rows_are_no_trades_and_garbage_is_asked_for_again() -> None:
    answers = [[(RestTrade(2, 1), b'{"a":2,"f":"x"}')], [row(2), row(3, p="0", q="0", f=-1, l=-1), row(4)]]

    async def ask(raw_symbol: str, first: int, limit: int) -> Sequence[tuple[RestTrade, bytes]]:
        return answers.pop(0)

    desk = Desk(ask, Market.SPOT)
    desk.track()
    async with desk.running():
        desk.take(1, 4)
        await desk.settled()
        await desk.until(lambda: len(desk.told) == 3)
    assert desk.ids == [1, 2, 4]
    assert (desk.told[-1].first, desk.told[-1].count, desk.told[-1].repaired) == ("3", 0, True)


async def test_a_hole_over_a_restart_is_brought_and_told_as_such_and_what_was_left_open_too() -> None:
    desk = Desk(scripted(), Market.UM)
    now_ms = desk.backfill._now().exchange_ms
    desk.track(resume=(100, now_ms - 60_000), reopen=[Range(90, 92)])
    async with desk.running():
        desk.take(105)
        await desk.until(lambda: sum(event.repaired for event in desk.told) == 2)
    assert sorted(desk.ids) == [90, 91, 92, 101, 102, 103, 104, 105]
    assert {event.reason for event in desk.told if event.first == "101"} == {GapReason.STARTED}


async def test_a_restart_too_long_ago_is_told_as_lost() -> None:
    desk = Desk(scripted(), Market.UM, resume_minutes=1.0)
    desk.track(resume=(100, desk.backfill._now().exchange_ms - 61_000))
    async with desk.running():
        desk.take(105)
        await desk.settled()
    assert desk.ids == [105]
    assert "more than 1 minutes ago" in desk.told[-1].detail


async def test_a_symbol_let_go_while_it_is_asked_for_leaves_nothing_behind() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def ask(raw_symbol: str, first: int, limit: int) -> Sequence[tuple[RestTrade, bytes]]:
        asked.set()
        await answer.wait()
        return [row(id) for id in range(first, first + limit)]

    desk = Desk(ask, Market.UM)
    desk.track()
    desk.backfill.because("BTC/USDT", GapReason.RECONNECT)
    async with desk.running():
        desk.take(1, 4)
        await asked.wait()
        desk.backfill.close()
        answer.set()
        desk.track()
        desk.take(5, 7)
        await desk.until(lambda: desk.line.next_id == 8)
    assert desk.ids == [1, 4, 5, 6, 7]
    state = desk.backfill.state()
    assert (state.open_searches, state.waiting_bytes) == (0, 0)
    assert [(event.first, event.last, event.reason) for event in desk.told[:2]] == [
        ("2", "3", "hole"),
        ("2", "3", "stopped"),
    ]


async def test_no_more_requests_than_agreed_are_under_way_at_once() -> None:
    under_way, most = 0, 0

    async def ask(raw_symbol: str, first: int, limit: int) -> Sequence[tuple[RestTrade, bytes]]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return [row(id) for id in range(first, first + limit)]

    desk = Desk(ask, Market.UM, concurrency=3)
    lines = [desk.backfill.line(lambda trade: 1) for _ in range(30)]
    for number, line in enumerate(lines):
        desk.backfill.track(f"S{number}", f"S{number}", line, desk.release)
    async with desk.running():
        for number, line in enumerate(lines):
            for id in (1, 3):
                desk.release(line.irregular(id, Trade(id, 1, 1, b"{}"), 0))
            desk.backfill.look_at(f"S{number}")
        await desk.until(lambda: len(desk.out) == 90)
    assert most == 3
