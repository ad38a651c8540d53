"""`gap_diff_daily` run by Airflow itself (`dag.test`), its engine replaced by one that notes what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gapless.config import Settings
from gapless.domain.datasets import Dataset
from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.errors import Banned, GaplessError, NotYet, OriginMismatch, StorageError
from gapless.pipeline.calendar import MonthRow
from gapless.pipeline.paging import PagesReport
from gapless.pipeline.reconcile.request import DiffPlan, DiffRequest, GapReport, GapRow
from gapless.storage.mysql.checks import CheckRun

DAY = Window.of("2026-11-20", "2026-11-21")
AN_HOUR = GapRow("BTC/USDT:USDT", "1h", "2026-11-20T05:00:00Z", "2026-11-20T06:00:00Z", 1, "refilling", "in quarantine")


class Engine:
    """Stands for gapless.pipeline.reconcile and for the books.

    `found` says what the comparison of a part finds, by its first symbol or dataset; `troubles` are raised one a call;
    `tries` are what the later attempts give: a wait, or what is left.
    """

    def __init__(self) -> None:
        self.planned: list[DiffRequest] = []
        self.compared: list[DiffRequest] = []
        self.found: dict[str, GapReport] = {}
        self.troubles: dict[str, list[GaplessError]] = {}
        self.tries: list[GapReport | NotYet] = []
        self.tried: list[DiffRequest] = []
        self.checks: list[CheckRun] = []
        self.told = 0
        self.nothing = False

    def plan_diff(self, rt: object, request: DiffRequest) -> DiffPlan:
        self.planned.append(request)
        if self.troubles.get("plan"):
            raise self.troubles["plan"].pop(0)
        return DiffPlan(series=12, rows=11_130, open_gaps=1, requests=24, weight=120, minutes=0.1)

    def cut_diff(self, rt: object, request: DiffRequest, at_most: int = 8) -> list[DiffRequest]:
        if self.nothing:
            return []
        names = ("BTC/USDT:USDT", "币安人生/USDT:USDT")[:at_most]
        return [msgspec.structs.replace(request, symbols=(name,)) for name in names]

    def run_diff(self, rt: object, request: DiffRequest, *, fill: bool = False) -> GapReport:
        assert fill
        self.compared.append(request)
        for name in (request.symbols[0], str(request.dataset)):
            if self.troubles.get(name):
                raise self.troubles[name].pop(0)
        some = self.found.get(request.symbols[0]) if request.dataset is Dataset.OHLCV else None
        return some or GapReport(checked=100)

    def retry_gaps(self, rt: object, request: DiffRequest) -> GapReport:
        self.tried.append(request)
        if request.dataset is not Dataset.OHLCV or not self.tries:
            return GapReport()
        first = self.tries.pop(0)
        if isinstance(first, NotYet):
            raise first
        return first

    def put_check(self, db: object, run: CheckRun) -> None:
        self.checks = [check for check in self.checks if check.identity != run.identity] + [run]

    def record_completeness(self, rt: object, *, link: str) -> tuple[MonthRow, ...]:
        counts = {"expected": 28_800, "present": 28_790, "unfillable": 4, "missing": 6}
        return (
            MonthRow(market="um", interval="1m", month="2026-11", **counts, missing_percent=0.02, percent=99.97,
                     within=True),
        )  # fmt: skip

    def tell_of_gaps(self, rt: object, *, link: str) -> PagesReport:
        assert "/dags/gap_diff_daily/runs/" in link
        self.told += 1
        return PagesReport(errors=("PagerDuty did not answer",))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from gapless.pipeline import completeness, paging, runtime
    from gapless.pipeline.reconcile import plan, run
    from gapless.storage.mysql import checks

    standing = Engine()

    @contextmanager
    def opened(settings: Settings) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(settings=settings, db=None)

    monkeypatch.setattr(runtime.Runtime, "open", opened)
    monkeypatch.setattr(plan, "plan_diff", standing.plan_diff)
    monkeypatch.setattr(plan, "cut_diff", standing.cut_diff)
    monkeypatch.setattr(run, "run_diff", standing.run_diff)
    monkeypatch.setattr(run, "retry_gaps", standing.retry_gaps)
    monkeypatch.setattr(checks, "put_check", standing.put_check)
    monkeypatch.setattr(checks, "count_up", lambda *_: None)
    monkeypatch.setattr(paging, "tell_of_gaps", standing.tell_of_gaps)
    monkeypatch.setattr(completeness, "record_completeness", standing.record_completeness)
    return standing


class Runs:
    """Runs the DAG; each run has a moment of its own, so that no run meets another's."""

    def __init__(self, dag: Any) -> None:
        self.dag = dag
        self.moment = datetime(2026, 11, 21, 9, 30, 42, tzinfo=UTC)

    def __call__(self, *, logical_date: datetime | None = None, conf: dict[str, Any] | None = None) -> Any:
        self.moment += timedelta(milliseconds=1)
        return self.dag.test(run_after=self.moment, logical_date=logical_date, run_conf=conf)


