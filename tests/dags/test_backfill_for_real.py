"""The DAGs of history run by Airflow against a replica of the exchange, its archive, MariaDB, and a lake on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.dags.standing import standing_installation
from tests.fixtures.mysql import Server
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation

BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
NOON = datetime(2026, 11, 15, 12, 30, tzinfo=UTC)


@pytest.fixture
def installation(
    airflow: Path,
    mysql_servers: Callable[[str], Server],
    replica: ReplicaHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    """An empty installation on the replica, whose clock stands at 2026-11-15T12:30:30; the environment describes it."""
    with standing_installation(mysql_servers, replica, tmp_path, monkeypatch, "BTC/USDT", BTC) as standing:
        yield standing


def form(**fields: Any) -> dict[str, Any]:
    return {"symbols": f"{BTC},{ETH}", "intervals": ["1h"], "start": "2026-08-01", "end": "2026-10-11", **fields}


def test_a_form_fills_both_stores_and_a_second_run_finds_nothing_to_do(
    installation: Installation, dags: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    first = dags["ohlcv_backfill"].test(run_after=NOON, logical_date=None, run_conf=form())
    assert first.state == "success"
    hot, cold = installation.mysql_bars(), installation.lake_bars()
    assert {row[0] for row in hot} == {row[0] for row in cold} == {BTC, ETH}
    assert 2 * 71 * 24 - 200 < len(hot) + len(cold) <= 2 * 71 * 24
    said = "".join(capfd.readouterr())
    assert "coverage of 2 series" in said

    installation.exchange.reset_stats()
    again = dags["ohlcv_backfill"].test(run_after=NOON.replace(minute=31), logical_date=None, run_conf=form())
    assert again.state == "success"
    assert (installation.mysql_bars(), installation.lake_bars()) == (hot, cold)
    assert "0 batches" in "".join(capfd.readouterr())


def test_a_name_that_nobody_knows_makes_the_run_red_after_the_others_are_stored(
    installation: Installation, dags: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    asked = form(symbols=f"{BTC},NOPE/USDT:USDT", intervals=["1d"])
    run = dags["ohlcv_backfill"].test(run_after=NOON, logical_date=None, run_conf=asked)
    assert run.state == "failed"
    assert {row[0] for row in [*installation.mysql_bars(), *installation.lake_bars()]} == {BTC}
    assert "NOPE/USDT:USDT" in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("dag_id", "table"), [("funding_etl", "funding_rate"), ("futures_metrics_etl", "futures_metrics")]
)
def test_a_scheduled_run_takes_the_last_days_once(
    installation: Installation, dags: dict[str, Any], dag_id: str, table: str
) -> None:
    assert dags[dag_id].test(run_after=NOON, logical_date=None).state == "success"
    rows = installation.rows(f"SELECT * FROM {table} ORDER BY symbol, ts")
    assert {row[0] for row in rows} == {BTC}
    least = 9 if table == "funding_rate" else 3 * 288 - 10
    assert least - 1 <= len(rows) <= least + 11
    assert dags[dag_id].test(run_after=NOON.replace(minute=31), logical_date=None).state == "success"
    assert installation.rows(f"SELECT * FROM {table} ORDER BY symbol, ts") == rows
