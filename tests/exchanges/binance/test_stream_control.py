"""The protocol of requests and answers, in the spellings that were seen on the wire."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.exchanges.binance.streams.control import Answer, read_answer, request


def test_requests_are_what_the_exchange_documents() -> None:
    assert request("SUBSCRIBE", 1, ["btcusdt@aggTrade", "btcusdt@depth@100ms"]) == (
        '{"method":"SUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@depth@100ms"],"id":1}'
    )
    assert request("LIST_SUBSCRIPTIONS", 3) == '{"method":"LIST_SUBSCRIPTIONS","id":3}'
    assert json.loads(request("UNSUBSCRIBE", 2, ["币安usdt@depth"]))["params"] == ["币安usdt@depth"]


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (b'{"result":null,"id":1}', Answer(1)),
        (b'{"id":7,"result":["btcusdt@aggTrade"]}', Answer(7, "", ("btcusdt@aggTrade",))),
        (b'{"error":{"code":2,"msg":"Invalid request"},"id":4}', Answer(4, "Invalid request (code 2)")),
        (b'{"code":3,"msg":"Invalid JSON","id":null}', Answer(None, "Invalid JSON (code 3)")),
        (b'{"error":{"code":4}}', Answer(None, "no reason given (code 4)")),
    ],
)
def test_answers_are_read_in_both_spellings(frame: bytes, answer: Answer) -> None:
    assert read_answer(frame) == answer


@pytest.mark.parametrize(
    "frame",
    [
        b'{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade"}}',
        b'{"e":"serverShutdown","E":1700000000000}',
        b'{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}',
        b"[]",
        b"",
        b"\xff",
        b'{"result":null}',
    ],
)
def test_other_frames_are_no_answers(frame: bytes) -> None:
    assert read_answer(frame) is None


@given(st.binary(max_size=60))
def test_garbage_is_never_an_exception(frame: bytes) -> None:
    read_answer(frame)
