"""`ohlcv_etl` run by Airflow itself (`dag.test`), its pipeline replaced by one that notes what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from gapless.config import Settings
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import ArchiveReceipt, Batch, Failure, LoadReceipt, NormalReceipt, RawReceipt
from gapless.domain.window import Window
from gapless.errors import Banned, ConfigError, GaplessError, NotYet, OriginMismatch, StorageError

Step = Callable[[Batch], None]


def batch(*symbols: str, window: Window) -> Batch:
    pairs = tuple((symbol, symbol.split(":")[0].replace("/", "")) for symbol in symbols)
    return Batch("binance", Market.UM, pairs, (Interval("1m"),), window.start_ms, window.end_ms)


class Pipeline:
    """Stands for gapless.pipeline. `troubles` maps a step and a first symbol to errors, raised one a call, in order."""

    def __init__(self) -> None:
        self.plans = [("BTC/USDT:USDT", "ETH/USDT:USDT"), ("币安人生/USDT:USDT",)]
        self.asked: list[tuple[Window, int]] = []
        self.steps: list[tuple[str, str]] = []
        self.archived: list[LoadReceipt] = []
        self.troubles: dict[tuple[str, str], list[GaplessError]] = {}
        self.failures: dict[str, tuple[Failure, ...]] = {}

    def plan_hour(self, rt: object, window: Window, *, catch_up_hours: int) -> list[Batch]:
        self._note("plan", "")
        self.asked.append((window, catch_up_hours))
        return [batch(*symbols, window=window) for symbols in self.plans]

    def extract_raw(self, rt: object, work: Batch) -> RawReceipt:
        self._note("extract", work.symbols[0][0])
        failures = self.failures.get(work.symbols[0][0], ())
        return RawReceipt(work, "raw/x", 1, 10, 1, 2, work.end_ms, failures)

    def transform_normalise(self, rt: object, raw: RawReceipt) -> NormalReceipt:
        self._note("transform", raw.batch.symbols[0][0])
        return NormalReceipt(raw, "_work/x", 60, 60, 0, "d")

    def load_mysql(self, rt: object, normal: NormalReceipt) -> LoadReceipt:
        self._note("load", normal.batch.symbols[0][0])
        return LoadReceipt(normal, 7, 60, 0, 0, 0)

    def archive_s3(self, rt: object, receipts: Sequence[LoadReceipt]) -> ArchiveReceipt:
        self._note("archive", "")
        self.archived = list(receipts)
        return ArchiveReceipt(("ohlcv/a",), (), 60, 10)

    def _note(self, step: str, symbol: str) -> None:
        self.steps.append((step, symbol))
        waiting = self.troubles.get((step, symbol))
        if waiting:
            raise waiting.pop(0)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    from gapless.pipeline import etl, plan, runtime

    standing = Pipeline()

    @contextmanager
    def opened(settings: Settings) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(settings=settings)

    monkeypatch.setattr(runtime.Runtime, "open", opened)
    monkeypatch.setattr(plan, "plan_hour", standing.plan_hour)
    for step in ("extract_raw", "transform_normalise", "load_mysql", "archive_s3"):
        monkeypatch.setattr(etl, step, getattr(standing, step))
    return standing


class Runs:
    """Runs the DAG; each run has a moment of its own, so that no run meets another's."""

    def __init__(self, dag: Any) -> None:
        self.dag = dag
        self.moment = datetime(2026, 11, 20, 17, 0, 42, tzinfo=UTC)

    def __call__(self, *, logical_date: datetime | None = None, conf: dict[str, Any] | None = None) -> Any:
        self.moment += timedelta(milliseconds=1)
        return self.dag.test(run_after=self.moment, logical_date=logical_date, run_conf=conf)


def states(run: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for task in sorted(run.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index)):
        found.setdefault(task.task_id, []).append(str(task.state))
    return found


