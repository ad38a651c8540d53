"""The daily rules over a real installation: both stores as one, the books around it, the queue behind it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.interval import Interval
from gapless.domain.window import Window
from gapless.errors import ConfigError
from gapless.pipeline.quality.batch import read_stored_bars
from gapless.pipeline.quality.rules import RulesReport, check_rules
from gapless.pipeline.read import read_everywhere
from gapless.storage.mysql import Gap, record_gaps
from gapless.storage.mysql.checks import read_checks
from gapless.storage.mysql.reviews import decide_reviews, read_reviews
from tests.bars import bars
from tests.pipeline.conftest import Installation
from tests.pipeline.test_read import into_lake, into_mysql

DAY = Window.of("2026-11-13", "2026-11-14")
BTC, PEPE = "BTC/USDT:USDT", "1000PEPE/USDT:USDT"
AT = "symbol = 'BTC/USDT:USDT' AND `interval` = '1m' AND ts"


def rules(installation: Installation, day: Window = DAY, **options: str) -> RulesReport:
    with installation.open() as rt:
        return check_rules(rt, day, **options)


def change(installation: Installation, statement: str) -> None:
    with installation.db.engine.begin() as connection:
        assert connection.exec_driver_sql(statement).rowcount > 0


@pytest.fixture
def week(installation: Installation) -> Installation:
    """Ten days of BTC's 1d bars and two of everything else, in MySQL."""
    installation.backfill("2026-11-04", "2026-11-14", symbols=f"{BTC},BTC/USDT", intervals="1d")
    installation.backfill("2026-11-12", "2026-11-14", symbols=f"{BTC},BTC/USDT", intervals="1m,5m,15m,1h,4h")
    return installation


def test_a_sound_day_of_all_kinds_of_instruments_is_clean(installation: Installation) -> None:
    """A multiplier, a coin listed the day before on spot, three days before as a perpetual, and a Chinese name."""
    symbols = f"{BTC},BTC/USDT,{PEPE},PEPE/USDT,NOVA/USDT:USDT,NOVA/USDT,币安人生/USDT:USDT"
    installation.backfill("2026-11-12", "2026-11-14", symbols=symbols, intervals="1m,5m,15m,1h,4h,1d")
    report = rules(installation)
    assert (report.state, report.errors, report.findings) == ("clean", (), ())
    assert report.day == "2026-11-13"
    assert report.series == 7 * 6
    assert report.rows == installation.rows(
        "SELECT COUNT(*) FROM ohlcv WHERE ts >= '2026-11-13' AND ts < '2026-11-14'"
    )[0][0]  # fmt: skip
    assert set(report.findings_by_rule) == {"hole", "continuity", "jump", "agreement", "divergence", "activity"}


def test_a_hole_is_critical_until_the_gap_log_knows_it(week: Installation) -> None:
    change(week, f"DELETE FROM ohlcv WHERE {AT} BETWEEN '2026-11-12 23:58' AND '2026-11-13 00:02'")
    report = rules(week)
    (hole,) = report.findings
    assert (hole.rule, hole.severity, hole.symbol, hole.interval) == ("hole", "critical", BTC, "1m")
    assert (hole.ts, hole.measured) == ("2026-11-12T23:58:00Z", "5 bars missing")
    assert (report.state, report.critical) == ("dirty", 1)
    window = Window.of("2026-11-12T23:58", "2026-11-13T00:03")
    record_gaps(
        week.db, [Gap("binance", BTC, "ohlcv", "1m", window, 5, "unfillable", "the exchange has none")],
        within={(BTC, "1m"): [window]},
    )  # fmt: skip
    assert rules(week).state == "clean"


def test_bars_that_the_lake_holds_fill_what_mysql_lacks(week: Installation) -> None:
    with week.open() as rt:
        stored = read_everywhere(rt, Dataset.OHLCV, [BTC], [Interval.M1], DAY)
        into_lake(rt, stored)
    change(week, f"DELETE FROM ohlcv WHERE {AT} BETWEEN '2026-11-13 05:00' AND '2026-11-13 09:00'")
    assert rules(week).state == "clean"
    change(week, f"DELETE FROM ohlcv WHERE {AT} >= '2026-11-13'")
    report = rules(week)
    assert (report.state, report.rows) == ("clean", 2 * (1440 + 288 + 96 + 24 + 6 + 1))


