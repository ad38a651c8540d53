"""`housekeeping_daily` run by Airflow itself (`dag.test`), the work replaced by one that answers as it is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from gapless.config import Settings
from gapless.domain.receipts import Failure
from gapless.errors import ConfigError, OriginMismatch
from gapless.pipeline.housekeeping import BooksExported, PartitionsReport, Strays
from gapless.pipeline.retention.sweep import Item, MonthToGo, RetentionReport, SpooledHour, ZoneTotal

T = TypeVar("T")

AHEAD = {"ohlcv": 2, "funding_rate": 2, "futures_metrics": 2}
BOOKS = BooksExported("2026-11-20T005001Z", "file:///lake/books/x", "2026-11-20T00:50:01Z", 9, 1_000, 500, True, 0.1)
SWEPT = RetentionReport(
    at="2026-11-20T00:50:00Z", applied=True, objects=30, bytes=99, zones=(ZoneTotal("raw", 90, 30, 99),),
    items=tuple(Item("raw", f"s3://lake/raw/{n}", "2026-08-01T00:00:00Z", 111, 3, True, "loaded") for n in range(30)),
    unlisted=0, exports=(MonthToGo("ohlcv", "2026-08", ""),), overdue=(), seconds=0.1,
)  # fmt: skip


class House:
    """Stands for `gapless.pipeline.housekeeping`; a trouble instead of a report is raised."""

    def __init__(self) -> None:
        self.partitions: PartitionsReport | Exception = PartitionsReport({"ohlcv": ["p202702"]}, AHEAD, ())
        self.books: BooksExported | Exception = BOOKS
        self.swept: RetentionReport | Exception = SWEPT
        self.links: set[str] = set()

    def make_partitions(self, rt: object, now_ms: int, *, link: str) -> PartitionsReport:
        return self._given(self.partitions, link)

    def export_daily_books(self, rt: object, now_ms: int, *, link: str) -> BooksExported:
        return self._given(self.books, link)

    def sweep_all(self, rt: object, now_ms: int, *, link: str, on_item: Any) -> RetentionReport:
        report = self._given(self.swept, link)
        for item in report.items:
            on_item(item)
        return report

    def _given(self, answer: T | Exception, link: str) -> T:
        self.links.add(link)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    from gapless.pipeline import housekeeping, runtime
    from gapless.storage.mysql import checks

    standing = House()

    @contextmanager
    def opened(settings: Settings) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(settings=settings, db=None)

    monkeypatch.setattr(runtime.Runtime, "open", opened)
    monkeypatch.setattr(checks, "count_up", lambda *_: None)
    for name in ("make_partitions", "export_daily_books", "sweep_all"):
        monkeypatch.setattr(housekeeping, name, getattr(standing, name))
    return standing


class Run:
    """Runs the DAG; each run has a moment of its own, so that no run meets another's."""

    moment = datetime(2026, 11, 20, 9, 30, 42, tzinfo=UTC)

    def __init__(self, dag: Any) -> None:
        self.dag = dag

    def __call__(self) -> tuple[str, dict[str, str]]:
        """The run's state, and that of each task."""
        Run.moment += timedelta(milliseconds=1)
        run = self.dag.test(run_after=Run.moment)
        return str(run.state), {task.task_id: str(task.state) for task in run.get_task_instances()}


@pytest.fixture
def run(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    dag = dags["housekeeping_daily"]
    for task in dag.tasks:
        monkeypatch.setitem(task.__dict__, "retry_delay", timedelta(0))
    return Run(dag)


def test_the_day_is_green_and_says_what_was_done(house: House, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    state, tasks = run()
    assert state == "success"
    assert set(tasks) == {"make_partitions", "export_books", "sweep", "report"}
    assert len(house.links) == 1
    assert "/dags/housekeeping_daily/runs/" in house.links.pop()
    said = "".join(capfd.readouterr())
    assert "ohlcv: 2 months ahead; made now: p202702" in said
    assert "books of 2026-11-20T00:50:01Z: 9 rows, 1,000 bytes, 500 bytes of it new" in said
    assert "raw s3://lake/raw/29: 111 days, 3 bytes; loaded" in said
    assert "the next export takes ohlcv 2026-08" in said
    assert "the house is in order" in said


def test_a_part_that_fails_keeps_no_other_from_its_work(
    house: House, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    house.books = OriginMismatch("the lake holds data of another origin")
    state, tasks = run()
    assert state == "failed"
    assert tasks == {"make_partitions": "success", "export_books": "failed", "sweep": "success", "report": "failed"}
    assert "export_books did not come to its end: its log says why" in "".join(capfd.readouterr())


def test_a_wrong_file_of_rules_is_not_tried_again(house: House, run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    house.swept = ConfigError("include/retention.yaml: raw.dayz is not known")
    _, tasks = run()
    assert tasks["sweep"] == "failed"
    assert tasks["make_partitions"] == tasks["export_books"] == "success"
    assert "raw.dayz is not known" in "".join(capfd.readouterr())


def test_what_needs_a_person_is_red_and_named_with_what_to_do(
    house: House, run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    house.partitions = PartitionsReport({}, AHEAD, (Strays("ohlcv", "p_before", 12),))
    house.swept = RetentionReport(
        at="", applied=True, objects=0, bytes=0, zones=(), items=(), unlisted=0, exports=(), seconds=0.1,
        overdue=(SpooledHour("trades", "binance", "2026-11-19T10:00:00Z", 7, 13),),
        errors=(Failure("", "", "", "storage", "raw: the store is away"),),
    )  # fmt: skip
    state, tasks = run()
    assert (state, tasks["report"]) == ("failed", "failed")
    said = "".join(capfd.readouterr())
    assert "ohlcv: 12 rows in p_before belong to no month" in said
    assert "docs/runbooks/partitions.md" in said
    assert "trades binance 2026-11-19T10:00:00Z: spooled for 13 h and not published" in said
    assert "sweep: storage: raw: the store is away" in said
