"""The DAGs run by Airflow against a replica of the exchange, MariaDB, and a lake on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.dags.standing import standing_installation, watch
from tests.fixtures.mysql import Server
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation

NOON = datetime(2026, 11, 15, 12, 30, tzinfo=UTC)
SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT", "币安人生/USDT:USDT")
HOUR = {"1m": 60, "5m": 12, "15m": 4, "1h": 1, "4h": 1}
"""Bars of one instrument that complete in 11:00-12:00."""


@pytest.fixture
def installation(
    airflow: Path,
    mysql_servers: Callable[[str], Server],
    replica: ReplicaHandle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Installation]:
    """An empty installation on the replica, whose clock stands at 2026-11-15T12:30:30; the environment describes it."""
    with standing_installation(mysql_servers, replica, tmp_path, monkeypatch, *SYMBOLS) as standing:
        yield standing


def run(dags: dict[str, Any], dag_id: str, **options: Any) -> Any:
    return dags[dag_id].test(**options)


def test_an_hour_travels_from_the_exchange_to_both_stores_and_a_second_run_changes_nothing(
    installation: Installation, dags: dict[str, Any]
) -> None:
    first = run(dags, "ohlcv_etl", logical_date=NOON)
    assert first.state == "success"
    counts = installation.rows("SELECT symbol, `interval`, COUNT(*) FROM ohlcv GROUP BY 1, 2")
    assert {(symbol, interval): count for symbol, interval, count in counts} == {
        (symbol, interval): count for symbol in SYMBOLS for interval, count in HOUR.items()
    }
    stored, files = installation.bars(), installation.lake_files()
    assert installation.mysql_bars() == installation.lake_bars()

    second = run(dags, "ohlcv_etl", logical_date=NOON)
    assert second.state == "success"
    assert installation.bars() == stored
    assert installation.lake_files() == files
    assert installation.rows("SELECT COUNT(*) FROM restatement") == [(0,)]


def test_a_window_given_by_hand_is_taken_as_it_is(installation: Installation, dags: dict[str, Any]) -> None:
    window = {"start": "2026-11-15T08:30:00Z", "end": "2026-11-15T09:30:00Z"}
    done = run(dags, "ohlcv_etl", run_after=NOON, logical_date=None, run_conf=window)
    assert done.state == "success"
    opened = installation.rows(
        "SELECT MIN(ts), MAX(ts), COUNT(*) FROM ohlcv WHERE symbol = 'BTC/USDT' AND `interval` = '1m'"
    )
    assert opened == [(datetime(2026, 11, 15, 8, 30), datetime(2026, 11, 15, 9, 29), 60)]  # noqa: DTZ001  # as MySQL gives


def test_a_run_without_a_date_takes_the_last_hour_and_the_two_days_before(
    installation: Installation, dags: dict[str, Any], tmp_path: Path
) -> None:
    watch(tmp_path, "BTC/USDT", "BTC/USDT:USDT")
    done = run(dags, "ohlcv_etl", run_after=datetime(2026, 11, 15, 12, 30, 31, tzinfo=UTC), logical_date=None)
    assert done.state == "success"
    found = installation.rows("SELECT symbol, COUNT(*) FROM ohlcv WHERE `interval` = '1m' GROUP BY symbol")
    assert dict(found) == {"BTC/USDT": 49 * 60, "BTC/USDT:USDT": 49 * 60}


def test_a_symbol_that_is_gone_makes_the_run_red_after_the_rest_was_stored(
    installation: Installation, dags: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    watch(tmp_path, "BTC/USDT", "NEVERWAS/USDT")
    done = run(dags, "ohlcv_etl", logical_date=NOON)
    assert done.state == "failed"
    assert "NEVERWAS/USDT" in "".join(capfd.readouterr())
    assert len(installation.bars()) == sum(HOUR.values())
    assert installation.mysql_bars() == installation.lake_bars()


def test_a_ban_gives_the_slot_back_and_the_run_resumes_by_itself(
    installation: Installation, dags: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gapless_airflow.steps
    from gapless.pipeline import runtime

    waits: list[float] = []
    open_runtime, give_back = runtime.Runtime.open, gapless_airflow.steps._give_back

    def noted(context: Any, error: Any, retry_after_s: float) -> None:
        waits.append(retry_after_s)
        installation.exchange.advance(retry_after_s)  # its clock is frozen, ours is not
        give_back(context, error, 0.0)

    monkeypatch.setattr(runtime.Runtime, "open", lambda settings: open_runtime(settings, max_wait_s=0.1))
    monkeypatch.setattr(gapless_airflow.steps, "_give_back", noted)
    monkeypatch.setattr(gapless_airflow.steps, "SHORTEST_WAIT", timedelta(0))
    watch(tmp_path, "BTC/USDT")
    installation.exchange.faults(
        {"match": {"path": "/api/v3/klines", "times": 1}, "action": {"status": {"code": 418, "ban_s": 3}}}
    )
    done = run(dags, "ohlcv_etl", logical_date=NOON)
    assert done.state == "success"
    assert waits
    assert len(installation.bars()) == sum(HOUR.values())
    assert {task.try_number for task in done.get_task_instances()} == {1}


def test_the_list_of_instruments_is_read_daily(installation: Installation, dags: dict[str, Any]) -> None:
    assert run(dags, "instruments_daily", logical_date=NOON).state == "success"
    names = {symbol for (symbol,) in installation.rows("SELECT symbol FROM instrument")}
    assert set(SYMBOLS) <= names
