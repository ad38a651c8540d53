"""The summary says what is there, where to click, and never takes generated data for real."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.stack.contents import last_day, series_of
from gapless.stack.summary import Access, Contents, Series, Times, print_summary
from gapless.storage.mysql.summary import MarketRows

HOUR = 3_600_000
CONTENTS = Contents(
    origin="binance",
    series=(
        Series(market="um", interval="1m", instruments=5, rows=14_400, newest_ms=HOUR, complete=0.99999, lag_s=75.0),
    ),
    rows_quarantined=3,
    lake_files=12,
    lake_bytes=3 * 2**20,
)


def shown(origin: str = "binance", password: str | None = "correct horse") -> str:
    out = io.StringIO()
    print_summary(
        Console(file=out, width=120),
        contents=msgspec.structs.replace(CONTENTS, origin=origin),
        lake="file:///srv/lake",
        access=Access("http://127.0.0.1:8080", "admin", password, "/srv/var/passwords.json"),
        times=Times(download=61, setup=20, start=22, pipeline=30),
    )
    return out.getvalue()


def test_it_names_rows_quarantine_files_page_and_times() -> None:
    text = shown()
    for part in ("14,400", "1970-01-01 01:00", "75 s", "99.9 %", "quarantined rows: 3", "12 files", "3.0 MB"):
        assert part in text
    assert "http://127.0.0.1:8080   login: admin   password: correct horse" in text
    assert "72 s (setup 20, start 22, pipeline 30), downloads apart: 61 s" in text
    assert "DEMO" not in text


def test_generated_data_is_called_so() -> None:
    assert "DEMO: generated data (replica:7), not from an exchange" in shown("replica:7")


def test_without_a_terminal_the_passwords_file_is_named_instead() -> None:
    text = shown(password=None)
    assert "/srv/var/passwords.json" in text
    assert "correct horse" not in text


def test_lag_is_the_age_of_the_first_missing_bar() -> None:
    rows = MarketRows(Market.UM, Interval.H1, rows=10, series=2, newest_ms=10 * HOUR, laggard_ms=9 * HOUR)
    assert series_of(rows, 0, now_ms=11 * HOUR).lag_s == 0  # the 10:00 bar closes only now
    assert series_of(rows, 0, now_ms=11 * HOUR + 5_000).lag_s == 5


@pytest.mark.parametrize(("interval", "bars"), [(Interval.M1, 1440), (Interval.H4, 6), (Interval.D1, 1)])
def test_the_last_day_is_the_bars_that_completed_in_24_whole_hours(interval: Interval, bars: int) -> None:
    now = 1000 * HOUR + 1234
    opens = last_day(interval, now)
    assert len(opens) == bars
    assert opens[-1] + interval.ms <= 1000 * HOUR < opens[-1] + 2 * interval.ms
    rows = MarketRows(Market.SPOT, interval, rows=9, series=2, newest_ms=now, laggard_ms=now)
    assert series_of(rows, 2 * bars, now).complete == 1
