"""The verdict's page and the list: what a reader meets first, whatever the data say."""

from __future__ import annotations

import re

import msgspec

from gapless.quality.expectations import SUITES, ExpectationsReport, RuleFailure, SuiteResult
from gapless.quality.expectations.offline import loads_from_elsewhere
from gapless.quality.expectations.pages import day_page, entry_of, index_page
from gapless.quality.expectations.report import State

EVIL = '<script>alert("x")</script>'
SAMPLE = f"BTC/USDT {EVIL}: high 5 is below open 6"
FAILURE = RuleFailure(
    "high", "critical", "symbol, interval, ts", 12, 3710, (SAMPLE,), "text", f"high is at least open {EVIL}"
)


def report(state: State, link: str = "http://127.0.0.1/runs/1", **suite: object) -> ExpectationsReport:
    result = SuiteResult(**{"name": "ohlcv", "table": "ohlcv", "rows": 3710, "evaluated": 14, "expected": 14,
                            "state": state, **suite})  # type: ignore[arg-type]  # fmt: skip
    return ExpectationsReport("2026-11-13", state, (result,), "reports/quality/x.json", "", 3.5, f"dag/{EVIL}", link)


def page(found: ExpectationsReport) -> str:
    return day_page(found, SUITES, {"ohlcv": "gx/a b.html"}, to_site="../../", ended="2026-11-14 00:41:00 UTC")


def test_the_page_says_the_verdict_the_rows_and_the_run() -> None:
    shown = page(report("dirty", failures=(FAILURE,)))
    assert "data bad" in shown
    assert "12 found among 3,710 rows" in shown
    assert "and 11 more" in shown
    assert "high 5 is below open 6" in shown
    assert 'href="http://127.0.0.1/runs/1"' in shown
    assert 'href="gx/a%20b.html"' in shown
    assert "2026-11-14 00:41:00 UTC" in shown


def test_a_broken_check_is_not_shown_as_bad_data() -> None:
    shown = page(report("broken", broken=(f"high: no such column {EVIL}",)))
    assert "check broken" in shown
    assert "Checks that could not be done" in shown
    assert "Rules that do not hold" not in shown
    assert "data bad" not in shown


def test_what_comes_from_data_is_text_and_no_markup() -> None:
    for shown in (
        page(report("broken", failures=(FAILURE,), broken=(EVIL,), name=EVIL, table=EVIL)),
        page(report("clean", link='javascript:alert("x")')),
        index_page([entry_of(report("dirty", link='"><b>'), folder=f"2026-11-13/{EVIL}", at=EVIL)], kept_days=90),
    ):
        assert "<script" not in shown
        assert "javascript:" not in shown
        assert "<b>" not in re.sub(r"<b>Bars</b>|<b>&lt;", "", shown)
        assert loads_from_elsewhere(shown) == []


def test_the_list_has_the_latest_day_first_and_says_how_long_pages_are_kept() -> None:
    days = [msgspec.structs.replace(report("clean"), day=f"2026-11-{day}") for day in (12, 14, 13)]
    shown = index_page([entry_of(each, folder=each.day, at="x") for each in days], kept_days=33)
    assert re.findall(r">(2026-11-\d\d)<", shown) == ["2026-11-14", "2026-11-13", "2026-11-12"]
    assert "33 days" in shown
    assert "No day has been checked yet" in index_page([], kept_days=90)
