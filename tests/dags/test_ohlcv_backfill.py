"""`ohlcv_backfill` run by Airflow itself (`dag.test`), its engine replaced by one that notes what it is asked."""

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
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import Failure
from gapless.domain.window import Window
from gapless.errors import Banned, GaplessError, StorageError
from gapless.pipeline.backfill.request import BackfillPlan, BackfillReport, BackfillRequest, SeriesCoverage, Watch

FORM = {"symbols": "BTC/USDT:USDT,ETH/USDT:USDT", "start": "2026-08-01T00:00:00Z", "end": "2026-10-01T00:00:00Z"}


class Engine:
    """Stands for gapless.pipeline.backfill. `troubles` are raised one a call, `failures` reported, by first symbol."""

    def __init__(self) -> None:
        self.planned: list[BackfillRequest] = []
        self.ran: list[BackfillRequest] = []
        self.covered: list[BackfillRequest] = []
        self.troubles: dict[str, list[GaplessError]] = {}
        self.failures: dict[str, list[tuple[Failure, ...]]] = {}
        self.missing: dict[str, int] = {}
        self.settled = False
        self.unknown: tuple[Failure, ...] = ()

    def plan_backfill(self, rt: object, request: BackfillRequest) -> BackfillPlan:
        self.planned.append(request)
        if self.unknown:
            return BackfillPlan(errors=self.unknown)
        return BackfillPlan(series=12, months=24, bars_expected=111_222, objects=24, rows=111_222, months_to_do=24)

    def cut_batches(self, rt: object, request: BackfillRequest, at_most: int) -> list[BackfillRequest]:
        assert at_most <= 64
        names = () if self.settled else request.symbols
        return [msgspec.structs.replace(request, symbols=(symbol,)) for symbol in names]

    def run_backfill(self, rt: object, request: BackfillRequest, watch: Watch) -> BackfillReport:
        self.ran.append(request)
        symbol = request.symbols[0] if request.symbols else ""
        if self.troubles.get(symbol):
            raise self.troubles[symbol].pop(0)
        watch.plan(2, 100)
        watch.object_done(f"{symbol}.zip", 10)
        watch.rows_done(100)
        waiting = self.failures.get(symbol)
        errors = (waiting.pop(0) if len(waiting) > 1 else waiting[0]) if waiting else ()
        missing = self.missing.get(symbol, 0)
        rows = (SeriesCoverage(symbol, "1m", 100, 100 - missing, 0, "not asked" if missing else ""),)
        return BackfillReport(
            rows_loaded=100 - missing, bars_expected=100, gap_bars=missing, objects=2, series=rows, errors=errors
        )

    def survey(self, rt: object, request: BackfillRequest) -> BackfillRequest:
        return request

    def cover_request(self, rt: object, request: BackfillRequest, found: object) -> list[SeriesCoverage]:
        self.covered.append(request)
        return [SeriesCoverage(symbol, "1m", 100, 97, 3, "3: halt") for symbol in request.symbols]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    from gapless.pipeline import runtime
    from gapless.pipeline.backfill import coverage, run, survey

    standing = Engine()

    @contextmanager
    def opened(settings: Settings) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(settings=settings)

    monkeypatch.setattr(runtime.Runtime, "open", opened)
    for name in ("plan_backfill", "cut_batches", "run_backfill"):
        monkeypatch.setattr(run, name, getattr(standing, name))
    monkeypatch.setattr(coverage, "cover_request", standing.cover_request)
    monkeypatch.setattr(survey, "survey", standing.survey)
    return standing


