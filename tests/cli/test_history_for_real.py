"""History from the command line, as processes: archive, REST, MySQL and lake of a replica, interrupted and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

from gapless.domain.window import Window
from tests.fixtures.forks import Forked
from tests.fixtures.replica import ReplicaFactory
from tests.pipeline.conftest import Installation, MakeInstallation

BTC = "BTC/USDT:USDT"
YEAR_PART = ("--start", "2026-06-01", "--end", "2026-11-01")
"""June to August are cold in November, September and October are hot."""


def backfill(at: Installation, *arguments: str) -> tuple[int, dict[str, Any], str]:
    return at.command("backfill", "ohlcv", *arguments)


def test_history_comes_once_is_covered_and_can_be_read(installation: Installation) -> None:
    series = ("--symbols", BTC, "--intervals", "1h,1d", *YEAR_PART)
    status, plan, _ = backfill(installation, *series, "--dry-run")
    days = Window.of("2026-06-01", "2026-11-01").length_ms // 86_400_000
    assert status == 0
    assert plan["bars_expected"] == days * 25
    assert installation.bars() == []

    status, told, said = backfill(installation, *series)
    assert status == 0, said
    assert told["bars_expected"] == days * 25
    assert told["bars_present"] + told["unfillable"] == told["bars_expected"]
    assert told["gap_bars"] == told["unfillable"]
    assert told["errors"] == []
    assert {row["interval"]: row["percent"] for row in told["series"]} == {"1h": 100.0, "1d": 100.0}
    assert "to do: " in said

    hot, cold = installation.mysql_bars(), installation.lake_bars()
    september = Window.of("2026-09-01", "2026-10-01").start_ms
    assert {row[2] >= september for row in hot} == {True}
    assert {row[2] < september for row in cold} == {True}
    assert len(hot) + len(cold) == told["bars_present"]

    status, again, _ = backfill(installation, *series, "--recheck", "none")
    assert (status, again["nothing_to_do"], again["rows_loaded"], again["requests"]) == (0, True, 0, 0)

    status, covered, _ = installation.command("coverage", *series)
    assert status == 0
    assert covered["present"] == told["bars_present"]
    assert (covered["missing"], covered["unfillable"]) == (0, told["unfillable"])
    assert covered["percent"] == 100.0

    status, rows, _ = installation.command("query", "ohlcv", BTC, "1h", *YEAR_PART)
    assert len(rows["rows"]) == sum(row[1] == "1h" for row in [*hot, *cold])


def test_a_name_that_nobody_knows_fails_alone(installation: Installation) -> None:
    window = ("--start", "2026-10-01", "--end", "2026-11-01", "--intervals", "1d")
    status, told, said = backfill(installation, "--symbols", f"{BTC},NOPE/USDT:USDT", *window)
    assert status == 1
    assert told["bars_present"] >= 31
    assert {failure["symbol"] for failure in told["errors"]} == {"NOPE/USDT:USDT"}
    assert "Traceback" not in said


def test_ctrl_c_is_130_says_how_to_go_on_and_the_repeat_finishes(
    make_installation: MakeInstallation, start_exchange: ReplicaFactory
) -> None:
    exchange = start_exchange("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    one, other = make_installation(exchange, name="one"), make_installation(exchange, name="other")
    series = ("--symbols", f"{BTC},ETH/USDT:USDT", "--intervals", "1h", *YEAR_PART)
    exchange.faults({"match": {"path": "/vision/*ETHUSDT*"}, "action": {"delay_ms": 30000}})
    process = Forked(
        [sys.executable, "-m", "gapless", "backfill", "ohlcv", *series, "--json"],
        env=one.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    first = process.stderr.readline()
    assert first.startswith("to do: "), first
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted; run the same command again to go on"
    assert "Traceback" not in err
    assert out == ""

    exchange.faults()
    for at in (one, other):
        status, told, said = backfill(at, *series)
        assert status == 0, said
        assert told["gap_bars"] == told["unfillable"]
    assert one.lake_bars() == other.lake_bars()
    assert one.mysql_bars() == other.mysql_bars()
