"""`quality_daily` run by Airflow itself (`dag.test`), its checks replaced by ones that find what a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gapless.config import Settings
from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.errors import ConfigError, GaplessError, StorageError
from gapless.pipeline.paging import PagesReport
from gapless.pipeline.quality.rules import RulesReport
from gapless.quality.daily.findings import RULES, SEVERITIES, Finding
from gapless.quality.expectations import ExpectationsReport, RuleFailure, SuiteResult
from gapless.storage.mysql.checks import CheckRun

DAY = Window.of("2026-11-20", "2026-11-21")


def finding(severity: str, number: int = 0) -> Finding:
    text = f"BTC/USDT 1m bar {number} opens far from the last close"
    return Finding("jump", severity, "BTC/USDT", "1m", "2026-11-20T10:05:00Z", "9 %", "2 %", text)


def ruled(*findings: Finding, **more: Any) -> RulesReport:
    severities = {each: sum(f.severity == each for f in findings) for each in SEVERITIES}
    values: dict[str, Any] = {
        "day": "2026-11-20",
        "series": 12,
        "rows": 11_130,
        "findings_by_rule": dict.fromkeys(RULES, 0) | {"jump": len(findings)},
        "findings_by_severity": severities,
        "new_reviews": 0,
        "waiting_reviews": 3,
        "unasked": 0,
        "findings": findings,
        "state": "dirty" if findings else "clean",
        "seconds": 1.0,
    }
    return RulesReport(**{**values, **more})


def suite(*, severity: str = "", broken: str = "") -> SuiteResult:
    failure = RuleFailure(
        rule="high_is_highest", severity=severity or "critical", column="high", unexpected=1, total=100,
        sample=("BTC/USDT 1m 2026-11-20T10:05: high 5 is below open 6",),
        text="BTC/USDT 1m 2026-11-20T10:05: high 5 is below open 6",
        means="no bar's high is below its open",
    )  # fmt: skip
    return SuiteResult(
        name="bars",
        table="ohlcv",
        rows=100,
        evaluated=7,
        expected=7,
        state="broken" if broken else "dirty" if severity == "critical" else "clean",
        failures=(failure,) if severity else (),
        broken=(broken,) if broken else (),
    )


def expected(one: SuiteResult | None = None) -> ExpectationsReport:
    result = one or suite()
    return ExpectationsReport(
        day="2026-11-20",
        state=result.state,
        suites=(result,),
        report_key="reports/quality/x.json",
        docs="",
        seconds=9.0,
    )


class Checks:
    """Stands for rules, expectations, books and pager. `troubles` are raised one a call, by task."""

    def __init__(self) -> None:
        self.ruled, self.expected = ruled(), expected()
        self.asked: list[tuple[str, Window, str, str]] = []
        self.troubles: dict[str, list[GaplessError]] = {}
        self.pages: list[tuple[str, bool, str, dict[str, Any]]] = []
        self.on_record: list[CheckRun] = []
        self.swept = 0

    def check_rules(self, rt: object, day: Window, *, run_id: str = "", link: str = "") -> RulesReport:
        self.asked.append(("rules", day, run_id, link))
        self._trouble("rules")
        return self.ruled

    def run_expectations(self, rt: object, day: Window, *, run_id: str, link: str = "") -> ExpectationsReport:
        self.asked.append(("expectations", day, run_id, link))
        self._trouble("expectations")
        return self.expected

    def sweep_reports(self, rt: object, now_ms: int) -> int:
        self.swept += 1
        return 2

    def tell(self, rt: object, key: str, *, bad: bool, summary: str, detail: dict[str, Any], link: str) -> PagesReport:
        self.pages.append((key, bad, summary, detail))
        return PagesReport()

    def read_checks(self, db: object, **_: object) -> list[CheckRun]:
        return self.on_record

    def _trouble(self, task: str) -> None:
        if self.troubles.get(task):
            raise self.troubles[task].pop(0)


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> Checks:
    from gapless.pipeline import paging, runtime
    from gapless.pipeline.quality import expectations, rules
    from gapless.storage.mysql import checks

    found = Checks()

    @contextmanager
    def opened(settings: Settings) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(settings=settings, db=None)

    monkeypatch.setattr(runtime.Runtime, "open", opened)
    monkeypatch.setattr(rules, "check_rules", found.check_rules)
    monkeypatch.setattr(expectations, "run_expectations", found.run_expectations)
    monkeypatch.setattr(expectations, "sweep_reports", found.sweep_reports)
    monkeypatch.setattr(paging, "tell_of_quality", found.tell)
    monkeypatch.setattr(checks, "read_checks", found.read_checks)
    monkeypatch.setattr(checks, "count_up", lambda *_: None)
    return found


class Runs:
    """Runs the DAG; each run has a moment of its own, so that no run meets another's."""

    moment = datetime(2026, 11, 21, 9, 30, 42, tzinfo=UTC)

    def __init__(self, dag: Any) -> None:
        self.dag = dag

    def __call__(self, *, logical_date: datetime | None = None, conf: dict[str, Any] | None = None) -> Any:
        Runs.moment += timedelta(milliseconds=1)
        return self.dag.test(run_after=Runs.moment, logical_date=logical_date, run_conf=conf)


