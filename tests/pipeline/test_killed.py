"""Killed anywhere, and done by two at once: what is left equals an undisturbed run, to the last byte of the lake."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from gapless.domain.window import HOUR_MS, Window, iso
from tests.fixtures.forks import Forked
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import NOON, Installation, MakeInstallation

SYMBOLS = "BTC/USDT,BTC/USDT:USDT,ETH/USDT:USDT,币安人生/USDT:USDT"
DAY = Window(NOON.end_ms - 24 * HOUR_MS, NOON.end_ms)

PASSING = ("_tmp/", "_superseded/")
"""Zones of the lake that tell how a run went: unfinished objects, and what was kept of replaced ones."""


def start(installation: Installation, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gapless", "etl", "ohlcv", "--start", iso(DAY.start_ms), "--end", iso(DAY.end_ms)]
    with log.open("wb") as stream:
        return Forked(
            [*command, "--symbols", SYMBOLS, "--json"], env=installation.environment, stdout=stream, stderr=stream
        )


def asked_for(exchange: ReplicaHandle) -> int:
    """Requests that the exchange was asked since its counts were reset."""
    stats = exchange.stats()
    return sum(int(stats[market]["requests_total"]) for market in ("spot", "um"))


def await_requests(exchange: ReplicaHandle, count: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the exchange was asked so often; False when the process ended first."""
    deadline = time.monotonic() + 60
    while asked_for(exchange) < count:
        assert time.monotonic() < deadline
        if process.poll() is not None:
            return False
    return True


def left_behind(installation: Installation) -> dict[str, object]:
    """Everything two runs must agree on: bars with their receipts' ids, books, and every byte of the lake."""
    return {
        "bars": installation.bars(),
        "receipts": installation.rows("SELECT id, batch_key, ordinal, `rows`, digest FROM load_receipt ORDER BY id"),
        "not archived": installation.rows("SELECT id FROM load_receipt WHERE archived_at IS NULL"),
        "restated": installation.rows("SELECT COUNT(*) FROM restatement"),
        "objects": installation.rows("SELECT sha256, content_digest, `rows`, state FROM archive_receipt ORDER BY 1"),
        "series": installation.rows(
            "SELECT symbol, `interval`, day, `rows`, sha256 FROM archive_series ORDER BY 1,2,3"
        ),
        "lake": {key: data for key, data in installation.lake_files().items() if not key.startswith(PASSING)},
    }


def test_killed_at_random_points_and_run_again_it_equals_an_undisturbed_run(
    make_installation: MakeInstallation, replica: ReplicaHandle, tmp_path: Path
) -> None:
    replica.limits(um={"weight_per_minute": 10**6}, spot={"weight_per_minute": 10**6})
    undisturbed = make_installation(replica, name="undisturbed", budget_share=1.0)
    assert start(undisturbed, tmp_path / "undisturbed.log").wait(120) == 0
    whole = asked_for(replica)

    killed = make_installation(replica, name="killed", budget_share=1.0)
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    interrupted = 0
    for number in range(5):
        replica.reset_stats()
        process = start(killed, tmp_path / f"killed-{number}.log")
        if await_requests(replica, rng.randint(1, whole), process):
            try:
                process.wait(rng.uniform(0, 0.5))
            except subprocess.TimeoutExpired:
                process.kill()
                interrupted += 1
        process.wait(10)
    assert start(killed, tmp_path / "last.log").wait(120) == 0, (tmp_path / "last.log").read_text()

    assert interrupted, f"seed {seed}: every run ended before it was killed"
    expected, found = left_behind(undisturbed), left_behind(killed)
    for what, value in expected.items():
        assert found[what] == value, f"seed {seed}: {what} differs"
    assert [key for key in killed.lake_files() if key.startswith(("_tmp/", "_work/"))] == []


def test_two_runs_of_the_same_window_at_once_leave_what_one_leaves(
    make_installation: MakeInstallation, replica: ReplicaHandle, tmp_path: Path
) -> None:
    replica.limits(um={"weight_per_minute": 10**6}, spot={"weight_per_minute": 10**6})
    alone, together = (make_installation(replica, name=name, budget_share=1.0) for name in ("alone", "together"))
    assert start(alone, tmp_path / "alone.log").wait(120) == 0
    running = [start(together, tmp_path / f"together-{number}.log") for number in range(2)]
    assert [process.wait(120) for process in running] == [0, 0], (tmp_path / "together-0.log").read_text()
    expected, found = left_behind(alone), left_behind(together)
    for what, value in expected.items():
        assert found[what] == value, f"{what} differs"
