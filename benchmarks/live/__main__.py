"""The live side, judged: against cryptofeed, at 20,000 messages a second, in bursts, with 600 books, under faults.

    python -m benchmarks.live [--rounds 5] [--only cpu latency ...]

The sender, Redis and what is measured run on this machine at once; the measured process has a core of its own. Every
comparison is of runs in turn on the same feed, medians of the rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.live import against, faults, holding, writer
from benchmarks.live.feed import Feed, Shape
from benchmarks.live.machine import bare_redis, cores, sender
from benchmarks.live.verdict import Verdicts

_MINUTE_S = 60.0


def main() -> int:
    """Status 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", default=[], help="cpu, latency, rate, burst, writer, faults, books, streams"
    )
    asked = parser.parse_args()
    where, verdicts, feed = cores(), Verdicts(), Feed(Shape())
    print(f"  {where}")
    with (
        tempfile.TemporaryDirectory() as folder,
        bare_redis(where.others) as redis,
        sender(where.others) as source,
    ):
        home, rounds = Path(folder), asked.rounds
        figures: dict[str, Callable[[], None]] = {
            "cpu": lambda: against.compare_cpu(verdicts, source, redis, feed, home, where, rounds),
            "latency": lambda: against.compare_latency(verdicts, source, redis, feed, home, where, rounds),
            "rate": lambda: holding.hold_rate(verdicts, source, redis, feed, home, where, _MINUTE_S),
            "burst": lambda: holding.hold_burst(verdicts, source, redis, feed, home, where),
            "writer": lambda: writer.compare(verdicts, redis, where, rounds),
            "faults": lambda: faults.measure(verdicts, redis, home, where),
            "books": lambda: holding.hold_books_both_ways(verdicts, redis, home, where),
            "streams": lambda: holding.hold_streams(verdicts, redis, home, where),
        }
        unknown = set(asked.only) - set(figures)
        if unknown:
            parser.error(f"--only knows {', '.join(figures)}; not {', '.join(sorted(unknown))}")
        for name, figure in figures.items():
            if not asked.only or name in asked.only:
                began = time.monotonic()
                figure()
                print(f"  [{name}: {time.monotonic() - began:.0f} s]", flush=True)
    if verdicts.missed:
        print(f"  missed: {'; '.join(verdicts.missed)}")
    return 1 if verdicts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