@pytest.fixture
def runs(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The DAG, its pauses between retries and waits cut to nothing."""
    import gapless_airflow.quality
    import gapless_airflow.steps

    dag = dags["quality_daily"]
    for task in dag.tasks:
        monkeypatch.setitem(task.__dict__, "retry_delay", timedelta(0))
    monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
    monkeypatch.setattr(gapless_airflow.quality, "LOOK_AGAIN_S", 0.0)
    return Runs(dag)


def states(run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def test_the_day_before_is_checked_once_by_each(standing: Checks, runs: Runs) -> None:
    run = runs()
    assert run.state == "success"
    assert sorted(name for name, *_ in standing.asked) == ["expectations", "rules"]
    for _, day, run_id, link in standing.asked:
        assert day == DAY
        assert run_id == f"quality_daily/{run.run_id}"
        assert "/dags/quality_daily/runs/" in link
    assert standing.pages == [("quality:2026-11-20", False, "quality of 2026-11-20: good", {"broken": [], "bad": []})]
    assert standing.swept == 1


def test_a_day_by_name_or_date_is_that_day(standing: Checks, runs: Runs) -> None:
    runs(logical_date=datetime(2026, 11, 10, 7, tzinfo=UTC))
    runs(conf={"day": "2026-11-03"})
    days = [day for _, day, *_ in standing.asked]
    assert days == [Window.of("2026-11-09", "2026-11-10")] * 2 + [Window.of("2026-11-03", "2026-11-04")] * 2


def test_warnings_and_doubts_are_green_and_told(
    standing: Checks, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    standing.ruled = ruled(finding("warning"), finding("review"))
    standing.expected = expected(suite(severity="warning"))
    run = runs()
    assert run.state == "success"
    said = "".join(capfd.readouterr())
    assert "warning: jump: BTC/USDT 1m bar 0 opens far from the last close" in said
    assert "warning: bars: BTC/USDT 1m 2026-11-20T10:05: high 5 is below open 6" in said
    assert "waiting for a person: 3" in said
    assert "good, 2 warnings" in said


@pytest.mark.parametrize("by", ["rules", "expectations"])
def test_critical_findings_are_red_as_bad_data(
    standing: Checks, runs: Runs, capfd: pytest.CaptureFixture[str], by: str
) -> None:
    if by == "rules":
        standing.ruled = ruled(*(finding("critical", n) for n in range(300)))
    else:
        standing.expected = expected(suite(severity="critical"))
    run = runs()
    assert run.state == "failed"
    assert states(run)["verdict"] == "failed"
    said = "".join(capfd.readouterr())
    assert "data bad: " in said
    assert "check broken" not in said
    key, bad, summary, _ = standing.pages[-1]
    assert (key, bad) == ("quality:2026-11-20", True)
    assert summary.startswith("data bad: ")
    assert len(standing.pages) == 1, "asking again would change nothing: no retry"
    if by == "rules":
        assert "280 more critical findings" in said


def test_a_check_that_is_broken_is_never_called_bad_data(
    standing: Checks, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    standing.expected = expected(suite(broken="high_is_highest: no such column"))
    run = runs()
    assert run.state == "failed"
    said = "".join(capfd.readouterr())
    assert "check broken: bars: high_is_highest: no such column" in said
    assert "data bad" not in said
    assert standing.pages[-1][2].startswith("check broken: ")


@pytest.mark.parametrize("task", ["rules", "expectations"])
def test_a_check_that_dies_is_a_broken_check(
    standing: Checks, runs: Runs, capfd: pytest.CaptureFixture[str], task: str
) -> None:
    standing.troubles[task] = [ConfigError("quality.yaml: unknown rule")]
    run = runs()
    assert run.state == "failed"
    assert states(run)[task] == "failed"
    assert states(run)["sweep"] == "success"
    said = "".join(capfd.readouterr())
    assert f"check broken: the {task} left no report: the log of the task {task} says why" in said
    assert "data bad" not in said


def test_symbols_that_could_not_be_judged_make_the_check_broken(
    standing: Checks, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    error = Failure("BTC/USDT", "", str(DAY), "storage", "the lake is away")
    standing.ruled = ruled(state="failed", errors=(error,))
    assert runs().state == "failed"
    assert "check broken: rules: BTC/USDT" in "".join(capfd.readouterr())


def test_both_at_once_say_first_what_is_not_known(
    standing: Checks, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    standing.ruled = ruled(finding("critical"))
    standing.expected = expected(suite(broken="no such column"))
    assert runs().state == "failed"
    said = "".join(capfd.readouterr())
    assert said.index("check broken: ") < said.index("data bad: ")


def test_a_store_that_is_away_for_a_moment_is_tried_again(standing: Checks, runs: Runs) -> None:
    standing.troubles = {"rules": [StorageError("MySQL is away")], "expectations": [StorageError("MySQL is away")]}
    assert runs().state == "success"


def test_a_day_whose_diff_still_runs_is_not_judged(
    standing: Checks, runs: Runs, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The diff's run is in Airflow's own database, queued, then over."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunType

    import gapless_airflow.steps

    with create_session() as session:
        session.add(
            DagRun(
                dag_id="gap_diff_daily", run_id="manual__under_way", run_type=DagRunType.MANUAL, state="queued",
                run_after=Runs.moment, logical_date=None,
            )
        )  # fmt: skip
    give_back = gapless_airflow.steps._give_back
    waits: list[str] = []

    def noted(context: Any, error: Any, retry_after_s: float) -> None:
        waits.append(str(error))
        with create_session() as session:
            session.query(DagRun).filter_by(run_id="manual__under_way").delete()
        give_back(context, error, retry_after_s)

    monkeypatch.setattr(gapless_airflow.steps, "_give_back", noted)
    run = runs()
    assert run.state == "success"
    assert len(waits) == 1
    assert "gap_diff_daily has 1 run queued or running" in waits[0]
    assert {ti.try_number for ti in run.get_task_instances()} == {1}


def test_what_the_diff_said_of_the_day_stands_in_the_log(
    standing: Checks, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    runs()
    assert "no diff of 2026-11-20" in "".join(capfd.readouterr())
    standing.on_record = [
        CheckRun("a" * 64, "gap_diff", "ohlcv", DAY, "dirty", {}, "http://airflow/dags/gap_diff_daily", 0, 0),
        CheckRun("b" * 64, "gap_diff", "ohlcv", Window.of("2026-11-01", "2026-11-02"), "clean", {}, "other", 0, 0),
    ]
    runs()
    said = "".join(capfd.readouterr())
    assert "dirty http://airflow/dags/gap_diff_daily" in said
    assert "other" not in said


def test_only_the_first_findings_go_through_xcom(standing: Checks, runs: Runs) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    standing.ruled = ruled(*(finding("warning", n) for n in range(900)))
    run = runs()
    with create_session() as session:
        found = session.query(XComModel).filter_by(run_id=run.run_id, task_id="rules", key="return_value").one()
        handed = msgspec.json.encode(found.value)
    assert len(handed) < 10_000
    assert b'"warning":900' in handed.replace(b"\\", b""), "every one is counted"
