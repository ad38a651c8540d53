"""What the live fault script does, as clients and the ledger see it."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from gapless.errors import ConfigError
from replica.faults import load_script
from replica.live.fault_schema import load_live_script, parse_live_script
from replica.live.faults import LiveFaults
from replica.live.shaping import Shaper
from tests.replica.live.feed import Client, Feed, connected, feeding

TRADES, DEPTH = "btcusdt@aggTrade", "btcusdt@depth@100ms"


def rule(action: dict[str, Any], **match: Any) -> dict[str, Any]:
    return {"match": match, "action": action}


async def heard(rule_: dict[str, Any], *numbers: int) -> tuple[list[int], dict[str, Any], list[dict[str, Any]]]:
    """What a client hears of trades with these ids under a rule, the ledger and the rule's counts."""
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}") as client:
        live.faults(rule_)
        feed.say(TRADES, *numbers)
        live.tick()
        return await client.ids(), live.stream_sent("spot", TRADES), live.fault_counts()


@pytest.mark.parametrize(
    ("rule_", "expected"),
    [
        (rule({"drop": True}, nth=[2, 3]), [1, 4, 5, 6]),
        (rule({"drop": True}, every=2), [1, 3, 5]),
        (rule({"drop": True}, after=4), [1, 2, 3, 4]),
        (rule({"drop": True}, times=1), [2, 3, 4, 5, 6]),
        (rule({"drop": True}, **{"from": 2000, "until": 4000}), [1, 4, 5, 6]),
        (rule({"drop": True}, connection=1, nth=1), [2, 3, 4, 5, 6]),
        (rule({"drop": True}, connection=2), [1, 2, 3, 4, 5, 6]),
        (rule({"drop": True}, market="um"), [1, 2, 3, 4, 5, 6]),
        (rule({"drop": True}, symbol="ETHUSDT"), [1, 2, 3, 4, 5, 6]),
        (rule({"drop": True}, kind=["depth", "trades"], stream="*@agg*", symbol=["BTCUSDT"], market="spot"), []),
        (rule({"duplicate": True}, nth=1), [1, 1, 2, 3, 4, 5, 6]),
        (rule({"duplicate": 2}, nth=6), [1, 2, 3, 4, 5, 6, 6, 6]),
        (rule({"reorder": True}, nth=2), [1, 3, 2, 4, 5, 6]),
        (rule({"reorder": 3}, nth=2), [1, 3, 4, 5, 2, 6]),
        (rule({"reorder": 3}, nth=2, each="connection"), [1, 3, 4, 5, 2, 6]),
        (rule({"silence": True}, nth=3), [1, 2]),
    ],
)
async def test_messages_are_dropped_doubled_and_disordered(rule_: dict[str, Any], expected: list[int]) -> None:
    ids, sent, counts = await heard(rule_, 1, 2, 3, 4, 5, 6)
    assert ids == expected
    missing = sorted(set(range(1, 7)) - set(expected))
    assert [number for first, last in sent["unheard"] for number in range(first, last + 1)] == missing
    assert sent["deliveries"] == len(expected)
    assert counts[0]["applied"] <= counts[0]["seen"]


async def test_what_is_dropped_on_one_connection_alone_is_heard_on_the_other() -> None:
    async with (
        feeding() as (live, feed),
        connected(live.spot_ws, f"/ws/{TRADES}") as first,
        connected(live.spot_ws, f"/stream?streams={TRADES}") as second,
    ):
        live.faults(rule({"drop": True}, connection=2, nth=[1, 2]))
        feed.say(TRADES, 1, 2, 3)
        live.tick()
        assert await first.ids() == [1, 2, 3]
        assert await second.ids() == [3]
        assert live.stream_sent("spot", TRADES)["unheard"] == []
        live.faults(rule({"drop": True}, each="connection", probability=0.5), seed=3)
        feed.say(TRADES, *range(10, 60))
        live.tick()
        seen = [set(await client.ids()) for client in (first, second)]
        lost = set(range(10, 60)) - seen[0] - seen[1]
        assert seen[0] != seen[1]
        ranges = live.stream_sent("spot", TRADES)["unheard"]
        assert {number for start, end in ranges for number in range(start, end + 1)} == lost


async def test_a_silenced_stream_speaks_again_when_it_is_asked_for_anew_or_its_time_is_over() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}/{DEPTH}") as client:
        live.faults(rule({"silence": True}, stream=TRADES, times=1))
        feed.say(TRADES, 1)
        feed.say(DEPTH, 2)
        live.tick()
        assert await client.ids() == [2]
        await client.ask("SUBSCRIBE", TRADES)
        feed.say(TRADES, 3)
        live.tick()
        assert await client.ids() == [3]
        live.faults(rule({"silence": {"s": 0}}, stream=TRADES, times=1))
        feed.say(TRADES, 4, 5)
        live.tick()
        assert await client.ids() == [5]


