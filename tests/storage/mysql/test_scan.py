"""Counts and open times of many series at once, on both servers: exact, half-open, whatever is asked for."""

from __future__ import annotations

import pytest

from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.storage.mysql import MySql, load_bars
from gapless.storage.mysql import scan as scanning
from gapless.storage.mysql.scan import count_bars, read_opens_by_symbol
from tests.storage.mysql.bars import DAY, HOUR, draft_for, make_bars

SYMBOLS = ["BTC/USDT:USDT", "ETH/USDT:USDT", "币安人生/USDT:USDT"]
INTERVALS = (Interval.M1, Interval.M15, Interval.H4)


@pytest.fixture
def filled(database: MySql) -> MySql:
    bars = make_bars(SYMBOLS, DAY, INTERVALS)
    load_bars(database, bars, draft_for(bars))
    return database


def test_every_series_is_counted_in_the_window(filled: MySql) -> None:
    counted = count_bars(filled, "binance", DAY)
    assert counted == {(s, i): len(i.opens(DAY)) for s in SYMBOLS for i in INTERVALS}
    assert count_bars(filled, "binance", HOUR) == {
        (s, i): len(i.opens(HOUR)) for s in SYMBOLS for i in INTERVALS if len(i.opens(HOUR))
    }
    assert count_bars(filled, "another", DAY) == {}


@pytest.mark.parametrize("by_name", [0, 100])
def test_only_what_is_asked_for_is_counted(filled: MySql, monkeypatch: pytest.MonkeyPatch, by_name: int) -> None:
    monkeypatch.setattr(scanning, "SYMBOLS_BY_NAME", by_name)
    some = count_bars(filled, "binance", DAY, {SYMBOLS[2], "NO/SUCH:USDT"}, {Interval.M15, Interval.D1})
    assert some == {(SYMBOLS[2], Interval.M15): 96}
    assert count_bars(filled, "binance", DAY, (), INTERVALS) == count_bars(filled, "binance", DAY, SYMBOLS, ()) == {}


def test_open_times_come_by_symbol_in_order(filled: MySql) -> None:
    odd = Window(HOUR.start_ms + 1, HOUR.end_ms + 1)  # fractions of a second are rounded inwards
    found = read_opens_by_symbol(filled, "binance", [*SYMBOLS[1:], "NO/SUCH:USDT"], Interval.M1, odd)
    assert found.keys() == set(SYMBOLS[1:])
    assert all(opens.tolist() == list(Interval.M1.opens(odd)) for opens in found.values())
    assert read_opens_by_symbol(filled, "binance", [], Interval.M1, HOUR) == {}
    assert read_opens_by_symbol(filled, "binance", SYMBOLS, Interval.D1, HOUR) == {}
