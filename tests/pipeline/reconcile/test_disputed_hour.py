"""A repair and the hourly load of one hour at the same time leave what either leaves alone, and true receipts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tests.fixtures.forks import Forked
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation

SYMBOLS = "BTC/USDT:USDT,ETH/USDT:USDT,BTC/USDT,DOGE/USDT:USDT"
SERIES = ("--symbols", SYMBOLS, "--intervals", "1m,5m,15m,1h")
HOUR = ("--start", "2026-11-15T11:00", "--end", "2026-11-15T12:00")
LOAD = ("etl", "ohlcv", *HOUR, *SERIES)
REPAIR = ("gaps", *HOUR, *SERIES, "--fill")
BARS = 4 * (60 + 12 + 4 + 1)


def start(installation: Installation, *command: str) -> subprocess.Popen[str]:
    return Forked(
        [sys.executable, "-m", "gapless", *command, "--json"],
        env=installation.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, f"{out}\n{err}"
    report: dict[str, Any] = json.loads(out)
    return report


def values(bars: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Bars as they are, not how they came."""
    return [bar[:-1] for bar in bars]


def assert_true_receipts(installation: Installation) -> None:
    """Every bar names a receipt on record, and each receipt's count of what it brought is that of its bars."""
    held = Counter(row[0] for row in installation.rows("SELECT receipt_id FROM ohlcv"))
    receipts = {row[0]: row[1:] for row in installation.rows("SELECT id, loaded, restated, `rows` FROM load_receipt")}
    assert held.keys() <= receipts.keys()
    for number, (loaded, restated, _) in receipts.items():
        assert held[number] == loaded, number
        assert restated == 0
    assert sum(loaded for loaded, _, _ in receipts.values()) == len(installation.bars()) == BARS


def settled(installation: Installation) -> dict[str, Any]:
    return {
        "bars": values(installation.mysql_bars()),
        "lake": values(installation.lake_bars()) if (installation.lake / "ohlcv").exists() else [],
        "restated": installation.rows("SELECT COUNT(*) FROM restatement"),
        "quarantined": installation.rows("SELECT COUNT(*) FROM quarantine"),
        "standing": installation.rows("SELECT COUNT(*) FROM data_gap_log WHERE state NOT IN ('filled', 'unfillable')"),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_repair_beside_the_hourly_load_of_the_same_hour(
    replica: ReplicaHandle, make_installation: MakeInstallation, kind: str
) -> None:
    replica.limits(um={"weight_per_minute": 10**8}, spot={"weight_per_minute": 10**8})
    loaded, repaired = (make_installation(replica, kind=kind, name=name) for name in ("loaded", "repaired"))
    ended(start(loaded, *LOAD))
    alone = settled(loaded)
    report = ended(start(repaired, *REPAIR))
    assert (report["filled"], report["missing"], report["failed"]) == (BARS, 0, 0)
    assert settled(repaired) | {"lake": alone["lake"]} == alone
    for installation in (loaded, repaired):
        assert_true_receipts(installation)

    # Answers that take a while, so that both hold theirs when the other comes to write.
    replica.faults({"match": {"path": "*/klines"}, "action": {"delay_ms": 60}})
    orders = ((REPAIR, LOAD, REPAIR), (LOAD, REPAIR), (REPAIR, LOAD))
    for number, order in enumerate(orders if kind == "mariadb" else orders[:1]):
        both = make_installation(replica, kind=kind, name=f"both-{number}")
        running = [start(both, *command) for command in order]
        for process in running:
            ended(process)
        assert settled(both) == alone, order
        assert_true_receipts(both)
        after = ended(start(both, *REPAIR))
        assert (after["missing"], after["filled"], after["different"], after["extra"]) == (0, 0, 0, 0)
        assert settled(both) == alone
