"""The decision on a request, as a function of what is known."""

from __future__ import annotations

import pytest

from gapless.exchanges.pacing.budget import Charge, Halt, Pool, ban_length_ms, charges_for, decide

MINUTE = 60_000
POOL = Pool("W", 100, MINUTE, 0.8)


def charge(cost: int, window: int = 7, *, usable: int = 80, at_least: int = 0, pool: str = "W") -> Charge:
    return Charge(pool, window, cost, usable, at_least, 2 * MINUTE)


def test_only_the_share_is_used() -> None:
    assert POOL.usable == 80
    spent, answer = decide({"W": {7: 78}}, None, [charge(2)])
    assert answer.granted
    assert spent == {"W": {7: 80}}
    assert not decide(spent, None, [charge(1)])[1].granted


def test_a_new_window_begins_empty_and_old_ones_are_forgotten() -> None:
    spent, answer = decide({"W": {5: 80, 6: 80}}, None, [charge(3)])
    assert answer.spent == (3,)
    assert spent == {"W": {6: 80, 7: 3}}


def test_all_pools_are_charged_or_none() -> None:
    before = {"W": {7: 10}, "R": {1: 5}}
    spent, answer = decide(before, None, [charge(2), charge(1, 1, usable=5, pool="R")])
    assert answer.full == 1
    assert spent == before


def test_what_the_exchange_counts_overrules_upwards_only() -> None:
    spent, answer = decide({"W": {7: 10}}, None, [charge(2, at_least=79)])
    assert answer.full == 0
    assert spent == {"W": {7: 79}}
    assert decide({"W": {7: 50}}, None, [charge(2, at_least=9)])[1].spent == (52,)


def test_a_halt_stops_even_a_free_request_and_news_is_kept() -> None:
    halt = Halt("banned", 1000, 0, "banned")
    spent, answer = decide({}, halt, [charge(0, at_least=33)])
    assert not answer.granted
    assert answer.halt == halt
    assert spent == {"W": {7: 33}}


def test_a_request_dearer_than_the_budget_gets_a_window_of_its_own() -> None:
    assert decide({}, None, [charge(500)])[1].granted
    assert not decide({"W": {7: 1}}, None, [charge(500)])[1].granted


def test_around_the_turn_of_a_minute_both_minutes_are_charged() -> None:
    turn = 8 * MINUTE
    assert [c.window for c in charges_for([(POOL, 2)], turn - 5, turn + 5)] == [7, 8]
    assert [c.window for c in charges_for([(POOL, 2)], turn, turn + 5)] == [8]


@pytest.mark.parametrize(
    ("strikes", "minutes"), [(1, 2), (2, 4), (3, 8), (11, 2048), (12, 4096), (13, 4320), (99, 4320)]
)
def test_undated_bans_double_up_to_three_days(strikes: int, minutes: int) -> None:
    assert ban_length_ms(strikes) == minutes * MINUTE
