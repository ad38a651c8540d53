"""The summary says what is there, where to click, and never takes generated data for real."""

from __future__ import annotations

import io

from rich.console import Console

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.stack.contents import series_of
from gapless.stack.layout import Mode
from gapless.stack.summary import Access, Contents, Series, Times, print_summary
from gapless.storage.mysql.summary import MarketRows

HOUR = 3_600_000
CONTENTS = Contents(
    series=(Series(market="um", interval="1m", instruments=5, rows=14_400, newest_ms=HOUR, lag_s=75.0),),
    rows_quarantined=3,
    lake_files=12,
    lake_bytes=3 * 2**20,
)


def shown(mode: Mode, password: str | None = "correct horse") -> str:
    out = io.StringIO()
    print_summary(
        Console(file=out, width=120),
        mode=mode,
        contents=CONTENTS,
        lake="file:///srv/lake",
        access=Access("http://127.0.0.1:8080", "admin", password, "/srv/var/passwords.json"),
        times=Times(download=61, setup=20, start=22, pipeline=30),
    )
    return out.getvalue()


def test_it_names_rows_quarantine_files_page_and_times() -> None:
    text = shown("real")
    for part in ("14,400", "1970-01-01T01:00:00Z", "75 s", "quarantined rows: 3", "12 files", "3.0 MB"):
        assert part in text
    assert "http://127.0.0.1:8080   login: admin   password: correct horse" in text
    assert "72 s (setup 20, start 22, pipeline 30), downloads apart: 61 s" in text
    assert "DEMO" not in text


def test_generated_data_is_called_so() -> None:
    assert "DEMO: generated data, not from an exchange" in shown("demo")


def test_without_a_terminal_the_passwords_file_is_named_instead() -> None:
    text = shown("real", password=None)
    assert "/srv/var/passwords.json" in text
    assert "correct horse" not in text


def test_lag_is_the_age_of_the_first_missing_bar() -> None:
    rows = MarketRows(Market.UM, Interval.H1, rows=10, series=2, newest_ms=10 * HOUR, laggard_ms=9 * HOUR)
    assert series_of(rows, now_ms=11 * HOUR).lag_s == 0  # the 10:00 bar closes only now
    assert series_of(rows, now_ms=11 * HOUR + 5_000).lag_s == 5
