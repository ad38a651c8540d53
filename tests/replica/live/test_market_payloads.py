"""Generated payloads have the fields, order and types of recorded ones."""

from __future__ import annotations

import gzip
import json
import re
from functools import cache
from typing import Any

import pytest

from gapless.domain.instrument import Market
from gapless.exchanges.binance.streams.messages import decode_message, decode_spot_ticker
from tests.fixtures.data import SHARED_DATA
from tests.replica.live.test_market import Scene

RECORDED = SHARED_DATA / "ws_recordings"


@cache
def real(market: Market) -> dict[str, dict[str, Any]]:
    """One recorded payload of each kind of stream, as fresh as there is one."""
    found: dict[str, dict[str, Any]] = {}

    def keep(frame: str) -> None:
        message = json.loads(frame)
        found[re.sub(r"@0ms$", "@100ms", message["stream"].partition("@")[2])] = message["data"]

    where = "spot" if market is Market.SPOT else "usdm"
    with gzip.open(RECORDED / "hftbacktest" / where / "btcusdt_20240808.gz", "rt") as lines:
        for number, line in enumerate(lines):
            frame = line.split(" ", 1)[1]
            if frame.startswith('{"stream"'):
                keep(frame)
            if number > 400:
                break
    other = "BINANCE.ws.1.0" if market is Market.SPOT else "BINANCE_FUTURES.ws.1.0"
    for line in (RECORDED / "cryptofeed" / other).read_text().splitlines():
        if ': {"stream"' in line:
            keep(line.split(": ", 1)[1])
    if market is Market.UM:
        for name in ("usdm_testnet_20260726_frames.jsonl", "usdm_prod_20261008_frames.jsonl"):
            for line in (SHARED_DATA / "ws_frames" / name).read_text().splitlines():
                keep(line)
        found["forceOrder"] = found["arr"]
    return found


def shape(value: Any) -> Any:
    """Names in their order and types, of a list's items but one."""
    if isinstance(value, dict):
        return [(name, shape(each)) for name, each in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def same_shape(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name in ("b", "a"):  # an empty side has no shape to compare
        if isinstance(theirs.get(name), list) and not (theirs[name] and ours[name]):
            ours, theirs = {**ours, name: []}, {**theirs, name: []}
    assert shape(ours) == shape(theirs)


TOPICS = {
    Market.SPOT: ("aggTrade", "trade", "depth@100ms", "bookTicker", "kline_1m"),
    Market.UM: (
        "aggTrade", "trade", "depth@100ms", "depth20@100ms", "bookTicker", "kline_1m", "markPrice@1s", "forceOrder",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("market", "topic"), [(market, topic) for market in Market for topic in TOPICS[market]])
@pytest.mark.usefixtures("recordings")
def test_payloads_have_the_shape_of_recorded_ones(market: Market, topic: str) -> None:
    scene = Scene(liquidations_per_min=60)
    stream = f"btcusdt@{topic}"
    scene.watch(market, stream)
    messages = scene.run(12_000)
    assert messages
    recorded = real(market)[topic]
    for message in messages:
        same_shape(json.loads(message.data), recorded)
        assert message.stream == stream
        if topic != "trade" and topic != "depth20@100ms":
            (decode_spot_ticker if market is Market.SPOT and topic == "bookTicker" else decode_message)(message.data)


def test_a_partial_book_of_spot_names_neither_symbol_nor_time() -> None:
    scene = Scene()
    scene.watch(Market.SPOT, "btcusdt@depth5", "btcusdt@depth20@100ms", "btcusdt@depth@100ms")
    told = scene.run(3500)
    slow = [json.loads(message.data) for message in told if message.stream == "btcusdt@depth5"]
    assert len(slow) == 3
    for each in slow:
        assert list(each) == ["lastUpdateId", "bids", "asks"]
        truth = scene.live.truth(Market.SPOT, "BTCUSDT", each["lastUpdateId"])
        assert (each["bids"], each["asks"]) == (truth["bids"][:5], truth["asks"][:5])
    assert sum(message.stream == "btcusdt@depth20@100ms" for message in told) in (34, 35, 36)


@pytest.mark.parametrize(("market", "topic", "count"), [
    (Market.SPOT, "depth", 10), (Market.SPOT, "depth@100ms", 100), (Market.UM, "depth@500ms", 20),
    (Market.UM, "depth", 40), (Market.UM, "markPrice", 4), (Market.UM, "markPrice@1s", 10),
    (Market.SPOT, "kline_1m", 5),
])  # fmt: skip
def test_streams_have_the_exchanges_pace(market: Market, topic: str, count: int) -> None:
    scene = Scene()
    scene.watch(market, f"btcusdt@{topic}")
    assert abs(len(scene.run(10_000)) - count) <= 1


def test_prices_and_quantities_lie_on_the_instruments_grid() -> None:
    scene = Scene(trades_per_s=20)
    forms = {
        (Market.SPOT, "BTCUSDT"): (r"\d+\.\d\d000000", r"\d+\.\d{5}000"),
        (Market.UM, "BTCUSDT"): (r"\d+\.\d0", r"\d+\.\d{3}"),
        (Market.UM, "1000PEPEUSDT"): (r"0\.\d{7}", r"\d+"),
        (Market.SPOT, "DOGEUSDT"): (r"0\.\d{5}000", r"\d+\.00000000"),
    }
    for (market, symbol), (price, quantity) in forms.items():
        stream = f"{symbol.lower()}@aggTrade"
        scene.watch(market, stream)
        trades = [json.loads(message.data) for message in scene.run(2000) if message[:2] == (market, stream)]
        assert trades
        levels = [level for side in ("bids", "asks") for level in scene.snapshot(market, symbol)[side]]
        for each, amount in [(trade["p"], trade["q"]) for trade in trades] + levels:
            assert re.fullmatch(price, each), each
            assert re.fullmatch(quantity, amount), amount
