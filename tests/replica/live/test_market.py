"""The generated live market: what its streams say hangs together, and the oracle knows it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from gapless.errors import ConfigError
from replica.bars import INTERVAL_MS
from replica.live.market import LiveMarket
from replica.live.messages import Activity, LiveMessage
from replica.live.payloads import book_hash
from replica.market import GeneratedMarket
from replica.query import KlineQuery
from replica.source import GeneratedSource
from replica.universe import default_universe

START_MS = parse_time("2026-11-15T12:00:30")
UNIVERSE = default_universe()
MARKET = GeneratedMarket("live")


class Scene:
    """A live market under a clock moved by hand."""

    def __init__(self, at_ms: int = START_MS, **activity: Any) -> None:
        self.now_ms = at_ms
        self.live = LiveMarket(MARKET, UNIVERSE, lambda: self.now_ms, Activity(**activity))

    def watch(self, market: Market, *streams: str) -> None:
        for stream in streams:
            assert self.live.knows(market, stream), stream
            self.live.watch(market, stream)

    def run(self, ms: int, step_ms: int = 1000) -> list[LiveMessage]:
        told, end_ms = [], self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + step_ms)
            told += self.live.advance(self.now_ms)
        return told

    def leap(self, ms: int) -> list[LiveMessage]:
        self.now_ms += ms
        return self.live.advance(self.now_ms)

    def snapshot(self, market: Market, symbol: str, limit: int = 5000) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.live.snapshot(market, symbol, limit))
        return answer


class Client:
    """A book kept by the exchange's own rules, as its pages tell them; any break of them fails."""

    def __init__(self, market: Market, snapshot: dict[str, Any]) -> None:
        self.um, self.id = market is Market.UM, snapshot["lastUpdateId"]
        self.sides = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
        self.fresh = True

    def apply(self, diff: dict[str, Any]) -> None:
        if diff["u"] < self.id or (not self.um and diff["u"] <= self.id):
            return
        if not self.fresh:
            assert (diff["pu"] if self.um else diff["U"] - 1) == self.id, (diff["U"], diff.get("pu"), self.id)
        elif self.um:
            assert diff["U"] <= self.id <= diff["u"] or diff["pu"] <= self.id < diff["U"]
        else:
            assert diff["U"] <= self.id + 1 <= diff["u"]
        self.fresh, self.id = False, diff["u"]
        for side, levels in self.sides.items():
            for price, quantity in diff[side]:
                if float(quantity):
                    levels[price] = quantity
                else:
                    levels.pop(price, None)

    def book(self) -> tuple[list[list[str]], list[list[str]]]:
        bids = sorted(self.sides["b"].items(), key=lambda level: -float(level[0]))
        asks = sorted(self.sides["a"].items(), key=lambda level: float(level[0]))
        return [list(level) for level in bids], [list(level) for level in asks]


def data(messages: Iterable[LiveMessage], kind: str) -> list[dict[str, Any]]:
    return [json.loads(message.data) for message in messages if message.kind == kind]


@settings(max_examples=25, deadline=None)
@given(
    market=st.sampled_from(Market),
    symbol=st.sampled_from(["BTCUSDT", "XRPUSDT", "币安人生USDT", "LINKUSDT"]),
    trades=st.sampled_from([0.0, 3.0, 40.0]),
    levels=st.integers(3, 80),
    stirred=st.integers(0, 30),
    steps=st.lists(st.integers(1, 900), min_size=4, max_size=12),
    asked=st.integers(0, 3),
    lag_ms=st.sampled_from([0, 150, 700]),
)
def test_diffs_applied_to_a_snapshot_by_the_exchanges_rules_are_the_truth(
    market: Market, symbol: str, trades: float, levels: int, stirred: int, steps: list[int], asked: int, lag_ms: int
) -> None:
    scene = Scene(trades_per_s=trades, levels=levels, diff_levels=stirred, snapshot_lag_ms=lag_ms)
    stream = f"{symbol.lower()}@depth@100ms"
    scene.watch(market, stream, f"{symbol.lower()}@bookTicker")
    told: list[LiveMessage] = scene.run(1000)
    client = None
    for number, step in enumerate(steps):
        if number == asked:
            client = Client(market, scene.snapshot(market, symbol))
        told += scene.run(step, step)
    assert client is not None
    for message in told:
        if message.kind != "depth":
            continue
        client.apply(json.loads(message.data))
        bids, asks = client.book()
        assert float(bids[0][0]) < float(asks[0][0]), "crossed"
        if client.id == message.last_id:
            then = scene.live.truth(market, symbol, client.id)
            assert (bids, asks) == (then["bids"], then["asks"])
            assert book_hash(bids, asks) == then["hash"]