@pytest.mark.parametrize(("keep", "rest"), [(True, [2, 3, 4]), (False, [4])])
async def test_a_stalled_connection_sends_nothing_at_all_and_later_what_it_kept(keep: bool, rest: list[int]) -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}") as client:
        # That a rule's message is not sent where it strikes holds for a stall that keeps as well: here it strikes at 0.
        live.faults(rule({"stall": {"keep": keep}}, nth=2))
        feed.say(TRADES, 1, 0, 2, 3)
        live.tick()
        assert (await client.next())["a"] == 1
        pong = await client.socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.05)
        assert live.connections()[0]["stalled"]
        live.faults()
        feed.say(TRADES, 4)
        live.tick()
        assert await client.ids() == rest
        assert pong.done() is keep


async def test_a_stall_ends_by_itself() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}") as client:
        live.faults(rule({"stall": {"s": 0.02, "keep": True}}, nth=1))
        feed.say(TRADES, 1, 2)
        live.tick()
        assert (await client.next())["a"] == 2


@pytest.mark.parametrize(
    ("action", "code"),
    [({"cut": True}, None), ({"cut": "close"}, 1001), ({"cut": {"how": "close", "code": 1008}}, 1008)],
)
async def test_a_message_can_cut_the_connection_that_would_get_it(action: dict[str, Any], code: int | None) -> None:
    async with (
        feeding() as (live, feed),
        connected(live.spot_ws, f"/ws/{TRADES}") as client,
        connected(live.spot_ws, f"/ws/{TRADES}") as other,
    ):
        live.faults(rule(action, connection=1, nth=3))
        feed.say(TRADES, 1, 2, 3, 4)
        live.tick()
        ended, seen = await client.end()
        assert (ended, [message["a"] for message in seen]) == (code, [1, 2])
        assert await other.ids() == [1, 2, 3, 4]
        assert live.connection_counts("spot")["ended"] == {"cut": 1}


async def test_a_message_can_bring_the_servers_shutdown() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}") as client:
        live.faults(rule({"shutdown": {"after_s": 0.05}}, nth=1))
        feed.say(TRADES, 1, 2)
        live.tick()
        code, seen = await client.end()
        assert code == 1001
        assert [message["e"] for message in seen] == ["serverShutdown", "aggTrade"]


async def test_handshakes_are_refused_and_lives_cut_short() -> None:
    async with feeding() as (live, _):
        live.faults(
            rule({"refuse": {"status": 418, "retry_after": 9}}, market="spot", nth=1),
            rule({"refuse": 503}, stream="*@depth*"),
            rule({"life_s": 0.05}, market="um"),
        )
        for path, status, wait in (("/ws", 418, "9"), (f"/ws/{DEPTH}", 503, None)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(live.spot_ws + path)
            assert refused.value.response.status_code == status
            assert refused.value.response.headers.get("Retry-After") == wait
        async with connected(live.spot_ws, "/ws") as spot, connected(live.um_ws, "/ws") as um:
            assert await um.end() == (1001, [])
            assert await spot.saw() == []
        assert live.connection_counts("spot")["refused"] == {"418": 1, "503": 1}
        assert [each["applied"] for each in live.fault_counts()] == [1, 1, 1]


async def test_requests_are_answered_with_an_error_or_not_at_all() -> None:
    async with feeding() as (live, _), connected(live.spot_ws, "/ws") as client:
        live.faults(
            rule({"reject": {"code": 2, "msg": "no"}}, stream=TRADES, nth=1),
            rule({"reject": True}, stream=DEPTH, times=1),
        )
        assert await client.ask("SUBSCRIBE", TRADES) == {"error": {"code": 2, "msg": "no"}, "id": 1}
        await client.socket.send('{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms"],"id":99}')
        assert await client.saw() == []
        assert (await client.ask("LIST_SUBSCRIPTIONS"))["result"] == []
        assert (await client.ask("SUBSCRIBE", TRADES, DEPTH))["result"] is None


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ({"wrong": {"remove": "a"}}, {"e": "aggTrade", "E": 7000, "k": {"c": 1}}),
        (
            {"wrong": {"set": {"k.c": "x", "new": [1]}}},
            {"e": "aggTrade", "E": 7000, "a": 7, "k": {"c": "x"}, "new": [1]},
        ),
        ({"wrong": {"remove": ["k.c", "e", "not.there"]}}, {"E": 7000, "a": 7, "k": {}}),
        ({"skew_ms": -90}, {"e": "aggTrade", "E": 6910, "a": 7, "k": {"c": 1}}),
    ],
)
async def test_payloads_are_changed(action: dict[str, Any], payload: dict[str, Any]) -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}") as client:
        live.faults(rule(action))
        feed.say(TRADES, 7, k={"c": 1})
        live.tick()
        assert await client.saw() == [payload]


async def test_garbage_is_no_json() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/stream?streams={TRADES}") as client:
        live.faults(rule({"wrong": {"garbage": "{"}}), rule({"wrong": {"remove": "a"}}))
        feed.say(TRADES, 7)
        live.tick()
        assert await client.socket.recv() == '{"stream":"btcusdt@aggTrade","data":{}'