class Runs:
    """Runs a DAG; each run has a moment of its own, so that no run meets another's."""

    moment = datetime(2026, 11, 20, 17, 7, 42, tzinfo=UTC)

    def __init__(self, dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        import gapless_airflow.history
        import gapless_airflow.steps

        self.dags = dags
        for dag_id in ("ohlcv_backfill", "funding_etl", "futures_metrics_etl"):
            for task in dags[dag_id].tasks:
                settings = task.partial_kwargs if task.is_mapped else task.__dict__
                monkeypatch.setitem(settings, "retry_delay", timedelta(0))
        monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
        monkeypatch.setattr(gapless_airflow.history, "_AGAIN_S", 0.0)

    def __call__(self, dag_id: str = "ohlcv_backfill", **more: Any) -> Any:
        Runs.moment += timedelta(milliseconds=1)
        return self.dags[dag_id].test(run_after=Runs.moment, logical_date=None, **more)

    def form(self, **fields: Any) -> Any:
        return self(run_conf={**FORM, **fields})


@pytest.fixture
def runs(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(dags, monkeypatch)


def states(run: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in sorted(run.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index)):
        found.setdefault(task.task_id, []).append(str(task.state))
    return found


def test_the_form_becomes_the_request_and_every_batch_is_run_once(engine: Engine, runs: Runs) -> None:
    run = runs.form(intervals=["1m", "1h"], source="vision", into="lake")
    assert run.state == "success"
    window = Window.of("2026-08-01", "2026-10-01")
    asked = BackfillRequest(
        dataset=Dataset.OHLCV,
        market=Market.UM,
        symbols=("BTC/USDT:USDT", "ETH/USDT:USDT"),
        intervals=(Interval.M1, Interval.H1),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        source="vision",
        into="lake",
    )
    assert engine.planned == [asked]
    assert sorted(batch.symbols for batch in engine.ran) == [("BTC/USDT:USDT",), ("ETH/USDT:USDT",)]
    assert engine.covered == [asked]


def test_mapped_tasks_show_their_symbols_and_months(engine: Engine, runs: Runs) -> None:
    run = runs.form()
    names = {ti.rendered_map_index for ti in run.get_task_instances() if ti.task_id == "fetch"}
    assert any("ETH/USDT:USDT" in name and "2026-08-01..2026-10-01" in name for name in names)


def test_a_dry_run_prints_the_summary_and_fetches_nothing(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    run = runs.form(dry_run=True)
    assert run.state == "success"
    assert engine.ran == engine.covered == []
    said = "".join(capfd.readouterr())
    assert "bars expected" in said
    assert "111,222" in said
    assert "Dry run: nothing else is done." in said


def test_the_last_task_prints_the_coverage_table(engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    runs.form()
    said = "".join(capfd.readouterr())
    assert "coverage of 2 series" in said
    assert "3: halt" in said


def test_what_is_settled_already_is_green_and_shown(engine: Engine, runs: Runs) -> None:
    engine.settled = True
    run = runs.form()
    assert run.state == "success"
    assert states(run) == {
        "check_form": ["success"],
        "plan": ["success"],
        "fetch": ["skipped"],
        "coverage": ["success"],
    }
    assert engine.ran == []
    assert len(engine.covered) == 1


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"end": "2026-07-01T00:00:00Z"}, "empty window: end 2026-07-01T00:00:00Z is not after start"),
        ({"start": "yesterday"}, "not a time: 'yesterday'"),
        ({"symbols": "BTCUSDT", "market": "both"}, "BTCUSDT is a raw symbol"),
        ({"symbols": "BTC/USDT"}, "BTC/USDT is a spot symbol, but --market says um"),
    ],
)
def test_a_form_that_cannot_be_is_explained_and_not_retried(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str], fields: dict[str, Any], said: str
) -> None:
    run = runs.form(**fields)
    assert run.state == "failed"
    assert states(run)["check_form"] == ["failed"]
    assert engine.planned == engine.covered == []
    assert said in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "fields",
    [{"market": "coin-m"}, {"intervals": []}, {"intervals": ["3m"]}, {"source": "ftp"}, {"start": None}],
    ids=str,
)
def test_a_field_of_another_kind_is_refused_before_anything_runs(
    engine: Engine, runs: Runs, fields: dict[str, Any]
) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        runs.form(**fields)
    assert engine.planned == []


