"""A backfill killed anywhere, interrupted, run twice at once or cut off from the network ends as an undisturbed one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.forks import Forked
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation

SYMBOLS = "BTC/USDT,BTC/USDT:USDT,ETH/USDT:USDT,币安人生/USDT:USDT"
WINDOW = ("--start", "2026-07-01", "--end", "2026-11-01")
"""Cold months and hot ones, all over: a request whose work is the same whenever it is done."""

PASSING = ("_tmp/", "_superseded/")
"""Zones of the lake that tell how a run went: unfinished objects, and what was kept of replaced ones."""


def start(installation: Installation, log: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gapless", "backfill", "ohlcv", *WINDOW, "--symbols", SYMBOLS, *options]
    with log.open("wb") as stream:
        return Forked([*command, "--json"], env=installation.environment, stdout=stream, stderr=stream)


def left_behind(installation: Installation) -> dict[str, Any]:
    """Everything two runs must agree on: rows with their receipts' ids, books, and every byte of the lake."""
    return {
        "bars": installation.bars(),
        "receipts": installation.rows("SELECT id, batch_key, ordinal, `rows`, digest FROM load_receipt ORDER BY id"),
        "manifest": installation.rows(
            "SELECT path, state, checksum, sha256, `rows`, store FROM archive_object ORDER BY path"
        ),
        "ledger": installation.rows(
            "SELECT symbol, `interval`, month, store, window_start, window_end, expected, present, unfillable, outside,"
            " state FROM series_month ORDER BY 1, 2, 3, 4"
        ),
        "gaps": installation.rows(
            "SELECT symbol, `interval`, gap_start, gap_end, bars, state FROM data_gap_log ORDER BY 1, 2, 3"
        ),
        "restated": installation.rows("SELECT COUNT(*) FROM restatement"),
        "objects": installation.rows("SELECT sha256, content_digest, `rows`, state FROM archive_receipt ORDER BY 1"),
        "lake": {key: data for key, data in installation.lake_files().items() if not key.startswith(PASSING)},
    }


def assert_same(expected: dict[str, Any], found: dict[str, Any], about: str = "") -> None:
    for what, value in expected.items():
        assert found[what] == value, f"{about}: {what} differs"


@pytest.fixture
def unlimited(replica: ReplicaHandle) -> ReplicaHandle:
    """No limits, and an archive slow enough for a run to be caught at its work."""
    replica.limits(um={"weight_per_minute": 10**6}, spot={"weight_per_minute": 10**6})
    replica.faults({"match": {"path": "*.zip"}, "action": {"delay_ms": 200}})
    return replica


def files_asked_for(exchange: ReplicaHandle) -> int:
    """ZIPs that the archive was asked for since its counts were reset."""
    return int(exchange.stats()["vision"]["requests"].get("zip", 0))


def await_files(exchange: ReplicaHandle, count: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until so many ZIPs were asked for; False when the process ended first."""
    deadline = time.monotonic() + 60
    while files_asked_for(exchange) < count:
        assert time.monotonic() < deadline
        if process.poll() is not None:
            return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_points_and_run_again_it_equals_an_undisturbed_run(
    make_installation: MakeInstallation, unlimited: ReplicaHandle, tmp_path: Path, kind: str
) -> None:
    undisturbed = make_installation(unlimited, name="undisturbed", kind=kind)
    assert start(undisturbed, tmp_path / "undisturbed.log", "--intervals", "5m,1h").wait(120) == 0
    whole = files_asked_for(unlimited)

    killed = make_installation(unlimited, name="killed", kind=kind)
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    interrupted = 0
    for number in range(4 if kind == "mariadb" else 3):
        unlimited.reset_stats()
        process = start(killed, tmp_path / f"killed-{number}.log", "--intervals", "5m,1h")
        if await_files(unlimited, rng.randint(1, whole // 6), process):
            try:
                process.wait(rng.uniform(0, 0.4))
            except subprocess.TimeoutExpired:
                process.kill()
                interrupted += 1
        process.wait(10)
    last = tmp_path / "last.log"
    assert start(killed, last, "--intervals", "5m,1h").wait(120) == 0, last.read_text()
    assert interrupted, f"seed {seed}: every run ended before it was killed"
    assert_same(left_behind(undisturbed), left_behind(killed), f"seed {seed}")
    spool = killed.settings.var_dir / "spool"
    assert [path.name for path in spool.rglob("*") if path.is_file() and path.stat().st_size] == []


def test_interrupted_it_keeps_what_it_has_and_goes_on_without_repeating(
    make_installation: MakeInstallation, unlimited: ReplicaHandle, tmp_path: Path
) -> None:
    undisturbed, stopped = (make_installation(unlimited, name=name) for name in ("undisturbed", "stopped"))
    assert start(undisturbed, tmp_path / "undisturbed.log", "--intervals", "5m,1h").wait(120) == 0
    whole = files_asked_for(unlimited)
    unlimited.reset_stats()

    process = start(stopped, tmp_path / "stopped.log", "--intervals", "5m,1h")
    assert await_files(unlimited, whole // 2, process), (tmp_path / "stopped.log").read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, (tmp_path / "stopped.log").read_text()
    assert "run the same command again" in (tmp_path / "stopped.log").read_text()
    settled = stopped.rows("SELECT COUNT(*) FROM series_month WHERE state = 'whole'")[0][0]
    assert start(stopped, tmp_path / "again.log", "--intervals", "5m,1h").wait(120) == 0
    assert_same(left_behind(undisturbed), left_behind(stopped))
    again = files_asked_for(unlimited)
    assert settled > 0
    assert again < whole * 2, "what was settled before the interruption was asked for again"


def test_two_at_once_leave_what_one_leaves(
    make_installation: MakeInstallation, unlimited: ReplicaHandle, tmp_path: Path
) -> None:
    alone, together = (make_installation(unlimited, name=name) for name in ("alone", "together"))
    assert start(alone, tmp_path / "alone.log", "--intervals", "15m,1d").wait(120) == 0
    running = [start(together, tmp_path / f"together-{n}.log", "--intervals", "15m,1d") for n in range(2)]
    assert [process.wait(120) for process in running] == [0, 0], (tmp_path / "together-0.log").read_text()
    assert_same(left_behind(alone), left_behind(together))


def test_a_network_that_is_away_for_a_while_is_waited_for(
    make_installation: MakeInstallation, unlimited: ReplicaHandle, tmp_path: Path
) -> None:
    undisturbed, cut = (make_installation(unlimited, name=name) for name in ("undisturbed", "cut"))
    assert start(undisturbed, tmp_path / "undisturbed.log", "--intervals", "15m").wait(120) == 0
    unlimited.reset_stats()
    process = start(cut, tmp_path / "cut.log", "--intervals", "15m")
    assert await_files(unlimited, 3, process), (tmp_path / "cut.log").read_text()
    unlimited.cut_network(12)
    assert process.wait(120) == 0, (tmp_path / "cut.log").read_text()
    assert_same(left_behind(undisturbed), left_behind(cut))
