"""`stream_archive_hourly` run by Airflow itself (`dag.test`), publishing replaced by one that notes what is asked."""

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
from gapless.domain.window import parse_time
from gapless.errors import GaplessError, NotYet, StorageError
from gapless.pipeline.stream_archive.receipts import PublishReport, StreamHourReceipt, TradeHole, WaitingHour

HOUR = StreamHourReceipt("trades", "binance", "2026-11-20T16:00:00Z", 3, 4096, entries=340, added=300, duplicates=40)
HOLE = TradeHole("BTC/USDT:USDT", 7, 9, 3, "2026-11-20T16:00:06Z", "2026-11-20T16:00:10Z", "")
AWAY = Failure("trades binance", "", "2026-11-20T16:00:00Z..2026-11-20T17:00:00Z", "storage", "the lake is away")


class Publisher:
    """Stands for gapless.pipeline.stream_archive: gives the answers it holds, the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[PublishReport | GaplessError] = [PublishReport()]

    def publish_closed(self, rt: object, **options: Any) -> PublishReport:
        self.asked.append(options)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, GaplessError):
            raise answer
        return answer


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    from gapless.pipeline import runtime
    from gapless.pipeline.stream_archive import closed

    standing = Publisher()

    @contextmanager
    def opened(settings: Settings) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(settings=settings, db=None)

    monkeypatch.setattr(runtime.Runtime, "open", opened)
    monkeypatch.setattr(closed, "publish_closed", standing.publish_closed)
    return standing


class Runs:
    """Runs the DAG; each run has a moment of its own."""

    def __init__(self, dag: Any) -> None:
        self.dag = dag
        self.moment = datetime(2026, 11, 20, 17, 7, 1, tzinfo=UTC)

    def __call__(self, **conf: Any) -> Any:
        self.moment += timedelta(milliseconds=1)
        return self.dag.test(run_after=self.moment, logical_date=None, run_conf=conf or None)


@pytest.fixture
def runs(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Runs:
    import gapless_airflow.steps

    dag = dags["stream_archive_hourly"]
    for task in dag.tasks:
        monkeypatch.setitem(task.__dict__, "retry_delay", timedelta(0))
    monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
    return Runs(dag)


def test_nothing_spooled_is_green(publisher: Publisher, runs: Runs) -> None:
    assert runs().state == "success"
    assert publisher.asked[0]["hour_ms"] is None


def test_what_was_published_and_what_waits_is_in_the_log(
    publisher: Publisher, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    waiting = WaitingHour("depth", "binance", "2026-11-20T17:00:00Z", 99, 1, "open")
    known = msgspec.structs.replace(HOLE, cause="reconnect: cut")
    hour = msgspec.structs.replace(HOUR, holes=(known,), hole_count=1, hole_ids=3)
    publisher.answers = [PublishReport((hour,), (waiting,))]
    run = runs()
    assert run.state == "success", "what is missing for a known reason is told and green"
    said = "".join(capfd.readouterr())
    assert "trades binance 2026-11-20T16:00:00Z: 340 entries, 300 rows added, 40 duplicates" in said
    assert "missing: BTC/USDT:USDT trades 7 to 9 (3)" in said
    assert "depth binance 2026-11-20T17:00:00Z: waits (open)" in said
    assert "/dags/stream_archive_hourly/runs/" in publisher.asked[0]["link"]


def test_an_hour_asked_for_that_is_not_over_is_waited_for(publisher: Publisher, runs: Runs) -> None:
    publisher.answers = [NotYet("not over", retry_after_s=0.0), PublishReport((HOUR,))]
    run = runs(hour="2026-11-20T17:00:00Z")
    assert run.state == "success"
    assert {ti.try_number for ti in run.get_task_instances()} == {1}
    assert [each["hour_ms"] for each in publisher.asked] == [parse_time("2026-11-20T17")] * 2


def test_a_store_that_comes_back_is_tried_again(publisher: Publisher, runs: Runs) -> None:
    publisher.answers = [PublishReport(errors=(AWAY,)), StorageError("MySQL is away"), PublishReport((HOUR,))]
    assert runs().state == "success"
    assert len(publisher.asked) == 3


def test_hours_that_failed_are_named_with_their_causes(
    publisher: Publisher, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = msgspec.structs.replace(AWAY, kind="config", message="the payloads of 'kraken' cannot be read")
    publisher.answers = [PublishReport((HOUR,), errors=(wrong,))]
    assert runs().state == "failed"
    assert len(publisher.asked) == 1, "asking again would change nothing: no retry"
    said = "".join(capfd.readouterr())
    assert "trades binance 2026-11-20T16:00:00Z..2026-11-20T17:00:00Z: config: the payloads of 'kraken'" in said


@pytest.mark.parametrize("errors", [(), (AWAY,)], ids=["alone", "beside a failure"])
def test_trades_missing_without_a_reason_are_red_at_once(
    errors: tuple[Failure, ...], publisher: Publisher, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    lost = msgspec.structs.replace(HOUR, holes=(HOLE,), hole_count=1, hole_ids=3, unexplained=1)
    publisher.answers = [PublishReport((lost,), errors=errors), PublishReport()]
    assert runs().state == "failed", "a second try would no longer see them"
    assert "missing: BTC/USDT:USDT trades 7 to 9 (3)" in "".join(capfd.readouterr())