@pytest.mark.parametrize("hot", [[0, 1440], [0, 0], [0, 700], [300, 900]])
def test_reading_what_mysql_may_lack_is_reading_everywhere(installation: Installation, hot: list[int]) -> None:
    whole = bars(BTC, "1m", DAY.start_ms, 1440)
    with installation.open() as rt:
        into_lake(rt, whole.slice(0, 1000))
        if hot[0] < hot[1]:
            into_mysql(rt, bars(BTC, "1m", DAY.start_ms, 1440, seed=2).slice(hot[0], hot[1] - hot[0]))
        for window in (DAY, Window(DAY.start_ms + 1, DAY.start_ms + 7_200_001)):
            found = read_stored_bars(rt, [BTC, PEPE], Interval.M1, window)
            assert found.equals(read_everywhere(rt, Dataset.OHLCV, [BTC, PEPE], [Interval.M1], window))


def test_an_altered_bar_disagrees_with_its_minutes_and_an_altered_minute_with_five_bars(week: Installation) -> None:
    change(week, f"UPDATE ohlcv SET volume = volume + 0.00000001 WHERE {AT.replace('1m', '4h')} = '2026-11-13 08:00'")
    (found,) = rules(week).findings
    assert (found.rule, found.severity, found.interval, found.ts) == (
        "agreement", "warning", "4h", "2026-11-13T08:00:00Z",
    )  # fmt: skip
    change(week, f"UPDATE ohlcv SET trades = trades * 1000 + 9 WHERE {AT} = '2026-11-13 20:30'")
    report = rules(week)
    assert report.findings_by_rule["agreement"] == 6
    assert report.findings_by_severity["critical"] > 0


def test_a_wrong_print_is_put_before_a_person_once_and_stays_stored(week: Installation) -> None:
    spike = f"UPDATE ohlcv SET high = high * 1.5 WHERE {AT} = '2026-11-13 10:00'"
    change(week, spike)
    first = rules(week)
    assert (first.findings_by_rule["jump"], first.new_reviews, first.waiting_reviews) == (1, 1, 1)
    (review,) = read_reviews(week.db)
    assert (review.symbol, review.interval, review.rule) == (BTC, "1m", "jump")
    (stored,) = week.rows(f"SELECT high, trades FROM ohlcv WHERE {AT} = '2026-11-13 10:00'")
    assert (Decimal(review.row_values["high"]), review.row_values["trades"]) == (stored[0], str(stored[1]))
    assert len(review.row_values["high"].partition(".")[2]) == 8, "exact, with all places"
    again = rules(week)
    assert (again.findings_by_rule["jump"], again.new_reviews, again.waiting_reviews) == (1, 0, 1)
    decide_reviews(week.db, [review.id], "rejected", by="maria")
    decided = rules(week)
    assert (decided.new_reviews, decided.waiting_reviews) == (0, 0)


def test_a_bar_that_the_exchange_restated_is_a_new_question_and_the_old_one_is_superseded(week: Installation) -> None:
    change(week, f"UPDATE ohlcv SET high = high * 1.5 WHERE {AT} = '2026-11-13 10:00'")
    rules(week)
    change(week, f"UPDATE ohlcv SET high = high * 1.1 WHERE {AT} = '2026-11-13 10:00'")
    report = rules(week)
    assert (report.new_reviews, report.waiting_reviews) == (1, 1)
    assert sorted(each.state for each in read_reviews(week.db)) == ["superseded", "waiting"]
    change(week, f"UPDATE ohlcv SET high = GREATEST(open, close) WHERE {AT} = '2026-11-13 10:00'")
    assert rules(week).waiting_reviews == 0


def test_a_leap_is_asked_about_in_minutes_and_not_again_in_the_bars_made_of_them(week: Installation) -> None:
    """The minute and all bars that hold it say the same, as if the exchange itself were wrong."""
    for interval, at in (("1m", "10:01"), ("5m", "10:00"), ("15m", "10:00"), ("1h", "10:00"), ("4h", "08:00")):
        change(week, f"UPDATE ohlcv SET high = 999999 WHERE {AT.replace('1m', interval)} = '2026-11-13 {at}'")
    change(week, f"UPDATE ohlcv SET high = 999999 WHERE {AT.replace('1m', '1d')} = '2026-11-13'")
    report = rules(week)
    assert report.findings_by_rule == dict.fromkeys(report.findings_by_rule, 0) | {"jump": 1}
    assert [(each.interval, each.ts) for each in report.findings] == [("1m", "2026-11-13T10:01:00Z")]


def test_where_no_minutes_are_stored_the_longer_bars_are_judged_themselves(installation: Installation) -> None:
    installation.backfill("2026-11-06", "2026-11-14", intervals="1h")
    change(installation, f"UPDATE ohlcv SET low = low / 3 WHERE {AT.replace('1m', '1h')} = '2026-11-13 10:00'")
    report = rules(installation)
    assert [(each.rule, each.interval) for each in report.findings] == [("jump", "1h")]
    assert report.findings_by_rule["agreement"] == 0


