"""The ledger of series: put, replaced, read by window."""

from __future__ import annotations

from dataclasses import replace

from gapless.domain.instrument import Market
from gapless.domain.window import Window, parse_time
from gapless.storage.mysql import MySql, SeriesMonth, put_series_months, read_series_months

WHOLE = SeriesMonth(
    dataset="ohlcv",
    exchange="binance",
    market=Market.UM,
    symbol="币安人生/USDT:USDT",
    interval="1m",
    month_ms=parse_time("2024-09-01"),
    store="lake",
    window=Window.of("2024-09-01", "2024-10-01"),
    expected=43_200,
    present=43_190,
    unfillable=10,
    outside=3,
    state="whole",
    sources="month,rest",
    done_ms=parse_time("2026-11-20") + 7,
)
PART = replace(WHOLE, month_ms=parse_time("2024-10-01"), window=Window.of("2024-10-01", "2024-10-05"), state="partial")
BTC = replace(WHOLE, symbol="BTC/USDT:USDT", interval="1d", store="mysql")
SPOT = replace(WHOLE, symbol="BTC/USDT", market=Market.SPOT)
FUNDING = replace(WHOLE, dataset="funding_rate", interval="")


def read(db: MySql, start: str, end: str, **options: object) -> list[SeriesMonth]:
    return read_series_months(db, "ohlcv", "binance", Market.UM, Window.of(start, end), **options)  # type: ignore[arg-type]


def test_months_come_back_in_order_by_what_is_asked(database: MySql) -> None:
    put_series_months(database, [PART, SPOT, WHOLE, FUNDING, BTC])
    assert read(database, "2024-01-01", "2025-01-01") == [BTC, WHOLE, PART]
    assert read(database, "2024-09-30", "2024-10-01") == [BTC, WHOLE]
    assert read(database, "2024-10-31T23:00", "2024-12-01") == [PART]
    assert read(database, "2024-11-01", "2024-12-01") == []
    assert read(database, "2024-01-01", "2025-01-01", symbols=[BTC.symbol]) == [BTC]
    assert read(database, "2024-01-01", "2025-01-01", symbols=[]) == []
    assert read(database, "2024-01-01", "2025-01-01", store="lake") == [WHOLE, PART]
    window = Window.of("2024-01-01", "2025-01-01")
    assert read_series_months(database, "ohlcv", "binance", Market.SPOT, window) == [SPOT]
    assert read_series_months(database, "funding_rate", "binance", Market.UM, window) == [FUNDING]
    assert read_series_months(database, "ohlcv", "okx", Market.UM, window) == []


def test_a_later_count_replaces_the_earlier_in_its_store_only(database: MySql) -> None:
    hot = replace(WHOLE, store="mysql", present=1)
    put_series_months(database, [WHOLE, hot])
    again = replace(WHOLE, present=43_200, unfillable=0, done_ms=WHOLE.done_ms + 1)
    put_series_months(database, [WHOLE, again])
    put_series_months(database, [again])
    put_series_months(database, [])
    assert read(database, "2024-09-01", "2024-10-01") == [again, hot]