@pytest.mark.parametrize("market", Market)
def test_a_book_ticker_is_the_top_of_the_book_after_its_update(market: Market) -> None:
    scene = Scene(trades_per_s=30)
    scene.watch(market, "ethusdt@bookTicker", "ethusdt@aggTrade", "ethusdt@depth@100ms")
    told = scene.run(4000)
    tickers = data(told, "book_ticker")
    assert len(tickers) > 100
    for ticker in tickers:
        truth = scene.live.truth(market, "ETHUSDT", ticker["u"])
        assert [ticker["b"], ticker["B"]] == truth["bids"][0]
        assert [ticker["a"], ticker["A"]] == truth["asks"][0]
    assert all(former["u"] < latter["u"] for former, latter in pairwise(tickers))


@pytest.mark.parametrize("market", Market)
def test_trades_take_place_at_the_top_of_the_book(market: Market) -> None:
    scene = Scene(trades_per_s=30)
    scene.watch(market, "ethusdt@bookTicker", "ethusdt@aggTrade", "ethusdt@depth@100ms")
    told = scene.run(4000)
    checked = 0
    for at, message in enumerate(told[:-1]):
        after = told[at + 1]
        if message.kind == "trades" and after.kind == "book_ticker" and after.event_ms == message.event_ms:
            trade, ticker = json.loads(message.data), json.loads(after.data)
            assert trade["p"] == ticker["b" if trade["m"] else "a"]
            checked += 1
    assert checked > 90


@pytest.mark.parametrize("market", Market)
def test_trade_ids_are_contiguous_through_changes_of_pace_and_leaps_of_the_clock(market: Market) -> None:
    scene = Scene(trades_per_s=20)
    scene.watch(market, "btcusdt@aggTrade", "btcusdt@trade")
    told = scene.run(2000, 7)
    scene.live.activity({"trades_per_s": 0}, symbols=["BTCUSDT"])
    assert not [message for message in scene.run(3000) if message.kind == "trades"]
    scene.live.activity({"trades_per_s": 200.0}, market=market)
    told += scene.run(500, 3)
    told += scene.leap(3_600_000) + scene.run(1000)
    told += scene.leap(-7_200_000) + scene.run(1000)
    ids = [trade["a"] for trade in data(told, "trades")]
    assert len(ids) > 400
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    fills = [fill["t"] for fill in data(told, "fills")]
    assert fills == list(range(fills[0], fills[0] + len(fills)))
    aggregates = data(told, "trades")
    assert [trade["f"] for trade in aggregates] == fills[::2]
    assert [trade["l"] for trade in aggregates] == fills[1::2]
    truth = scene.live.truth(market, "BTCUSDT")
    assert truth["last_trade_id"] == ids[-1]
    assert truth["first_trade_id"] == ids[0]


