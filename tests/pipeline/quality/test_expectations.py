"""The suites over a stored day, against real servers: clean, data bad, check broken, and what is kept of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.window import DAY_MS, Window
from gapless.errors import ConfigError, NotFound
from gapless.pipeline.paging import tell_of_quality
from gapless.pipeline.quality.expectations import ExpectationsReport, SuiteResult, run_expectations, sweep_reports
from gapless.quality.expectations import SUITES, Suite
from gapless.quality.expectations.rules import AtLeast, Rows
from gapless.quality.expectations.series import OHLCV
from gapless.storage.mysql import Gap, record_gaps
from gapless.storage.mysql.checks import count_up, read_checks
from gapless.storage.mysql.reviews import (
    ACCEPTED,
    REJECTED,
    Review,
    decide_reviews,
    put_reviews,
    read_reviews,
    supersede_reviews,
)
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation

DAY = Window.of("2026-11-13", "2026-11-14")
COLD = Window.of("2026-07-14", "2026-07-15")
SERIES = "BTC/USDT:USDT,BTC/USDT"
LINK = "http://127.0.0.1:8080/dags/quality_daily/runs/manual__1"


def fill(installation: Installation, day: Window = DAY) -> None:
    """A day of bars, funding and metrics of two instruments, as the pipeline stores them."""
    bounds = (day.start.isoformat(), day.end.isoformat())
    installation.backfill(*bounds, symbols=SERIES, intervals="1m,5m,15m,1h,4h,1d")
    for dataset in (Dataset.FUNDING, Dataset.METRICS):
        assert installation.backfill(*bounds, dataset=dataset).whole


def check(
    installation: Installation, day: Window = DAY, *, run_id: str = "test/1", suites: Sequence[Suite] = SUITES
) -> ExpectationsReport:
    with installation.open() as rt:
        return run_expectations(rt, day, run_id=run_id, link=LINK, suites=suites)


def suite_of(report: ExpectationsReport, name: str) -> SuiteResult:
    return next(suite for suite in report.suites if suite.name == name)


def critical(report: ExpectationsReport) -> list[tuple[str, str]]:
    return [
        (suite.name, each.text) for suite in report.suites for each in suite.failures if each.severity == "critical"
    ]


def sql(installation: Installation, statement: str) -> None:
    with installation.db.engine.begin() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture(params=KINDS)
def filled(request: pytest.FixtureRequest, make_installation: MakeInstallation, replica: ReplicaHandle) -> Installation:
    """An installation with a day, on either server."""
    installation = make_installation(replica, kind=request.param)
    fill(installation)
    return installation


@pytest.fixture
def day(installation: Installation) -> Installation:
    """The same on MariaDB alone, for tests whose subject is not the server."""
    fill(installation)
    return installation


def test_a_day_as_the_pipeline_stores_it_is_clean_in_every_table(filled: Installation) -> None:
    report = check(filled)
    assert (critical(report), [each for suite in report.suites for each in suite.broken]) == ([], [])
    assert report.state == "clean"
    assert [suite.table for suite in report.suites] == [suite.table for suite in SUITES]
    assert all(suite.evaluated == suite.expected > 0 for suite in report.suites)
    assert suite_of(report, "ohlcv").rows == 2 * 1855
    assert suite_of(report, "funding_rate").rows == 3
    assert suite_of(report, "futures_metrics").rows == 288
    assert all(suite_of(report, name).rows > 0 for name in ("load_receipt", "load_scope", "instrument", "series_month"))


def test_planted_rows_are_named_in_plain_words(filled: Installation) -> None:
    sql(filled, "UPDATE ohlcv SET high = 5, open = 6, low = 4, close = 4.5, quote_volume = 4.5 * volume, "
                "taker_buy_quote_volume = 0 WHERE symbol = 'BTC/USDT' AND `interval` = '1m' "
                "AND ts = '2026-11-13 10:05:00'")  # fmt: skip
    sql(filled, "UPDATE futures_metrics SET open_interest = -1 WHERE ts = '2026-11-13 00:05:00'")
    sql(filled, "INSERT INTO data_gap_log (exchange, symbol, dataset, `interval`, gap_start, gap_end, bars, attempts, "
                "state, cause, noticed_at, changed_at) VALUES ('binance', 'BTC/USDT', 'ohlcv', '1m', "
                "'2026-11-13', '2026-11-13', 0, 0, 'open', '', NOW(), NOW())")  # fmt: skip
    report = check(filled)
    assert (report.state, [each for suite in report.suites for each in suite.broken]) == ("dirty", [])
    bars, metrics, gaps = (suite_of(report, name) for name in ("ohlcv", "futures_metrics", "data_gap_log"))
    (high,) = [each for each in bars.failures if each.severity == "critical"]
    assert (high.rule, high.unexpected, high.total, high.column) == ("high", 1, 3710, "symbol, interval, ts")
    assert high.sample == ("BTC/USDT 1m 2026-11-13T10:05: high 5 is below open 6",)
    assert "high is at least open, low and close" in high.text
    assert "high 5 is below open 6" in high.text
    (negative,) = [each for each in metrics.failures if each.rule == "not_negative"]
    assert negative.sample[0].startswith("BTC/USDT:USDT 2026-11-13T00:05: open_interest -1, ")
    assert {each.rule for each in gaps.failures} == {"window", "bars"}
    assert {name for name, _ in critical(report)} == {"ohlcv", "futures_metrics", "data_gap_log"}


def test_a_broken_check_is_told_from_bad_data_check_by_check(day: Installation) -> None:
    sql(day, "UPDATE ohlcv SET high = low / 2 WHERE ts = '2026-11-13 10:05:00' AND symbol = 'BTC/USDT'")
    suite = replace(
        OHLCV,
        rules=(*OHLCV.rules, Rows("no_such_column", "a rule", "no_such_column > 1", "it is {ts}")),
    )
    report = check(day, suites=[suite])
    result = suite_of(report, "ohlcv")
    assert (report.state, result.state) == ("broken", "broken")
    assert (result.evaluated, result.expected) == (len(suite.rules) - 1, len(suite.rules))
    (broken,) = result.broken
    assert broken.startswith("no_such_column: ")
    assert "Unknown column" in broken
    assert [each.rule for each in result.failures if each.severity == "critical"] == [
        "high"
    ]  # and is known all the same
    (run,) = read_checks(day.db, kinds={"expectations"})
    assert run.state == "failed"


def test_a_check_whose_class_is_unknown_is_broken_and_no_success(day: Installation, unknown_class: None) -> None:
    # Great Expectations logs an error, leaves the check out, and says that the suite is a success.
    suite = replace(OHLCV, rules=(AtLeast("stored", "bars are stored", 1, "none is"), OHLCV.rules[2]))
    report = check(day, suites=[suite])
    (result,) = report.suites
    assert (result.state, result.evaluated, result.expected) == ("broken", 1, 2)
    assert result.broken == ("known_symbol: was not evaluated; its class is unknown to Great Expectations",)


@pytest.fixture
def unknown_class() -> Iterator[None]:
    """As if the module of our own expectations had not been imported where the suite is read."""
    from great_expectations.expectations import registry

    import gapless.quality.expectations.checks  # noqa: F401

    kept = registry._registered_expectations.pop("rows_keep")
    yield
    registry._registered_expectations["rows_keep"] = kept


def test_warnings_are_counted_and_leave_the_day_clean(day: Installation) -> None:
    sql(day, "DELETE FROM ohlcv WHERE symbol = 'BTC/USDT' AND `interval` = '5m' AND TIME(ts) = '03:00:00'")
    report = check(day)
    assert report.state == "clean"
    (hole,) = [each for each in suite_of(report, "ohlcv").failures if each.rule == "holes_known"]
    assert hole.severity == "warning"
    assert hole.sample[0].startswith("BTC/USDT 5m: 287 of 288 bars are stored, and no gap is on record")
    assert report.warnings >= 1
    sql(day, "INSERT INTO data_gap_log (exchange, symbol, dataset, `interval`, gap_start, gap_end, bars, attempts, "
             "state, cause, noticed_at, changed_at) VALUES ('binance', 'BTC/USDT', 'ohlcv', '5m', "
             "'2026-11-13 03:00', '2026-11-13 03:05', 1, 0, 'unfillable', 'nobody has it', NOW(), NOW())")  # fmt: skip
    assert not any(each.rule == "holes_known" for each in suite_of(check(day, run_id="2"), "ohlcv").failures)


def test_a_day_without_bars_is_bad_and_says_what_to_do(day: Installation) -> None:
    report = check(day, Window(DAY.start_ms - DAY_MS, DAY.start_ms))
    (stored,) = [each for each in suite_of(report, "ohlcv").failures if each.severity == "critical"]
    assert (report.state, stored.rule) == ("dirty", "stored")
    assert stored.sample == ("no bar of the day is stored; backfill it",)


def test_a_day_that_only_the_lake_holds_is_checked_too(installation: Installation) -> None:
    fill(installation, COLD)
    assert installation.rows("SELECT COUNT(*) FROM ohlcv") == [(0,)]
    report = check(installation, COLD)
    assert (report.state, critical(report)) == ("clean", [])
    assert suite_of(report, "ohlcv").rows == 2 * 1855
    assert suite_of(report, "futures_metrics").rows == 288


def test_the_check_changes_nothing_and_leaves_no_table(day: Installation) -> None:
    before = (day.bars(), day.rows("SELECT * FROM data_gap_log"), day.rows("SHOW TABLES"))
    check(day)
    assert (day.bars(), day.rows("SELECT * FROM data_gap_log"), day.rows("SHOW TABLES")) == before


def test_report_check_and_pages_are_kept_and_say_whose_run_it_was(day: Installation) -> None:
    report = check(day, run_id="quality_daily/scheduled__2026-11-14T00:40:00+00:00")
    assert report.report_key == "reports/quality/2026-11-13/quality_daily-scheduled__2026-11-14T00-40-00-00-00.json"
    with day.open() as rt:
        kept = json.loads(rt.lake.get_report(report.report_key))
        assert [stat.key for stat in rt.lake.list_reports("quality")] == [report.report_key]
    assert msgspec.convert(kept["report"], ExpectationsReport).suites == report.suites
    account = kept["great_expectations"]["ohlcv"]
    assert account["statistics"]["evaluated_expectations"] == len(OHLCV.rules)
    assert "scheduled__2026-11-14" in json.dumps(account["meta"])
    assert "p%40ss" not in json.dumps(kept)  # the database's password
    (run,) = read_checks(day.db, kinds={"expectations"})
    assert (run.state, run.window, run.link, run.result["report"]) == ("clean", DAY, LINK, report.report_key)
    assert (run.result["evaluated"], run.result["expected"]) == (sum(len(suite.rules) for suite in SUITES),) * 2
    page = Path(report.docs).read_text()
    assert f'href="{LINK}"' in page
    assert "scheduled__2026-11-14T00:40:00+00:00" in page
    assert "3,710" in page


def test_the_same_run_again_replaces_what_it_left(day: Installation) -> None:
    first, second = check(day), check(day)
    assert (first.docs, first.report_key) == (second.docs, second.report_key)
    assert len(read_checks(day.db, kinds={"expectations"})) == 1
    with day.open() as rt:
        assert len(list(rt.lake.list_reports("quality"))) == 1


def test_two_runs_at_once_do_not_meet(day: Installation) -> None:
    reports: dict[str, ExpectationsReport] = {}

    def one(name: str) -> None:
        reports[name] = check(day, run_id=name)

    threads = [threading.Thread(target=one, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert {name: report.state for name, report in reports.items()} == {"a": "clean", "b": "clean"}
    assert reports["a"].suites == reports["b"].suites
    index = (day.settings.data_docs_dir / "quality" / "index.html").read_text()
    assert all(f"2026-11-13/{name}/index.html" in index for name in reports)
    assert list((day.settings.data_docs_dir / ".building").iterdir()) == []


def test_reports_and_pages_are_kept_for_the_configured_days(day: Installation) -> None:
    report = check(day)
    kept = day.settings.reports_days * DAY_MS
    with day.open() as rt:
        assert sweep_reports(rt, DAY.end_ms + kept - 1) == 0
        assert rt.lake.get_report(report.report_key)
        assert Path(report.docs).exists()
        assert sweep_reports(rt, DAY.end_ms + kept) == 2
        with pytest.raises(NotFound):
            rt.lake.get_report(report.report_key)
    assert not Path(report.docs).parent.parent.exists()
    assert "2026-11-13" not in (day.settings.data_docs_dir / "quality" / "index.html").read_text()


@pytest.mark.parametrize(
    "window", [Window.of("2026-11-13T01:00", "2026-11-14T01:00"), Window(DAY.start_ms, DAY.end_ms + DAY_MS)]
)
def test_what_is_no_utc_day_is_refused(installation: Installation, window: Window) -> None:
    with installation.open() as rt, pytest.raises(ConfigError, match="one UTC day"):
        run_expectations(rt, window, run_id="x")


def test_a_run_without_a_name_is_refused(installation: Installation) -> None:
    with installation.open() as rt, pytest.raises(ConfigError, match="has no name"):
        run_expectations(rt, DAY, run_id=" ")


def test_docs_that_cannot_be_written_do_not_hide_the_verdict(day: Installation) -> None:
    sql(day, "UPDATE ohlcv SET volume = -1 WHERE ts = '2026-11-13 10:05:00' AND symbol = 'BTC/USDT'")
    site = day.settings.data_docs_dir / "quality"
    site.parent.mkdir(parents=True, exist_ok=True)
    site.write_text("in the way")
    report = check(day)
    assert (report.state, report.docs) == ("dirty", "")
    assert "quality" in report.docs_failure


def test_the_command_says_what_failed_and_its_status_tells_it(day: Installation) -> None:
    status, found, _ = day.command("quality", "--day", "2026-11-13")
    assert (status, found["state"], found["expectations"]["state"]) == (0, "clean", "clean")
    sql(day, "UPDATE ohlcv SET taker_buy_volume = volume + 1 WHERE ts = '2026-11-13 10:05:00' AND symbol = 'BTC/USDT'")
    status, found, _ = day.command("quality", "--day", "2026-11-13")
    assert (status, found["state"]) == (1, "dirty")
    (failure,) = [f for s in found["expectations"]["suites"] for f in s["failures"] if f["severity"] == "critical"]
    assert failure["rule"] == "taker"


@pytest.mark.parametrize("text", ["2026-11-13T05:00", "yesterday", "2026-13-01"])
def test_the_command_refuses_what_is_no_day(installation: Installation, text: str) -> None:
    status, _, said = installation.command("quality", "--day", text)
    assert status == 2
    assert len(said.splitlines()) == 1


def test_every_suite_names_its_rules_once() -> None:
    assert all(isinstance(suite, Suite) and len({rule.name for rule in suite}) == len(suite.rules) for suite in SUITES)


def test_the_books_of_a_troubled_day_are_in_order_themselves(day: Installation) -> None:
    """Reviews in every state, a page, totals, gaps of every state: what the house writes passes its own suites."""
    at_ms = DAY.start_ms + 600_000
    reviews = [
        Review("ohlcv", "binance", "BTC/USDT:USDT", "1m", at, "jump", "9.1", "6", "doubtful", {"open": "1"})
        for at in range(at_ms, at_ms + 240_000, 60_000)
    ]
    put_reviews(day.db, reviews)
    ids = [row.id for row in read_reviews(day.db)]
    decide_reviews(day.db, ids[:1], ACCEPTED, by="A. Person", note="seen elsewhere")
    decide_reviews(day.db, ids[1:2], REJECTED, by="A. Person")
    supersede_reviews(day.db, ids[2:3], "restated")
    states = ("open", "refilling", "filled", "unfillable", "failed")
    gaps = [
        Gap("binance", "BTC/USDT:USDT", "ohlcv", "5m", Window(at, at + 300_000), 1, state, "planted",
            3 if state == "failed" else 1, at if state == "refilling" else None)
        for state, at in zip(states, range(DAY.start_ms, DAY.end_ms, 600_000), strict=False)
    ]  # fmt: skip
    record_gaps(day.db, gaps, within={})
    with day.open() as rt:
        tell_of_quality(rt, "quality:2026-11-13", bad=True, summary="bad", detail={}, link=LINK)
    count_up(day.db, "missing_bars", {(("interval", "1m"),): 3})
    report = check(day)
    assert (report.state, critical(report)) == ("clean", [])
    assert {name: suite_of(report, name).rows for name in ("review", "data_gap_log", "counter")} == {
        "review": 4,
        "data_gap_log": 5,
        "counter": 1,
    }