def test_spot_and_perpetual_apart_are_a_warning_even_across_multipliers(installation: Installation) -> None:
    installation.backfill("2026-11-13", "2026-11-14", symbols=f"{PEPE},PEPE/USDT", intervals="5m")
    assert rules(installation).findings_by_rule["divergence"] == 0
    factor = ", ".join(f"{name} = {name} * 1.3" for name in ("open", "high", "low", "close"))
    change(installation, f"UPDATE ohlcv SET {factor} WHERE symbol = '{PEPE}' AND ts >= '2026-11-13 12:00'")
    found = [each for each in rules(installation).findings if each.rule == "divergence"]
    assert [(each.symbol, each.ts) for each in found] == [(PEPE, "2026-11-13T12:00:00Z")]


def test_a_market_that_falls_silent_is_a_warning(week: Installation) -> None:
    change(week, f"UPDATE ohlcv SET volume = 0, trades = 0 WHERE {AT.replace('1m', '1d')} = '2026-11-13'")
    report = rules(week)
    assert report.findings_by_rule["activity"] == 2
    assert {each.text.split(": ", 1)[1].split(" at ")[0] for each in report.findings if each.rule == "activity"} == {
        "no volume", "no trades",
    }  # fmt: skip


def test_the_activity_of_an_installation_of_minutes_alone_is_judged_too(installation: Installation) -> None:
    installation.backfill("2026-11-08", "2026-11-14", intervals="15m")
    assert rules(installation).state == "clean"
    change(installation, f"UPDATE ohlcv SET trades = trades * 100 WHERE {AT.replace('1m', '15m')} >= '2026-11-13'")
    assert rules(installation).findings_by_rule["activity"] == 1


def test_the_run_is_in_the_books_and_its_repeat_replaces_it(week: Installation) -> None:
    rules(week, run_id="one", link="http://airflow/one")
    change(week, f"DELETE FROM ohlcv WHERE {AT} = '2026-11-13 05:00'")
    rules(week, run_id="one", link="http://airflow/one")
    rules(week, run_id="two")
    one, two = sorted(read_checks(week.db, kinds=["rules"]), key=lambda run: run.link, reverse=True)
    assert (one.state, one.link, one.window, one.dataset) == ("dirty", "http://airflow/one", DAY, "ohlcv")
    assert one.result["findings_by_rule"]["hole"] == 1
    assert one.result["findings"][0]["text"].startswith(f"{BTC} 1m 2026-11-13T05:00:00Z")
    assert (two.state, two.link) == ("dirty", "")
    assert one.started_ms <= one.finished_ms


def test_a_day_of_which_nothing_is_stored_is_clean_and_empty(installation: Installation) -> None:
    report = rules(installation)
    assert (report.state, report.series, report.rows, report.findings) == ("clean", 0, 0, ())


@pytest.mark.parametrize(
    "window", [Window.of("2026-11-13T01:00", "2026-11-14T01:00"), Window.of("2026-11-13", "2026-11-15")]
)
def test_anything_but_one_utc_day_is_refused(installation: Installation, window: Window) -> None:
    with pytest.raises(ConfigError, match="one UTC day"):
        rules(installation, window)


def test_a_wrong_file_of_thresholds_stops_the_check_before_it_begins(
    installation: Installation, tmp_path: Path
) -> None:
    path = tmp_path / "quality.yaml"
    path.write_text("jumps: {scale: 3}")
    wrong = replace(installation, settings=installation.settings.model_copy(update={"quality_file": path}))
    with pytest.raises(ConfigError, match=r"quality.yaml.*scale"):
        rules(wrong)
    assert read_checks(installation.db) == []


def test_a_part_that_cannot_be_read_fails_the_run_and_hides_nothing_of_the_others(
    week: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gapless.pipeline.quality.rules._ROWS_AT_ONCE", 1)
    with week.open() as rt:
        into_lake(rt, bars("ETH/USDT", "1h", DAY.start_ms, 24))
    change(week, f"DELETE FROM ohlcv WHERE {AT} = '2026-11-13 05:00'")
    for path in week.lake.rglob("ohlcv/**/*.parquet"):
        path.write_bytes(path.read_bytes()[:-40])
    report = rules(week)
    assert report.state == "failed"
    assert [(each.symbol, each.kind) for each in report.errors] == [("ETH/USDT", "damaged")]
    assert [(each.rule, each.symbol) for each in report.findings] == [("hole", BTC)]
    assert read_checks(week.db)[0].state == "failed"