@pytest.fixture
def runs(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The DAG, its pauses between retries and waits cut to nothing."""
    import gapless_airflow.steps
    import gapless_airflow.truth

    dag = dags["gap_diff_daily"]
    for task in dag.tasks:
        settings = task.partial_kwargs if task.is_mapped else task.__dict__
        monkeypatch.setitem(settings, "retry_delay", timedelta(0))
    monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
    monkeypatch.setattr(gapless_airflow.truth, "AGAIN_S", 0.0)
    return Runs(dag)


def states(run: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in sorted(run.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index)):
        found.setdefault(task.task_id, []).append(str(task.state))
    return found


def test_every_dataset_of_the_day_before_is_compared_and_what_is_open_besides(engine: Engine, runs: Runs) -> None:
    run = runs()
    assert run.state == "success"
    assert {(each.dataset, each.window, each.open_gaps, each.symbols) for each in engine.planned} == {
        (Dataset.OHLCV, DAY, True, ()),
        (Dataset.FUNDING, DAY, True, ()),
        (Dataset.METRICS, Window(DAY.start_ms - 3_600_000, DAY.end_ms), True, ()),  # the last ones are settled late
    }
    assert len(engine.compared) == 4, "bars in two parts; funding and metrics in one each"
    assert sorted(engine.tried, key=str) == sorted(engine.planned, key=str)
    assert engine.told == 1


def test_the_plan_is_in_the_log_before_anything_is_asked(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    runs()
    said = "".join(capfd.readouterr())
    assert "12 series, 11,130 rows (0 of them not stored), 1 open gaps: 24 requests, weight 120" in said
    assert "at least 0.1 minutes of the exchange's budget" in said


def test_mapped_tasks_are_named_after_their_part(engine: Engine, runs: Runs) -> None:
    run = runs()
    names = {ti.rendered_map_index for ti in run.get_task_instances() if ti.task_id == "compare"}
    assert any(name.startswith("ohlcv 币安人生/USDT:USDT") for name in names)
    assert any(name.startswith("futures_metrics") for name in names)


def test_days_given_by_hand_are_compared(engine: Engine, runs: Runs) -> None:
    runs(conf={"start": "2026-11-01T00:00:00Z", "end": "2026-11-03T00:00:00Z"})
    assert {each.window for each in engine.planned if each.dataset is not Dataset.METRICS} == {
        Window.of("2026-11-01", "2026-11-03")
    }


def test_a_date_given_by_hand_means_the_day_that_was_over_by_then(engine: Engine, runs: Runs) -> None:
    runs(logical_date=datetime(2026, 11, 10, tzinfo=UTC))
    assert engine.planned[-1].window == Window.of("2026-11-09", "2026-11-10")


def test_the_truth_stands_in_the_log_and_in_the_books(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    unfillable = msgspec.structs.replace(AN_HOUR, state="unfillable", cause="outage")
    engine.found["BTC/USDT:USDT"] = GapReport(checked=100, filled=7, restated=2, unfillable=1, gaps=(unfillable,))
    run = runs()
    assert run.state == "success", "what nobody has is no fault"
    said = "".join(capfd.readouterr())
    assert "unfillable: BTC/USDT:USDT 1h 2026-11-20T05:00:00Z..2026-11-20T06:00:00Z" in said
    bars = next(check for check in engine.checks if check.dataset == "ohlcv")
    assert (bars.kind, bars.state, bars.window) == ("gap_diff", "clean", DAY)
    assert {name: bars.result[name] for name in ("checked", "filled", "restated", "unfillable", "missing")} == {
        "checked": 200, "filled": 7, "restated": 2, "unfillable": 1, "missing": 0,
    }  # fmt: skip
    assert f"/dags/gap_diff_daily/runs/{run.run_id.split('__')[0]}__" in bars.link


def test_what_a_later_attempt_fills_is_green(engine: Engine, runs: Runs) -> None:
    engine.found["BTC/USDT:USDT"] = GapReport(checked=100, missing=1, gaps=(AN_HOUR,))
    engine.tries = [NotYet("due later", retry_after_s=0.0), GapReport(filled=1)]
    run = runs()
    assert run.state == "success"
    assert [ti.try_number for ti in run.get_task_instances() if ti.task_id == "repair"] == [1]
    bars = next(check for check in engine.checks if check.dataset == "ohlcv")
    assert (bars.result["missing"], bars.result["filled"]) == (0, 1)


def test_what_cannot_be_filled_is_red_once_and_somebody_is_told(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    left = msgspec.structs.replace(AN_HOUR, state="failed")
    engine.found["BTC/USDT:USDT"] = GapReport(checked=100, missing=1, gaps=(AN_HOUR,))
    engine.tries = [
        NotYet("due later", retry_after_s=0.0),
        NotYet("due later", retry_after_s=0.0),
        GapReport(missing=1, gaps=(left,)),
    ]
    run = runs()
    assert run.state == "failed"
    assert states(run)["report"] == ["failed"]
    assert engine.told == 1, "asking again would change nothing: no retry"
    said = "".join(capfd.readouterr())
    assert "ohlcv: 1 missing of 200 compared" in said
    assert "failed: BTC/USDT:USDT 1h 2026-11-20T05:00:00Z..2026-11-20T06:00:00Z (1): in quarantine" in said
    assert "gapless gaps --start 2026-11-20T00:00:00Z --end 2026-11-21T00:00:00Z --fill" in said
    assert next(check for check in engine.checks if check.dataset == "ohlcv").state == "dirty"


def test_a_part_that_dies_keeps_no_other_from_the_truth(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.troubles["币安人生/USDT:USDT"] = [OriginMismatch("generated data offered to a real store")]
    run = runs()
    assert run.state == "failed"
    assert sorted(states(run)["compare"]) == ["failed", "success", "success", "success"]
    assert states(run)["repair"] == ["success"]
    assert "not compared: ohlcv 币安人生/USDT:USDT" in "".join(capfd.readouterr())
    verdicts = {check.dataset: check.state for check in engine.checks}
    assert verdicts["ohlcv"] == "failed"
    assert set(verdicts.values()) == {"failed", "clean"}


def test_a_series_that_the_exchange_does_not_know_is_red_after_the_rest(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    unknown = Failure("OLD/USDT:USDT", "", "", "bad_symbol", "the exchange does not know it")
    engine.found["BTC/USDT:USDT"] = GapReport(checked=100, errors=(unknown,))
    assert runs().state == "failed"
    assert "OLD/USDT:USDT" in "".join(capfd.readouterr())
    assert len(engine.compared) == 4


def test_series_that_wait_give_the_slot_back_and_are_compared_later(
    engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    banned = Failure("BTC/USDT:USDT", "1m", "", "banned", "banned until 09:40")
    answers = [GapReport(checked=0, errors=(banned,)), GapReport(checked=100)]
    from gapless.pipeline.reconcile import run as room

    def run_diff(rt: object, request: DiffRequest, *, fill: bool = False) -> GapReport:
        first = request.symbols[0] == "BTC/USDT:USDT" and request.dataset is Dataset.OHLCV
        return answers.pop(0) if first else GapReport(checked=100)

    monkeypatch.setattr(room, "run_diff", run_diff)
    run = runs()
    assert run.state == "success"
    assert answers == []
    assert {ti.try_number for ti in run.get_task_instances()} == {1}


@pytest.mark.parametrize("error", [Banned("banned until 09:40", retry_after_s=0.0), StorageError("MySQL is away")])
def test_what_passes_is_tried_again(engine: Engine, runs: Runs, error: GaplessError) -> None:
    engine.troubles["plan"] = [error]
    engine.troubles["BTC/USDT:USDT"] = [error]
    assert runs().state == "success"


def test_nothing_to_compare_is_green(engine: Engine, runs: Runs) -> None:
    engine.nothing = True
    run = runs()
    assert run.state == "success"
    assert engine.checks == []


def test_a_plan_that_fails_leaves_the_last_task_red(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.troubles["plan"] = [OriginMismatch("another origin")]
    run = runs()
    assert run.state == "failed"
    assert states(run)["report"] == ["failed"]
    assert "the log of plan says why" in "".join(capfd.readouterr())


def test_thousands_of_gaps_do_not_go_through_xcom(engine: Engine, runs: Runs) -> None:
    from gapless_airflow.truth import HANDED_ON, bounded

    many = tuple(msgspec.structs.replace(AN_HOUR, start=f"{n}", state="unfillable") for n in range(5000))
    short = bounded(GapReport(unfillable=5000, missing=1, gaps=(*many, AN_HOUR)))
    assert len(short.gaps) == HANDED_ON
    assert short.gaps[0] == AN_HOUR, "what somebody must look at comes first"
    assert short.unfillable == 5000
