"""Recorded streams, played again: the bytes as they were, and a truth that the recorded tops of the book confirm."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from multidict import MultiDict

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.clock import ReplicaClock
from replica.exchange import Call, Exchange
from replica.live.messages import LiveMessage
from replica.live.recorded import RecordedLive
from replica.market import GeneratedMarket
from replica.refusal import Refusal
from replica.source import GeneratedSource
from replica.universe import default_universe
from tests.replica.live.test_market import Client


class Deck:
    """A recording under a clock moved by hand."""

    def __init__(self, root: Path, pace: float = 1.0) -> None:
        self.now_ms = 1_800_000_000_000
        self.live = RecordedLive(root, lambda: self.now_ms, pace)

    def run(self, ms: int) -> list[LiveMessage]:
        self.now_ms += ms
        return self.live.advance(self.now_ms)


SPOT = ("NKNUSDT", "BLZETH", "LRCBTC", "RUNEEUR")
UM = ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT")


@pytest.mark.parametrize(("market", "symbols"), [(Market.SPOT, SPOT), (Market.UM, UM)])
def test_recorded_diffs_bridge_with_the_recorded_snapshot(
    recordings: Path, market: Market, symbols: tuple[str, ...]
) -> None:
    deck = Deck(recordings / "ws_recordings" / "cryptofeed")
    for symbol in symbols:
        deck.live.watch(market, f"{symbol.lower()}@depth@100ms")
    told = deck.run(60_000)
    assert deck.live.over
    for symbol in symbols:
        body = deck.live.answer(market, "depth", MultiDict(symbol=symbol, limit="1000"), 0)
        client = Client(market, json.loads(body))
        diffs = [json.loads(message.data) for message in told if message.raw_symbol == symbol]
        assert len(diffs) >= 2
        for diff in diffs:
            client.apply(diff)
        truth = deck.live.truth(market, symbol)
        assert truth["update_id"] == client.id == diffs[-1]["u"]
        assert client.book() == (truth["bids"], truth["asks"])


def test_the_truth_has_the_tops_that_were_recorded(recordings: Path) -> None:
    deck = Deck(recordings / "ws_recordings" / "cryptofeed")
    for topic in ("depth@100ms", "bookTicker"):
        deck.live.watch(Market.UM, f"sushiusdt@{topic}")
    told = deck.run(60_000)
    tickers: list[dict[str, Any]] = [json.loads(each.data) for each in told if each.kind == "book_ticker"]
    diffs = [each for each in told if each.kind == "depth"][5:]
    checked = 0
    for diff in diffs[::10]:
        former = [ticker for ticker in tickers if ticker["u"] <= diff.last_id]
        if former:
            truth = deck.live.truth(Market.UM, "SUSHIUSDT", diff.last_id)
            top = former[-1]
            assert [[top["b"], top["B"]], [top["a"], top["A"]]] == [truth["bids"][0], truth["asks"][0]]
            checked += 1
    assert checked >= 20


def test_messages_keep_their_bytes_and_their_distances(recordings: Path) -> None:
    root = recordings / "ws_recordings" / "cryptofeed"
    lines = [
        line.split(": ", 1) for line in (root / "BINANCE.ws.1.0").read_text().splitlines() if ': {"stream"' in line
    ]
    deck = Deck(root, pace=2.0)
    for symbol in SPOT:
        for topic in ("depth@100ms", "bookTicker", "aggTrade", "kline_1m"):
            if deck.live.knows(Market.SPOT, f"{symbol.lower()}@{topic}"):
                deck.live.watch(Market.SPOT, f"{symbol.lower()}@{topic}")
    begun = float(lines[0][0])
    frames: list[str] = []
    for _ in range(16):
        frames += [f'{{"stream":"{each.stream}","data":{each.data.decode()}}}' for each in deck.run(1000)]
        until = begun + (deck.now_ms - 1_800_000_000_000) * 2 / 1000
        due = [text for at, text in lines if float(at) <= until]
        assert abs(len(frames) - len(due)) <= 1  # a message on the very edge
    assert frames == [text for _, text in lines]


def test_what_nobody_listens_to_passes_by(recordings: Path) -> None:
    deck = Deck(recordings / "ws_recordings" / "cryptofeed")
    assert deck.run(5000) == []
    deck.live.watch(Market.SPOT, "nknusdt@depth@100ms")
    first = deck.run(5000)
    assert {each.stream for each in first} == {"nknusdt@depth@100ms"}
    deck.live.unwatch(Market.SPOT, "nknusdt@depth@100ms")
    assert deck.run(5000) == []
    deck.live.watch(Market.SPOT, "nknusdt@depth@100ms")
    assert deck.run(5000)[0].first_id > first[-1].last_id + 1
    assert not deck.live.knows(Market.UM, "nknusdt@depth@100ms")
    assert deck.live.symbols == {Market.SPOT: sorted(SPOT), Market.UM: sorted(UM)}


def test_the_large_recording_is_one_session_with_its_snapshot(recordings: Path) -> None:
    deck = Deck(recordings / "ws_recordings" / "hftbacktest" / "spot", pace=1.0)
    deck.live.watch(Market.SPOT, "btcusdt@depth@100ms")
    told = deck.run(700_000)
    assert len(told) == 3451 + 3044
    client = Client(Market.SPOT, json.loads(deck.live.answer(Market.SPOT, "depth", MultiDict(symbol="BTCUSDT"), 0)))
    assert len(client.sides["b"]) == 100
    assert all(latter.first_id == former.last_id + 1 for former, latter in pairwise(told))


def test_recorded_trades_are_served_by_id(recordings: Path) -> None:
    deck = Deck(recordings / "ws_recordings" / "cryptofeed")
    deck.live.watch(Market.UM, "sushiusdt@aggTrade")
    ids = [message.last_id for message in deck.run(60_000)]
    page = json.loads(deck.live.answer(Market.UM, "aggTrades", MultiDict(symbol="SUSHIUSDT", fromId=str(ids[3])), 0))
    assert [row["a"] for row in page] == ids[3:]
    assert list(page[0]) == ["a", "p", "q", "f", "l", "T", "m"]
    newest = json.loads(deck.live.answer(Market.UM, "aggTrades", MultiDict(symbol="SUSHIUSDT", limit="2"), 0))
    assert [row["a"] for row in newest] == ids[-2:]
    truth = deck.live.truth(Market.UM, "SUSHIUSDT")
    assert (truth["first_trade_id"], truth["last_trade_id"]) == (ids[0], ids[-1])


def test_what_a_recording_does_not_know_is_refused(recordings: Path, tmp_path: Path) -> None:
    deck = Deck(recordings / "ws_recordings" / "cryptofeed")
    with pytest.raises(ConfigError, match="as busy as it was"):
        deck.live.activity({"trades_per_s": 1})
    with pytest.raises(ConfigError, match="no recordings"):
        RecordedLive(tmp_path, lambda: 0)
    with pytest.raises(ConfigError, match="positive"):
        RecordedLive(tmp_path, lambda: 0, 0)
    with pytest.raises(ConfigError, match="BTCUSDT"):
        deck.live.truth(Market.UM, "BTCUSDT")
    with pytest.raises(ConfigError, match="the snapshot is of"):
        deck.live.truth(Market.SPOT, "NKNUSDT", 1)
    for params, code in ((MultiDict(symbol="BTCUSDT"), -1121), (MultiDict[str](), -1102)):
        with pytest.raises(Refusal) as refused:
            deck.live.answer(Market.SPOT, "depth", params, 0)
        assert refused.value.code == code


def test_an_exchange_can_be_given_a_recording(recordings: Path) -> None:
    clock = ReplicaClock(1_800_000_000_000, speed=0)
    live = RecordedLive(recordings / "ws_recordings" / "cryptofeed", clock.now_ms)
    source = GeneratedSource(GeneratedMarket("beside"), default_universe())
    exchange = Exchange(source, clock, live=live, live_rest=live)
    answer = exchange.answer(Call("/api/v3/depth", MultiDict(symbol="NKNUSDT", limit="1000"), "1"))
    assert json.loads(answer.body)["lastUpdateId"] == 499869752
    assert exchange.live is live
