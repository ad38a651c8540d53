"""Connections against the replica of the exchange, which knows every message it sent and to whom it did not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from gapless.domain.instrument import Instrument, Market, unified_symbol
from gapless.domain.live import Kind
from gapless.exchanges.binance.streams.names import StreamSpec, stream_specs
from streamer.connections import Connections, ConnectionSettings, Take
from streamer.transport import transport_of
from tests.fixtures.live import START, LiveReplica, live_in_loop
from tests.streamer.connections.exchange import PATIENCE_S, Desk

pytestmark = pytest.mark.timeout(90)

QUICK = {
    "tick_s": 0.02, "backoff_s": 0.02, "linger_s": 0.05, "close_s": 2.0, "attempts": 100_000,
}  # fmt: skip
CHANNELS = (Kind.DEPTH, Kind.TRADES)


def instrument(market: Market, base: str) -> Instrument:
    symbol = unified_symbol(market, base, "USDT")
    return Instrument("binance", symbol, market, f"{base}USDT", base, "USDT", "TRADING")


def wanted(*markets: Market) -> list[StreamSpec]:
    return [
        spec
        for market in markets
        for base in ("BTC", "ETH")
        for spec in stream_specs(instrument(market, base), CHANNELS)
    ]


class Books(Desk):
    """Notes ids by market and stream: of a trade its id, of a diff where it ends, and what it says comes before it."""

    def __init__(self) -> None:
        super().__init__()
        self.trades: dict[tuple[str, str], set[int]] = defaultdict(set)
        self.diffs: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
        self.heard_s: dict[tuple[str, str], float] = {}

    def taker(self, spec: StreamSpec) -> Take:
        key = (spec.market.value, spec.name)
        clock = asyncio.get_running_loop().time

        def take(data: bytes, received_ns: int) -> None:
            said: dict[str, Any] = json.loads(data)
            self.heard_s[key] = clock()
            if spec.kind is Kind.TRADES:
                self.trades[key].add(said["a"])
            else:
                self.diffs[key][said["u"]] = said["pu"] if "pu" in said else said["U"] - 1
            self._news.set()

        return take

    def holes(self) -> list[str]:
        """Where an id is missing between the first and the last heard."""
        found = []
        for key, ids in self.trades.items():
            found += [f"{key} lacks {n}" for n in range(min(ids), max(ids)) if n not in ids]
        for key, diffs in self.diffs.items():
            ends = sorted(diffs)
            found += [f"{key} lacks what ends at {diffs[u]}" for u in ends[1:] if diffs[u] not in diffs]
        return found


@contextlib.asynccontextmanager
async def following(
    live: LiveReplica, desk: Desk, specs: Sequence[StreamSpec], **options: object
) -> AsyncIterator[Connections]:
    settings = ConnectionSettings(**{**QUICK, **options})  # type: ignore[arg-type]
    urls = {market: live.ws(market) for market in Market}
    connections = Connections(desk, transport_of(), urls, settings, say=desk.say)
    connections.want(specs)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(connections.run())
        try:
            yield connections
        finally:
            await connections.close()
            await asyncio.wait_for(running, PATIENCE_S)


async def test_a_hundred_rollovers_of_both_markets_under_load_lose_nothing() -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        rules = {"attempts_per_5m": 100_000}
        live.limits(spot=rules, um=rules)
        live.activity(trades_per_s=200, diff_ms=100)
        desk = Books()
        async with following(live, desk, wanted(*Market), life_s=0.1, linger_s=0.0) as connections:
            await desk.until(lambda: connections.state().replaced >= 100)
            live.freeze()
            lasts = {
                (market, name): stream["last_id"]
                for market, streams in live.sent()["streams"].items()
                for name, stream in streams.items()
                if name.endswith("@aggTrade")
            }
            await desk.until(lambda: all(last in desk.trades[key] for key, last in lasts.items()))
            assert connections.state().cut == 0
            assert {why for _, _, why, _ in desk.ended} == {"its time was up"}
            assert all(covered for *_, covered in desk.ended)
        assert len(desk.trades) == len(desk.diffs) == 4
        assert desk.holes() == []


async def test_announced_shutdowns_lose_nothing() -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.limits(spot={"attempts_per_5m": 100_000})
        live.activity(trades_per_s=200)
        desk = Books()
        async with following(live, desk, wanted(Market.SPOT), linger_s=0.0) as connections:
            for round_ in range(1, 6):
                await desk.until(lambda round_=round_: connections.state().replaced >= round_ - 1 and bool(desk.trades))
                live.shutdown(after_s=2.0)
                await desk.until(lambda round_=round_: connections.state().replaced >= round_)
            assert connections.state().cut == 0
        assert desk.holes() == []


async def test_after_cuts_of_every_sort_all_streams_speak_again_within_three_seconds() -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        rules = {"attempts_per_5m": 100_000}
        live.limits(spot=rules, um=rules)
        live.activity(trades_per_s=100)
        desk, specs = Books(), wanted(*Market)
        keys = {(spec.market.value, spec.name) for spec in specs}
        clock, took = asyncio.get_running_loop().time, []
        options = {"ping_after_s": 0.3, "dead_after_s": 0.6, "backoff_s": 0.25, "close_s": 0.1}
        async with following(live, desk, specs, **options):
            await desk.until(lambda: set(desk.heard_s) == keys)
            for how in [{"how": "reset"}, {"how": "close", "code": 1001}, {"how": "half_open"}] * 3:
                desk.heard_s.clear()
                start_s, ends = clock(), len(desk.ended)
                assert live.cut(**how) == 3
                await desk.until(lambda ends=ends: len(desk.ended) >= ends + 3)
                desk.heard_s.clear()
                await desk.until(lambda: set(desk.heard_s) == keys)
                took.append(max(desk.heard_s.values()) - start_s)
        assert statistics.quantiles(took, n=20)[-1] <= 3.0
        assert not any(covered for _, _, why, covered in desk.ended if why != "stopped")


async def test_a_stream_that_is_acknowledged_and_silent_is_brought_to_speak() -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=100)
        desk, specs = Books(), wanted(Market.UM)
        options = {"first_message_s": 0.5, "quiet_s": 0.5, "quiet_factor": 1.0}
        live.faults({"match": {"stream": "btcusdt@aggTrade", "times": 1}, "action": {"silence": True}})
        async with following(live, desk, specs, **options):
            await desk.until(lambda: bool(desk.trades["um", "btcusdt@aggTrade"]))
            assert "btcusdt@aggTrade" in desk.silent
            assert len(live.connections()) == 2


async def test_a_ban_at_the_handshake_is_waited_for_without_a_knock() -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.faults({"match": {"times": 1}, "action": {"refuse": {"status": 418, "retry_after": 1}}})
        desk, specs = Books(), wanted(Market.SPOT)
        async with following(live, desk, specs, streams=1, connecting=1) as connections:
            await desk.until(lambda: len(connections.lanes()) == 4)
            counts = live.connection_counts("spot")
            assert (counts["attempts"], counts["refused"]) == (5, {"418": 1})


async def test_subscribing_by_messages_stays_below_what_the_exchange_allows() -> None:
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.limits(spot={"ping_every_s": 0.5})
        desk, specs = Books(), wanted(Market.SPOT)
        async with following(live, desk, specs, url_bytes=0, names_a_request=1) as connections:
            await desk.until(lambda: connections.lanes() != [] and connections.lanes()[0].carried == 4)
            assert connections.state().cut == 0
            assert live.connection_counts("spot")["requests"]["requests"] == 4
            assert live.connection_counts("spot")["asked_compression"] == 0
