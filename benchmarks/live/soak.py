"""The long ones: ten minutes at 20,000 messages a second, and an hour of load with Redis stalled now and then.

    python -m benchmarks.live.soak [--minutes 10] [--stalls 60]

In the hour Redis stands still for 30 s of every five minutes (SIGSTOP): memory must be flat and below its bound, and
every trade written once: what waits too long goes by the disk, only diffs of books are merged.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.live.contenders import OURS
from benchmarks.live.feed import TRADE, Feed, Shape
from benchmarks.live.holding import hold_rate
from benchmarks.live.machine import BareRedis, Cores, SenderHandle, bare_redis, cores, rss_bytes, sender
from benchmarks.live.runs import RunError, running
from benchmarks.live.verdict import Verdicts, median

_SYMBOLS, _RATE = 600, 6000.0
_EVERY_S, _STALL_S, _LOOK_S = 300.0, 30.0, 5.0
GROWTH, MOST_MB = 1.05, 400.0
"""Median memory of the last quarter against that of the second, the first being for filling up."""


def hold_stalls(
    verdicts: Verdicts, source: SenderHandle, redis: BareRedis, feed: Feed, home: Path, where: Cores, minutes: float
) -> None:
    """Load while Redis stalls again and again."""
    what = f"{minutes:.0f} minutes with stalls of Redis"
    seen: list[float] = []
    try:
        with running(OURS, source, redis, feed, home, where) as run:
            first, trades = run.at_rest()
            source.rate(_RATE)
            began = stalled = time.monotonic()
            while time.monotonic() - began < minutes * 60:
                time.sleep(_LOOK_S)
                seen.append(rss_bytes(run.process.pid) / 1e6)
                if run.process.poll() is not None:
                    raise RunError("the sidecar ended")
                if time.monotonic() - stalled > min(_EVERY_S, minutes * 60 / 4):
                    stalled = time.monotonic()
                    os.kill(redis.pid, signal.SIGSTOP)
                    try:
                        time.sleep(min(_STALL_S, minutes * 60 / 20))
                    finally:
                        os.kill(redis.pid, signal.SIGCONT)
            last, written = run.at_rest()
            sent = feed.count(TRADE, last) - feed.count(TRADE, first)
            print(f"  {last - first:,} messages, {sent:,} trades; {run.told()} events in md.gaps")
    except RunError as error:
        verdicts.failed(what, error)
        return
    quarter = len(seen) // 4
    print(f"  memory: {seen[0]:.0f} MB at first, {max(seen):.0f} at most, {seen[-1]:.0f} at last")
    growth = median(seen[-quarter:]) / median(seen[quarter : 2 * quarter])
    verdicts.at_most(f"{what}: memory, last quarter to second", growth, GROWTH, "x")
    verdicts.at_most(f"{what}: memory at most", max(seen), MOST_MB, " MB")
    verdicts.at_most(f"{what}: trades lost or doubled", abs(sent - (written - trades)), 0)


def main() -> int:
    """Status 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="at 20,000 messages a second; 0: not")
    parser.add_argument("--stalls", type=float, default=60.0, help="minutes of load with stalls; 0: not")
    parser.add_argument("--rounds", type=int, help="of no use here; given to every benchmark")
    asked = parser.parse_args()
    where, verdicts = cores(), Verdicts()
    with tempfile.TemporaryDirectory() as folder, bare_redis(where.others) as redis:
        if asked.minutes:
            with sender(where.others) as source:
                hold_rate(verdicts, source, redis, Feed(Shape()), Path(folder), where, asked.minutes * 60)
        if asked.stalls:
            with sender(where.others, "--symbols", str(_SYMBOLS)) as source:
                feed = Feed(Shape(symbols=_SYMBOLS))
                hold_stalls(verdicts, source, redis, feed, Path(folder), where, asked.stalls)
    if verdicts.missed:
        print(f"  missed: {'; '.join(verdicts.missed)}")
    return 1 if verdicts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
