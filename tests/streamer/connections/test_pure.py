"""The parts without I/O: who is on which connection, how soon to try again, what to ask, who is silent."""

from __future__ import annotations

import json
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.exchanges.binance.streams.control import Answer
from gapless.exchanges.binance.streams.names import Route, StreamSpec
from streamer.connections.patience import AttemptBudget, Backoff, Refusals
from streamer.connections.plan import Plan, ShardKey
from streamer.connections.settings import ConnectionSettings
from streamer.connections.silence import Entry, LostTime, Pulse, Stream, look
from streamer.connections.subscribing import Subscribing


def spec(number: int, market: Market = Market.SPOT, route: Route = Route.SPOT, kind: Kind = Kind.TRADES) -> StreamSpec:
    return StreamSpec(kind, market, f"S{number}", f"S{number}", f"s{number}@aggTrade", route)


PLACES = st.sampled_from([(Market.SPOT, Route.SPOT), (Market.UM, Route.PUBLIC), (Market.UM, Route.MARKET)])
ROUTE_OF = [(Market.SPOT, Route.SPOT), (Market.UM, Route.PUBLIC), (Market.UM, Route.MARKET)]


@given(st.lists(st.sets(st.integers(0, 60), max_size=60), max_size=8), st.integers(1, 7))
def test_wanted_streams_are_each_on_one_connection_and_stay_there(wants: list[set[int]], most: int) -> None:
    plan = Plan(most)
    before: dict[str, ShardKey] = {}
    for want in wants:
        change = plan.want([spec(n, *ROUTE_OF[n % 3]) for n in sorted(want)])
        places = {name: key for key, streams in plan.shards.items() for name in streams}
        assert sum(len(streams) for streams in plan.shards.values()) == len(places)
        assert set(places) == {f"s{n}@aggTrade" for n in want}
        for key, streams in plan.shards.items():
            assert 0 < len(streams) <= most
            assert all((s.market, s.route) == key[:2] for s in streams.values())
        assert all(places[name] == key for name, key in before.items() if name in places)
        assert {s.name for _, s in change.added} == set(places) - set(before)
        assert {s.name for _, s in change.removed} == set(before) - set(places)
        before = places


def test_a_new_stream_takes_the_first_free_place() -> None:
    plan = Plan(2)
    plan.want([spec(n) for n in range(5)])
    plan.want([spec(n) for n in (0, 2, 3, 4)])
    change = plan.want([spec(n) for n in (0, 2, 3, 4, 9)])
    assert [(key.number, added.symbol) for key, added in change.added] == [(0, "S9")]


@given(st.lists(st.sampled_from(["failed", "mute", "spoke", "healthy"]), max_size=40), st.floats(0, 0.999))
def test_backoff_is_bounded_and_forgives_a_healthy_connection(events: list[str], drawn: float) -> None:
    backoff = Backoff(0.25, 30.0, 60.0)
    for event in events:
        if event == "failed":
            backoff.failed()
        else:
            backoff.ended(60.0 if event == "healthy" else 10.0, spoke=event == "spoke")
        assert 0 <= backoff.delay_s(drawn) < backoff.bound_s <= 30.0
        if event == "healthy":
            assert backoff.bound_s == 0.25
        if event == "spoke":
            assert backoff.bound_s <= 1.0
    for _ in range(10):
        backoff.failed()
    assert backoff.bound_s == 30.0


@given(st.lists(st.floats(0, 50), max_size=60), st.integers(1, 5))
def test_no_window_has_more_attempts_than_allowed(pauses: list[float], most: int) -> None:
    budget, now_s, made = AttemptBudget(most, 300.0), 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        now_s += budget.wait_s(now_s)
        budget.took(now_s)
        made.append(now_s)
    for at, start in enumerate(made):
        assert sum(1 for moment in made[at:] if moment < start + 300.0 - 1e-6) <= most


def test_a_refusal_stops_the_whole_market_for_as_long_as_it_says() -> None:
    refusals = Refusals()
    assert refusals.note(Market.UM, 418, 37.0, 100.0) == 37.0
    assert refusals.wait_s(Market.UM, 110.0) == 27.0
    assert refusals.wait_s(Market.SPOT, 110.0) == 0.0
    assert refusals.note(Market.UM, 429, 1.0, 110.0) == 1.0
    assert refusals.wait_s(Market.UM, 111.0) == 26.0  # a shorter one does not lift a longer one
    assert refusals.note(Market.UM, 503, None, 110.0) == 0.0
    assert [refusals.note(Market.SPOT, 418, None, 0.0) for _ in range(3)] == [120.0, 240.0, 480.0]
    refusals.connected(Market.SPOT)
    assert refusals.note(Market.SPOT, 418, None, 0.0) == 120.0


@given(st.lists(st.tuples(st.sampled_from(["SUBSCRIBE", "UNSUBSCRIBE"]), st.integers(1, 120)), max_size=6))
def test_requests_are_paced_in_order_and_hold_at_most_so_many_names(asked: list[tuple[str, int]]) -> None:
    subscribing = Subscribing(a_second=3.0, names_a_request=50, ack_s=10.0)
    for number, (method, size) in enumerate(asked):
        subscribing.ask(method, [f"{number}.{n}" for n in range(size)])  # type: ignore[arg-type]
    now_s, sent = 0.0, []
    while (text := subscribing.due(now_s)) is not None:
        message = json.loads(text)
        assert 0 < len(message["params"]) <= 50
        sent.append((now_s, message["method"], message["params"]))
        assert subscribing.due(now_s + 0.2) is None
        found = subscribing.answered(Answer(message["id"]))
        assert found is not None
        assert list(found.names) == message["params"]
        now_s += 1 / 3 + 1e-9
    expected = [(method, f"{n}.{i}") for n, (method, size) in enumerate(asked) for i in range(size)]
    assert [(method, name) for _, method, names in sent for name in names] == expected
    assert subscribing.wait_s(now_s) is None


