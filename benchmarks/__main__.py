"""`make bench`: every benchmark, one after another, each printing ratios of its own run; `--soak` the long ones.

python -m benchmarks                   all of them, at most 30 minutes
python -m benchmarks normalise loader  some of them
python -m benchmarks --list
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time

BENCHMARKS = {
    "normalise": "payloads to canonical bars, against the loader",
    "lake": "an hour merged into a full day; exact Parquet against plain",
    "loader": "the loader against executemany, to_sql and server-side LOAD DATA, on both servers",
    "spec_query": "the specification's query at 20 M rows, on both servers",
    "border": "a window that straddles MySQL and lake, against the same window all in the lake",
    "backfill": "archive files to MySQL and lake, against the loader and other projects; memory, re-run",
    "gap_diff": "a day of 600 perpetuals compared with the exchange; the look at the stores against a bare count",
    "quality": "a day of 600 perpetuals judged by rules and suites, import included",
    "export": "a month of 13.8 M bars into the lake, proved, against a typed cursor; memory, size",
    "live": "the sidecar against cryptofeed: messages a processor second, latency; 20 k/s, bursts, memory, faults",
    "hourly_dag": "the whole hourly DAG in Airflow, 600 perpetuals in six intervals",
}
SOAKS = {
    "live.soak": "the sidecar at 20 k/s for ten minutes; an hour of load with stalls of Redis, memory flat",
    "live.outages": "the sidecar with MySQL away for ten minutes and no network for five: all there afterwards",
}
"""With `--soak`, or when named."""
LIMIT_S, SOAK_LIMIT_S = 900, 5400


def main() -> int:
    """Run what is asked for; status 1 when one of them fails or misses a floor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, *SOAKS, []], help="which ones (default: all)")
    parser.add_argument("--soak", action="store_true", help="three times the rounds")
    parser.add_argument("--list", action="store_true", help="name them and stop")
    asked = parser.parse_args()
    if asked.list:
        for name, what in {**BENCHMARKS, **SOAKS}.items():
            print(f"{name:12} {what}")
        return 0
    failed = []
    known = {**BENCHMARKS, **SOAKS}
    for name in asked.names or (known if asked.soak else BENCHMARKS):
        print(f"\n== {name}: {known[name]}", flush=True)
        importlib.import_module(f"benchmarks.{name}")  # a typing error shows before the long ones have run
        began = time.monotonic()
        rounds = ["--rounds", "9"] if asked.soak else []
        limit_s = SOAK_LIMIT_S if asked.soak or name in SOAKS else LIMIT_S
        try:
            status = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *rounds], timeout=limit_s).returncode
        except subprocess.TimeoutExpired:
            status = 1
            print(f"{name} was ended after {limit_s} s")
        print(f"== {name}: {'done' if status == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        if status:
            failed.append(name)
    if failed:
        print(f"\nfailed or below a floor: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
