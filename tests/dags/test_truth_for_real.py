"""The daily DAGs run by Airflow against a replica of the exchange, MariaDB, a lake on disk and a pager's receiver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.dags.standing import standing_installation
from tests.fixtures.mysql import Server
from tests.fixtures.pager import ROUTING_KEY, EventsReceiver
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation

SPOT, PERP = "BTC/USDT", "BTC/USDT:USDT"
NOON = datetime(2026, 11, 15, 12, 30, tzinfo=UTC)
"""Now, by the replica's frozen clock; so the day that is compared is the 14th."""

BARS = {"1m": 1440, "5m": 288, "15m": 96, "1h": 24, "4h": 6, "1d": 1}


@pytest.fixture
def installation(
    airflow: Path,
    mysql_servers: Callable[[str], Server],
    replica: ReplicaHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    """An empty installation on the replica; the environment describes it. Nothing waits for its next attempt."""
    import gapless_airflow.steps
    from gapless.pipeline.reconcile import run

    monkeypatch.setattr(run, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(run.retry_gaps, "__kwdefaults__", {**run.retry_gaps.__kwdefaults__, "waits_s": (0.0, 0.0)})
    monkeypatch.setattr(run.run_diff, "__kwdefaults__", {**run.run_diff.__kwdefaults__, "waits_s": (0.0, 0.0)})
    monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
    with standing_installation(mysql_servers, replica, tmp_path, monkeypatch, SPOT, PERP) as standing:
        yield standing


class Diff:
    """Runs the DAG of the daily diff; each run has a moment of its own."""

    def __init__(self, dag: Any) -> None:
        self.dag = dag
        self.moment = NOON

    def __call__(self) -> Any:
        self.moment += timedelta(milliseconds=1)
        return self.dag.test(run_after=self.moment, logical_date=None)


@pytest.fixture
def diff(dags: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Diff:
    dag = dags["gap_diff_daily"]
    for task in dag.tasks:
        settings = task.partial_kwargs if task.is_mapped else task.__dict__
        monkeypatch.setitem(settings, "retry_delay", timedelta(0))
    return Diff(dag)


def values(installation: Installation) -> dict[str, list[tuple[Any, ...]]]:
    """Every stored row by table, without which receipt brought it and from which source."""
    found = {}
    for table in ("ohlcv", "funding_rate", "futures_metrics"):
        columns = [name for (name,) in installation.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s"
            " AND column_name NOT IN ('receipt_id', 'source') ORDER BY ordinal_position", table
        )]  # fmt: skip
        listed = ", ".join(f"`{name}`" for name in columns)
        found[table] = installation.rows(f"SELECT {listed} FROM {table} ORDER BY symbol, ts, {listed}")
    return found


def checks(installation: Installation) -> dict[str, str]:
    rows = installation.rows("SELECT dataset, state FROM check_run WHERE kind = 'gap_diff' ORDER BY finished_at")
    return dict(rows)


def test_a_day_is_made_whole_and_a_second_run_changes_nothing(
    installation: Installation, diff: Diff, capfd: pytest.CaptureFixture[str]
) -> None:
    assert diff().state == "success", "".join(capfd.readouterr())[-6000:]
    counted = installation.rows("SELECT symbol, `interval`, COUNT(*) FROM ohlcv GROUP BY 1, 2")
    assert {(symbol, interval): rows for symbol, interval, rows in counted} == {
        (symbol, interval): rows for symbol in (SPOT, PERP) for interval, rows in BARS.items()
    }
    first = values(installation)
    assert all(first.values())
    assert set(checks(installation).values()) == {"clean"}

    assert diff().state == "success"
    assert values(installation) == first
    assert installation.rows("SELECT COUNT(*) FROM restatement") == [(0,)]
    assert installation.rows("SELECT COUNT(*) FROM quarantine") == [(0,)]
    jobs = installation.rows("SELECT name, labels, total FROM counter WHERE name LIKE 'job%%' ORDER BY name")
    assert jobs == [("job_failure", '{"job":"gap_diff_daily"}', 0), ("job_success", '{"job":"gap_diff_daily"}', 2)]


def test_planted_holes_changes_and_extras_are_repaired_and_told(
    installation: Installation, diff: Diff, capfd: pytest.CaptureFixture[str]
) -> None:
    diff()
    first = values(installation)
    capfd.readouterr()
    with installation.db.engine.begin() as connection:
        for statement in (
            "DELETE FROM ohlcv WHERE symbol = 'BTC/USDT' AND `interval` = '1m' AND ts BETWEEN '2026-11-14 05:00' AND"
            " '2026-11-14 05:29'",
            "DELETE FROM ohlcv WHERE symbol = 'BTC/USDT:USDT' AND `interval` = '1d'",
            "UPDATE ohlcv SET volume = volume + 1 WHERE symbol = 'BTC/USDT:USDT' AND `interval` = '1h' AND"
            " ts = '2026-11-14 07:00'",
            "DELETE FROM funding_rate WHERE ts = '2026-11-14 08:00'",
            "DELETE FROM futures_metrics WHERE ts = '2026-11-14 10:05'",
        ):
            connection.exec_driver_sql(statement)
    assert values(installation) != first
    assert diff().state == "success", "what is put right is green"
    assert values(installation) == first
    said = "".join(capfd.readouterr())
    assert "filled" in said
    result = dict(installation.rows(
        "SELECT dataset, result FROM check_run WHERE kind = 'gap_diff' ORDER BY finished_at"
    ))  # fmt: skip
    assert '"filled":31' in result["ohlcv"]
    assert '"restated":1' in result["ohlcv"]
    assert '"filled":1' in result["futures_metrics"]
    missing = installation.rows("SELECT labels, total FROM counter WHERE name = 'missing_bars' ORDER BY labels")
    assert '{"interval":"1d"}' in dict(missing)


def test_a_hole_that_cannot_be_filled_is_red_and_paged_once_until_it_is_filled(
    installation: Installation,
    diff: Diff,
    events_receiver: EventsReceiver,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GAPLESS_PAGERDUTY_URL", events_receiver.url)
    monkeypatch.setenv("GAPLESS_PAGERDUTY_ROUTING_KEY", ROUTING_KEY)
    # One hour of the perpetual whose high is below its low, however often it is asked for.
    broken = {"row": "2026-11-14T07:00", "field": "high", "value": "0.1"}
    installation.exchange.faults(
        {"match": {"path": "/fapi/v1/klines", "symbol": "BTCUSDT", "interval": "1h"}, "action": {"alter": broken}}
    )
    capfd.readouterr()
    assert diff().state == "failed"
    said = "".join(capfd.readouterr())
    assert "ohlcv: 1 missing of 3,710 compared" in said
    assert "BTC/USDT:USDT 1h 2026-11-14T07:00:00Z..2026-11-14T08:00:00Z (1)" in said
    assert ROUTING_KEY not in said
    gap = installation.rows("SELECT symbol, `interval`, state, attempts FROM data_gap_log WHERE state <> 'filled'")
    assert gap == [(PERP, "1h", "failed", 3)]
    [event] = events_receiver.events
    assert event["event_action"] == "trigger"
    assert any("/dags/gap_diff_daily/runs/" in link["href"] for link in event["links"])
    assert checks(installation) == {"ohlcv": "dirty", "funding_rate": "clean", "futures_metrics": "clean"}

    assert diff().state == "failed", "it is still missing"
    assert [incident.called for incident in events_receiver.incidents.values()] == [1], "nobody is called twice"

    installation.exchange.faults()
    assert diff().state == "success"
    assert [incident.open for incident in events_receiver.incidents.values()] == [False]
    assert installation.rows("SELECT COUNT(*) FROM ohlcv WHERE symbol = 'BTC/USDT:USDT' AND `interval` = '1h'") == [
        (24,)
    ]


def test_a_day_that_was_compared_is_judged_and_its_report_can_be_read(
    installation: Installation, diff: Diff, dags: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    assert diff().state == "success"
    capfd.readouterr()
    run = dags["quality_daily"].test(run_after=diff.moment, logical_date=None)
    said = "".join(capfd.readouterr())
    assert run.state == "success", said[-5000:]
    assert "diff of ohlcv 2026-11-14T00:00:00Z..2026-11-15T00:00:00Z: clean" in said
    kept = installation.rows("SELECT DISTINCT kind FROM check_run ORDER BY kind")
    assert kept == [("completeness",), ("expectations",), ("gap_diff",), ("rules",)]
    pages = list((installation.settings.data_docs_dir).rglob("index.html"))
    assert pages, "the data docs are built"
    assert any("/dags/quality_daily/runs/" in page.read_text() for page in pages), "each verdict links to its run"


def test_a_ban_gives_the_slot_back_and_nobody_is_told_of_it(
    installation: Installation, diff: Diff, events_receiver: EventsReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gapless_airflow.steps
    import gapless_airflow.truth
    from gapless.pipeline import runtime

    monkeypatch.setenv("GAPLESS_PAGERDUTY_URL", events_receiver.url)
    monkeypatch.setenv("GAPLESS_PAGERDUTY_ROUTING_KEY", ROUTING_KEY)
    waits: list[str] = []
    open_runtime, give_back = runtime.Runtime.open, gapless_airflow.steps._give_back

    def noted(context: Any, error: Any, retry_after_s: float) -> None:
        waits.append(str(error))
        installation.exchange.advance(max(retry_after_s, 1.0))  # its clock is frozen, ours is not
        give_back(context, error, 0.0)

    monkeypatch.setattr(runtime.Runtime, "open", lambda settings: open_runtime(settings, max_wait_s=0.1))
    monkeypatch.setattr(gapless_airflow.steps, "_give_back", noted)
    monkeypatch.setattr(gapless_airflow.truth, "AGAIN_S", 3.0)
    installation.exchange.faults(
        {"match": {"path": "/fapi/v1/klines", "times": 1}, "action": {"status": {"code": 418, "ban_s": 3}}}
    )
    run = diff()
    assert waits
    assert run.state == "success"
    assert installation.rows("SELECT DISTINCT state FROM data_gap_log") in ([("filled",)], [])
    assert events_receiver.events == []
    assert {task.try_number for task in run.get_task_instances()} == {1}