def test_what_has_no_answer_is_asked_once_more_and_then_given_up() -> None:
    subscribing = Subscribing(a_second=3.0, names_a_request=50, ack_s=10.0)
    subscribing.ask("SUBSCRIBE", ["a"])
    first = json.loads(subscribing.due(0.0) or "")
    assert subscribing.wait_s(4.0) == 6.0
    assert subscribing.overdue(9.9) == []
    assert subscribing.overdue(10.0) == []
    second = json.loads(subscribing.due(10.0) or "")
    assert second == {**first, "id": 2}
    assert subscribing.answered(Answer(first["id"])) is None  # too late: of nobody
    assert [asked.names for asked in subscribing.overdue(20.0)] == [("a",)]
    assert subscribing.due(30.0) is None


def test_pings_count_as_messages() -> None:
    subscribing = Subscribing(a_second=2.0, names_a_request=50, ack_s=10.0)
    subscribing.ask("SUBSCRIBE", ["a"])
    subscribing.spent(0.0)
    assert subscribing.due(0.4) is None
    assert subscribing.due(0.5) is not None


SETTINGS = ConnectionSettings()


def watched(kind: Kind = Kind.TRADES, quiet_s: float = inf) -> Entry:
    entry = Entry(
        Stream(StreamSpec(kind, Market.UM, "S", "S", "s@x", Route.MARKET, "", quiet_s), lambda data, ns: None)
    )
    entry.carried(0.0, 0)
    return entry


def doubted(entry: Entry, start_s: int, end_s: int, speaks_each_s: int = 0) -> list[int]:
    """The seconds at which it was doubted."""
    seconds = []
    for now_s in range(start_s, end_s):
        if speaks_each_s and now_s % speaks_each_s == 0:
            entry.count += 1
        if look([entry], float(now_s), SETTINGS).doubts:
            seconds.append(now_s)
    return seconds


def test_a_subscribed_stream_that_never_speaks_is_doubted_ever_more_seldom() -> None:
    entry = watched()
    assert doubted(entry, 1, 5_000)[:5] == [121, 242, 483, 964, 1925]


def test_a_stream_is_doubted_by_its_own_rhythm() -> None:
    slow, quick = watched(), watched()
    assert doubted(slow, 1, 400, speaks_each_s=10) == []
    assert doubted(quick, 1, 400, speaks_each_s=1) == []
    assert doubted(quick, 400, 480) == [460]  # never before the least of a minute
    assert doubted(slow, 400, 700)[0] == 591  # twenty of its ten seconds after it last spoke


def test_a_stream_that_is_bound_to_speak_is_doubted_after_its_own_time() -> None:
    assert doubted(watched(Kind.MARK_PRICE, 15.0), 1, 20) == [16]


def test_a_stream_whose_silence_is_normal_is_never_doubted() -> None:
    assert doubted(watched(Kind.LIQUIDATIONS), 1, 100_000) == []


def test_silence_that_subscribing_again_does_not_end_replaces_the_connection_once() -> None:
    entry = watched()
    doubted(entry, 1, 100, speaks_each_s=1)
    replaced = [now_s for now_s in range(100, 5_000) if look([entry], float(now_s), SETTINGS).replace]
    assert replaced == [221]
    assert entry.stream.level > 2
    entry.count += 1
    look([entry], 5_000.0, SETTINGS)
    assert entry.stream.level == 0
    assert entry.stream.pause_s > 4_800  # and it has learned that this may be


def test_a_pause_that_subscribing_again_ended_teaches_nothing() -> None:
    entry = watched()
    doubted(entry, 1, 100, speaks_each_s=1)
    assert doubted(entry, 100, 165) == [160]
    entry.count += 1
    look([entry], 166.0, SETTINGS)
    assert entry.stream.pause_s == 1.0


def test_many_that_fall_silent_together_are_the_connections_fault() -> None:
    entries = [watched() for _ in range(20)]
    for now_s in range(100):
        for entry in entries:
            entry.count += 1
        assert look(entries, float(now_s), SETTINGS).doubts == []
    verdict = look(entries, 200.0, SETTINGS)
    assert len(verdict.doubts) == 20
    assert "fell silent together" in verdict.replace


def test_habits_are_forgotten_after_an_hour_or_two() -> None:
    entry = watched()
    doubted(entry, 1, 1_000, speaks_each_s=50)
    assert entry.stream.allowed_s(SETTINGS, has_spoken=True) == 1_000
    entry.stream.hour_passed()
    assert entry.stream.allowed_s(SETTINGS, has_spoken=True) == 1_000
    entry.stream.hour_passed()
    assert entry.stream.allowed_s(SETTINGS, has_spoken=True) == 60


def test_a_silent_peer_is_pinged_once_and_dropped_if_it_does_not_answer() -> None:
    pulse = Pulse(0.0)
    assert [pulse.look(1, float(now_s), SETTINGS) for now_s in range(22)] == [
        *[""] * 10, "ping", *[""] * 9, "dead", "dead",
    ]  # fmt: skip
    assert pulse.look(2, 22.0, SETTINGS) == ""
    assert pulse.look(2, 32.0, SETTINGS) == "ping"


def test_time_in_which_nothing_ran_is_told_and_counts_for_nobodys_silence() -> None:
    lost = LostTime(1.0)
    lost.woke(1.02)
    assert lost.lost_s == 0.0
    lost.woke(31.0)
    lost.woke(1.0)
    assert lost.lost_s == 30.0
