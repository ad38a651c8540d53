"""The streams on the wire, as clients meet them: places, forms, requests, bounds, ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
import websockets

from gapless.domain.instrument import Market
from tests.fixtures.live import START, LiveFactory, live_in_loop
from tests.replica.live.feed import WAIT_S, connected, feeding

TRADES, DEPTH = "btcusdt@aggTrade", "btcusdt@depth@100ms"


async def test_raw_and_combined_connections_get_the_same_messages_in_their_own_form() -> None:
    async with (
        feeding() as (live, feed),
        connected(live.spot_ws, f"/ws/{TRADES}/{DEPTH}") as raw,
        connected(live.spot_ws, f"/stream?streams={TRADES}/{DEPTH}") as combined,
    ):
        feed.say(TRADES, 1)
        feed.say(DEPTH, 7)
        live.tick()
        payloads = [{"e": "aggTrade", "E": 1000, "a": 1}, {"e": "aggTrade", "E": 7000, "a": 7}]
        assert await raw.saw() == payloads
        expected = [{"stream": name, "data": data} for name, data in zip((TRADES, DEPTH), payloads, strict=True)]
        assert await combined.saw() == expected


async def test_streams_come_and_go_by_request() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, "/stream") as client:
        assert await client.ask("SUBSCRIBE", TRADES, DEPTH) == {"result": None, "id": 1}
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == [TRADES, DEPTH]
        await client.ask("UNSUBSCRIBE", TRADES)
        feed.say(TRADES, 1)
        feed.say(DEPTH, 2)
        live.tick()
        assert await client.ids() == [2]
        assert (await client.ask("GET_PROPERTY", "combined"))["result"] is True
        await client.ask("SET_PROPERTY", "combined", False)
        feed.say(DEPTH, 3)
        live.tick()
        assert await client.saw() == [{"e": "aggTrade", "E": 3000, "a": 3}]
        counts = live.connection_counts("spot")
        assert counts["requests"]["subscribed"] == 2
        assert counts["requests"]["unsubscribed"] == 1


@pytest.mark.parametrize(
    ("path", "heard"),
    [("", [2, 3]), ("/public", [2, 3]), ("/market", [1, 4])],
    ids=["no route", "public", "market"],
)
async def test_routes_of_usdm_deliver_their_own_streams_and_acknowledge_the_others(path: str, heard: list[int]) -> None:
    names = [TRADES, DEPTH, "btcusdt@bookTicker", "btcusdt@kline_1m"]
    async with feeding() as (live, feed), connected(live.um_ws, f"{path}/stream") as client:
        assert (await client.ask("SUBSCRIBE", *names))["result"] is None
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == names
        for number, name in enumerate(names, 1):
            feed.say(name, number, market=Market.UM)
        live.tick()
        assert await client.ids() == heard


async def test_routes_are_usdms_on_spots_port_as_well_and_nothing_is_served_elsewhere() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/market/ws/{TRADES}") as client:
        feed.say(TRADES, 5, market=Market.UM)
        feed.say(TRADES, 6, market=Market.SPOT)
        live.tick()
        assert await client.ids() == [5]
        for path, status in (("/wss", 404), ("/streams", 404), ("/ws/x?timeUnit=MICROSECOND", 501)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(live.um_ws + path)
            assert refused.value.response.status_code == status
        async with aiohttp.ClientSession() as session, session.get(f"{live.rest}/ws/{TRADES}") as plain:
            assert plain.status == 400


async def test_an_unknown_stream_is_acknowledged_and_stays_silent() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, "/ws/nosuch@aggTrade") as client:
        assert (await client.ask("SUBSCRIBE", "nosuch@depth"))["result"] is None
        feed.say("nosuch@aggTrade", 1)
        live.tick()
        assert await client.saw() == []
        assert feed.watched == []


async def test_names_beyond_ascii_are_read_from_the_url_and_from_requests() -> None:
    name = "币安人生usdt@aggTrade"
    async with (
        feeding() as (live, feed),
        connected(live.spot_ws, f"/stream?streams={quote(name, safe='')}") as by_url,
        connected(live.spot_ws, "/stream") as by_request,
    ):
        await by_request.ask("SUBSCRIBE", name)
        feed.say(name, 1)
        live.tick()
        for client in (by_url, by_request):
            assert [message["stream"] for message in await client.saw()] == [name]


async def test_who_says_too_much_within_a_second_is_disconnected_pongs_and_pings_count() -> None:
    async with feeding() as (live, _):
        live.limits(spot={"messages_per_s": 5}, um={"messages_per_s": 10})
        for base, most in ((live.spot_ws, 5), (live.um_ws, 10)):
            async with connected(base, "/ws") as client:
                for number in range(most - 1):
                    await client.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
                await client.socket.pong()
                await client.socket.ping()
                code, answers = await client.end()
                assert code == 1008
                assert len(answers) == most - 1
        assert live.connection_counts("um")["ended"] == {"too_many_messages": 1}


async def test_attempts_beyond_the_bound_are_answered_429_until_the_window_moves_on() -> None:
    async with feeding() as (live, _):
        live.limits(spot={"attempts_per_5m": 3})
        for _ in range(3):
            async with connected(live.spot_ws, "/ws"):
                pass
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{live.spot_ws}/ws")
        assert refused.value.response.status_code == 429
        assert 290 <= int(refused.value.response.headers["Retry-After"]) <= 300
        async with connected(live.um_ws, "/ws"):
            pass
        counts = live.connection_counts("spot")
        assert (counts["attempts"], counts["opened"], counts["refused"]) == (4, 3, {"429": 1})


async def test_a_connection_carries_1024_streams_and_no_more() -> None:
    names = [f"c{number}usdt@aggTrade" for number in range(1024)]
    async with feeding() as (live, feed), connected(live.spot_ws, f"/stream?streams={'/'.join(names)}") as client:
        feed.say(names[-1], 1)
        live.tick()
        assert await client.ids() == [1]
        refused = await client.ask("SUBSCRIBE", TRADES)
        assert refused["error"]["code"] == 4
        assert len((await client.ask("LIST_SUBSCRIPTIONS"))["result"]) == 1024


async def test_pings_carry_a_payload_and_who_does_not_echo_it_is_closed() -> None:
    async with feeding() as (live, _), aiohttp.ClientSession() as session:
        live.limits(um={"ping_every_s": 0.05, "pong_within_s": 30, "messages_per_s": 1000})
        async with session.ws_connect(f"{live.um_ws}/ws", autoping=False) as socket:
            ping = await socket.receive(WAIT_S)
            assert ping.type is aiohttp.WSMsgType.PING
            assert int(ping.data)
            await socket.pong(b"another")
            await socket.pong(ping.data)
            await socket.receive(WAIT_S)
            assert live.connection_counts("um")["pongs"] == 1
        live.limits(um={"ping_every_s": 0.05, "pong_within_s": 0.1, "messages_per_s": 1000})
        async with session.ws_connect(f"{live.um_ws}/ws", autoping=False) as socket:
            while (told := await socket.receive(WAIT_S)).type is aiohttp.WSMsgType.PING:
                await socket.pong(b"unsolicited")
            assert (told.type, told.data) == (aiohttp.WSMsgType.CLOSE, 1008)
        assert live.connection_counts("um")["ended"]["no_pong"] == 1


async def test_a_client_that_answers_pings_lives_to_the_end_of_its_life() -> None:
    async with feeding() as (live, _):
        live.limits(spot={"ping_every_s": 0.05, "pong_within_s": 5, "life_s": 0.3, "messages_per_s": 1000})
        async with connected(live.spot_ws, "/ws") as client:
            assert await client.end() == (1001, [])
        counts = live.connection_counts("spot")
        assert counts["ended"] == {"life": 1}
        assert counts["pongs"] > 0


async def test_a_clients_ping_is_answered() -> None:
    async with feeding() as (live, _), connected(live.spot_ws, "/ws") as client:
        async with asyncio.timeout(WAIT_S):
            await (await client.socket.ping(b"hello"))


async def test_a_slow_reader_is_cut_at_the_bound_of_unsent_bytes() -> None:
    async with feeding() as (live, feed):
        live.limits(spot={"unsent_bytes": 100_000, "messages_per_s": 1000})
        async with (
            connected(live.spot_ws, f"/ws/{TRADES}", max_queue=1) as slow,
            connected(live.um_ws, f"/market/ws/{TRADES}") as other,
        ):
            for number in range(400):
                feed.say(TRADES, number, pad="x" * 50_000)
            live.tick()
            code, _ = await slow.end()
            assert code is None
            feed.say(TRADES, 1, market=Market.UM)
            live.tick()
            assert await other.ids() == [1]
        assert live.connection_counts("spot")["ended"] == {"slow": 1}


async def test_compression_is_not_used_and_who_asks_for_it_is_counted() -> None:
    async with feeding() as (live, _):
        async with websockets.connect(f"{live.spot_ws}/ws") as socket:
            assert socket.protocol.extensions == []
        async with connected(live.spot_ws, "/ws"):
            pass
        assert live.connection_counts("spot")["asked_compression"] == 1


async def test_a_cut_network_resets_streams_and_refuses_new_ones() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}") as client:
        live.cut_network(60)
        assert await client.end() == (None, [])
        with pytest.raises((OSError, websockets.InvalidMessage, EOFError)):
            await websockets.connect(f"{live.spot_ws}/ws")
        feed.say(TRADES, 1, 2)
        live.tick()
        live.cut_network(0)
        async with connected(live.spot_ws, f"/ws/{TRADES}") as again:
            feed.say(TRADES, 3)
            live.tick()
            assert await again.ids() == [3]
        sent = live.stream_sent("spot", TRADES)
        assert (sent["messages"], sent["first_id"], sent["last_id"]) == (3, 1, 3)
        assert sent["unheard"] == [[1, 2]]


async def test_the_ledger_knows_what_reached_nobody_and_counts_begin_anew() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}") as client:
        feed.say(TRADES, 1, 2)
        live.tick()
        await client.ask("UNSUBSCRIBE", TRADES) if await client.ids() == [1, 2] else pytest.fail("not sent")
        feed.say(TRADES, 3, 4, 6)
        live.tick()
        sent = live.stream_sent("spot", TRADES)
        assert sent["unheard"] == [[3, 4], [6, 6]]
        assert (sent["deliveries"], sent["unheard_messages"]) == (2, 3)
        assert live.connections()[0]["number"] == 1
        live.line("live/sent/reset", {})
        assert live.stream_sent("spot", TRADES)["messages"] == 0
        async with connected(live.spot_ws, "/ws"):
            assert [each["number"] for each in live.connections()] == [1, 2]


async def test_a_connection_is_told_of_a_shutdown_in_its_form_then_closed() -> None:
    async with (
        feeding() as (live, _),
        connected(live.spot_ws, "/stream") as combined,
        connected(live.spot_ws, "/ws") as raw,
        connected(live.um_ws, "/ws") as other,
    ):
        assert live.shutdown(market="spot", after_s=0.05) == 2
        code, (told,) = await combined.end()
        assert (code, told["stream"], told["data"]["e"]) == (1001, "!serverShutdown", "serverShutdown")
        code, (told,) = await raw.end()
        assert (code, told) == (1001, {"e": "serverShutdown", "E": live.now_ms()})
        assert await other.saw() == []


@pytest.mark.parametrize(("how", "code"), [("reset", None), ("close", 1012)])
async def test_connections_are_cut_at_once_by_number(how: str, code: int | None) -> None:
    async with (
        feeding() as (live, _),
        connected(live.spot_ws, "/ws") as first,
        connected(live.spot_ws, "/ws") as second,
    ):
        assert live.cut(market="spot", connection=1, how=how, code=1012) == 1
        assert await first.end() == (code, [])
        assert await second.saw() == []


async def test_a_half_open_connection_says_nothing_and_hears_nothing() -> None:
    async with (
        feeding() as (live, feed),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{live.spot_ws}/ws/{TRADES}") as socket,
    ):
        assert live.cut(how="half_open") == 1
        feed.say(TRADES, 1)
        live.tick()
        await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert live.stream_sent("spot", TRADES)["unheard"] == [[1, 1]]
        assert live.connections()[0]["ending"] == "half_open"
        with pytest.raises(TimeoutError):
            await socket.receive(0.05)
        live.cut_network(60)
        assert (await socket.receive(WAIT_S)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_recorded_streams_are_played_with_the_snapshots_taken_then(recordings: Path) -> None:
    options = ("--streams", str(recordings / "ws_recordings" / "cryptofeed"), "--speed", "0")
    async with live_in_loop(*options) as live, connected(live.spot_ws, "/stream?streams=nknusdt@depth@100ms") as client:
        assert await client.saw() == []
        live.advance(30)
        diffs = [message["data"] for message in await client.saw()]
        sent = live.stream_sent("spot", "nknusdt@depth@100ms")
        assert (sent["first_id"], sent["last_id"], sent["messages"]) == (diffs[0]["U"], diffs[-1]["u"], len(diffs))
        query = {"symbol": "NKNUSDT", "limit": 1000}
        async with aiohttp.ClientSession() as session, session.get(f"{live.rest}/api/v3/depth", params=query) as answer:
            assert (await answer.json())["lastUpdateId"] == 499869752


async def test_a_pump_that_breaks_ends_every_connection_and_says_why() -> None:
    async def scene() -> None:
        async with feeding() as (live, feed), connected(live.spot_ws, "/ws") as client:
            feed.advance = lambda _: 1 // 0  # type: ignore[method-assign,assignment,return-value]
            assert await client.end() == (None, [])

    with pytest.raises(ExceptionGroup) as told:
        await scene()
    assert told.group_contains(ZeroDivisionError)


def test_a_process_serves_both_markets_and_is_told_by_its_options(start_live: LiveFactory, tmp_path: Path) -> None:
    script = tmp_path / "faults.yaml"
    script.write_text("rules: []\nlive:\n  rules:\n    - {match: {market: um}, action: {refuse: 503}}\n")
    live = start_live("--start", START, "--faults", str(script), "--ws-life-s", "0.2")

    async def scene() -> None:
        async with connected(live.spot_ws, f"/ws/{TRADES}") as client:
            code, _ = await client.end()
            assert code == 1001
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{live.um_ws}/ws")
        assert refused.value.response.status_code == 503

    asyncio.run(scene())
    assert live.fault_counts() == [{"name": "", "action": "refuse", "seen": 1, "applied": 1}]
    assert live.stream_sent("spot", TRADES)["messages"] >= 0
    assert live.truth("spot", "BTCUSDT")["bids"]
