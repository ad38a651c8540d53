"""The hourly DAG in Airflow for 600 perpetuals in six intervals, against a replica on this machine.

    python -m benchmarks.hourly_dag [--symbols 600] [--rounds 3]

Starts a native stack of its own (own folder, ports, databases) on a replica whose limits are lifted, so that nothing is
waited for; the weight that the hours would cost is the replica's own count. Each round triggers `ohlcv_etl` for other
hours: one that closes minutes to hours, one that closes 4h bars, one that ends at midnight. Floor: 60 s for the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from gapless.config import environment, project_root
from gapless.domain.window import HOUR_MS, Window, iso
from gapless.stack.hourly import DAG_ID
from gapless.stack.layout import Layout
from gapless.stack.native import NativeStack
from tests.fixtures.replica import ReplicaHandle, start_replica

FLOOR_S = 60.0
LIFTED = 10**7
HOURS = {"an ordinary hour": 14, "an hour that closes 4h bars": 15, "the hour before midnight": 23}
TIMEOUT_S = 400.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    replica = start_replica("--generate", "11", "--symbols", str(asked.symbols), "--um-weight", str(LIFTED))
    try:
        with tempfile.TemporaryDirectory(prefix="gapless-bench-") as home:
            result = measure(replica, Path(home), asked.rounds)
    finally:
        replica.stop()
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0 if result["slowest median, s"] <= FLOOR_S else 1


def measure(replica: ReplicaHandle, home: Path, rounds: int) -> dict[str, Any]:
    """Seconds of each run by kind of hour, and the replica's count of one hour of each."""
    home.chmod(0o755)  # PostgreSQL runs as another user and must reach its folder
    watchlist = home / "symbols.yaml"
    watchlist.write_text("markets: {um: 'all:USDT'}\nintervals: all\n")
    values = {
        "GAPLESS_VAR_DIR": str(home / "var"),
        "GAPLESS_BINANCE_SPOT_REST_URL": replica.spot_rest,
        "GAPLESS_BINANCE_UM_REST_URL": replica.um_rest,
        "GAPLESS_SYMBOLS_FILE": str(watchlist),
    }
    around = {**environment(), **values}
    gapless = [sys.executable, "-m", "gapless"]
    subprocess.run([*gapless, "up", "--real"], env=around, check=True)
    try:
        stack = NativeStack(Layout.of(project_root(), home / "var"), environment=around, say=print)
        api = stack.api()
        deadline = time.monotonic() + 120
        while api.find_dag(DAG_ID) is None and time.monotonic() < deadline:
            time.sleep(0.5)
        api.unpause(DAG_ID)
        _wait(api, _scheduled(api))  # the run that unpausing starts: the newest hour and 48 before it
        today = replica.now_ms() // (24 * HOUR_MS) * 24 * HOUR_MS
        took: dict[str, list[float]] = {kind: [] for kind in HOURS}
        counted: dict[str, dict[str, int]] = {}
        for day in range(rounds):
            for kind, hour in HOURS.items():
                start = today - (10 + day) * 24 * HOUR_MS + hour * HOUR_MS
                window = Window(start, start + HOUR_MS)
                replica.reset_stats()
                conf = {"start": iso(window.start_ms), "end": iso(window.end_ms)}
                run = _wait(api, api.trigger(DAG_ID, note="benchmark", conf=conf)["dag_run_id"])
                took[kind].append(_seconds(run))
                um = replica.stats()["um"]
                counted[kind] = {"requests": sum(um["requests"].values()), "weight": um["weight_total"]}
    finally:
        subprocess.run([*gapless, "down"], env=around, check=True)
    medians = {kind: round(statistics.median(times), 1) for kind, times in took.items()}
    return {
        "seconds of a run": medians,
        "all rounds": {kind: [round(each, 1) for each in times] for kind, times in took.items()},
        "replica's count of a run": counted,
        "slowest median, s": max(medians.values()),
        "floor, s": FLOOR_S,
    }


def _scheduled(api: Any) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if runs := api.runs(DAG_ID):
            return str(runs[0]["dag_run_id"])
        time.sleep(0.5)
    return str(api.trigger(DAG_ID, note="benchmark")["dag_run_id"])


def _wait(api: Any, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        run: dict[str, Any] = api.run(DAG_ID, run_id)
        if run["state"] == "success":
            return run
        if run["state"] == "failed" or time.monotonic() > deadline:
            raise SystemExit(f"run {run_id} is {run['state']} after {TIMEOUT_S:.0f} s at most")
        time.sleep(0.5)


def _seconds(run: dict[str, Any]) -> float:
    started, ended = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
    return (ended - started).total_seconds()


if __name__ == "__main__":
    sys.exit(main())
