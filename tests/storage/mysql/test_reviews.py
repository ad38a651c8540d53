"""The review queue: what is asked once, decided by a person, and asked again when the bar is another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from gapless.domain.window import Window, parse_time
from gapless.errors import NotFound
from gapless.storage.mysql import MySql
from gapless.storage.mysql.reviews import (
    ACCEPTED,
    REJECTED,
    SUPERSEDED,
    WAITING,
    Review,
    count_reviews,
    decide_reviews,
    put_reviews,
    read_reviews,
    supersede_reviews,
)
from tests.fixtures.mysql import KINDS, fresh_database

NOON = parse_time("2026-11-14T12:00")
FIRST = Review(
    "ohlcv", "binance", "BTC/USDT", "1m", NOON, "jump", "9 %", "2 %", "it leaps", {"open": "1.00000000", "trades": "3"}
)


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, mysql_servers: Any) -> Iterator[MySql]:
    with fresh_database(mysql_servers(request.param)) as opened:
        yield opened


def at(minute: int, **changes: Any) -> Review:
    return replace(FIRST, ts_ms=NOON + minute * 60_000, **changes)


def ids(db: MySql, **filters: Any) -> list[int]:
    return [each.id for each in read_reviews(db, **filters)]


def test_a_row_comes_back_as_it_was_put(db: MySql) -> None:
    strange = at(1, symbol="币安人生/USDT:USDT", detail="ü" * 100, row_values={"close": "0.00000001"})
    assert put_reviews(db, [strange, FIRST]) == 2
    found = read_reviews(db)
    assert [replace(each, noticed_ms=0) for each in found] == [FIRST, strange]
    assert all(each.id and each.noticed_ms > 0 and each.state == WAITING for each in found)


def test_put_again_it_adds_nothing_and_decided_it_never_comes_back(db: MySql) -> None:
    assert put_reviews(db, [FIRST, FIRST]) == 1
    assert put_reviews(db, [FIRST]) == 0
    decide_reviews(db, ids(db), REJECTED, by="maria")
    assert put_reviews(db, [replace(FIRST, measured="10 %", detail="said otherwise")]) == 0
    (found,) = read_reviews(db)
    assert (found.state, found.measured) == (REJECTED, "9 %")
    assert put_reviews(db, []) == 0


def test_other_values_another_rule_or_another_bar_is_another_question(db: MySql) -> None:
    put_reviews(db, [FIRST])
    decide_reviews(db, ids(db), ACCEPTED, by="maria")
    restated = replace(FIRST, row_values={"open": "1.00000001", "trades": "3"})
    others = [restated, replace(FIRST, rule="other"), replace(FIRST, interval="5m"), at(1)]
    assert put_reviews(db, others) == 4
    assert count_reviews(db) == {WAITING: 4, ACCEPTED: 1, REJECTED: 0, SUPERSEDED: 0}


def test_two_runs_at_once_ask_once(db: MySql) -> None:
    rows = [at(minute) for minute in range(700)]
    with ThreadPoolExecutor(2) as pool:
        added = list(pool.map(lambda part: put_reviews(db, part), [rows, list(reversed(rows))]))
    assert len(ids(db)) == 700
    assert 700 <= sum(added) <= 1400


def test_a_decision_says_who_when_and_why(db: MySql) -> None:
    put_reviews(db, [FIRST, at(1)])
    first, second = ids(db)
    assert decide_reviews(db, [second], ACCEPTED, by="maria", note="in the news") == 1
    found = {each.id: each for each in read_reviews(db)}
    assert (found[second].state, found[second].decided_by, found[second].note) == (ACCEPTED, "maria", "in the news")
    assert found[second].decided_ms is not None
    assert found[first].state == WAITING
    assert decide_reviews(db, [second], ACCEPTED, by="maria", note="in the news") == 0, "said already"


def test_decided_again_the_last_word_counts_and_the_first_is_kept(db: MySql) -> None:
    put_reviews(db, [FIRST])
    decide_reviews(db, ids(db), ACCEPTED, by="maria", note="fine")
    assert decide_reviews(db, ids(db), REJECTED, by="ivan", note="not fine") == 1
    (found,) = read_reviews(db)
    assert (found.state, found.decided_by) == (REJECTED, "ivan")
    assert found.note.startswith("not fine [accepted by maria on 20")
    assert found.note.endswith("] fine")


def test_one_unknown_number_and_nothing_is_decided(db: MySql) -> None:
    put_reviews(db, [FIRST])
    with pytest.raises(NotFound, match=r"no review has the number 4711, 4712; .*review list"):
        decide_reviews(db, [*ids(db), 4711, 4712], ACCEPTED, by="maria")
    assert count_reviews(db)[WAITING] == 1


def test_superseded_is_out_of_waiting_and_waits_again_when_its_values_are_back(db: MySql) -> None:
    put_reviews(db, [FIRST, at(1)])
    first, second = ids(db)
    decide_reviews(db, [second], REJECTED, by="maria")
    assert supersede_reviews(db, [first, second], "restated") == 1, "decided ones stay"
    assert count_reviews(db) == {WAITING: 0, ACCEPTED: 0, REJECTED: 1, SUPERSEDED: 1}
    assert put_reviews(db, [FIRST, at(1)]) == 1
    (found,) = read_reviews(db, states=[WAITING])
    assert (found.id, found.note, found.decided_ms) == (first, "", None)
    assert supersede_reviews(db, [], "nothing") == 0


def test_the_queue_is_read_by_state_rule_symbol_and_time(db: MySql) -> None:
    put_reviews(db, [FIRST, at(1, symbol="ETH/USDT"), at(2, rule="other")])
    one, two, three = ids(db)
    decide_reviews(db, [two], ACCEPTED, by="maria")
    assert ids(db, states=[WAITING]) == [one, three]
    assert ids(db, rules=["jump"]) == [one, two]
    assert ids(db, symbols=["ETH/USDT", "XRP/USDT"]) == [two]
    assert ids(db, window=Window(NOON + 60_000, NOON + 120_000)) == [two]
    assert ids(db, states=[]) == []
    assert ids(db, most=2) == [one, two]
