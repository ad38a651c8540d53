"""`gapless quality` over one day of 600 USD-M perpetuals: the daily rules and the Great Expectations suites.

    python -m benchmarks.quality [--symbols 600] [--rounds 3] [--server mariadb|mysql]

Each round is a process of its own, so that the import is in it. The day is sound (bars, funding, metrics), and the only
one that is stored: the comparison of its activity with the week before finds no week.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from benchmarks.day600 import Day600, Ran, days600
from benchmarks.gap_diff import said

FLOOR_S = 90.0


def judge(day: Day600, rounds: int) -> bool:
    """Print what judging the day takes; whether the floor is kept."""
    ran = [day.command("quality", "--day", "2026-11-14") for _ in range(rounds)]
    expect_judged(ran[-1], day)
    seconds = statistics.median(one.seconds for one in ran)
    suites = ran[-1].report["expectations"]["suites"]
    evaluated = sum(suite["evaluated"] for suite in suites)
    rows = sum(suite["rows"] for suite in suites)
    print(f"  {evaluated} expectations in {len(suites)} suites over {rows:,} rows, and the daily rules over"
          f" {ran[-1].report['rules']['rows']:,} bars")  # fmt: skip
    cpu, peak = statistics.median(one.cpu_s for one in ran), max(one.peak_bytes for one in ran)
    print(f"  {seconds:.1f} s, {cpu:.1f} s of processor, peak {peak / 1e6:.0f} MB"
          f" (floor: under {FLOOR_S:.0f} s){said(seconds <= FLOOR_S)}")  # fmt: skip
    return seconds <= FLOOR_S


def expect_judged(ran: Ran, day: Day600) -> None:
    """Stop unless every rule was evaluated over the whole day and nothing critical was found on a sound one."""
    rules, expected = ran.report["rules"], ran.report["expectations"]
    short = [suite["name"] for suite in expected["suites"] if suite["evaluated"] != suite["expected"]]
    if rules["rows"] != day.rows or rules["errors"] or short or ran.report["state"] != "clean":
        failures = [failure["text"] for suite in expected["suites"] for failure in suite["failures"]]
        raise SystemExit(
            f"the day was not judged as a sound one: {ran.report['state']}, {rules['rows']:,} bars of {day.rows:,},"
            f" short of expectations: {short}, rules: {rules['errors'] or rules['findings'][:3]}, {failures[:3]}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3, help="measurements (the median counts)")
    parser.add_argument("--server", choices=["mariadb", "mysql"], default="mariadb")
    asked = parser.parse_args()
    kept = True
    with days600(asked.server, symbols=asked.symbols) as days:
        for day in days:
            print(f"\n{day.server.db.dialect}: {day.rows:,} bars, made and stored in {day.filled_s:.0f} s", flush=True)
            kept &= judge(day, asked.rounds)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
