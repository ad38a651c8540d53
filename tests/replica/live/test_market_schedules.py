"""Any order of listening, leaving, waiting, leaps of the clock and changes of pace: the chains hold."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from replica.live.messages import LiveMessage
from tests.replica.live.test_market import Scene

STREAMS = [
    (market, f"{symbol}@{topic}")
    for market in Market
    for symbol in ("btcusdt", "xrpusdt")
    for topic in ("aggTrade", "depth@100ms", "depth", "bookTicker", "kline_1m")
] + [(Market.UM, "btcusdt@markPrice@1s"), (Market.UM, "!forceOrder@arr")]

STEPS = st.one_of(
    st.tuples(st.just("watch"), st.sampled_from(STREAMS)),
    st.tuples(st.just("watch"), st.sampled_from(STREAMS)),
    st.tuples(st.just("unwatch"), st.sampled_from(STREAMS)),
    st.tuples(st.just("run"), st.sampled_from([1, 40, 100, 730, 4000, 20_000])),
    st.tuples(st.just("leap"), st.sampled_from([-3_600_000, -50, 61_000, 86_400_000])),
    st.tuples(st.just("pace"), st.sampled_from([0.0, 2.5, 60.0])),
    st.tuples(st.just("diff"), st.sampled_from([0, 100, 1000])),
    st.tuples(st.just("depth"), st.sampled_from(["BTCUSDT", "XRPUSDT"])),
)


def check(heard: list[LiveMessage]) -> None:
    """One listener's messages of one stream, without a break in listening."""
    if heard[0].kind == "trades":
        assert all(latter.first_id == former.first_id + 1 for former, latter in pairwise(heard))
    if heard[0].kind == "depth":
        for former, latter in pairwise(heard):
            before = json.loads(latter.data).get("pu", latter.first_id - 1)
            assert before == former.last_id < latter.first_id <= latter.last_id
    if heard[0].kind == "book_ticker":
        assert all(former.last_id < latter.last_id for former, latter in pairwise(heard))


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=30))
def test_chains_hold_through_any_schedule(steps: list[tuple[str, Any]]) -> None:
    scene = Scene(levels=30, liquidations_per_min=20)
    listening: dict[tuple[Market, str], int] = defaultdict(int)
    heard: dict[tuple[Market, str], list[LiveMessage]] = {}
    for what, value in steps:
        leapt = False
        told: list[LiveMessage] = []
        if what == "watch":
            scene.live.watch(*value)
            listening[value] += 1
        elif what == "unwatch":
            told = scene.live.advance(scene.now_ms)
            scene.live.unwatch(*value)
            listening[value] = max(0, listening[value] - 1)
        elif what == "run":
            told = scene.run(value, max(1, value // 3))
        elif what == "leap":
            told, leapt = scene.leap(value), True
        elif what == "pace":
            scene.live.activity({"trades_per_s": value})
        elif what == "diff":
            scene.live.activity({"diff_ms": value})
        else:
            scene.snapshot(Market.UM, value)
        times = [message.event_ms for message in told]
        assert leapt or times == sorted(times)
        for message in told:
            heard.setdefault((message.market, message.stream), []).append(message)
        assert set(heard) <= {at for at, count in listening.items() if count} | (
            {value} if what == "unwatch" else set()
        )
        for at in [at for at in heard if not listening[at]]:
            check(heard.pop(at))
    for messages in heard.values():
        check(messages)
