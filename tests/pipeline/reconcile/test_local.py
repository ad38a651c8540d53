"""The look at the stores alone: exactly the bars that neither holds, inside lives, across the border of the stores."""

from __future__ import annotations

import random

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.instrument import market_of
from gapless.domain.interval import Interval
from gapless.domain.window import Window, parse_time
from gapless.pipeline.backfill.pieces import Series
from gapless.pipeline.reconcile.local import scan
from tests.pipeline.conftest import Installation

ALWAYS = Window.of("2020-01-01", "2030-01-01")
BORDER = Window.of("2026-08-30", "2026-09-03")
INTERVALS = (Interval.M15, Interval.H4)


def series(symbol: str, interval: Interval, *lives: Window) -> Series:
    market = market_of(symbol)
    assert market is not None
    return Series(Dataset.OHLCV, market, symbol, interval, lives or (ALWAYS,), ("X",) * max(1, len(lives)))


def look(installation: Installation, wanted: list[Series], window: Window) -> dict[tuple[str, str], list[int]]:
    with installation.open() as rt:
        return {(symbol, str(i)): opens.tolist() for (symbol, i), opens in scan(rt, wanted, window).items()}


def delete(installation: Installation, symbol: str, interval: Interval, opens: list[int]) -> None:
    """Delete bars from the store that has them."""
    with installation.db.engine.begin() as connection:
        for at in opens:
            connection.exec_driver_sql(
                "DELETE FROM ohlcv WHERE symbol = %s AND `interval` = %s AND ts = '1970-01-01' + INTERVAL %s SECOND",
                (symbol, str(interval), at // 1000),
            )
    with installation.open() as rt:
        for at in opens:
            bar = rt.lake.read(Window(at, at + 1), symbols=[symbol], intervals=[interval], exchange="binance")
            if bar.num_rows:
                from gapless.storage.mysql import put_archive_receipts

                put_archive_receipts(rt.db, rt.lake.remove(bar))


@pytest.fixture
def filled(installation: Installation) -> Installation:
    """Two days in the lake, two in MySQL."""
    installation.backfill("2026-08-30", "2026-09-03", symbols="BTC/USDT:USDT,ETH/USDT:USDT", intervals="15m,4h")
    return installation


def test_what_is_missing_is_found_to_the_bar_in_either_store_and_nothing_else(filled: Installation) -> None:
    wanted = [series(symbol, i) for symbol in ("BTC/USDT:USDT", "ETH/USDT:USDT") for i in INTERVALS]
    assert look(filled, wanted, BORDER) == {}
    draw = random.Random(5)
    planted: dict[tuple[str, str], list[int]] = {}
    for one in wanted[:3]:
        assert one.interval is not None
        gone = sorted(draw.sample(list(one.interval.opens(BORDER)), 5))
        delete(filled, one.symbol, one.interval, gone)
        planted[one.symbol, str(one.interval)] = gone
    assert look(filled, wanted, BORDER) == planted


def test_a_window_inside_a_day_and_a_series_that_nobody_has(filled: Installation) -> None:
    hours = Window.of("2026-09-01T05:10", "2026-09-01T06:05")
    wanted = [series("BTC/USDT:USDT", Interval.M15), series("SOL/USDT:USDT", Interval.M15)]
    assert look(filled, wanted, hours) == {
        ("SOL/USDT:USDT", "15m"): list(range(parse_time("2026-09-01T05:15"), hours.end_ms, 900_000))
    }
    assert look(filled, [], hours) == {}


def test_outside_lives_nothing_is_missing_and_what_lies_there_hides_no_hole(filled: Installation) -> None:
    """A day that is listed at noon: a bar from before noon must not stand in for a missing one after it."""
    day = Window.of("2026-09-01", "2026-09-02")
    life = Window.of("2026-09-01T12:00", "2027-01-01")
    gone = parse_time("2026-09-01T13:15")
    delete(filled, "BTC/USDT:USDT", Interval.M15, [gone])
    wanted = [series("BTC/USDT:USDT", Interval.M15, life), series("BTC/USDT:USDT", Interval.H4, life)]
    assert look(filled, wanted, day) == {("BTC/USDT:USDT", "15m"): [gone]}
    assert look(filled, [series("ETH/USDT:USDT", Interval.M15, Window.of("2020-01-01", "2021-01-01"))], day) == {}
