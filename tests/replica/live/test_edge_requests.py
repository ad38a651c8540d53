"""What the exchange answers to requests, and how it reads URLs: by its pages and by what was observed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gapless.domain.instrument import Market
from replica.live.subscriptions import Desk, Place, is_served, parse_place


def ask(request: Any, market: Market = Market.SPOT, *, streams: tuple[str, ...] = ("a@trade",), most: int = 3) -> Any:
    desk = Desk(market, Place("", True, list(streams)), most)
    text = request if isinstance(request, str | bytes) else json.dumps(request)
    return json.loads(desk.answer(text).text)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ("{", 3, "Invalid JSON"),
        (b"\xff", 3, "Invalid JSON"),
        ([], 2, "expected an object"),
        ({"params": [], "id": 1}, 2, "missing field `method`"),
        ({"method": "subscribe", "params": ["b"], "id": 1}, 2, "unknown variant `subscribe`"),
        ({"method": "SUBSCRIBE", "params": [], "id": 1}, 2, "stream names"),
        ({"method": "SUBSCRIBE", "params": [7], "id": 1}, 2, "stream names"),
        ({"method": "SUBSCRIBE", "params": "b", "id": 1}, 2, "an array"),
        ({"method": "SUBSCRIBE", "params": ["b"], "id": 1, "more": 1}, 2, "unknown field `more`"),
        ({"method": "SUBSCRIBE", "params": ["b"], "id": 1.5}, 2, "request ID"),
        ({"method": "SUBSCRIBE", "params": ["b"], "id": "x" * 37}, 2, "request ID"),
        ({"method": "SUBSCRIBE", "params": ["b", "c", "d"], "id": 1}, 4, "Too many subscriptions"),
        ({"method": "GET_PROPERTY", "params": [], "id": 1}, 2, "property name must be a string"),
        ({"method": "GET_PROPERTY", "params": ["colour"], "id": 1}, 0, "Unknown property"),
        ({"method": "GET_PROPERTY", "params": ["combined", 1], "id": 1}, 2, "too many parameters"),
        ({"method": "SET_PROPERTY", "params": ["combined", "yes"], "id": 1}, 1, "expected Boolean"),
        ({"method": "SET_PROPERTY", "params": ["combined"], "id": 1}, 1, "expected Boolean"),
    ],
)
def test_wrong_requests_are_answered_with_wrapped_errors(request_: Any, code: int, words: str) -> None:
    answer = ask(request_)
    assert answer["error"]["code"] == code
    assert words in answer["error"]["msg"]
    readable = isinstance(request_, dict) and request_["id"] == 1
    assert answer["id"] == (1 if readable else None)


@pytest.mark.parametrize("number", [1, -1, "abc123", "a1b2c3d4-0000-4000-8000-0123456789ab", None])
def test_ids_are_whole_numbers_or_text_on_spot_negative_or_null_as_well(number: Any) -> None:
    request = {"method": "LIST_SUBSCRIPTIONS", "id": number}
    assert ask(request) == {"result": ["a@trade"], "id": number}
    assert ("result" in ask(request, Market.UM)) is (number not in (-1, None))


def test_a_stream_asked_for_twice_is_one_and_counts_as_asked_anew() -> None:
    desk = Desk(Market.SPOT, Place("", False, ["a@trade"]), 2)
    answer = desk.answer('{"method":"SUBSCRIBE","params":["a@trade","b@trade","b@trade"],"id":1}')
    assert answer.added == ["a@trade", "b@trade"]
    assert desk.streams == ["a@trade", "b@trade"]
    gone = desk.answer('{"method":"UNSUBSCRIBE","params":["c@trade","a@trade"],"id":2}')
    assert (gone.removed, desk.streams) == (["a@trade"], ["b@trade"])


@pytest.mark.parametrize(
    ("market", "path", "query", "place"),
    [
        (Market.SPOT, "/ws", "", Place("", False, [])),
        (Market.SPOT, "/ws/a@trade/b@depth", "", Place("", False, ["a@trade", "b@depth"])),
        (Market.SPOT, "/stream", "streams=a@kline_1d@+08:00/b", Place("", True, ["a@kline_1d@+08:00", "b"])),
        (Market.SPOT, "/stream/", "x=1&streams=a%40trade%2Fb", Place("", True, ["a@trade", "b"])),
        (Market.SPOT, "/market/ws", "", None),
        (Market.UM, "/public/ws/a@depth/a@depth", "", Place("/public", False, ["a@depth"])),
        (Market.UM, "/market/stream", "streams=!forceOrder@arr", Place("/market", True, ["!forceOrder@arr"])),
        (Market.UM, "/stream", "", Place("", True, [])),
        (Market.UM, "/private/ws", "", Place("/private", False, [])),
        (Market.SPOT, "/private/ws", "", None),
        (Market.UM, "/fapi/v1/time", "", None),
    ],
)
def test_urls_name_route_form_and_streams(market: Market, path: str, query: str, place: Place | None) -> None:
    assert parse_place(market, path, query) == place


def test_usdm_streams_are_parted_by_route() -> None:
    public = [
        "x@bookTicker",
        "!bookTicker",
        "x@depth",
        "x@depth@100ms",
        "x@depth20@500ms",
        "x@rpiDepth@500ms",
        "x@trade",
    ]
    market = [
        *(
            "x@aggTrade",
            "x@markPrice@1s",
            "!markPrice@arr",
            "x@kline_1m",
            "x@forceOrder",
            "!forceOrder@arr",
            "x@ticker",
        ),
        *("!contractInfo", "tradingSession", "x@miniTicker"),
    ]
    for names, route in ((public, "/public"), (public, ""), (market, "/market")):
        assert all(is_served(Market.UM, route, name) for name in names)
    assert not any(is_served(Market.UM, "/market", name) for name in public)
    assert not any(is_served(Market.UM, route, name) for name in market for route in ("", "/public"))
    assert not any(is_served(Market.UM, "/private", name) for name in [*public, *market])
    assert all(is_served(Market.SPOT, "", name) for name in [*public, *market])
