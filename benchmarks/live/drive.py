"""Drive one contender, or several, and print what they do: `python -m benchmarks.live.drive`.

    python -m benchmarks.live.drive --who ours cryptofeed --saturated 5 --rates 5000 20000 --seconds 8

For working on the sidecar; `python -m benchmarks.live` judges.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.live.contenders import OURS, OURS_RAW, OURS_WEBSOCKETS, THEIRS, cryptofeed_python
from benchmarks.live.feed import Feed, Shape
from benchmarks.live.machine import bare_redis, cores, sender
from benchmarks.live.runs import RunError, running

WHO = {"ours": OURS, "websockets": OURS_WEBSOCKETS, "raw": OURS_RAW, "cryptofeed": THEIRS}


def main() -> int:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--who", nargs="+", choices=WHO, default=["ours"])
    parser.add_argument("--saturated", type=float, default=5.0, help="seconds; 0: not")
    parser.add_argument("--rates", type=float, nargs="*", default=[5000.0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of a paced run")
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    feed, where, status = Feed(Shape(symbols=asked.symbols)), cores(), 0
    if "cryptofeed" in asked.who:
        cryptofeed_python()
    print(f"  {where}")
    with (
        tempfile.TemporaryDirectory() as folder,
        bare_redis(where.others) as redis,
        sender(where.others, "--symbols", str(asked.symbols)) as source,
    ):
        home = Path(folder)
        for who in asked.who * asked.rounds:
            try:
                if asked.saturated:
                    with running(WHO[who], source, redis, feed, home, where) as run:
                        print(f"  {WHO[who].name:24} {run.saturate(asked.saturated)}", flush=True)
                for rate in asked.rates:
                    with running(WHO[who], source, redis, feed, home, where, stamped=True) as run:
                        print(f"  {WHO[who].name:24} {run.pace(rate, asked.seconds)}", flush=True)
            except RunError as error:
                status = 1
                print(f"  {error}")
                for log in home.glob("*.log"):
                    print(log.read_text()[-2000:])
    return status


if __name__ == "__main__":
    sys.exit(main())
