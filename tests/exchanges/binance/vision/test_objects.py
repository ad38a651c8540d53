"""Objects of the archive are named as the archive names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window, parse_time
from gapless.errors import ConfigError
from gapless.exchanges.binance.vision.objects import (
    FUNDING_RATE,
    KLINES,
    METRICS,
    ArchiveObject,
    day_object,
    folder,
    month_object,
    parse_path,
    published_by_ms,
)

AT = parse_time("2024-09-17T13:45:01")


@pytest.mark.parametrize(
    ("obj", "path"),
    [
        (
            month_object(Market.UM, KLINES, "BTCUSDT", Interval.M1, AT),
            "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-09.zip",
        ),
        (
            day_object(Market.SPOT, KLINES, "BTCUSDT", Interval.H1, AT),
            "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-09-17.zip",
        ),
        (
            month_object(Market.UM, FUNDING_RATE, "BTCUSDT", None, AT),
            "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-09.zip",
        ),
        (
            day_object(Market.UM, METRICS, "1000PEPEUSDT", None, AT),
            "data/futures/um/daily/metrics/1000PEPEUSDT/1000PEPEUSDT-metrics-2024-09-17.zip",
        ),
        (
            month_object(Market.UM, KLINES, "币安人生USDT", Interval.D1, AT),
            "data/futures/um/monthly/klines/币安人生USDT/1d/币安人生USDT-1d-2024-09.zip",
        ),
    ],
)
def test_an_object_lies_where_the_archive_has_it_and_its_path_says_it_all(obj: ArchiveObject, path: str) -> None:
    assert obj.path == str(obj) == path
    assert path.endswith(f"/{obj.name}")
    assert obj.member == obj.name.replace(".zip", ".csv")
    assert parse_path(path) == obj


def test_recorded_archive_files_have_these_paths(recordings: Path) -> None:
    root = recordings / "vision_zip"
    read = sorted(path.relative_to(root) for path in root.rglob("*.zip") if "cm" not in path.parts)
    assert len(read) == 4
    for path in read:
        obj = parse_path(f"data/{path}")
        assert obj is not None
        assert obj.name == path.name


@given(
    st.sampled_from(["spot", "um"]),
    st.text("ABCXYZ0123456789_币安-.", min_size=1, max_size=12),
    st.sampled_from(list(Interval)),
    st.booleans(),
    st.integers(parse_time("2017-01-01"), parse_time("2040-01-01")),
)
def test_paths_round_trip(market: str, symbol: str, interval: Interval, monthly: bool, at_ms: int) -> None:
    obj = (month_object if monthly else day_object)(Market(market), KLINES, symbol, interval, at_ms)
    assert at_ms in obj.window
    assert parse_path(obj.path) == obj


@pytest.mark.parametrize(
    "path",
    [
        "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-09-17.zip.CHECKSUM",
        "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-09-17.zip",
        "data/spot/daily/klines/BTCUSDT/1s/BTCUSDT-1s-2024-09-17.zip",
        "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-09-17.zip",
        "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-09.zip",
        "data/spot/daily/klines/BTCUSDT/1h/ETHUSDT-1h-2024-09-17.zip",
        "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-4h-2024-09-17.zip",
        "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02-30.zip",
        "data/spot/daily/klines/BTCUSDT/BTCUSDT-klines-2024-09-17.zip",
        "data/spot/daily/trades/BTCUSDT/BTCUSDT-trades-2024-09-17.zip",
        "data/spot/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-09.zip",
        "data/futures/um/monthly/metrics/BTCUSDT/BTCUSDT-metrics-2024-09.zip",
        "data/futures/um/daily/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-09-17.zip",
        "data/futures/cm/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-09-17.zip",
        "",
    ],
)
def test_a_path_of_anything_else_is_no_object(path: str) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize(
    ("market", "kind", "interval", "period"),
    [
        (Market.SPOT, FUNDING_RATE, None, "month"),
        (Market.UM, FUNDING_RATE, None, "day"),
        (Market.UM, METRICS, None, "month"),
        (Market.UM, KLINES, None, "month"),
        (Market.UM, METRICS, Interval.M5, "day"),
        (Market.UM, "trades", None, "day"),
    ],
)
def test_what_the_archive_does_not_have_cannot_be_named(
    market: Market, kind: str, interval: Interval | None, period: str
) -> None:
    make = month_object if period == "month" else day_object
    with pytest.raises(ConfigError, match=f"the archive has no {kind} of {market} by {period}"):
        make(market, kind, "BTCUSDT", interval, AT)


@pytest.mark.parametrize("symbol", ["", "BTC/USDT", "../BTCUSDT"])
def test_a_unified_symbol_or_a_way_out_is_no_raw_symbol(symbol: str) -> None:
    with pytest.raises(ConfigError, match="not an exchange's own name"):
        month_object(Market.UM, KLINES, symbol, Interval.M1, AT)


def test_a_period_begins_where_its_month_or_day_begins() -> None:
    with pytest.raises(ConfigError, match="not the start of a month"):
        ArchiveObject(Market.UM, KLINES, "BTCUSDT", Interval.M1, "month", parse_time("2024-09-02"))
    with pytest.raises(ConfigError, match="not the start of a day"):
        ArchiveObject(Market.UM, KLINES, "BTCUSDT", Interval.M1, "day", AT)


def test_windows_are_whole_months_and_days_and_nothing_is_out_before_they_end() -> None:
    month = month_object(Market.UM, KLINES, "BTCUSDT", Interval.M1, parse_time("2024-12-31T23:59:59"))
    assert month.window == Window.of("2024-12-01", "2025-01-01")
    day = day_object(Market.UM, KLINES, "BTCUSDT", Interval.M1, AT)
    assert day.window == Window(parse_time("2024-09-17"), parse_time("2024-09-17") + DAY_MS)
    assert [published_by_ms(each) for each in (month, day)] == [month.window.end_ms, day.window.end_ms]


def test_objects_sort_by_series_and_then_by_time() -> None:
    at = [parse_time(f"2024-{month:02}-01") for month in (9, 10, 11)]
    objects = [month_object(Market.UM, KLINES, symbol, Interval.M1, ms) for symbol in ("A", "B") for ms in at]
    by_time = sorted(objects, key=lambda obj: -obj.start_ms)
    assert sorted(by_time) == objects


def test_folders_are_the_prefixes_of_the_listing() -> None:
    assert folder(Market.UM, METRICS, "day") == "data/futures/um/daily/metrics/"
    assert folder(Market.SPOT, KLINES, "month", "BTCUSDT", Interval.M1) == "data/spot/monthly/klines/BTCUSDT/1m/"