@pytest.fixture
def runs(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The hourly DAG, its pauses between retries and waits cut to nothing."""
    import gapless_airflow.steps

    dag = dags["ohlcv_etl"]
    for task in dag.tasks:
        settings = task.partial_kwargs if task.is_mapped else task.__dict__
        monkeypatch.setitem(settings, "retry_delay", timedelta(0))
    monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
    return Runs(dag)


def test_a_run_hands_every_batch_through_all_steps_and_archives_once(pipeline: Pipeline, runs: Runs) -> None:
    run = runs()
    assert run.state == "success"
    assert pipeline.asked == [(Window.of("2026-11-20T16:00", "2026-11-20T17:00"), 48)]
    assert sorted(pipeline.steps) == sorted(
        [("plan", ""), ("archive", "")]
        + [
            (step, first)
            for step in ("extract", "transform", "load")
            for first in ("BTC/USDT:USDT", "币安人生/USDT:USDT")
        ]
    )
    assert {receipt.batch.symbols[0][0] for receipt in pipeline.archived} == {"BTC/USDT:USDT", "币安人生/USDT:USDT"}


def test_mapped_tasks_are_named_after_their_batch(pipeline: Pipeline, runs: Runs) -> None:
    run = runs()
    names = {ti.rendered_map_index for ti in run.get_task_instances() if ti.task_id == "load_mysql"}
    assert any("币安人生/USDT:USDT" in name for name in names)
    assert any("BTC/USDT:USDT, ETH/USDT:USDT" in name for name in names)


def test_a_date_means_its_hour_and_params_mean_their_window(pipeline: Pipeline, runs: Runs) -> None:
    runs(logical_date=datetime(2026, 11, 5, 10, 30, tzinfo=UTC))
    runs(conf={"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:00Z"})
    assert pipeline.asked == [
        (Window.of("2026-11-05T09:00", "2026-11-05T10:00"), 0),
        (Window.of("2026-11-01", "2026-11-02"), 0),
    ]


def test_a_single_batch_is_a_run_too(pipeline: Pipeline, runs: Runs) -> None:
    pipeline.plans = [("BTC/USDT:USDT",)]
    assert runs().state == "success"
    assert len(pipeline.archived) == 1


def test_nothing_to_do_is_green(pipeline: Pipeline, runs: Runs) -> None:
    pipeline.plans = []
    run = runs()
    assert run.state == "success"
    assert pipeline.archived == []


def test_a_failed_series_makes_the_run_red_after_all_others_are_archived(
    pipeline: Pipeline, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline.failures["BTC/USDT:USDT"] = (
        Failure("ETH/USDT:USDT", "1m", "2026-11-20T16:00:00Z..2026-11-20T17:00:00Z", "bad_symbol", "delisted"),
    )
    run = runs()
    assert run.state == "failed"
    assert len(pipeline.archived) == 2
    assert pipeline.steps.count(("archive", "")) == 1, "asking again would change nothing: no retry"
    said = "".join(capfd.readouterr())
    assert "1 series and 0 batches are missing; all others are stored and archived." in said
    assert "ETH/USDT:USDT 1m 2026-11-20T16:00:00Z..2026-11-20T17:00:00Z: bad_symbol: delisted" in said


def test_a_batch_that_dies_does_not_keep_the_others_from_the_lake(pipeline: Pipeline, runs: Runs) -> None:
    pipeline.troubles["load", "BTC/USDT:USDT"] = [OriginMismatch("generated data offered to a real store")]
    run = runs()
    assert run.state == "failed"
    assert sorted(states(run)["load_mysql"]) == ["failed", "success"]
    assert states(run)["archive_s3"] == ["failed"]
    assert [receipt.batch.symbols[0][0] for receipt in pipeline.archived] == ["币安人生/USDT:USDT"]


def test_a_store_that_is_away_for_a_moment_is_tried_again(pipeline: Pipeline, runs: Runs) -> None:
    pipeline.troubles["load", "BTC/USDT:USDT"] = [StorageError("MySQL is away"), StorageError("MySQL is away")]
    assert runs().state == "success"
    assert pipeline.steps.count(("load", "BTC/USDT:USDT")) == 3


def test_a_wrong_setting_is_not_tried_again(pipeline: Pipeline, runs: Runs) -> None:
    pipeline.troubles["plan", ""] = [ConfigError("symbols.yaml: unknown market")]
    run = runs()
    assert run.state == "failed"
    assert pipeline.steps == [("plan", "")]


@pytest.mark.parametrize(
    ("step", "symbol", "error"),
    [
        ("plan", "", NotYet("the hour is not over", retry_after_s=0.0)),
        ("extract", "BTC/USDT:USDT", Banned("banned until 17:05", retry_after_s=0.0)),
    ],
)
def test_a_wait_gives_the_slot_back_and_is_no_retry(
    pipeline: Pipeline, runs: Runs, step: str, symbol: str, error: GaplessError
) -> None:
    pipeline.troubles[step, symbol] = [error]
    run = runs()
    assert run.state == "success"
    assert pipeline.steps.count((step, symbol)) == 2
    assert {ti.try_number for ti in run.get_task_instances()} == {1}
