"""Keys name their object both ways, and every bar has exactly one."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window, month_start, parse_time
from gapless.errors import ConfigError
from gapless.storage.lake import layout

MOMENTS = st.integers(0, parse_time("2200-01-01"))
INTERVALS = st.sampled_from(list(Interval))


def usual(exchange: str, interval: Interval, at_ms: int) -> layout.LakeObject:
    """The object that the hourly pipeline puts a bar into."""
    month = layout.Month(Dataset.OHLCV, exchange, interval, month_start(at_ms))
    return month.day(at_ms) if layout.Form.DAYS in month.forms else month.whole()


def test_fine_intervals_lie_by_day_and_coarse_ones_by_month() -> None:
    at = parse_time("2026-11-20T16:05")
    assert usual("binance", Interval.M1, at).key == "ohlcv/binance-1m-2026-11-20.parquet"
    assert usual("binance", Interval.M15, at).key == "ohlcv/binance-15m-2026-11-20.parquet"
    assert usual("binance", Interval.H1, at).key == "ohlcv/binance-1h-2026-11.parquet"
    assert usual("binance", Interval.D1, at).key == "ohlcv/binance-1d-2026-11.parquet"


@given(MOMENTS, INTERVALS)
def test_a_key_parses_back_to_the_object_that_covers_the_moment(at_ms: int, interval: Interval) -> None:
    found = usual("binance", interval, at_ms)
    assert at_ms in found.window
    assert layout.parse_key(found.key) == found
    assert found.key.startswith(layout.month_prefix(Dataset.OHLCV, "binance", interval, at_ms))


@given(st.integers(0, 4 * 10**12), st.integers(1, 100 * 86_400_000), INTERVALS)
def test_the_months_of_a_window_tile_it(start: int, length: int, interval: Interval) -> None:
    window = Window(start, start + length)
    found = list(layout.months_in(Dataset.OHLCV, "binance", interval, window))
    assert found[0].window.start_ms <= window.start_ms
    assert window.end_ms <= found[-1].window.end_ms
    assert all(a.window.end_ms == b.window.start_ms for a, b in pairwise(found))
    assert all(one.window.intersect(window) for one in found)


@pytest.mark.parametrize(
    "key",
    [
        "ohlcv/binance-1m-2026-11.parquet",  # a fine interval has days, or buckets
        "ohlcv/binance-1h-2026-11-20.parquet",  # a coarse one has months
        "ohlcv/binance-1h-2026-11.03.parquet",
        "ohlcv/binance-1m-2026-11.16.parquet",  # sixteen buckets: 00..15
        "ohlcv/binance-1m-2026-13-01.parquet",
        "ohlcv/binance-1m-2026-02-30.parquet",
        "ohlcv/binance-2m-2026-02-03.parquet",
        "ohlcv/binance-1m-2026-02-03.parquet.tmp",
        "quarantine/binance-1m-2026-02-03.parquet",
    ],
)
def test_what_is_no_bars_object_is_not_taken_for_one(key: str) -> None:
    assert layout.parse_key(key) is None


def test_a_cold_months_bucket_is_recognised_and_shares_the_months_prefix() -> None:
    found = layout.parse_key("ohlcv/binance-1m-2019-04.07.parquet")
    assert found is not None
    assert (found.bucket, found.period) == (7, "month")
    assert found.window == Window.of("2019-04-01", "2019-05-01")
    assert found.key == "ohlcv/binance-1m-2019-04.07.parquet"


def test_buckets_never_move() -> None:
    # sha256's first byte modulo 16. Stored objects rely on these numbers: a change here is a migration.
    assert [layout.bucket_of(s) for s in ("BTC/USDT", "BTC/USDT:USDT", "币安人生/USDT:USDT")] == [13, 12, 13]


def test_an_exchange_name_that_would_blur_a_key_is_refused() -> None:
    for name in ("binance-us", "Binance", "a/b", "", "x" * 17):
        with pytest.raises(ConfigError, match="exchange"):
            layout.prefix_of(Dataset.OHLCV, name, Interval.M1)


def test_raw_payloads_lie_by_market_day_and_hour() -> None:
    key = layout.raw_key("ohlcv", "binance", "um", parse_time("2026-11-20T16:00"), "ab12", "cd34")
    assert key == "raw/ohlcv/binance/um/2026-11-20/16/ab12-cd34.jsonl.zst"


def test_funding_lies_by_month_and_metrics_in_buckets() -> None:
    assert layout.Month(Dataset.FUNDING, "binance", None, 0).whole().key == "funding_rate/binance-1970-01.parquet"
    assert (
        layout.Month(Dataset.METRICS, "binance", None, 0).bucket(7).key == "futures_metrics/binance-1970-01.07.parquet"
    )
    for key in ("funding_rate/binance-2026-11.parquet", "futures_metrics/binance-2026-11.07.parquet"):
        found = layout.parse_key(key)
        assert found is not None
        assert found.key == key
        assert key.startswith(found.month.prefix)
    for key in (
        "funding_rate/binance-2026-11.07.parquet",
        "futures_metrics/binance-2026-11.parquet",
        "funding_rate/binance-1m-2026-11.parquet",
        "ohlcv/binance-2026-11.parquet",
        "prices/binance-2026-11.parquet",
    ):
        assert layout.parse_key(key) is None


def test_the_pieces_of_a_cold_month_are_its_buckets_or_the_whole() -> None:
    assert layout.buckets(Dataset.OHLCV, Interval.M15) == layout.buckets(Dataset.METRICS, None) == tuple(range(16))
    assert layout.buckets(Dataset.OHLCV, Interval.H1) == layout.buckets(Dataset.FUNDING, None) == (None,)