def test_names_that_nobody_knows_are_told_by_the_plan(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.unknown = (Failure("NOPE/USDT:USDT", "", "", "bad_symbol", "not listed"),)
    run = runs.form(symbols="NOPE/USDT:USDT")
    assert states(run)["plan"] == ["failed"]
    assert "None of the named symbols can be taken." in "".join(capfd.readouterr())


def test_a_batch_that_dies_does_not_stop_the_others_and_the_run_is_red(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.troubles["BTC/USDT:USDT"] = [StorageError("disk full") for _ in range(5)]
    run = runs.form()
    assert run.state == "failed"
    assert sorted(states(run)["fetch"]) == ["failed", "success"]
    assert states(run)["coverage"] == ["failed"]
    said = "".join(capfd.readouterr())
    assert "1 batches not done" in said
    assert "batch not done: BTC/USDT:USDT" in said
    assert len(engine.covered) == 1, "the table is printed first"


def test_a_series_that_fails_for_good_makes_the_run_red_with_its_name_and_is_asked_once(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.failures["ETH/USDT:USDT"] = [(Failure("ETH/USDT:USDT", "1m", "2026-08", "bad_symbol", "delisted"),)]
    run = runs.form()
    assert run.state == "failed"
    assert states(run)["fetch"] == ["success", "success"]
    assert len(engine.ran) == 2
    assert "ETH/USDT:USDT 1m 2026-08: bad_symbol: delisted" in "".join(capfd.readouterr())


def test_bars_that_are_missing_without_a_reason_make_the_run_red(
    engine: Engine, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    engine.missing["ETH/USDT:USDT"] = 7
    assert runs.form().state == "failed"
    assert "ETH/USDT:USDT 1m: 7 bars missing: not asked" in "".join(capfd.readouterr())


def test_a_passing_failure_is_tried_again_and_then_green(engine: Engine, runs: Runs) -> None:
    engine.failures["BTC/USDT:USDT"] = [(Failure("BTC/USDT:USDT", "1m", "2026-08", "exchange", "away"),), ()]
    run = runs.form()
    assert run.state == "success"
    assert [batch.symbols for batch in engine.ran].count(("BTC/USDT:USDT",)) == 2


@pytest.mark.parametrize("reported", [True, False])
def test_a_ban_gives_the_slot_back_and_is_no_retry(engine: Engine, runs: Runs, reported: bool) -> None:
    if reported:
        banned = Failure("BTC/USDT:USDT", "1m", "2026-08", "banned", "until 17:30")
        engine.failures["BTC/USDT:USDT"] = [(banned,), ()]
    else:
        engine.troubles["BTC/USDT:USDT"] = [Banned("until 17:30", retry_after_s=0.0)]
    run = runs.form()
    assert run.state == "success"
    assert [batch.symbols for batch in engine.ran].count(("BTC/USDT:USDT",)) == 2
    assert {ti.try_number for ti in run.get_task_instances()} == {1}


@pytest.mark.parametrize(
    ("dag_id", "dataset"), [("funding_etl", Dataset.FUNDING), ("futures_metrics_etl", Dataset.METRICS)]
)
def test_the_scheduled_ones_take_the_last_three_days_of_the_watchlist_into_mysql(
    engine: Engine, runs: Runs, dag_id: str, dataset: Dataset
) -> None:
    assert runs(dag_id).state == "success"
    (asked,) = engine.ran
    assert (asked.dataset, asked.market, asked.symbols, asked.into) == (dataset, Market.UM, (), "mysql")
    assert asked.end_ms - asked.start_ms == 3 * 86_400_000
    assert abs(asked.end_ms - Runs.moment.timestamp() * 1000) < 1000


def test_a_scheduled_one_is_red_when_a_series_failed(engine: Engine, runs: Runs) -> None:
    engine.failures[""] = [(Failure("BTC/USDT:USDT", "", "", "bad_symbol", "delisted"),)]
    assert runs("funding_etl").state == "failed"
    assert len(engine.ran) == 1
