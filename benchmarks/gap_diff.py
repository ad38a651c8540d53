"""The daily comparison with the exchange, 600 USD-M perpetuals in six intervals, and its look at the stores alone.

    python -m benchmarks.gap_diff [--symbols 600] [--rounds 3] [--server mariadb|mysql|both]

The exchange is a replica on this machine, its limits lifted, so that nothing is waited for: what is measured is work.
Each round is `gapless gaps` over one day as a process of its own; its processor time is its own, the replica's is told
beside it. Memory is the process's high water mark. The look at the stores alone (`scan`: counts, and open times of what
falls short, with 200 series that lack a stretch) is held against the bare query, interleaved, medians.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from contextlib import closing
from typing import Any

from benchmarks.day600 import DAY, Day600, Ran, days600
from gapless.config import load_settings
from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import Window
from gapless.pipeline.backfill.pieces import Series
from gapless.pipeline.reconcile.local import scan
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import read_lives

FLOOR_S = 120.0
FLOOR_BYTES = 500e6
FLOOR_RATIO = 1.5
SHORT = 200
LOOKS = 5

COUNT = (
    "SELECT symbol, `interval`, COUNT(*) FROM ohlcv WHERE exchange = 'binance' AND ts >= '2026-11-14'"
    " AND ts < '2026-11-15' GROUP BY symbol, `interval`"
)


def compare(day: Day600, rounds: int) -> bool:
    """Print what a comparison of the whole day takes; whether its floors are kept."""
    plan = day.command("gaps", *day.window, "--plan").report
    ran: list[Ran] = []
    for _ in range(rounds):
        day.exchange.reset_stats()
        ran.append(day.command("gaps", *day.window))
        counted = day.exchange.stats()["um"]
        expect_clean(ran[-1], day)
    seconds = statistics.median(one.seconds for one in ran)
    cpu = statistics.median(one.cpu_s for one in ran)
    replica = statistics.median(one.replica_cpu_s for one in ran)
    peak = max(one.peak_bytes for one in ran)
    requests, weight = sum(counted["requests"].values()), counted["weight_total"]
    print(f"  {ran[-1].report['checked']:,} bars compared, {requests:,} requests of {weight:,} weight"
          f" (planned: {plan['requests']:,} of {plan['weight']:,}; {plan['minutes']:.1f} min of budget)")  # fmt: skip
    print(f"  {seconds:.1f} s, {cpu:.1f} s of processor ({replica:.1f} s more of the replica's)"
          f" (floor: under {FLOOR_S:.0f} s){said(seconds <= FLOOR_S)}")  # fmt: skip
    print(f"  peak {peak / 1e6:.0f} MB (floor: under {FLOOR_BYTES / 1e6:.0f} MB){said(peak <= FLOOR_BYTES)}")
    return seconds <= FLOOR_S and peak <= FLOOR_BYTES


def expect_clean(ran: Ran, day: Day600) -> None:
    """Stop unless every bar was compared and found equal."""
    found = {
        name: ran.report.get(name) for name in ("checked", "missing", "extra", "different", "unfillable", "failed")
    }
    wanted = {**dict.fromkeys(found, 0), "checked": day.rows}
    if found != wanted:
        raise SystemExit(f"the day is not what the replica serves: {found}, not {wanted}; {ran.report.get('errors')}")


def look(day: Day600) -> bool:
    """Print what the look at the stores alone takes; whether its floor is kept."""
    with Runtime.open(load_settings(**day.settings)) as rt:
        lives = read_lives(rt.db, "binance", Market.UM)
        series = [
            Series(Dataset.OHLCV, Market.UM, symbol, interval, tuple(windows(lives[symbol])), (symbol,))
            for symbol in day.symbols
            for interval in ALL_INTERVALS
        ]
        planted = shorten(day, series)
        ours: list[float] = []
        theirs: list[float] = []
        with closing(day.server.root()) as connection, closing(connection.cursor()) as cursor:
            for number in range(LOOKS + 1):  # the first warms both
                began = time.perf_counter()
                cursor.execute(COUNT)
                cursor.fetchall()
                between = time.perf_counter()
                found = scan(rt, series, DAY)
                ended = time.perf_counter()
                if number:
                    theirs.append(between - began)
                    ours.append(ended - between)
    told = {key: opens.tolist() for key, opens in found.items()}
    if told != planted:
        raise SystemExit(f"the look found {len(told)} short series, {len(planted)} were planted")
    mine, bare = statistics.median(ours), statistics.median(theirs)
    ratio = mine / bare
    print(f"  {len(told)} short series found to the bar in {mine * 1000:.0f} ms, the bare count alone {bare * 1000:.0f}"
          f" ms: {ratio:.2f}x (floor: at most {FLOOR_RATIO}x){said(ratio <= FLOOR_RATIO)}")  # fmt: skip
    return ratio <= FLOOR_RATIO


def windows(lives: Any) -> list[Window]:
    """Lifetimes as windows; one that goes on ends far away."""
    return [Window(life.listed_ms or 0, life.delisted_ms or 1 << 52) for life in lives]


def shorten(day: Day600, series: list[Series]) -> dict[tuple[str, Interval], list[int]]:
    """Delete a stretch of one to sixty bars from 200 series; what is missing then."""
    draw = random.Random(3)
    planted: dict[tuple[str, Interval], list[int]] = {}
    with day.server.db.engine.begin() as connection:
        for one in draw.sample(series, SHORT):
            assert one.interval is not None
            opens = list(one.interval.opens(DAY))
            count = min(len(opens), draw.randint(1, 60))
            first = draw.randrange(len(opens) - count + 1)
            gone = opens[first : first + count]
            planted[one.symbol, one.interval] = gone
            connection.exec_driver_sql(
                "DELETE FROM ohlcv WHERE symbol = %s AND `interval` = %s AND ts BETWEEN"
                " '1970-01-01' + INTERVAL %s SECOND AND '1970-01-01' + INTERVAL %s SECOND",
                (one.symbol, str(one.interval), gone[0] // 1000, gone[-1] // 1000),
            )
    return planted


def said(kept: bool) -> str:
    """What stands behind a figure that misses its floor."""
    return "" if kept else "   MISSES THE FLOOR"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3, help="comparisons of the whole day (the median counts)")
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="both")
    asked = parser.parse_args()
    kept = True
    with days600(asked.server, symbols=asked.symbols) as days:
        for number, day in enumerate(days):
            print(f"\n{day.server.db.dialect}: {day.rows:,} bars, made and stored in {day.filled_s:.0f} s", flush=True)
            kept &= compare(day, asked.rounds if number == 0 else 1)
            kept &= look(day)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
