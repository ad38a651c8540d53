"""The klines endpoints: parameters, order, limits and refusals, by the exchange's rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import MultiDict

from gapless.domain.instrument import Market
from gapless.domain.window import iso, parse_time
from replica.bars import DAY_MS, INTERVAL_MS
from replica.clock import ReplicaClock
from replica.exchange import Call, Exchange
from replica.market import GeneratedMarket
from replica.source import GeneratedSource
from replica.universe import default_universe

NOW = parse_time("2026-11-15T12:30:30")
PATHS = {"spot": "/api/v3/klines", "um": "/fapi/v1/klines"}


def exchange_at(at_ms: int) -> Exchange:
    return Exchange(GeneratedSource(GeneratedMarket("7"), default_universe()), ReplicaClock(at_ms, 0))


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    return exchange_at(NOW)


def ask(
    exchange: Exchange, path: str, header: str | None = None, /, **params: Any
) -> tuple[int, Any, Mapping[str, str]]:
    answer = exchange.answer(Call(path, MultiDict({k: str(v) for k, v in params.items()}), "127.0.0.1", header))
    for limiter in exchange.limiters.values():
        limiter.forgive()
    return answer.status, json.loads(answer.body), answer.headers


@pytest.fixture(params=["spot", "um"])
def market(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opens(exchange: Exchange, market: str, interval: str = "1m", **params: Any) -> list[str]:
    status, rows, _ = ask(exchange, PATHS[market], symbol="BTCUSDT", interval=interval, **params)
    assert status == 200, rows
    return [iso(row[0])[11:16] for row in rows]


def test_without_times_the_newest_bars_come_oldest_first_and_the_last_is_open(exchange: Exchange, market: str) -> None:
    assert opens(exchange, market, limit=3) == ["12:28", "12:29", "12:30"]
    assert opens(exchange, market, "15m", limit=2) == ["12:15", "12:30"]


def test_the_open_bar_closes_in_the_future(exchange: Exchange, market: str) -> None:
    _, rows, _ = ask(exchange, PATHS[market], symbol="BTCUSDT", interval="1h", limit=2)
    assert rows[0][6] < NOW < rows[1][6]


def test_start_alone_gives_the_oldest_from_there(exchange: Exchange, market: str) -> None:
    assert opens(exchange, market, startTime=NOW - 600_000, limit=2) == ["12:21", "12:22"]


def test_end_alone_gives_the_newest_up_to_there(exchange: Exchange, market: str) -> None:
    assert opens(exchange, market, endTime=NOW - 600_000, limit=2) == ["12:19", "12:20"]


def test_both_bounds_are_inclusive_and_begin_at_the_start(exchange: Exchange, market: str) -> None:
    start, end = parse_time("2026-11-15T12:00"), parse_time("2026-11-15T12:03")
    assert opens(exchange, market, startTime=start, endTime=end) == ["12:00", "12:01", "12:02", "12:03"]
    assert opens(exchange, market, startTime=start, endTime=end, limit=2) == ["12:00", "12:01"]
    assert opens(exchange, market, startTime=start + 1, endTime=end - 1) == ["12:01", "12:02"]


def test_the_default_is_500_rows_and_the_most_differ_by_market(exchange: Exchange) -> None:
    assert len(opens(exchange, "spot")) == len(opens(exchange, "um")) == 500
    assert len(opens(exchange, "spot", limit=5000)) == 1000
    assert len(opens(exchange, "um", limit=1500)) == 1500


def test_a_window_in_the_future_is_empty(exchange: Exchange, market: str) -> None:
    assert opens(exchange, market, startTime=NOW + DAY_MS) == []


def test_time_zero_finds_the_listing(exchange: Exchange) -> None:
    _, rows, _ = ask(exchange, PATHS["spot"], symbol="BTCUSDT", interval="1m", startTime=0, limit=1)
    assert iso(rows[0][0]) == "2017-08-17T04:00:00Z"
    _, rows, _ = ask(exchange, PATHS["um"], symbol="BTCUSDT", interval="1d", startTime=0, limit=1)
    assert iso(rows[0][0]) == "2019-09-08T00:00:00Z"


def test_paging_by_start_time_meets_every_bar_once(exchange: Exchange, market: str) -> None:
    """Across a spot halt too, where the pages are not full of minutes."""
    generated = GeneratedMarket("7")
    day = next(day for day in range(20_400, 20_700) if generated.halt(Market(market), day))
    start, end = day * DAY_MS, (day + 1) * DAY_MS - 1
    seen: list[int] = []
    while not seen or seen[-1] + 60_000 <= end:
        params = {"startTime": seen[-1] + 60_000 if seen else start, "endTime": end, "limit": 99}
        _, rows, _ = ask(exchange, PATHS[market], symbol="ETHUSDT", interval="1m", **params)
        seen += [row[0] for row in rows]
    assert seen == sorted(set(seen))
    halt = generated.halt(Market(market), day)
    missing = halt.length_ms // 60_000 if halt and market == "spot" else 0
    assert len(seen) == 1440 - missing
    _, newest, _ = ask(exchange, PATHS[market], symbol="ETHUSDT", interval="1m", endTime=end, limit=1000)
    assert [row[0] for row in newest] == seen[-1000:]


def test_a_closed_bar_reads_the_same_whichever_way_it_is_asked(exchange: Exchange, market: str) -> None:
    at = parse_time("2026-11-15T08:00")
    ways: list[dict[str, Any]] = [
        {"startTime": at, "limit": 1},
        {"startTime": at, "endTime": at},
        {"endTime": at, "limit": 1},
    ]
    answers = [ask(exchange, PATHS[market], symbol="BTCUSDT", interval="4h", **way)[1] for way in ways]
    assert answers[0] == answers[1] == answers[2]
    assert len(answers[0]) == 1
    later = exchange_at(NOW + 40 * DAY_MS)
    assert ask(later, PATHS[market], symbol="BTCUSDT", interval="4h", **ways[0])[1] == answers[0]


@pytest.mark.parametrize("interval", ["1m", "5m", "15m", "1h", "4h", "1d"])
def test_rows_have_the_exchanges_twelve_places(exchange: Exchange, market: str, interval: str) -> None:
    _, rows, _ = ask(exchange, PATHS[market], symbol="BTCUSDT", interval=interval, limit=50)
    kinds = [int, str, str, str, str, str, int, str, int, str, str, str]
    for row in rows:
        assert [type(value) for value in row] == kinds
        assert row[6] == row[0] + INTERVAL_MS[interval] - 1
        assert row[11] == "0"
    decimals = [len(rows[0][place].partition(".")[2]) for place in (1, 5, 7)]
    assert decimals == ([8, 8, 8] if market == "spot" else [2, 3, 5])


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"interval": "1m"}, -1102),
        ({"symbol": "BTCUSDT"}, -1102),
        ({"symbol": "NOPEUSDT", "interval": "1m"}, -1121),
        ({"symbol": "btcusdt", "interval": "1m"}, -1100),
        ({"symbol": "BTC/USDT", "interval": "1m"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1min"}, -1120),
        ({"symbol": "BTCUSDT", "interval": "1H"}, -1120),
        ({"symbol": "BTCUSDT", "interval": "1m", "limit": "ten"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1m", "limit": "-1"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        ({"symbol": "BTCUSDT", "interval": "1m", "startTime": "yesterday"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1m", "startTime": ""}, -1105),
    ],
)
def test_a_wrong_request_gets_the_exchanges_code(
    exchange: Exchange, market: str, params: dict[str, str], code: int
) -> None:
    status, body, headers = ask(exchange, PATHS[market], **params)
    assert (status, body["code"]) == (400, code)
    assert body["msg"]
    assert headers["X-MBX-USED-WEIGHT-1M"]


def test_where_the_markets_differ(exchange: Exchange) -> None:
    base = {"symbol": "BTCUSDT", "interval": "1m"}
    backwards = {**base, "startTime": str(NOW), "endTime": str(NOW - 60_000)}
    assert ask(exchange, PATHS["um"], **backwards)[1]["code"] == -1023
    assert ask(exchange, PATHS["spot"], **backwards)[:2] == (200, [])
    assert ask(exchange, PATHS["um"], **base, limit=1501)[1]["code"] == -1130
    assert ask(exchange, PATHS["spot"], **base, colour="red")[1]["code"] == -1104
    assert ask(exchange, PATHS["um"], **base, colour="red")[0] == 200


def test_what_the_replica_lacks_it_does_not_pretend(exchange: Exchange) -> None:
    status, body, _ = ask(exchange, PATHS["um"], symbol="BTCUSDT", interval="1w")
    assert status == 501
    assert "1w" in body["msg"]
    assert ask(exchange, PATHS["spot"], symbol="BTCUSDT", interval="1d", timeZone="8")[0] == 501
    assert ask(exchange, PATHS["spot"], symbol="BTCUSDT", interval="1d", timeZone="15")[1]["code"] == -1130
    assert ask(exchange, PATHS["spot"], symbol="BTCUSDT", interval="1d", timeZone="0")[0] == 200


def test_spot_speaks_microseconds_when_asked(exchange: Exchange) -> None:
    _, rows, _ = ask(
        exchange, PATHS["spot"], "MICROSECOND", symbol="BTCUSDT", interval="1m", startTime=NOW * 1000 - 90_000_000
    )
    assert iso(rows[0][0] // 1000) == "2026-11-15T12:29:00Z"
    assert rows[0][6] == rows[0][0] + 59_999_999
    assert ask(exchange, "/api/v3/time", "MICROSECOND")[1] == {"serverTime": NOW * 1000}
    assert ask(exchange, "/fapi/v1/time", "MICROSECOND")[1] == {"serverTime": NOW}


@pytest.mark.parametrize(
    ("limit", "weight"), [(1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (None, 5), (1000, 5), (1001, 10), (1500, 10)]
)
def test_futures_klines_weigh_by_their_limit(exchange: Exchange, limit: int | None, weight: int) -> None:
    params = {} if limit is None else {"limit": limit}
    _, _, headers = ask(exchange, PATHS["um"], symbol="BTCUSDT", interval="1m", **params)
    assert headers["X-MBX-USED-WEIGHT-1M"] == str(weight)
    assert "X-MBX-USED-WEIGHT" not in headers


def test_spot_weights(exchange: Exchange) -> None:
    for path, weight in (("klines", 2), ("exchangeInfo", 20), ("time", 1), ("ping", 1)):
        params = {"symbol": "BTCUSDT", "interval": "1m"} if path == "klines" else {}
        _, _, headers = ask(exchange, f"/api/v3/{path}", **params)
        assert headers["X-MBX-USED-WEIGHT-1M"] == headers["X-MBX-USED-WEIGHT"] == str(weight)


def test_lives_end_and_begin_with_the_clock() -> None:
    before = exchange_at(parse_time("2024-06-01"))
    query = {"symbol": "WAVESUSDT", "interval": "1d", "limit": 3}
    assert len(ask(before, PATHS["spot"], **query)[1]) == 3
    assert ask(exchange_at(NOW), PATHS["spot"], **query)[1]["code"] == -1121
    nova = {"symbol": "NOVAUSDT", "interval": "1d", "limit": 3}
    assert ask(before, PATHS["um"], **nova)[:2] == (200, [])
    assert ask(before, PATHS["spot"], **nova)[1]["code"] == -1121
    settled = ask(exchange_at(NOW), PATHS["um"], symbol="OMGUSDT", interval="1d", limit=3)[1]
    assert [row[5] for row in settled] == ["0", "0", "0"]
    assert len({row[place] for row in settled for place in (1, 2, 3, 4)}) == 1
