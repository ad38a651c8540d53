"""What channels make of payloads: told apart by their stream, each once, refused where they are something else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gapless.domain.instrument import Instrument, Market
from gapless.domain.live import Entry, GapEvent, Kind
from gapless.errors import ConfigError
from gapless.exchanges.binance.streams.messages import ForceOrder, Kline, open_envelope
from gapless.exchanges.binance.streams.names import Route, StreamSpec, combined_url, parse_channels, stream_specs
from streamer.books.settings import BookSettings
from streamer.books.sync import BookSync
from streamer.channels.channel import Desk
from streamer.channels.depth import DepthChannel, DiffChannel
from streamer.channels.states import BookTickerChannel, KlineChannel, LiquidationChannel, MarkPriceChannel
from streamer.channels.trades import Trade, TradesChannel
from streamer.continuity.line import Line

NOW_NS = 1_763_654_400_500_000_000


@dataclass
class Written:
    """Stands for the outlet: what was put, kept and told, in order."""

    entries: list[tuple[str, str]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    told: list[GapEvent] = field(default_factory=list)

    def stream(self, kind: Kind, exchange: str, symbol: str) -> Kind:
        return kind

    def put(self, out: Kind, event_ms: int, received_ns: int, identity: bytes, payload: bytes) -> None:
        self.entries.append((str(out), identity.decode()))

    def keep(self, key: str, value: bytes, expires_ms: int) -> None:
        self.values[key] = json.loads(value)

    def tell(self, gap: GapEvent) -> None:
        self.told.append(gap)


@dataclass
class Scene:
    outlet: Written = field(default_factory=Written)
    refused: list[tuple[StreamSpec, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.desk = Desk(self.outlet, lambda spec, payload, reason: self.refused.append((spec, reason)))  # type: ignore[arg-type]

    @property
    def identities(self) -> list[str]:
        return [identity for _, identity in self.outlet.entries]

    def publish(self) -> dict[str, Any]:
        for channel in self.desk.dirty:
            channel.publish()
        self.desk.dirty.clear()
        return self.outlet.values


@pytest.fixture
def scene() -> Scene:
    return Scene()


def instrument(market: Market) -> Instrument:
    symbol = "BTC/USDT" if market is Market.SPOT else "BTC/USDT:USDT"
    return Instrument("binance", symbol, market, "BTCUSDT", "BTC", "USDT", "TRADING", Decimal("0.1"), Decimal("0.001"))


def spec(kind: Kind, market: Market = Market.UM) -> StreamSpec:
    [found] = stream_specs(instrument(market), [kind])
    return found


def trade(number: int, **fields: Any) -> bytes:
    whole = {"e": "aggTrade", "E": 1_763_654_400_123, "a": number, "s": "BTCUSDT", "p": "91234.10", "q": "0.0140",
             "f": 1, "l": 2, "T": 1_763_654_400_100, "m": True}  # fmt: skip
    return json.dumps({**whole, **fields}, separators=(",", ":")).encode()


def trades_channel(scene: Scene) -> TradesChannel:
    return TradesChannel(spec(Kind.TRADES), scene.desk, Line[Trade](), lambda channel: None)


def test_each_market_has_its_own_streams_and_routes() -> None:
    spot = {each.kind: each for each in stream_specs(instrument(Market.SPOT), list(Kind)[:6])}
    um = {each.kind: each for each in stream_specs(instrument(Market.UM), list(Kind)[:6])}
    assert set(um) - set(spot) == {Kind.MARK_PRICE, Kind.LIQUIDATIONS}
    assert {each.route for each in spot.values()} == {Route.SPOT}
    assert {kind for kind, each in um.items() if each.route is Route.PUBLIC} == {Kind.DEPTH, Kind.BOOK_TICKER}
    assert um[Kind.MARK_PRICE].name == "btcusdt@markPrice@1s"
    assert combined_url("wss://x", Route.MARKET, ["币安usdt@aggTrade"]) == (
        "wss://x/market/stream?streams=%E5%B8%81%E5%AE%89usdt@aggTrade"
    )


def test_unknown_channels_are_named() -> None:
    assert parse_channels("trades, depth") == (Kind.DEPTH, Kind.TRADES)
    with pytest.raises(ConfigError, match="funding"):
        parse_channels("trades,funding")


def test_trades_go_on_once_and_in_order_with_their_bytes_untouched(scene: Scene) -> None:
    channel = trades_channel(scene)
    for number in (7, 8, 8, 7, 9):
        channel.take(trade(number), NOW_NS)
    assert scene.identities == ["7", "8", "9"]
    value = scene.publish()["last.trades.binance.BTC/USDT:USDT"]
    assert (value["event_ms"], value["received_ns"], value["data"]) == (
        1_763_654_400_123, NOW_NS, json.loads(trade(9)),
    )  # fmt: skip


def test_a_trade_that_was_missing_is_not_the_newest(scene: Scene) -> None:
    channel = trades_channel(scene)
    for number in (7, 9):
        channel.take(trade(number), NOW_NS)
    channel.pass_on(channel.line.fill([(8, Trade(8, 1, NOW_NS, b'{"a":8}'))]))
    assert scene.identities == ["7", "8", "9"]
    assert channel.last_id == 9
    assert scene.publish()["last.trades.binance.BTC/USDT:USDT"]["data"]["a"] == 9


def test_new_fields_are_fine_and_missing_ones_are_refused_with_a_reason(scene: Scene) -> None:
    channel = trades_channel(scene)
    channel.take(trade(1, nq="0.01", st=1, brand_new={"x": [1]}), NOW_NS)
    for bad in (trade(2, p=5), trade(3).replace(b'"a":3,', b""), b'{"e":"aggTr', b"[]", trade(4, e="nobodyKnows")):
        channel.take(bad, NOW_NS)
    assert scene.identities == ["1"]
    assert len(scene.refused) == channel.refused == 5
    assert all(reason.startswith("json:") for _, reason in scene.refused)


def test_a_payload_of_another_event_is_refused_by_the_streams_name(scene: Scene) -> None:
    mark = {"e": "markPriceUpdate", "E": 5, "s": "BTCUSDT", "p": "1", "i": "1", "P": "1", "r": "0.1", "T": 9}
    trades_channel(scene).take(json.dumps(mark).encode(), NOW_NS)
    assert scene.identities == []
    assert scene.refused[0][1] == "fields: MarkPrice in btcusdt@aggTrade"


def test_of_book_tickers_only_newer_ones_go_on(scene: Scene) -> None:
    um, spot = (
        BookTickerChannel(spec(Kind.BOOK_TICKER), scene.desk),
        BookTickerChannel(spec(Kind.BOOK_TICKER, Market.SPOT), scene.desk),
    )
    body = {"s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"}
    for number in (5, 7, 6, 7):
        um.take(json.dumps({"e": "bookTicker", "u": number, "E": 50, "T": 40, **body}).encode(), NOW_NS)
    assert scene.identities == ["5", "7"]
    spot.take(json.dumps({"u": 9, **body}).encode(), NOW_NS)
    assert scene.identities[-1] == "9"
    assert spot.last_event_ms == NOW_NS // 1_000_000  # spot names no time
    um.take(json.dumps({"u": 10, **body}).encode(), NOW_NS)  # spot's form in the other market's stream
    assert len(scene.refused) == 1


def test_a_mark_price_that_comes_late_is_an_entry_but_not_the_newest_state(scene: Scene) -> None:
    channel = MarkPriceChannel(spec(Kind.MARK_PRICE), scene.desk)
    for at in (3000, 1000, 3000, 2000):
        body = {"e": "markPriceUpdate", "E": at, "s": "BTCUSDT", "p": "1", "i": "1", "P": "1", "r": "0.1", "T": 9}
        channel.take(json.dumps(body).encode(), NOW_NS)
    assert scene.identities == ["3000", "1000", "2000"]
    assert scene.publish()["last.mark_price.binance.BTC/USDT:USDT"]["event_ms"] == 3000


def kline(event_ms: int, *, closed: bool, close: str = "2") -> bytes:
    bar = {"t": 60_000, "T": 119_999, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "1", "c": close, "h": "3",
           "l": "1", "v": "5", "n": 2, "x": closed, "q": "9", "V": "1", "Q": "2", "B": "0"}  # fmt: skip
    return json.dumps({"e": "kline", "E": event_ms, "s": "BTCUSDT", "k": bar}).encode()


def test_a_close_is_told_once_and_a_second_close_of_other_values_is_no_second_entry(scene: Scene) -> None:
    closes: list[str] = []

    def on_closed(_: StreamSpec, message: Kline, received_ns: int) -> bool:
        closes.append(message.k.c)
        return len(closes) == 1

    channel = KlineChannel(spec(Kind.KLINES), scene.desk, on_closed)
    for payload in (kline(61_000, closed=False), kline(61_000, closed=False), kline(120_000, closed=True),
                    kline(120_000, closed=True, close="2.5")):  # fmt: skip
        channel.take(payload, NOW_NS)
    assert scene.identities == ["1m:60000:0:61000", "1m:60000:1"]
    assert closes == ["2", "2.5"]
    assert "last.klines.1m.binance.BTC/USDT:USDT" in scene.publish()


def test_a_bar_of_another_interval_is_refused(scene: Scene) -> None:
    channel = KlineChannel(spec(Kind.KLINES), scene.desk, lambda *_: True)
    channel.take(kline(61_000, closed=False).replace(b'"1m"', b'"5m"'), NOW_NS)
    assert scene.identities == []
    assert scene.refused[0][1] == "fields: interval '5m' in btcusdt@kline_1m"


def test_liquidations_go_on_once_and_to_the_store(scene: Scene) -> None:
    stored: list[ForceOrder] = []
    channel = LiquidationChannel(spec(Kind.LIQUIDATIONS), scene.desk, lambda _, order, __: stored.append(order))
    order = {"s": "BTCUSDT", "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "0.014", "p": "91234.1", "ap": "91230.0",
             "X": "FILLED", "l": "0.01", "z": "0.014", "T": 1_763_654_400_100}  # fmt: skip
    payload = json.dumps({"e": "forceOrder", "E": 1_763_654_400_123, "o": order}).encode()
    channel.take(payload, NOW_NS)
    channel.take(payload, NOW_NS)
    assert scene.identities == ["1763654400100:SELL:91234.1:0.014"]
    assert [each.o.z for each in stored] == ["0.014"]


def diff(first: int, last: int, before: int) -> bytes:
    body = {"e": "depthUpdate", "E": 50, "T": 40, "s": "BTCUSDT", "U": first, "u": last, "pu": before, "b": [], "a": []}
    return json.dumps(body).encode()


def losses(scene: Scene) -> tuple[list[tuple[int, int]], Any]:
    told: list[tuple[int, int]] = []
    return told, lambda spec, reason, gap, detail: told.append((gap.first, gap.last))


def test_diffs_without_books_wait_for_the_one_before_and_tell_what_does_not_come(scene: Scene) -> None:
    told, tell = losses(scene)
    channel = DiffChannel(spec(Kind.DEPTH), scene.desk, tell=tell, patience_ms=0, held=10)
    for payload in (diff(1, 5, 0), diff(9, 12, 8), diff(6, 8, 5), diff(6, 8, 5)):
        channel.take(payload, NOW_NS)
    assert scene.identities == ["5", "8", "12"]
    assert (told, channel.duplicates) == ([], 1)
    channel.take(diff(20, 22, 19), NOW_NS)
    channel.tick(1 << 62)
    assert scene.identities[-1] == "22"
    assert told == [(13, 19)]


def test_a_futures_diff_without_pu_is_refused_with_and_without_books(scene: Scene) -> None:
    _, tell = losses(scene)
    payload = diff(1, 5, 0).replace(b'"pu": 0, ', b"")
    sync = BookSync(Market.UM, BookSettings())
    ignore: Any = lambda *_: None  # noqa: E731
    for channel in (
        DiffChannel(spec(Kind.DEPTH), scene.desk, tell=tell, patience_ms=0, held=1),
        DepthChannel(spec(Kind.DEPTH), scene.desk, sync, tell=tell, on_ask=ignore, on_state=ignore),
    ):
        channel.take(payload, NOW_NS)
    assert len(scene.refused) == 2
    assert all(reason.startswith("fields:") for _, reason in scene.refused)


def test_what_was_written_before_is_not_written_again(scene: Scene) -> None:
    def entry(kind: Kind, identity: str, payload: bytes = b"{}") -> Entry:
        return Entry(kind, "binance", "BTC/USDT:USDT", "1-1", 50, 1, identity, payload)

    marks = MarkPriceChannel(spec(Kind.MARK_PRICE), scene.desk)
    marks.resume([entry(Kind.MARK_PRICE, "3000")])
    body = {"e": "markPriceUpdate", "E": 3000, "s": "BTCUSDT", "p": "1", "i": "1", "P": "1", "r": "0.1", "T": 9}
    marks.take(json.dumps(body).encode(), NOW_NS)
    bars = KlineChannel(spec(Kind.KLINES), scene.desk, lambda *_: True)
    bars.resume([entry(Kind.KLINES, "1m:60000:1")])
    bars.take(kline(120_000, closed=True), NOW_NS)
    assert scene.identities == []


@pytest.mark.parametrize("name", ["usdm_prod_20261008_frames.jsonl", "usdm_testnet_20260726_frames.jsonl"])
def test_recorded_frames_are_taken_as_they_are(scene: Scene, recordings: Path, name: str) -> None:
    path = recordings / "ws_frames" / name
    made = {
        "aggTrade": trades_channel(scene),
        "markPrice@1s": MarkPriceChannel(spec(Kind.MARK_PRICE), scene.desk),
        "bookTicker": BookTickerChannel(spec(Kind.BOOK_TICKER), scene.desk),
        "kline_1m": KlineChannel(spec(Kind.KLINES), scene.desk, lambda *_: True),
        "depth@100ms": DiffChannel(spec(Kind.DEPTH), scene.desk, tell=losses(scene)[1], patience_ms=0, held=9),
        "arr": LiquidationChannel(spec(Kind.LIQUIDATIONS), scene.desk, lambda *_: None),
    }
    taken = 0
    for line in path.read_bytes().splitlines():
        stream, data = open_envelope(line)
        channel = made.get(stream.partition("@")[2])
        if channel is not None:
            channel.take(data, NOW_NS)
            taken += 1
    assert taken >= 2
    assert scene.refused == []


def test_delays_are_counted_by_the_millisecond(scene: Scene) -> None:
    channel = trades_channel(scene)
    channel.take(trade(0), NOW_NS)  # the first is where the counting of ids begins
    for number, late_ms in enumerate((-5, 0, 3, 3, 90_000), start=1):
        channel.take(trade(number, E=NOW_NS // 1_000_000 - late_ms), NOW_NS)
    assert scene.desk.delays.below([0, 3, 1000]) == [2, 4, 4, 5]
