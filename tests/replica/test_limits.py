"""Weights, 429 and 418 as the exchange deals them."""

from __future__ import annotations

from gapless.domain.instrument import Market
from replica.limits import EXCHANGE_LIMITS, Limiter, LimitRules

MINUTE = 1_795_000_020_000 // 60_000 * 60_000


def test_the_count_begins_anew_with_each_minute_of_the_exchanges_clock() -> None:
    limiter = Limiter(LimitRules(100, None))
    assert limiter.admit("a", 60, MINUTE + 59_999).used == 60
    assert limiter.admit("a", 60, MINUTE + 60_000).used == 60


def test_an_address_has_a_count_of_its_own() -> None:
    limiter = Limiter(LimitRules(100, None))
    limiter.admit("127.0.0.1", 100, MINUTE)
    assert limiter.admit("127.0.0.1", 1, MINUTE).status == 429
    assert limiter.admit("127.0.0.2", 1, MINUTE).status == 200


def test_retry_after_names_the_rest_of_the_minute_where_the_market_documents_it() -> None:
    spot, um = (Limiter(EXCHANGE_LIMITS[market]) for market in (Market.SPOT, Market.UM))
    assert spot.admit("a", 6001, MINUTE + 10_500).retry_after_s == 50
    assert um.admit("a", 2401, MINUTE + 10_500).retry_after_s is None


def test_going_on_after_429_is_a_ban_that_names_its_end_and_grows() -> None:
    limiter = Limiter(LimitRules(10, None, ban_after=3, ban_s=120))
    statuses = [limiter.admit("a", 11, MINUTE + 1).status for _ in range(4)]
    assert statuses == [429, 429, 429, 418]
    banned = limiter.admit("a", 1, MINUTE + 60_000)
    assert banned.status == 418
    assert f"IP banned until {MINUTE + 1 + 120_000}." in banned.message
    assert banned.retry_after_s == 61
    after = MINUTE + 121_000
    assert limiter.admit("a", 1, after).status == 200
    again = [limiter.admit("a", 11, after) for _ in range(4)][-1]
    assert f"until {after + 240_000}." in again.message


def test_waiting_out_the_minute_forgives_earlier_429() -> None:
    limiter = Limiter(LimitRules(10, None, ban_after=2))
    for minute in range(5):
        at = MINUTE + minute * 60_000
        assert [limiter.admit("a", 6, at).status for _ in range(3)] == [200, 429, 429]


def test_raw_requests_have_a_limit_of_their_own() -> None:
    limiter = Limiter(LimitRules(1000, 3))
    assert [limiter.admit("a", 0, MINUTE).status for _ in range(4)] == [200, 200, 200, 429]
    assert limiter.admit("a", 0, MINUTE + 300_000).status == 200


def test_no_limit_admits_everything() -> None:
    limiter = Limiter(LimitRules(0, 3))
    assert {limiter.admit("a", 10_000, MINUTE).status for _ in range(100)} == {200}
