"""Listings and lives: what a new exchangeInfo changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gapless.domain.instrument import Instrument, Market
from gapless.domain.window import DAY_MS
from gapless.errors import ValidationError
from gapless.storage.mysql.lives import VANISHED, Known, Life, archived, learn, merge_listing

T0 = 1_700_000_000_000
BTC = Instrument("binance", "BTC/USDT:USDT", Market.UM, "BTCUSDT", "BTC", "USDT", "TRADING", listed_ms=T0)
LUNA = Instrument("binance", "LUNA/USDT:USDT", Market.UM, "LUNAUSDT", "LUNA", "USDT", "TRADING", listed_ms=T0)
SPOT = Instrument("binance", "BTC/USDT", Market.SPOT, "BTCUSDT", "BTC", "USDT", "TRADING")


def after(*listings: tuple[int, list[Instrument]]) -> dict[str, Known]:
    known: dict[str, Known] = {}
    for now_ms, listing in listings:
        known = merge_listing(known, listing, now_ms)
    return known


def lives(known: dict[str, Known], symbol: str) -> list[tuple[int | None, int | None]]:
    return [(life.listed_ms, life.delisted_ms) for life in known[symbol].lives]


def test_a_first_listing_begins_a_life() -> None:
    known = after((T0 + DAY_MS, [BTC]))
    assert known[BTC.symbol] == Known(BTC, T0 + DAY_MS, (Life("BTCUSDT", T0, None),))


def test_what_vanished_ended_when_it_was_noticed_and_is_not_trading() -> None:
    known = after((T0, [BTC, LUNA]), (T0 + DAY_MS, [BTC]))
    assert lives(known, LUNA.symbol) == [(T0, T0 + DAY_MS)]
    assert known[LUNA.symbol].instrument.status == VANISHED
    assert not known[LUNA.symbol].instrument.trading
    again = merge_listing(known, [BTC], T0 + 2 * DAY_MS)
    assert lives(again, LUNA.symbol) == [(T0, T0 + DAY_MS)]


def test_the_exchange_own_delivery_date_wins() -> None:
    settling = replace(LUNA, status="SETTLING", delisted_ms=T0 + DAY_MS)
    known = after((T0, [BTC, LUNA]), (T0 + DAY_MS, [BTC, settling]), (T0 + 5 * DAY_MS, [BTC]))
    assert lives(known, LUNA.symbol) == [(T0, T0 + DAY_MS)]


def test_a_ticker_that_is_listed_again_lives_twice() -> None:
    reborn = replace(LUNA, raw_symbol="LUNAUSDT", listed_ms=T0 + 30 * DAY_MS)
    known = after((T0, [BTC, LUNA]), (T0 + DAY_MS, [BTC]), (T0 + 30 * DAY_MS, [BTC, reborn]))
    assert lives(known, LUNA.symbol) == [(T0, T0 + DAY_MS), (T0 + 30 * DAY_MS, None)]
    assert known[LUNA.symbol].instrument.listed_ms == T0 + 30 * DAY_MS
    assert known[LUNA.symbol].instrument.trading
    # The same listing read again changes nothing.
    again = merge_listing(known, [BTC, reborn], T0 + 31 * DAY_MS)
    assert lives(again, LUNA.symbol) == lives(known, LUNA.symbol)


def test_a_ticker_replaced_while_nobody_looked_ends_when_it_was_last_seen() -> None:
    reborn = replace(LUNA, listed_ms=T0 + 30 * DAY_MS)
    known = after((T0 + DAY_MS, [LUNA]), (T0 + 40 * DAY_MS, [reborn]))
    assert lives(known, LUNA.symbol) == [(T0, T0 + DAY_MS), (T0 + 30 * DAY_MS, None)]


def test_a_corrected_listing_date_moves_the_beginning() -> None:
    known = after((T0 + DAY_MS, [BTC]), (T0 + 2 * DAY_MS, [replace(BTC, listed_ms=T0 - DAY_MS)]))
    assert lives(known, BTC.symbol) == [(T0 - DAY_MS, None)]


def test_a_listing_date_learnt_later_fills_in() -> None:
    known = after((T0, [SPOT]), (T0 + DAY_MS, [replace(SPOT, listed_ms=T0 - DAY_MS)]))
    assert lives(known, SPOT.symbol) == [(T0 - DAY_MS, None)]
    # ... and is kept when the exchange falls silent about it.
    assert lives(merge_listing(known, [SPOT], T0 + 2 * DAY_MS), SPOT.symbol) == [(T0 - DAY_MS, None)]


def test_spot_without_dates_back_within_a_week_was_never_gone() -> None:
    other = replace(SPOT, symbol="ETH/USDT", raw_symbol="ETHUSDT", base="ETH")
    soon = after((T0, [SPOT, other]), (T0 + DAY_MS, [other]), (T0 + 2 * DAY_MS, [SPOT, other]))
    assert lives(soon, SPOT.symbol) == [(None, None)]
    late = after((T0, [SPOT, other]), (T0 + DAY_MS, [other]), (T0 + 30 * DAY_MS, [SPOT, other]))
    assert lives(late, SPOT.symbol) == [(None, T0 + DAY_MS), (T0 + 30 * DAY_MS, None)]


@pytest.mark.parametrize("listing", [[], [BTC, BTC]])
def test_an_empty_or_doubled_listing_is_not_taken(listing: list[Instrument]) -> None:
    with pytest.raises(ValidationError, match="it was not taken"):
        merge_listing(after((T0, [BTC])), listing, T0 + DAY_MS)


def test_what_is_listed_but_does_not_trade_begins_no_other_life() -> None:
    resting = replace(SPOT, status="BREAK")
    known = after((T0, [resting]))
    known = {SPOT.symbol: learn(known[SPOT.symbol], T0 - 100 * DAY_MS, T0 - 50 * DAY_MS)}
    again = merge_listing(known, [resting], T0 + DAY_MS)
    assert lives(again, SPOT.symbol) == [(T0 - 100 * DAY_MS, T0 - 50 * DAY_MS)]
    back = merge_listing(again, [SPOT], T0 + 2 * DAY_MS)
    assert lives(back, SPOT.symbol) == [(T0 - 100 * DAY_MS, T0 - 50 * DAY_MS), (T0 + 2 * DAY_MS, None)]


def test_what_was_learnt_fills_in_and_never_moves_a_known_date() -> None:
    known = after((T0, [SPOT]))[SPOT.symbol]
    learnt = learn(known, T0 - DAY_MS, None)
    assert (learnt.instrument.listed_ms, learnt.lives[-1].listed_ms) == (T0 - DAY_MS, T0 - DAY_MS)
    assert learn(learnt, T0 - 9 * DAY_MS, None) == learnt
    assert learn(known, None, None) == known
    ended = learn(replace(known, instrument=replace(known.instrument, status="BREAK")), None, T0)
    assert lives({SPOT.symbol: learn(ended, None, T0 + DAY_MS)}, SPOT.symbol) == [(None, T0)]
    # Read again, the listing does not take back what it does not say.
    assert lives(merge_listing({SPOT.symbol: learnt}, [SPOT], T0 + DAY_MS), SPOT.symbol) == [(T0 - DAY_MS, None)]


def test_a_learnt_beginning_stays_behind_the_life_before() -> None:
    before, last = Life("BTCUSDT", T0, T0 + 9 * DAY_MS), Life("BTCUSDT", None, None)
    learnt = learn(Known(SPOT, T0, (before, last)), T0 + DAY_MS, None)
    assert learnt.lives == (before, replace(last, listed_ms=T0 + 9 * DAY_MS))


def test_dates_that_cannot_be_are_refused() -> None:
    known = after((T0, [SPOT]))[SPOT.symbol]
    with pytest.raises(ValidationError, match="BTC/USDT trades: it cannot have ended at"):
        learn(known, None, T0)
    resting = replace(known, instrument=replace(known.instrument, status="BREAK"))
    with pytest.raises(ValidationError, match="BTC/USDT cannot have lived from"):
        learn(resting, T0, T0)


def test_what_only_the_archive_knows_is_dead_and_stays_so() -> None:
    dead = replace(LUNA, status="", listed_ms=T0 - 9 * DAY_MS, delisted_ms=None)
    known = {LUNA.symbol: archived(dead)}
    assert known[LUNA.symbol].instrument.status == VANISHED
    # A listing without it tells nothing new: its end is not when that was noticed.
    again = merge_listing(known, [BTC], T0)
    assert lives(again, LUNA.symbol) == [(T0 - 9 * DAY_MS, None)]
    assert lives({LUNA.symbol: learn(again[LUNA.symbol], None, T0 - DAY_MS)}, LUNA.symbol) == [
        (T0 - 9 * DAY_MS, T0 - DAY_MS)
    ]