async def test_a_delayed_message_comes_later_and_its_stream_waits_behind_it_others_do_not() -> None:
    async with feeding() as (live, feed), connected(live.spot_ws, f"/ws/{TRADES}/{DEPTH}") as client:
        live.faults(rule({"delay_ms": 3_600_000}, nth=2, kind="trades"))
        feed.say(TRADES, 1, 2, 3)
        feed.say(DEPTH, 4)
        live.tick()
        assert await client.ids() == [1, 4]
        live.faults()
        assert await client.ids() == [2, 3]
        live.faults(rule({"delay_ms": 20}, connection=1))
        feed.say(TRADES, 5)
        live.tick()
        assert await _first(client) == 5
        assert live.stream_sent("spot", TRADES)["unheard"] == []


async def _first(client: Client) -> int:
    return int((await client.next())["a"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"rules": [{"match": {}, "action": {}}]}, "exactly one of drop"),
        ({"rules": [{"action": {"drop": True, "cut": True}}]}, "not drop and cut"),
        ({"rules": [{"action": {"dorp": True}}]}, "unknown field `dorp`"),
        ({"rules": [{"match": {"path": "*"}, "action": {"drop": True}}]}, "unknown field `path`"),
        ({"rules": [{"match": {"from": "soon"}, "action": {"drop": True}}]}, "soon"),
        ({"rules": [{"action": {"cut": "gently"}}]}, "gently|Invalid enum"),
        ({"rules": [{"match": {"nth": 0}, "action": {"drop": True}}]}, ">= 1"),
    ],
)
def test_a_wrong_script_is_refused_with_its_place(content: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_live_script(content, "here")


def test_one_file_holds_both_scripts(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text("seed: 1\nrules: [{action: {hang: 1}}]\nlive: {seed: 2, rules: [{action: {drop: true}}]}\n")
    assert load_script(path).script.rules[0].action.name == "hang"
    assert load_live_script(path).rules[0].action.name == "drop"
    path.write_text("rules: []\n")
    assert load_live_script(path).rules == []


def test_the_same_seed_draws_the_same_messages() -> None:
    def drawn(seed: int) -> list[int]:
        script = parse_live_script({"seed": seed, "rules": [rule({"drop": True}, probability=0.2)]}, "here")
        faults = LiveFaults(script)
        rules = faults.of_stream("spot", TRADES, "BTCUSDT", "trades")  # type: ignore[arg-type]
        assert rules is not None
        return [number for number in range(2000) if list(faults.meeting(rules.once, number))]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert 300 < len(drawn(1)) < 500


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=40))
def test_nothing_is_lost_or_doubled_by_shaping_and_only_what_is_reordered_moves(steps: list[tuple[int, int]]) -> None:
    shaper: Shaper[int] = Shaper()
    out: list[int] = []
    for number, (behind, delay) in enumerate(steps):
        out += shaper.put(number, float(number), delay_s=float(delay), behind=behind)
    out += shaper.due(1e9)
    moved = {number for number, (behind, _) in enumerate(steps) if behind}
    out += shaper.release()
    assert sorted(out) == list(range(len(steps)))
    assert not shaper
    kept = [number for number in out if number not in moved]
    assert kept == sorted(kept)
    place = {number: at for at, number in enumerate(out)}
    for number in moved:
        after = [other for other in kept if other > number][: steps[number][0]]
        assert all(place[other] < place[number] for other in after)


@pytest.mark.parametrize("seed", range(8))
async def test_under_random_faults_every_id_is_heard_by_somebody_or_in_the_ledger(seed: int) -> None:
    dice = random.Random(seed)
    actions: list[dict[str, Any]] = [
        *({"drop": True}, {"duplicate": 2}, {"reorder": 3}, {"delay_ms": 1}, {"silence": {"s": 0.001}}),
        {"stall": {"s": 0.001, "keep": dice.random() < 0.5}},
    ]
    rules = [
        rule(dice.choice(actions), probability=0.05, each=dice.choice(["message", "connection"])) for _ in range(6)
    ]
    async with (
        feeding() as (live, feed),
        connected(live.spot_ws, f"/ws/{TRADES}") as first,
        connected(live.spot_ws, f"/stream?streams={TRADES}") as second,
    ):
        live.faults(*rules, seed=seed)
        for start in range(0, 1000, 50):
            feed.say(TRADES, *range(start, start + 50))
            live.tick()
            await asyncio.sleep(0)
        live.faults()
        seen = [await client.ids() for client in (first, second)]
        sent = live.stream_sent("spot", TRADES)
        unheard = {number for start, end in sent["unheard"] for number in range(start, end + 1)}
        heard_ids = set(seen[0]) | set(seen[1])
        assert heard_ids | unheard == set(range(1000))
        assert not heard_ids & unheard
        assert sent["deliveries"] == len(seen[0]) + len(seen[1])
        assert sent["unheard_messages"] == len(unheard) > 0


def test_the_feed_is_what_the_edge_asks_for() -> None:
    feed = Feed()
    feed.say(TRADES, 1)
    assert [message.first_id for message in feed.advance(0)] == [1]
    assert feed.advance(0) == []
