from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.live import Kind
from gapless.storage.live.resp import Command
from streamer.outlet.backlog import Backlog, Stage
from streamer.outlet.streams import OutStream, is_lossless

NS = 1_763_654_400_000_000_000


def payload(kind: Kind, number: int, size: int = 200) -> bytes:
    if kind is Kind.DEPTH:
        levels = [[f"{number % 7}.{level}", "1"] for level in range(size // 15)]
        return json.dumps({"U": number, "u": number, "b": levels, "a": []}).encode()
    return b"{" + b"x" * size + b"}"


def identity(kind: Kind, number: int) -> bytes:
    if kind is Kind.KLINES:
        return b"1m:%d:1" % number if number % 5 == 0 else b"1m:%d:0:%d" % (number - number % 5 + 5, number)
    return b"%d" % number


def put(backlog: Backlog, out: OutStream, number: int) -> bool:
    return backlog.put(out, 1, NS, identity(out.kind, number), payload(out.kind, number))


def take_all(backlog: Backlog) -> list[Command]:
    taken: list[Command] = []
    while backlog.has_next():
        taken += backlog.take(5000)
    backlog.relax()
    return taken


KINDS = (Kind.TRADES, Kind.DEPTH, Kind.KLINES, Kind.BOOK_TICKER, Kind.MARK_PRICE, Kind.LIQUIDATIONS)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(["A/USDT", "B/USDT"])), max_size=300),
    st.integers(1000, 60_000),
    st.integers(0, 40),
)
def test_every_entry_is_given_back_or_counted_and_order_holds(
    puts: list[tuple[Kind, str]], limit: int, take_every: int
) -> None:
    backlog, outs = Backlog(limit), {(k, s): OutStream(k, "binance", s) for k in KINDS for s in ("A/USDT", "B/USDT")}
    numbers: Counter[OutStream] = Counter()
    taken: list[Command] = []
    refused = 0
    for index, (kind, symbol) in enumerate(puts):
        out = outs[kind, symbol]
        numbers[out] += 1
        if not put(backlog, out, numbers[out]):
            assert is_lossless(out, identity(kind, numbers[out]))
            refused += 1
        assert backlog.bytes <= limit + 12 * 600  # the newest of a Stream that conflates may be beyond it
        if take_every and index % take_every == 0:
            taken += backlog.take(2000)
            backlog.relax()
    taken += take_all(backlog)
    given_up = sum((backlog.conflated + backlog.coalesced + backlog.dropped).values())
    assert len(puts) == len(taken) + given_up + refused
    assert (backlog.bytes, backlog.entries, backlog.stage) == (0, 0, Stage.NONE)
    for out in outs.values():
        mine = [int(c.identity.split(b":")[-1 if c.identity.count(b":") == 3 else 1 if b":" in c.identity else 0])
                for c in taken if c.target is out]  # fmt: skip
        assert mine == sorted(mine)
    assert sum(each.count for each in backlog.news()) == backlog.dropped[Kind.DEPTH]


def test_the_stages_come_in_the_declared_order() -> None:
    backlog = Backlog(60_000)
    ticker, book, trades = (OutStream(k, "binance", "A/USDT") for k in (Kind.BOOK_TICKER, Kind.DEPTH, Kind.TRADES))
    for number in range(1, 40):
        put(backlog, ticker, number)
        put(backlog, book, number)
    seen = []
    number = 100
    while put(backlog, trades, number):
        number += 1
        if backlog.stage not in seen:
            seen.append(backlog.stage)
    assert [*seen, backlog.stage] == list(Stage)
    assert backlog.conflated[Kind.BOOK_TICKER] == 38
    assert backlog.coalesced[Kind.DEPTH] == 38
    assert backlog.dropped == {Kind.DEPTH: 1}
    (dropped,) = backlog.news()
    assert (dropped.first, dropped.last, dropped.count) == ("1", "39", 1)
    assert Counter(c.target for c in take_all(backlog)) == {ticker: 1, trades: number - 100}


def test_a_book_that_was_dropped_stays_dropped_until_there_is_room_and_is_told_whole() -> None:
    backlog, book, trades = (
        Backlog(10_000),
        OutStream(Kind.DEPTH, "binance", "A/USDT"),
        OutStream(Kind.TRADES, "b", "A"),
    )
    put(backlog, book, 1)
    number = 0
    while put(backlog, trades, number):
        number += 1
    for update in range(2, 6):
        put(backlog, book, update)
    assert [(d.first, d.last, d.count) for d in backlog.news()] == [("1", "1", 1)]
    take_all(backlog)
    assert [(d.first, d.last, d.count) for d in backlog.news()] == [("2", "5", 4)]
    put(backlog, book, 6)
    assert [c.identity for c in take_all(backlog)] == [b"6"]


def test_open_bars_give_way_to_newer_ones_and_closed_ones_never() -> None:
    backlog, bars = Backlog(3000), OutStream(Kind.KLINES, "binance", "A/USDT")
    for ident in (b"1m:1:0:10", b"1h:1:0:11", b"1m:1:0:12", b"1m:1:1", b"1m:2:0:13", b"1m:2:0:14", b"1h:1:0:15"):
        backlog.put(bars, 1, NS, ident, b"{" + b"x" * 100 + b"}")
    trades = OutStream(Kind.TRADES, "binance", "A/USDT")
    while put(backlog, trades, 1):
        pass
    assert [c.identity for c in backlog.closed_bars()] == [b"1m:1:1"]
    mine = [c.identity for c in take_all(backlog) if c.target is bars]
    assert mine == [b"1m:2:0:14", b"1h:1:0:15"]


def test_closing_gives_what_must_not_be_lost() -> None:
    backlog = Backlog(10**6)
    outs = [OutStream(kind, "binance", "A/USDT") for kind in KINDS]
    for number in range(1, 11):
        for out in outs:
            put(backlog, out, number)
    kept = backlog.close()
    assert Counter(c.target.key for c in kept) == {outs[0].key: 10, outs[2].key: 2, outs[5].key: 10}
    assert sum(backlog.dropped.values()) == 10 + 8 + 10 + 10
    assert backlog.news()