def test_messages_come_in_the_order_of_their_time() -> None:
    scene = Scene(trades_per_s=15)
    for symbol in ("btcusdt", "ethusdt", "xrpusdt"):
        for topic in ("aggTrade", "depth@100ms", "bookTicker", "markPrice@1s", "kline_1m"):
            scene.watch(Market.UM, f"{symbol}@{topic}")
    scene.watch(Market.SPOT, "btcusdt@depth", "btcusdt@depth5", "btcusdt@kline_5m")
    told = scene.run(65_000, 977)
    times = [message.event_ms for message in told]
    assert times == sorted(times)
    assert {message.kind for message in told} == {"trades", "depth", "partial", "book_ticker", "mark_price", "klines"}


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("interval", ["1m", "5m"])
def test_closed_bars_are_those_of_rest(market: Market, interval: str) -> None:
    scene = Scene(parse_time("2026-11-15T12:03:58"))
    symbols = ("BTCUSDT", "币安人生USDT", "LINKUSDT", "NOVAUSDT")
    for symbol in symbols:
        scene.watch(market, f"{symbol.lower()}@kline_{interval}")
    told = scene.run(30_000)
    told += scene.leap(600_000) + scene.run(4_000)
    step, source = INTERVAL_MS[interval], GeneratedSource(MARKET, UNIVERSE)
    for symbol in symbols:
        bars = [each for each in data(told, "klines") if each["s"] == symbol]
        closed = {bar["k"]["t"]: bar["k"] for bar in bars if bar["k"]["x"]}
        first_ms = START_MS // step * step + (180_000 if interval == "1m" else 0)
        query = KlineQuery(market, symbol, interval, step, first_ms, scene.now_ms - step, 1000)
        rows = {row[0]: row for row in map(json.loads, source.rows(query, scene.now_ms))}
        silent = {at for at, row in rows.items() if not row[8]} if market is Market.UM else set()
        assert set(closed) == set(rows) - silent
        assert len(closed) >= 2
        for at, k in closed.items():
            told_row = [k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"], k["B"]]
            assert told_row == rows[at]


def test_a_perpetuals_bar_without_a_trade_closes_on_rest_alone() -> None:
    nova = next(each for each in UNIVERSE if each.market is Market.UM and each.raw_symbol == "NOVAUSDT")
    day = MARKET.bars(nova, 60_000, parse_time("2026-11-14"), parse_time("2026-11-15"))
    quiet_ms = int(day.open_ms[day.trades == 0][3])
    scene = Scene(quiet_ms - 5_000)
    scene.watch(Market.UM, "novausdt@kline_1m")
    opens = {bar["k"]["t"] for bar in data(scene.run(70_000), "klines") if bar["k"]["x"]}
    assert opens == {quiet_ms - 60_000}


def test_what_stands_still_says_nothing_and_a_moved_clock_makes_things_happen() -> None:
    scene = Scene()
    scene.watch(Market.UM, "btcusdt@aggTrade", "btcusdt@depth@100ms", "btcusdt@markPrice@1s")
    scene.live.advance(scene.now_ms)
    assert scene.live.advance(scene.now_ms) == []
    assert {message.kind for message in scene.run(3000)} == {"trades", "depth", "mark_price"}


def test_a_replica_started_again_goes_on_above_its_ids() -> None:
    first = Scene(trades_per_s=5)
    first.watch(Market.UM, "btcusdt@aggTrade", "btcusdt@depth@100ms")
    before = first.run(20_000)
    again = Scene(first.now_ms, trades_per_s=5)
    again.watch(Market.UM, "btcusdt@aggTrade", "btcusdt@depth@100ms")
    after = again.run(1000)
    for kind in ("trades", "depth"):
        last = max(message.last_id for message in before if message.kind == kind)
        assert all(message.first_id > last for message in after if message.kind == kind)


def test_a_listener_who_comes_back_soon_finds_the_chain_unbroken_and_later_a_break() -> None:
    scene = Scene(trades_per_s=0)
    stream = "btcusdt@depth@100ms"
    for away_ms, continuous in ((3_000, True), (40_000, False)):
        scene.watch(Market.SPOT, stream)
        last = scene.run(1000)[-1].last_id
        scene.live.unwatch(Market.SPOT, stream)
        assert scene.run(away_ms) == []
        scene.watch(Market.SPOT, stream)
        later = scene.run(1000)
        assert scene.live.truth(Market.SPOT, "BTCUSDT")["update_id"] == later[-1].last_id
        assert later[0].first_id > last + 1
        # The ids of the time away were given by a book that went on, or skipped by one that slept.
        assert (later[0].first_id - last < 3 * away_ms) is continuous
        scene.live.unwatch(Market.SPOT, stream)


def test_liquidations_come_a_second_apart_and_all_of_them_in_one_stream() -> None:
    scene = Scene(liquidations_per_min=240)
    scene.watch(Market.UM, "!forceOrder@arr", "btcusdt@forceOrder")
    told = scene.run(20_000)
    own = [json.loads(message.data)["o"] for message in told if message.stream == "btcusdt@forceOrder"]
    everyone = [json.loads(message.data)["o"] for message in told if message.stream == "!forceOrder@arr"]
    times = [order["T"] for order in own]
    assert len(times) >= 15
    assert all(latter - former >= 1000 for former, latter in pairwise(times))
    assert [order for order in everyone if order["s"] == "BTCUSDT"] == own
    assert len({order["s"] for order in everyone}) == 11


def test_all_mark_prices_come_in_one_array_and_stand_by_the_price() -> None:
    scene = Scene()
    scene.watch(Market.UM, "!markPrice@arr@1s", "btcusdt@markPrice", "btcusdt@aggTrade")
    told = scene.run(6_000)
    arrays = [json.loads(message.data) for message in told if message.stream == "!markPrice@arr@1s"]
    assert [len(array) for array in arrays] == [11] * 6
    alone = [json.loads(message.data) for message in told if message.stream == "btcusdt@markPrice"]
    assert len(alone) == 2
    assert all(any(each == mark for array in arrays for each in array) for mark in alone)
    price = float(data(told, "trades")[-1]["p"])
    assert abs(float(alone[-1]["p"]) / price - 1) < 0.001
    assert alone[-1]["T"] == parse_time("2026-11-15T16:00")


@pytest.mark.parametrize(
    ("market", "stream"),
    [
        (Market.SPOT, "btcusdt@markPrice"), (Market.SPOT, "btcusdt@depth@500ms"), (Market.SPOT, "BTCUSDT@aggTrade"),
        (Market.SPOT, "wavesusdt@aggTrade"), (Market.SPOT, "btcusdt@kline_7m"), (Market.SPOT, "nosuch@trade"),
        (Market.UM, "btcusdt@depth7"), (Market.UM, "btcusdt@fundingRate"), (Market.UM, "!bookTicker@arr"),
        (Market.UM, "btcusdt"), (Market.UM, "@depth"), (Market.UM, ""),
    ],
)  # fmt: skip
def test_streams_that_are_not_there_stay_silent(market: Market, stream: str) -> None:
    scene = Scene()
    assert not scene.live.knows(market, stream)
    scene.live.watch(market, stream)
    assert scene.run(5000) == []
    scene.live.unwatch(market, stream)


def test_a_settled_perpetual_is_known_and_does_not_trade() -> None:
    scene = Scene()
    scene.watch(Market.UM, "omgusdt@aggTrade", "omgusdt@markPrice@1s", "omgusdt@kline_1m", "omgusdt@forceOrder")
    assert scene.run(90_000) == []


def test_nothing_trades_in_a_halt_and_ids_go_on_after_it() -> None:
    day = START_MS // 86_400_000
    halt = next(found for back in range(400) if (found := MARKET.halt(Market.SPOT, day - back)) is not None)
    scene = Scene(halt.start_ms - 3000)
    scene.watch(Market.SPOT, "btcusdt@aggTrade", "btcusdt@kline_1m")
    told = scene.run(halt.end_ms - halt.start_ms + 6000, 30_000)
    trades = data(told, "trades")
    assert not [trade for trade in trades if halt.start_ms <= trade["T"] < halt.end_ms]
    assert [trade["a"] for trade in trades] == list(range(trades[0]["a"], trades[0]["a"] + len(trades)))
    assert trades[-1]["T"] > halt.end_ms
    assert not [bar for bar in data(told, "klines") if halt.start_ms <= bar["k"]["t"] < halt.end_ms]


def test_wrong_activity_is_refused_with_its_field() -> None:
    scene = Scene()
    for changes in ({"trades_per_s": -1}, {"tardes_per_s": 1}, {"levels": "many"}, {"diff_ms": 10**9}):
        with pytest.raises(ConfigError, match="activity"):
            scene.live.activity(changes)
    with pytest.raises(ConfigError, match="NOSUCH"):
        scene.live.activity({"levels": 5}, symbols=["NOSUCH"])


def test_the_oracle_says_what_it_does_not_know() -> None:
    scene = Scene()
    now = scene.live.truth(Market.UM, "BTCUSDT")["update_id"]
    for wrong in (0, now + 1):
        with pytest.raises(ConfigError, match="known are"):
            scene.live.truth(Market.UM, "BTCUSDT", wrong)
    with pytest.raises(ConfigError, match="NOSUCH"):
        scene.live.truth(Market.UM, "NOSUCH")
