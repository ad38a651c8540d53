"""A backfill and the hourly pipeline at once keep one budget, by the exchange's own count."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.fixtures.forks import Forked, run_forked
from tests.fixtures.replica import ReplicaFactory
from tests.pipeline.conftest import MakeInstallation

LIMIT = 400
SHARE = 0.8


def test_backfill_and_hourly_pipeline_together_stay_inside_the_budget(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory, tmp_path: Path
) -> None:
    # A clock that runs: minutes must pass for the budget to come back.
    exchange = start_exchange("--generate", "7", "--start", "2026-11-15T12:00:30")
    exchange.limits(um={"weight_per_minute": LIMIT})
    one = make_installation(exchange, budget_share=SHARE)
    command = [sys.executable, "-m", "gapless"]
    history = [*command, "backfill", "ohlcv", "--symbols", "BTC/USDT:USDT,ETH/USDT:USDT", "--intervals", "1m",
               "--start", "2026-06-01", "--end", "2026-07-01", "--source", "rest", "--json"]  # fmt: skip
    hour = [*command, "etl", "ohlcv", "--start", "2026-11-15T10:00", "--end", "2026-11-15T11:00",
            "--market", "um", "--symbols", "all", "--json"]  # fmt: skip
    told = (tmp_path / "backfill.json").open("wb")
    with told, Forked(history, env=one.environment, stdout=told, stderr=subprocess.DEVNULL) as backfill:
        hours = 0
        while backfill.poll() is None:
            result = run_forked(hour, env=one.environment, timeout=200)
            assert result.returncode == 0, result.stderr.decode()
            hours += 1
    report = json.loads((tmp_path / "backfill.json").read_text())
    assert (report["bars_present"], report["errors"]) == (2 * 43_200, [])
    counted = exchange.stats()["um"]
    assert counted["weight_total"] > SHARE * LIMIT, "the budget was never needed: nothing was tested"
    assert hours > 0
    # Each client's first question, for the time, is asked before it can know which of the exchange's minutes it is.
    assert counted["weight_max_minute"] <= SHARE * LIMIT + 2 * (hours + 1) < LIMIT, counted["weight_by_minute"]
    assert (counted["refused_429"], counted["refused_418"]) == (0, 0)


def test_a_ban_is_waited_out_and_the_backfill_goes_on(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory
) -> None:
    exchange = start_exchange("--generate", "7", "--start", "2026-11-15T12:00:30")
    one = make_installation(exchange)
    one.max_wait_s = 60
    exchange.faults({"match": {"path": "/fapi/v1/klines", "nth": 3}, "action": {"status": {"code": 418, "ban_s": 4}}})
    report = one.backfill("2026-06-01", "2026-06-08", intervals="1m", source="rest")
    assert report.whole, report.errors
    assert report.bars_present == 7 * 1440
    counted = exchange.stats()["um"]
    assert counted["refused_418"] <= 8, "only what was under way when the ban began may have met it"


def test_a_ban_that_outlasts_our_patience_ends_what_needs_rest_and_nothing_else(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory
) -> None:
    exchange = start_exchange("--generate", "7", "--start", "2026-11-15T12:00:30")
    one = make_installation(exchange)
    one.max_wait_s = 1
    exchange.faults(
        {"match": {"path": "/fapi/v1/klines"}, "action": {"status": {"code": 418, "ban_s": 600}}},
        {"match": {"path": "*/ETHUSDT-15m-2026-06.zip*"}, "action": {"drop_rows": [7]}},
        {"match": {"path": "*/ETHUSDT-15m-2026-06-01.zip*"}, "action": {"drop_rows": [7]}},
    )
    report = one.backfill("2026-06-01", "2026-07-01", intervals="15m", symbols="BTC/USDT:USDT,ETH/USDT:USDT")
    assert {(error.symbol, error.kind) for error in report.errors} == {("ETH/USDT:USDT", "banned")}
    assert (report.bars_expected - report.bars_present, report.unfillable) == (1, 0)
    exchange.faults()
    exchange.limits()
