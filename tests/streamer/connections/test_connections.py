"""Connections against a server on loopback: what they open, replace, notice and say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.exchanges.binance.streams.names import StreamSpec
from streamer.connections import Connections, ConnectionSettings
from streamer.transport import transport_of
from tests.streamer.connections.exchange import PATIENCE_S, Desk, Exchange, exchanging, spec
from tests.streamer.transport.peer import Side, listening

pytestmark = pytest.mark.timeout(60)

QUICK = {"tick_s": 0.02, "backoff_s": 0.02, "linger_s": 0.02, "close_s": 2.0, "message_share": 1.0}


@contextlib.asynccontextmanager
async def connected(
    exchange: Exchange | str, desk: Desk, specs: Sequence[StreamSpec], library: str = "picows", **options: object
) -> AsyncIterator[Connections]:
    url = exchange if isinstance(exchange, str) else exchange.url
    settings = ConnectionSettings(**{**QUICK, **options})  # type: ignore[arg-type]
    connections = Connections(desk, transport_of(library), {Market.SPOT: url, Market.UM: url}, settings, say=desk.say)
    connections.want(specs)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(connections.run())
        try:
            yield connections
        finally:
            await connections.close()
            await asyncio.wait_for(running, PATIENCE_S)


def names(count: int) -> list[str]:
    return [f"s{number}usdt@aggTrade" for number in range(count)]


@pytest.fixture(params=["picows", "websockets"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_streams_come_by_url_and_are_taken_by_their_name(library: str) -> None:
    async with exchanging() as exchange:
        desk = Desk()
        wanted = [*(spec(name) for name in names(5)), spec("btcusdt@markPrice@1s", Kind.MARK_PRICE, Market.UM)]
        async with connected(exchange, desk, wanted, library, streams=3) as connections:
            await desk.until(lambda: len(desk.opened) == 3)
            exchange.speak(*names(5), "btcusdt@markPrice@1s")
            await desk.until(lambda: len(desk.ids) == 6)
            assert sorted(line.path for line in exchange.lines) == ["/market/stream", "/stream", "/stream"]
            assert exchange.requests == []
            assert connections.stream_seen("s0usdt@aggTrade")[0] == 1
            views = connections.lanes()
            assert {(view.market, view.streams, view.carried) for view in views} == {
                (Market.SPOT, 3, 3), (Market.SPOT, 2, 2), (Market.UM, 1, 1),
            }  # fmt: skip
            assert all(view.state == "open" and view.messages and view.bytes for view in views)
        assert exchange.lines == []
        assert [(why, covered) for _, _, why, covered in desk.ended] == [("stopped", False)] * 3


async def test_what_does_not_fit_into_the_url_is_subscribed_at_the_allowed_pace() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        wanted = [spec(name) for name in names(40)]
        async with connected(exchange, desk, wanted, url_bytes=200, names_a_request=10, streams=40) as connections:
            await desk.until(lambda: sum(len(opened) for _, opened in desk.opened) == 40)
            assert len(exchange.opened) == 1
            by_url = len(desk.opened[0][1])
            assert 0 < by_url < 40
            assert [len(request["params"]) for request in exchange.requests][:-1] == [10] * ((40 - by_url) // 10)  # type: ignore[arg-type]
            exchange.speak(*names(40))
            await desk.until(lambda: len(desk.ids) == 40)
            assert connections.lanes()[0].carried == 40


async def test_a_change_of_what_is_wanted_touches_no_other_stream() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec(name) for name in names(4)], streams=3) as connections:
            await desk.until(lambda: len(desk.opened) == 2)
            connections.want([spec(name) for name in (*names(4)[1:], "newusdt@aggTrade")])
            await desk.until(lambda: any("newusdt@aggTrade" in opened for _, opened in desk.opened))
            assert {(request["method"], *request["params"]) for request in exchange.requests} == {  # type: ignore[misc]
                ("UNSUBSCRIBE", "s0usdt@aggTrade"), ("SUBSCRIBE", "newusdt@aggTrade"),
            }  # fmt: skip
            exchange.speak(*names(4), "newusdt@aggTrade")
            await desk.until(lambda: len(desk.ids) == 4)
            assert "s0usdt@aggTrade" not in desk.ids
            assert len(exchange.opened) == 2
            connections.want([spec(names(4)[3])])
            await desk.until(lambda: len(exchange.lines) == 1)
            connections.want([spec(name) for name in names(4)])
            await desk.until(
                lambda: all(len(desk.ids[name]) > 1 for name in names(4)), meanwhile=lambda: exchange.speak(*names(4))
            )
        assert desk.takers.count("s0usdt@aggTrade") == 2
        assert desk.unread == []


async def test_a_hundred_rollovers_under_load_lose_nothing_and_need_no_reconnect(library: str) -> None:
    async with exchanging() as exchange:
        desk = Desk()
        streams = names(8)
        options = {"life_s": 0.05, "linger_s": 0.0, "streams": 4, "tick_s": 0.01}
        wanted = [spec(name) for name in streams]
        async with connected(exchange, desk, wanted, library, **options) as connections:
            await desk.until(lambda: len(desk.opened) >= 2)
            await desk.until(
                lambda: len(desk.ended) >= 100 and connections.state().replaced >= 100,
                meanwhile=lambda: exchange.speak(*streams, *streams),
            )
            last = {name: exchange.sent[name] for name in streams}
            await desk.until(lambda: all(desk.fresh[name][-1] >= last[name] for name in streams))
            state = connections.state()
            replaced = [covered for _, _, why, covered in desk.ended if why == "its time was up"]
        assert state.cut == 0
        assert state.reconnects == {}
        for name in streams:
            assert desk.fresh[name] == list(range(desk.fresh[name][0], desk.fresh[name][-1] + 1))
            assert desk.fresh[name][0] <= 2
        assert len(replaced) >= 100
        assert all(replaced)


@pytest.mark.parametrize(
    "announcement",
    [
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1700000000000}}',
        '{"e":"serverShutdown","E":1700000000000}',
    ],
)
async def test_an_announced_shutdown_is_answered_by_a_successor(announcement: str) -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec(name) for name in names(3)]):
            await desk.until(lambda: len(desk.ids) == 3, meanwhile=lambda: exchange.speak(*names(3)))
            exchange.say(announcement)
            await desk.until(lambda: bool(desk.ended), meanwhile=lambda: exchange.speak(*names(3)))
            assert desk.ended[0][2:] == ("the server announced that it will close it", True)
            assert len(exchange.opened) == 2
            assert all(ids == list(range(ids[0], ids[-1] + 1)) for ids in desk.fresh.values())
        assert desk.unread == []


async def test_a_cut_is_told_and_mended_within_a_moment(library: str) -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec(name) for name in names(3)], library) as connections:
            for round_ in range(1, 6):
                before = len(desk.ids[names(1)[0]])
                await desk.until(
                    lambda before=before: len(desk.ids[names(1)[0]]) > before,
                    meanwhile=lambda: exchange.speak(*names(3)),
                )
                exchange.cut()
                await desk.until(lambda round_=round_: len(desk.ended) == round_)
                assert sorted(desk.ended[-1][1]) == names(3)
                assert not desk.ended[-1][3]
            await desk.until(lambda: len(exchange.lines) == 1)
            assert connections.state().cut == 5
            await desk.until(lambda: connections.state().reconnects == {Market.SPOT: 5})
            assert connections.lanes()[0].reconnects == 5


async def test_while_the_exchange_is_away_attempts_are_few_and_the_return_is_noticed() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec("a@aggTrade")], backoff_cap_s=0.05) as connections:
            await desk.until(lambda: len(desk.opened) == 1)
            port = int(exchange.url.rsplit(":", 1)[1])
            await exchange.stop()
            await desk.until(lambda: connections.state().refused >= 5)
            assert sum("no connection" in line for line in desk.said) == 1  # the same is said once
            await exchange.start(port)
            await desk.until(lambda: bool(desk.ids), meanwhile=lambda: exchange.speak("a@aggTrade"))


async def test_of_two_connections_at_once_either_may_end() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec(name) for name in names(3)], redundancy=2) as connections:
            await desk.until(lambda: len(desk.opened) == 2)
            for round_ in range(1, 11):
                await desk.until(
                    lambda: all(view.messages for view in connections.lanes()) and len(connections.lanes()) == 2,
                    meanwhile=lambda: exchange.speak(*names(3)),
                )
                exchange.lines[round_ % 2].socket.transport.abort()
                await desk.until(
                    lambda round_=round_: len(desk.ended) == round_, meanwhile=lambda: exchange.speak(*names(3))
                )
            assert all(covered for *_, covered in desk.ended)
            assert connections.state().cut == 10
            assert {view.slot for view in connections.lanes()} <= {0, 1}
        for ids in desk.fresh.values():
            assert ids == list(range(1, ids[-1] + 1))


async def test_the_two_are_never_replaced_together() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec("a@aggTrade")], redundancy=2, life_jitter=0.0) as connections:
            await desk.until(lambda: len(connections.lanes()) == 2)
            lives = sorted(
                lane.retires_s - lane.opened_s for shard in connections._shards.values() for lane in shard.lanes
            )
            assert lives == pytest.approx([82_800 / 2, 82_800], abs=1)


async def test_a_stream_that_falls_silent_is_told_and_subscribed_again() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        loud = names(6)[1:]
        options = {"quiet_s": 0.5, "quiet_factor": 1.0, "first_message_s": 5.0}
        async with connected(exchange, desk, [spec(name) for name in names(6)], **options) as connections:
            await desk.until(lambda: len(desk.ids) == 6, meanwhile=lambda: exchange.speak(*names(6)))
            exchange.lines[0].muted.add("s0usdt@aggTrade")
            await desk.until(
                lambda: "SUBSCRIBE" in [request["method"] for request in exchange.requests],
                meanwhile=lambda: exchange.speak(*loud),
            )
            assert set(desk.silent) == {"s0usdt@aggTrade"}
            assert [(request["method"], request["params"]) for request in exchange.requests][:2] == [
                ("UNSUBSCRIBE", ["s0usdt@aggTrade"]), ("SUBSCRIBE", ["s0usdt@aggTrade"]),
            ]  # fmt: skip
            before = len(desk.ids["s0usdt@aggTrade"])
            await desk.until(
                lambda: len(desk.ids["s0usdt@aggTrade"]) > before, meanwhile=lambda: exchange.speak(*names(6))
            )
            assert len(exchange.opened) == 1
            assert connections.state().doubted >= 1


async def test_silence_that_subscribing_again_does_not_end_replaces_the_connection() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        exchange.mute_after_ack.add("s0usdt@aggTrade")
        options = {"quiet_s": 0.15, "quiet_factor": 1.0}
        async with connected(exchange, desk, [spec(name) for name in names(6)], **options):
            await desk.until(lambda: len(desk.ids) == 6, meanwhile=lambda: exchange.speak(*names(6)))
            exchange.lines[0].muted.add("s0usdt@aggTrade")
            await desk.until(lambda: bool(desk.ended), meanwhile=lambda: exchange.speak(*names(6)))
            assert "s0usdt@aggTrade is silent although" in desk.ended[0][2]
            count = len(desk.ids["s0usdt@aggTrade"])
            await desk.until(
                lambda: len(desk.ids["s0usdt@aggTrade"]) > count, meanwhile=lambda: exchange.speak(*names(6))
            )


async def test_a_ban_at_the_handshake_is_honoured_by_the_whole_market() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        exchange.refuse = [(418, {"Retry-After": "1"})]
        loop = asyncio.get_running_loop()
        async with connected(exchange, desk, [spec(name) for name in names(4)], streams=1, connecting=1) as connections:
            await desk.until(lambda: connections.state().refused == 1)
            banned_s = loop.time()
            await desk.until(lambda: len(exchange.lines) == 4)
            assert loop.time() - banned_s > 0.9
            assert exchange.attempts == 5
            assert any("HTTP 418: no; left alone for 1 s" in line for line in desk.said)


async def test_attempts_of_all_connections_share_one_budget() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec(name) for name in names(6)], streams=1, attempts=4, attempts_s=0.5):
            await desk.until(lambda: exchange.attempts == 4)
            first_s = asyncio.get_running_loop().time()
            await desk.until(lambda: len(exchange.lines) == 6)
            assert asyncio.get_running_loop().time() - first_s > 0.3


async def test_a_half_open_connection_is_dropped_and_another_opened(library: str) -> None:
    connections_seen = 0

    async def mute(side: Side) -> None:
        nonlocal connections_seen
        connections_seen += 1
        while await side.reader.read(1000):
            pass

    async with listening(mute) as peer:
        desk = Desk()
        options = {"ping_after_s": 0.05, "dead_after_s": 0.1}
        url = f"ws://127.0.0.1:{peer.port}"
        async with connected(url, desk, [spec("a@aggTrade")], library, close_s=0.05, **options):
            await desk.until(lambda: connections_seen >= 3)
            assert "nothing was heard for 0.1 s, not even a pong" in desk.ended[0][2]


async def test_a_quiet_connection_whose_peer_answers_pings_lives_on(library: str) -> None:
    async with exchanging() as exchange:
        desk = Desk()
        options = {"ping_after_s": 0.03, "dead_after_s": 0.3, "first_message_s": 60.0}
        async with connected(exchange, desk, [spec("a@aggTrade", Kind.LIQUIDATIONS)], library, **options):
            await desk.until(lambda: bool(exchange.lines))
            await asyncio.sleep(0.6)
            assert len(exchange.opened) == 1


async def test_an_exception_of_a_taker_is_said_and_the_streams_go_on() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        desk.fails = lambda number: number == 3
        async with connected(exchange, desk, [spec("a@aggTrade")]) as connections:
            await desk.until(
                lambda: max(desk.ids["a@aggTrade"], default=0) > 5, meanwhile=lambda: exchange.speak("a@aggTrade")
            )
            assert connections.state().failures == 1
            assert any("this is a bug" in line and "ZeroDivisionError: message 3" in line for line in desk.said)


async def test_a_taker_that_fails_again_and_again_stops_the_sidecar() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        desk.fails = lambda number: True
        connections = Connections(
            desk, transport_of(), {Market.SPOT: exchange.url},
            ConnectionSettings(**{**QUICK, "failures": 3}), say=desk.say,  # type: ignore[arg-type]
        )  # fmt: skip
        connections.want([spec("a@aggTrade")])
        running = asyncio.create_task(connections.run())
        await desk.until(running.done, meanwhile=lambda: exchange.speak("a@aggTrade"))
        error = running.exception()
        assert isinstance(error, ExceptionGroup)
        assert error.subgroup(ZeroDivisionError) is not None
        assert connections.state().failures == 4


async def test_a_declined_subscription_is_said() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        exchange.decline = "Invalid request: invalid stream"
        async with connected(exchange, desk, [spec("a@aggTrade")], url_bytes=0) as connections:
            await desk.until(lambda: connections.state().request_errors == 1)
            assert "SUBSCRIBE of a@aggTrade was declined: Invalid request: invalid stream (code 2)" in desk.said[-1]
            assert connections.lanes()[0].carried == 0


async def test_a_connection_that_answers_no_request_is_replaced() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        exchange.deaf = True
        options = {"url_bytes": 0, "ack_s": 0.05, "overlap_s": 0.1}
        async with connected(exchange, desk, [spec("a@aggTrade")], **options):
            await desk.until(lambda: len(exchange.opened) >= 2)
            exchange.deaf = False
            await desk.until(lambda: bool(desk.ids), meanwhile=lambda: exchange.speak("a@aggTrade"))
            await desk.until(lambda: any("had no answer" in why for _, _, why, _ in desk.ended))


async def test_what_nobody_asked_for_is_counted_and_handed_on() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        async with connected(exchange, desk, [spec("a@aggTrade")]) as connections:
            await desk.until(lambda: bool(exchange.lines))
            strange = ['{"stream":"b@aggTrade","data":{"a":1}}', "garbage", '{"result":null,"id":99}', "[]"]
            for text in strange:
                exchange.say(text)
            exchange.say('{"data": {"a": 7}, "stream": "a@aggTrade"}')
            exchange.say('{ "stream": "a@aggTrade", "data": {"a": 8} }')
            await desk.until(lambda: desk.ids["a@aggTrade"] == [7, 8])
            assert [payload.decode() for payload in desk.unread] == strange
            assert connections.state().unread == 4
            assert connections.lanes()[0].messages == 6


async def test_being_cancelled_leaves_no_connection() -> None:
    async with exchanging() as exchange:
        desk = Desk()
        connections = Connections(desk, transport_of(), {Market.SPOT: exchange.url}, say=desk.say)
        connections.want([spec(name) for name in names(3)])
        running = asyncio.create_task(connections.run())
        await desk.until(lambda: bool(desk.opened))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await desk.until(lambda: not exchange.lines)
        assert [why for _, _, why, _ in desk.ended] == ["stopped"]
