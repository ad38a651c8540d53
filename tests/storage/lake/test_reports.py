"""Reports in the lake: put, read, listed, and removed in time; in a folder and in S3 alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gapless.domain.window import DAY_MS, Window
from gapless.errors import ConfigError, NotFound
from gapless.storage.lake.objects import ObjectStore, checked_key
from gapless.storage.lake.reports import (
    file_name,
    get_report,
    list_reports,
    put_report,
    report_key,
    sweep_reports,
)

DAY = Window.of("2026-11-13", "2026-11-14")


def test_a_report_lies_under_its_kind_and_day() -> None:
    key = report_key("quality", DAY, "quality_daily/scheduled__2026-11-14T00:40:00+00:00")
    assert key == "reports/quality/2026-11-13/quality_daily-scheduled__2026-11-14T00-40-00-00-00.json"


@given(st.text(max_size=300))
def test_any_name_of_a_run_makes_a_key(run: str) -> None:
    key = report_key("quality", DAY, run)
    assert checked_key(key) == key
    assert len(file_name(run)) <= 120
    assert not file_name(run).startswith(".")


@pytest.mark.parametrize("kind", ["", "Quality", "a/b", "..", "a" * 33])
def test_a_kind_that_is_no_word_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="not a kind of report"):
        report_key(kind, DAY, "x")


def test_a_report_comes_back_and_a_later_one_of_the_run_takes_its_place(lake_store: ObjectStore) -> None:
    key = report_key("quality", DAY, "a")
    put_report(lake_store, key, b'{"a": 1}')
    put_report(lake_store, key, b'{"a": 2}')
    assert get_report(lake_store, key) == b'{"a": 2}'
    with pytest.raises(NotFound, match="removed as too old"):
        get_report(lake_store, report_key("quality", DAY, "b"))


def test_reports_are_listed_by_day_and_by_kind(lake_store: ObjectStore) -> None:
    days = [Window(DAY.start_ms + n * DAY_MS, DAY.end_ms + n * DAY_MS) for n in range(3)]
    for day in reversed(days):
        put_report(lake_store, report_key("quality", day, "a"), b"{}")
    put_report(lake_store, report_key("audit", DAY, "a"), b"{}")
    assert [stat.key for stat in list_reports(lake_store, "quality")] == [
        report_key("quality", day, "a") for day in days
    ]


def test_only_old_reports_are_swept_and_nothing_that_is_none(lake_store: ObjectStore) -> None:
    old, young = report_key("quality", DAY, "a"), report_key("audit", Window(DAY.end_ms, DAY.end_ms + DAY_MS), "a")
    others = ("reports/readme.txt", "reports/quality/2026-99-99/a.json", "ohlcv/binance-1m-2026-11-13.parquet")
    for key in (old, young):
        put_report(lake_store, key, b"{}")
    for key in others:
        lake_store.put(key, b"x")
    now = DAY.end_ms + 90 * DAY_MS
    assert sweep_reports(lake_store, now - 1, 90) == 0
    assert sweep_reports(lake_store, now, 90) == 1
    assert lake_store.head(old) is None
    assert all(lake_store.head(key) is not None for key in (young, *others))


@pytest.mark.parametrize(
    "key", ["ohlcv/binance-1m-2026-11-13.parquet", "reports/a.json", "reports/q/2026-11-13/../a.json"]
)
def test_what_is_no_report_is_neither_written_nor_read(lake_store: ObjectStore, key: str) -> None:
    with pytest.raises(ConfigError, match="not the key of a report"):
        put_report(lake_store, key, b"{}")
    with pytest.raises(ConfigError, match="not the key of a report"):
        get_report(lake_store, key)
