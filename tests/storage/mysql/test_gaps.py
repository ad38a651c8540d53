"""The gap log in the database: recorded, filled, read, by several at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from gapless.domain.window import HOUR_MS, Window
from gapless.errors import ValidationError
from gapless.storage.mysql import Gap, MySql, read_gaps, record_gaps
from tests.storage.mysql.bars import DAY, HOUR

CHINESE, BTC = "币安人生/USDT:USDT", "BTC/USDT:USDT"
HALT = Gap("binance", CHINESE, "ohlcv", "1m", HOUR, 60, "unfillable", 'the exchange says "-4141"', 3)
OPEN = Gap("binance", BTC, "ohlcv", "1h", Window(DAY.start_ms, DAY.start_ms + 3 * HOUR_MS), 3, "open", "")


def log(db: MySql) -> list[tuple[Any, ...]]:
    with db.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM data_gap_log ORDER BY id"))]


def test_gaps_come_back_by_what_is_asked(database: MySql) -> None:
    record_gaps(database, [HALT, OPEN], within={})
    assert read_gaps(database, "binance", "ohlcv", DAY) == [OPEN, HALT]
    assert read_gaps(database, "binance", "ohlcv", DAY, symbols=[CHINESE]) == [HALT]
    assert read_gaps(database, "binance", "ohlcv", DAY, intervals=["1h"]) == [OPEN]
    assert read_gaps(database, "binance", "ohlcv", DAY, states={"unfillable", "failed"}) == [HALT]
    assert read_gaps(database, "binance", "ohlcv", DAY, states=[]) == []
    assert read_gaps(database, "binance", "ohlcv", Window(HOUR.end_ms, DAY.end_ms)) == []
    assert read_gaps(database, "binance", "ohlcv", Window(HOUR.end_ms - 1, DAY.end_ms)) == [HALT]
    assert read_gaps(database, "binance", "funding_rate", DAY) == []


def test_a_look_that_finds_them_no_more_fills_them_and_keeps_them(database: MySql) -> None:
    record_gaps(database, [HALT, OPEN], within={(CHINESE, "1m"): [DAY], (BTC, "1h"): [DAY]})
    record_gaps(database, [], within={(CHINESE, "1m"): [DAY], (BTC, "1m"): [DAY]})
    assert read_gaps(database, "binance", "ohlcv", DAY) == [OPEN, replace(HALT, state="filled")]


def test_the_same_look_again_writes_nothing(database: MySql) -> None:
    within = {(CHINESE, "1m"): [DAY], (BTC, "1h"): [HOUR]}
    record_gaps(database, [HALT, OPEN], within=within)
    before = log(database)
    record_gaps(database, [OPEN, HALT], within=within)
    assert log(database) == before
    record_gaps(database, [], within={})
    assert log(database) == before


def test_pieces_may_move_onto_each_others_beginning(database: MySql) -> None:
    first, second, third = (Window(HOUR.start_ms + n * HOUR_MS, HOUR.start_ms + (n + 1) * HOUR_MS) for n in range(3))
    whole = Window(first.start_ms, third.end_ms)
    record_gaps(database, [replace(HALT, window=each, cause=str(each)) for each in (first, third)], within={})
    late = replace(HALT, window=Window(third.start_ms, third.end_ms), cause="late")
    early = replace(HALT, window=Window(first.start_ms, second.end_ms), bars=120, cause="early")
    record_gaps(database, [late, early], within={(CHINESE, "1m"): [whole]})
    assert read_gaps(database, "binance", "ohlcv", DAY) == [early, late]
    assert [row[0] for row in log(database)] == [1, 2]


def test_two_at_once_leave_what_one_leaves(database: MySql) -> None:
    symbols = [f"C{n}/USDT:USDT" for n in range(700)]
    gaps = [replace(HALT, symbol=symbol) for symbol in symbols]
    within = {(symbol, "1m"): [DAY] for symbol in symbols}
    failed: list[BaseException] = []

    def record() -> None:
        try:
            record_gaps(database, gaps, within=within)
        except BaseException as error:  # told below
            failed.append(error)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert read_gaps(database, "binance", "ohlcv", DAY) == sorted(gaps, key=lambda one: one.symbol)


def test_funding_has_gaps_without_an_interval(database: MySql) -> None:
    hole = replace(OPEN, dataset="funding_rate", interval="", window=DAY, bars=3)
    record_gaps(database, [hole], within={(BTC, ""): [DAY]}, dataset="funding_rate")
    assert read_gaps(database, "binance", "funding_rate", DAY) == [hole]
    record_gaps(database, [], within={(BTC, ""): [DAY]}, dataset="funding_rate")
    assert read_gaps(database, "binance", "funding_rate", DAY, states=["open"]) == []


@pytest.mark.parametrize(
    ("gaps", "within", "message"),
    [
        ([replace(OPEN, dataset="funding_rate", interval="")], {}, "among those of binance ohlcv; record each dataset"),
        ([replace(OPEN, exchange="okx")], {}, "a gap of okx ohlcv"),
        ([], {(BTC, ""): [DAY]}, r"\(no interval\) is no series of the dataset ohlcv"),
    ],
)
def test_series_that_are_not_the_datasets_are_refused(
    mariadb_database: MySql, gaps: list[Gap], within: dict[tuple[str, str], list[Window]], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        record_gaps(mariadb_database, gaps, within=within)
    assert log(mariadb_database) == []
