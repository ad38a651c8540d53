"""REST beside the streams, asked as the exchange is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import MultiDict

from gapless.domain.instrument import Market
from gapless.domain.window import parse_time
from replica.clock import ReplicaClock
from replica.exchange import Call, Exchange
from replica.live.market import LiveMarket
from replica.market import GeneratedMarket
from replica.source import GeneratedSource
from replica.universe import default_universe
from tests.replica.live.test_market import Client

HOUR_MS = 3_600_000


class Desk:
    """An exchange whose clock stands still unless moved."""

    def __init__(self, at: str = "2026-11-15T12:00:30") -> None:
        self.clock = ReplicaClock(parse_time(at), speed=0)
        self.exchange = Exchange(GeneratedSource(GeneratedMarket("rest"), default_universe()), self.clock)
        live = self.exchange.live
        assert isinstance(live, LiveMarket)
        self.live = live

    def get(self, path: str, **params: Any) -> Any:
        answer = self.exchange.answer(Call(path, MultiDict({k: str(v) for k, v in params.items()}), "1"))
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def code(self, path: str, **params: Any) -> int:
        answer = self.exchange.answer(Call(path, MultiDict({k: str(v) for k, v in params.items()}), "1"))
        assert answer.status == 400
        return int(json.loads(answer.body)["code"])

    def weight(self, path: str, **params: Any) -> int:
        def used() -> int:
            market = Market.SPOT if path.startswith("/api") else Market.UM
            return self.exchange.stats.markets[market].weight

        before = used()
        self.exchange.answer(Call(path, MultiDict({k: str(v) for k, v in params.items()}), "1"))
        return used() - before


PATHS = {Market.SPOT: "/api/v3", Market.UM: "/fapi/v1"}


@pytest.mark.parametrize("market", Market)
@pytest.mark.parametrize("lag_ms", [0, 400])
def test_a_snapshot_fits_the_diffs_however_late_it_is(market: Market, lag_ms: int) -> None:
    desk = Desk()
    desk.live.activity({"snapshot_lag_ms": lag_ms}, symbols=["BTCUSDT"])
    desk.live.watch(market, "btcusdt@depth@100ms")
    told = []
    for _ in range(10):
        desk.clock.advance(130)
        told += desk.live.advance(desk.clock.now_ms())
    answer = desk.get(f"{PATHS[market]}/depth", symbol="BTCUSDT", limit=1000)
    assert list(answer) == ["lastUpdateId", *(["E", "T"] if market is Market.UM else []), "bids", "asks"]
    newest = desk.live.truth(market, "BTCUSDT")["update_id"]
    assert (answer["lastUpdateId"] < newest) is bool(lag_ms)
    desk.clock.advance(500)
    told += desk.live.advance(desk.clock.now_ms())
    client = Client(market, answer)
    for message in told:
        client.apply(json.loads(message.data))
    truth = desk.live.truth(market, "BTCUSDT", client.id)
    assert client.book() == (truth["bids"], truth["asks"])


def test_a_snapshot_of_what_nobody_watches_starts_its_book() -> None:
    desk = Desk()
    first = desk.get("/api/v3/depth", symbol="ETHUSDT")
    assert len(first["bids"]) == len(first["asks"]) == 100
    desk.clock.advance(5000)
    assert desk.live.advance(desk.clock.now_ms()) == []
    later = desk.get("/api/v3/depth", symbol="ETHUSDT", limit=5000)
    assert 0 < later["lastUpdateId"] - first["lastUpdateId"] < 5000
    assert len(later["bids"]) > 300


@pytest.mark.parametrize("market", Market)
def test_trades_are_paged_by_id_without_a_hole_and_equal_the_streams(market: Market) -> None:
    desk = Desk()
    desk.live.activity({"trades_per_s": 50})
    desk.live.watch(market, "btcusdt@aggTrade")
    told = []
    for _ in range(30):
        desk.clock.advance(1000)
        told += [json.loads(message.data) for message in desk.live.advance(desk.clock.now_ms())]
    path = f"{PATHS[market]}/aggTrades"
    rows: list[dict[str, Any]] = []
    while len(page := desk.get(path, symbol="BTCUSDT", fromId=rows[-1]["a"] + 1 if rows else told[0]["a"], limit=400)):
        rows += page
    plain = [{name: value for name, value in trade.items() if name not in ("e", "E", "s", "st")} for trade in told]
    order = "a p q nq f l T m" if market is Market.UM else "a p q f l T m M"
    assert rows == plain
    assert {" ".join(row) for row in rows} == {order}
    assert rows == desk.live.trades_between(market, "BTCUSDT", rows[0]["a"], rows[-1]["a"] + 999)
    assert desk.get(path, symbol="BTCUSDT", limit=7) == rows[-7:]
    start, end = rows[100]["T"], rows[200]["T"]
    between = [row for row in rows if start <= row["T"] <= end]
    assert desk.get(path, symbol="BTCUSDT", startTime=start, endTime=end) == between
    assert desk.get(path, symbol="BTCUSDT", startTime=start, endTime=end, limit=5) == between[:5]
    assert desk.get(path, symbol="BTCUSDT", endTime=end, limit=5) == between[-5:]
    assert desk.get(path, symbol="BTCUSDT", startTime=rows[-1]["T"] + 1) == []
    assert desk.get(path, symbol="BTCUSDT", fromId=rows[-1]["a"] + 1) == []
    before = desk.get(path, symbol="BTCUSDT", fromId=rows[0]["a"] - 3, limit=5)
    assert [row["a"] for row in before] == list(range(rows[0]["a"] - 3, rows[0]["a"] + 2))
    assert before[3:] == rows[:2]


def test_perpetuals_trades_are_kept_for_48_hours() -> None:
    desk = Desk()
    newest = desk.get("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1)[0]
    edge_ms = desk.clock.now_ms() - 48 * HOUR_MS
    page = desk.get("/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=1, limit=3)
    assert edge_ms <= page[0]["T"] < edge_ms + 400
    assert page[0]["a"] < newest["a"]
    kept = desk.get("/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=page[1]["a"], limit=1)
    assert kept == page[1:2]
    desk.clock.advance(1000)
    assert desk.get("/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=page[1]["a"], limit=1)[0]["a"] > page[1]["a"]
    old_ms = edge_ms - HOUR_MS
    assert desk.get("/fapi/v1/aggTrades", symbol="BTCUSDT", startTime=old_ms, endTime=old_ms + 60_000) == []
    assert desk.get("/api/v3/aggTrades", symbol="BTCUSDT", startTime=old_ms, limit=1)[0]["T"] - old_ms < 400


def test_open_interest_is_that_of_its_history() -> None:
    desk = Desk()
    now = desk.get("/fapi/v1/openInterest", symbol="BTCUSDT")
    assert list(now) == ["openInterest", "symbol", "time"]
    assert now["time"] == desk.clock.now_ms()
    desk.clock.advance(300_000)
    last = desk.get("/futures/data/openInterestHist", symbol="BTCUSDT", period="5m", limit=1)[0]
    assert float(last["sumOpenInterest"]) == float(now["openInterest"])


def test_tickers_tell_one_or_all_that_trade() -> None:
    desk = Desk()
    day = desk.get("/fapi/v1/ticker/24hr")
    assert {each["symbol"] for each in day} == {each["symbol"] for each in desk.get("/fapi/v1/premiumIndex")}
    assert "OMGUSDT" not in {each["symbol"] for each in day}
    volumes = {each["symbol"]: float(each["quoteVolume"]) for each in day}
    assert max(volumes, key=lambda symbol: volumes[symbol]) == "BTCUSDT"
    assert [each["symbol"] for each in desk.get("/api/v3/ticker/24hr", symbols='["BTCUSDT","ETHUSDT"]')] == [
        "BTCUSDT", "ETHUSDT",
    ]  # fmt: skip
    assert "bidPrice" not in desk.get("/api/v3/ticker/24hr", symbol="BTCUSDT", type="MINI")
    for market, path in PATHS.items():
        book = desk.get(f"{path}/depth", symbol="BTCUSDT", limit=5)
        top = desk.get(f"{path}/ticker/bookTicker", symbol="BTCUSDT")
        assert [top["bidPrice"], top["bidQty"]] == book["bids"][0]
        assert [top["askPrice"], top["askQty"]] == book["asks"][0]
        assert ("time" in top) is (market is Market.UM)


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/api/v3/depth", {"limit": 100}, 5), ("/api/v3/depth", {}, 5), ("/api/v3/depth", {"limit": 101}, 25),
        ("/api/v3/depth", {"limit": 1000}, 50), ("/api/v3/depth", {"limit": 5000}, 250),
        ("/api/v3/depth", {"limit": 9999}, 250), ("/fapi/v1/depth", {"limit": 50}, 2),
        ("/fapi/v1/depth", {"limit": 100}, 5), ("/fapi/v1/depth", {}, 10), ("/fapi/v1/depth", {"limit": 1000}, 20),
        ("/api/v3/aggTrades", {}, 4), ("/fapi/v1/aggTrades", {}, 20), ("/fapi/v1/openInterest", {}, 1),
        ("/api/v3/ticker/24hr", {}, 2), ("/fapi/v1/ticker/24hr", {}, 1), ("/fapi/v1/premiumIndex", {}, 1),
        ("/fapi/v1/ticker/24hr", {"symbol": None}, 40), ("/api/v3/ticker/24hr", {"symbol": None}, 80),
        ("/fapi/v1/premiumIndex", {"symbol": None}, 10), ("/fapi/v1/ticker/bookTicker", {"symbol": None}, 5),
    ],
)  # fmt: skip
def test_answers_have_the_exchanges_weights(path: str, params: dict[str, Any], weight: int) -> None:
    sent = {name: value for name, value in {"symbol": "BTCUSDT", **params}.items() if value is not None}
    assert Desk().weight(path, **sent) == weight


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/api/v3/depth", {"symbol": "NOSUCH"}, -1121), ("/fapi/v1/depth", {"symbol": "NOSUCH"}, -1121),
        ("/api/v3/depth", {"symbol": "WAVESUSDT"}, -1121), ("/api/v3/depth", {}, -1102),
        ("/api/v3/depth", {"symbol": "btcusdt"}, -1100), ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 30}, -1130),
        ("/api/v3/depth", {"symbol": "BTCUSDT", "levels": 5}, -1104),
        ("/api/v3/aggTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 5}, -1128),
        ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "startTime": 10, "endTime": 5}, -1023),
        ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "startTime": 5, "endTime": 5 + HOUR_MS}, -1127),
        ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "limit": 1001}, -1130),
        ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "fromId": "x"}, -1100),
        ("/fapi/v1/openInterest", {"symbol": "NOSUCH"}, -1121), ("/fapi/v1/openInterest", {}, -1102),
        ("/fapi/v1/premiumIndex", {"symbol": "NOSUCH"}, -1121),
        ("/api/v3/ticker/24hr", {"symbols": '["BTCUSDT","NOSUCH"]'}, -1121),
    ],
)  # fmt: skip
def test_wrong_requests_have_the_exchanges_codes(path: str, params: dict[str, Any], code: int) -> None:
    assert Desk().code(path, **params) == code
