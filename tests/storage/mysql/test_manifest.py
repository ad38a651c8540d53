"""The manifest of the archive's objects: put, found by window, touched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window, parse_time
from gapless.errors import StorageError
from gapless.storage.mysql import ManifestRow, MySql, bulk, put_manifest, read_manifest, touch_manifest

SEPTEMBER = parse_time("2024-09-01")
MONTH = ManifestRow(
    path="data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-09.zip",
    dataset="ohlcv",
    exchange="binance",
    market=Market.UM,
    symbol="BTC/USDT:USDT",
    raw_symbol="BTCUSDT",
    interval="1m",
    period="month",
    period_start_ms=SEPTEMBER,
    state="loaded",
    checksum="verified",
    etag='"6d0bb00954ceb7fbee436bb55a8397a9-3"',
    bytes=1_234_567,
    sha256="a" * 64,
    rows=43_199,
    refused=1,
    first_ms=SEPTEMBER,
    last_ms=SEPTEMBER + 43_199 * 60_000,
    parser_version=1,
    detail="",
    store="lake",
    checked_ms=parse_time("2026-11-20") + 123,
    loaded_ms=parse_time("2026-11-20") + 1,
)
DAY = replace(
    MONTH,
    path="data/futures/um/daily/klines/币安人生USDT/1m/币安人生USDT-1m-2024-09-30.zip",
    symbol="币安人生/USDT:USDT",
    raw_symbol="币安人生USDT",
    period="day",
    period_start_ms=parse_time("2024-09-30"),
    state="rejected",
    checksum="absent",
    etag="",
    sha256="",
    rows=0,
    first_ms=None,
    last_ms=None,
    detail='not a zip: "<html>\n, \\N NULL"',
    store="",
    loaded_ms=None,
)


def read(db: MySql, start: str, end: str, symbols: list[str] | None = None) -> dict[str, ManifestRow]:
    return read_manifest(db, "ohlcv", "binance", Market.UM, Window.of(start, end), symbols)


@pytest.fixture(params=["local infile", "values"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "values":
        monkeypatch.setattr(bulk, "_local_allowed", lambda connection: False)


def test_objects_come_back_as_they_were_put(database: MySql) -> None:
    put_manifest(database, [MONTH, DAY])
    assert read(database, "2024-01-01", "2025-01-01") == {MONTH.path: MONTH, DAY.path: DAY}
    other = replace(MONTH, path="x", market=Market.SPOT)
    put_manifest(
        database, [other, replace(MONTH, path="y", dataset="metrics"), replace(MONTH, path="z", exchange="okx")]
    )
    assert set(read(database, "2024-01-01", "2025-01-01")) == {MONTH.path, DAY.path}
    assert read_manifest(database, "ohlcv", "binance", Market.SPOT, Window.of("2024-09-01", "2024-10-01")) == {
        "x": other
    }


def test_a_newer_word_on_an_object_replaces_the_older(database: MySql) -> None:
    put_manifest(database, [DAY])
    loaded = replace(DAY, state="loaded", detail="", store="mysql", first_ms=1, last_ms=2, loaded_ms=3)
    put_manifest(database, [DAY, loaded])
    assert read(database, "2024-09-30", "2024-10-01") == {DAY.path: loaded}
    put_manifest(database, [])
    put_manifest(database, [DAY])
    assert read(database, "2024-09-30", "2024-10-01") == {DAY.path: DAY}


@pytest.mark.parametrize(
    ("start", "end", "months", "days"),
    [
        ("2024-08-01", "2024-09-01", 0, 0),
        ("2024-08-01", "2024-09-01T00:00:00.001", 1, 0),
        ("2024-09-10", "2024-09-30", 1, 0),
        ("2024-09-10", "2024-09-30T00:01", 1, 1),
        ("2024-09-30T23:59", "2024-10-02", 1, 1),
        ("2024-10-01", "2024-10-02", 0, 0),
    ],
)
def test_objects_are_found_by_the_period_they_cover(
    database: MySql, start: str, end: str, months: int, days: int
) -> None:
    put_manifest(database, [MONTH, DAY])
    for found in (read(database, start, end), read(database, start, end, [MONTH.symbol, DAY.symbol])):
        assert set(found) == {*([MONTH.path] * months), *([DAY.path] * days)}


def test_only_the_symbols_that_are_asked_for_are_read(database: MySql) -> None:
    put_manifest(database, [MONTH, DAY])
    assert set(read(database, "2024-09-01", "2024-10-01", [DAY.symbol])) == {DAY.path}
    assert read(database, "2024-09-01", "2024-10-01", []) == {}
    assert read(database, "2024-09-01", "2024-10-01", ["ETH/USDT:USDT"]) == {}


def test_an_object_found_unchanged_says_when(database: MySql) -> None:
    put_manifest(database, [MONTH, DAY])
    touch_manifest(database, [MONTH.path, "unknown"], MONTH.checked_ms + DAY_MS)
    touch_manifest(database, [], 0)
    found = read(database, "2024-09-01", "2024-10-01")
    assert found == {MONTH.path: replace(MONTH, checked_ms=MONTH.checked_ms + DAY_MS), DAY.path: DAY}


def test_what_does_not_fit_is_said_and_nothing_of_the_rest_is_entered(database: MySql) -> None:
    with pytest.raises(StorageError, match=r"entering 2 objects of the archive, the first a.zip: .*etag"):
        put_manifest(database, [replace(MONTH, path="a.zip"), replace(MONTH, path="b.zip", etag="x" * 129)])
    with database.engine.connect() as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM archive_object")) == 0
