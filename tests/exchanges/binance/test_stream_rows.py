"""Stream payloads as columns: real frames of each kind, exactness, and one bad payload that costs no other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.stream_columns import STREAM_SHAPES
from gapless.exchanges.binance.stream_rows import parse_stream

NOW = 1_791_391_082_024
BTC = "BTC/USDT:USDT"
NAMES = {BTC: "BTCUSDT", "BTC/USDT": "BTCUSDT", "ILV/USDT:USDT": "ILVUSDT"}

# Frames of production (aggTrade, forceOrder) and of the testnet, as they were recorded.
FRAMES = {
    "trades": (
        '{"e":"aggTrade","E":1791391082024,"a":3478018549,"s":"BTCUSDT","p":"83434.40","q":"0.016","nq":"0.016",'
        '"f":8154045700,"l":8154045704,"T":1791391081874,"m":true,"st":1}'
    ),
    "liquidations": (
        '{"e":"forceOrder","E":1791391083124,"o":{"s":"BTCUSDT","S":"SELL","o":"LIMIT","f":"IOC","q":"116.5",'
        '"p":"3.80300","ap":"3.85642","X":"FILLED","l":"25.2","z":"116.5","T":1791391082119,"ps":"BTCUSDT","st":1}}'
    ),
    "depth": (
        '{"e":"depthUpdate","E":1785048482829,"T":1785048482718,"s":"BTCUSDT","ps":"BTCUSDT","U":359220619477,'
        '"u":359220619477,"pu":359220613550,"b":[],"a":[["64346.70","589.8041"]],"st":1}'
    ),
    "book_ticker": (
        '{"e":"bookTicker","u":359220650272,"s":"BTCUSDT","ps":"BTCUSDT","b":"64336.00","B":"73.3346",'
        '"a":"64346.70","A":"589.8026","T":1785048483771,"E":1785048483771,"st":1}'
    ),
    "mark_price": (
        '{"e":"markPriceUpdate","E":1785048483000,"s":"BTCUSDT","p":"64346.70000000","ap":"64346.70000000",'
        '"P":"64335.31235580","i":"64399.61608696","r":"0.00005301","T":1785052800000,"st":1}'
    ),
    "klines": (
        '{"e":"kline","E":1785048540333,"s":"BTCUSDT","k":{"t":1785048480000, "T":1785048539999, "s":"BTCUSDT", '
        '"i":"1m", "f":521512559, "L":521512793, "o":"64346.70", "c":"64346.70", "h":"64346.70", "l":"64336.00", '
        '"v":"24.8783", "n":235, "x":true, "q":"1600832.457590", "V":"24.4997", "Q":"1576474.845990", "B":"0"}}'
    ),
}


@dataclass
class Received:
    payload: bytes
    symbol: str = BTC
    event_ms: int = NOW
    received_ns: int = 7


def entry(payload: str | dict[str, Any], **more: Any) -> Received:
    text = payload if isinstance(payload, str) else json.dumps(payload, separators=(",", ":"))
    return Received(text.encode(), **{"event_ms": json.loads(text).get("E", NOW), **more})


def trade(**changed: Any) -> dict[str, Any]:
    found = {**json.loads(FRAMES["trades"]), **changed}
    return {name: value for name, value in found.items() if value is not None}


def one(dataset: str, received: Received) -> dict[str, Any]:
    table, rejected = parse_stream(dataset, "binance", [received], NAMES)
    assert not rejected
    assert table.schema == STREAM_SHAPES[dataset].schema
    row: dict[str, Any] = table.to_pylist()[0]
    return row


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("trades", {"trade_id": 3478018549, "price": Decimal("83434.40"), "quantity": Decimal("0.016"),
                    "normal_quantity": Decimal("0.016"), "first_id": 8154045700, "last_id": 8154045704,
                    "buyer_is_maker": True}),
        ("liquidations", {"side": "SELL", "quantity": Decimal("116.5"), "price": Decimal("3.803"), "sequence": 0,
                          "average_price": Decimal("3.85642"), "last_quantity": Decimal("25.2"), "status": "FILLED",
                          "accumulated_quantity": Decimal("116.5"), "order_type": "LIMIT", "time_in_force": "IOC"}),
        ("depth", {"first_update_id": 359220619477, "final_update_id": 359220619477, "bids": "[]",
                   "previous_final_id": 359220613550, "asks": '[["64346.70","589.8041"]]'}),
        ("book_ticker", {"update_id": 359220650272, "bid_price": Decimal("64336"),
                         "ask_quantity": Decimal("589.8026")}),
        ("mark_price", {"mark_price": Decimal("64346.7"), "index_price": Decimal("64399.61608696"),
                        "funding_rate": Decimal("0.00005301"), "estimated_settle_price": Decimal("64335.3123558")}),
        ("klines", {"interval": "1m", "closed": True, "low": Decimal("64336"), "trades": 235,
                    "taker_buy_quote_volume": Decimal("1576474.84599")}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_recorded_frames_become_exact_columns(dataset: str, said: dict[str, Any]) -> None:
    row = one(dataset, entry(FRAMES[dataset]))
    assert {name: row[name] for name in said} == said
    assert (row["exchange"], row["symbol"], row["received_ns"]) == ("binance", BTC, 7)


def test_the_time_of_a_row_is_that_of_the_trade_not_of_its_sending() -> None:
    row = one("trades", entry(FRAMES["trades"]))
    assert row["ts"].timestamp() == 1791391081.874
    assert row["event_ts"].timestamp() == 1791391082.024


def test_a_trade_that_rest_gave_carries_neither_symbol_nor_event() -> None:
    filled = one("trades", entry(trade(e=None, E=None, s=None, nq=None), event_ms=1791391081874))
    assert filled["normal_quantity"] is None
    assert filled["event_ts"] == filled["ts"]


def test_what_spot_leaves_out_is_null_and_its_ticker_has_the_time_it_was_received() -> None:
    ticker = {name: value for name, value in json.loads(FRAMES["book_ticker"]).items() if name not in "eET"}
    row = one("book_ticker", entry(ticker, symbol="BTC/USDT"))
    assert row["transaction_ts"] is None
    assert row["ts"].timestamp() * 1000 == NOW
    depth = {name: value for name, value in json.loads(FRAMES["depth"]).items() if name not in ("T", "pu")}
    assert one("depth", entry(depth, symbol="BTC/USDT"))["previous_final_id"] is None


def test_fields_nobody_knows_yet_change_nothing() -> None:
    assert one("trades", entry(trade(zz={"new": [1]}))) == one("trades", entry(trade()))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"p": None}, "fields"),
        ({"a": "12"}, "fields"),
        ({"e": "trade"}, "fields"),
        ({"s": "ETHUSDT"}, "symbol"),
        ({"p": "83434.400000001"}, "precision"),
        ({"p": "1234567890123"}, "precision"),
        ({"a": 2**63}, "precision"),
        ({"q": "1e5"}, "type"),
        ({"q": ""}, "type"),
        ({"T": 1791391081874000}, "time"),
        ({"T": 1791391081874 - 90_000_000}, "time"),
        ({"T": -1}, "time"),
    ],
    ids=str,
)
def test_a_payload_that_cannot_be_taken_is_rejected_whole_and_alone(changed: dict[str, Any], reason: str) -> None:
    bad = entry(trade(**changed))
    table, rejected = parse_stream("trades", "binance", [entry(trade(a=1)), bad, entry(trade(a=2))], NAMES)
    assert table["trade_id"].to_pylist() == [1, 2]
    assert [(each.reason, each.payload) for each in rejected] == [(reason, bad.payload)]


@pytest.mark.parametrize("payload", [b"", b"[]", b'"', b'{"e":', b"{}", b"\xff{}", b'{"a":1},{"a":2}'], ids=repr)
def test_what_is_no_object_of_its_kind_is_rejected(payload: bytes) -> None:
    table, rejected = parse_stream("trades", "binance", [Received(payload), entry(trade())], NAMES)
    assert table.num_rows == 1
    assert rejected[0].reason in ("json", "fields")


def test_zeros_beyond_the_scale_are_no_loss() -> None:
    assert one("trades", entry(trade(p="83434.4000000000")))["price"] == Decimal("83434.4")


def test_levels_keep_their_digits_and_lose_their_spaces() -> None:
    spaced = FRAMES["depth"].replace('[["64346.70","589.8041"]]', '[ ["64346.70", "589.8041"] , ["1.0","0"]]')
    assert one("depth", entry(spaced))["asks"] == '[["64346.70","589.8041"],["1.0","0"]]'


@pytest.mark.parametrize("levels", ['[["1"]]', '[["a","1"]]', "[[1,2]]", '[["1","2",[]]]', "{}", "null"])
def test_levels_of_another_form_are_rejected(levels: str) -> None:
    wrong = FRAMES["depth"].replace('[["64346.70","589.8041"]]', levels)
    table, rejected = parse_stream("depth", "binance", [entry(wrong)], NAMES)
    assert table.num_rows == 0
    assert rejected[0].reason in ("fields", "type")


@given(
    prices=st.lists(st.decimals(min_value=0, max_value=10**12, places=8, allow_nan=False), max_size=20),
    bad=st.sets(st.integers(0, 19)),
)
def test_every_payload_is_a_row_or_rejected_and_every_digit_stays(prices: list[Decimal], bad: set[int]) -> None:
    payloads = [
        entry(trade(a=number, p="none" if number in bad else f"{price:f}")) for number, price in enumerate(prices)
    ]
    table, rejected = parse_stream("trades", "binance", payloads, NAMES)
    fits = {number for number, price in enumerate(prices) if number not in bad and price < 10**12}
    assert dict(zip(table["trade_id"].to_pylist(), table["price"].to_pylist(), strict=True)) == {
        number: prices[number] for number in fits
    }
    assert len(rejected) == len(prices) - len(fits)
