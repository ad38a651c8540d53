"""A window that straddles the border of the stores, against the same window all in the lake.

    python -m benchmarks.border [--symbols 50] [--rounds 5] [--server mariadb|mysql|both]

The older half of the window lies in the lake, the newer in MySQL, read by the same function (`read_everywhere`). One
symbol in 1m bars over six months, in the lake as days (as hourly runs leave them) and in buckets (as a cold back-fill
does), and many symbols in 1h bars. Interleaved, medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.loader import day_of_bars
from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.config import load_settings
from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.read import read_everywhere
from gapless.pipeline.runtime import Runtime
from gapless.storage.lake import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.layout import bucket_of
from gapless.storage.mysql import Draft, Scope, load_bars

FLOOR = 1.5
"""A straddling window takes at most so many times the time of the same window all in the lake."""
SIX_MONTHS = Window.of("2026-05-01", "2026-11-01")
BORDER_MS = Window.of("2026-08-01", "2026-11-01").start_ms
OVER, LAKE = "OVER/USDT:USDT", "LAKE/USDT:USDT"
"""Symbols of the same bars: one that straddles the border, one all in the lake."""
NEIGHBOURS = 20
"""Other symbols in the lake's days: a day of one symbol alone is no day of the lake."""


def series(symbol: str, interval: Interval, window: Window) -> pa.Table:
    """All bars of one series that open in the window, with as many digits as real ones."""
    count = window.length_ms // interval.ms
    bars = day_of_bars(-(-count // 1440) * 1440).slice(0, count)
    times = pa.array(np.arange(window.start_ms, window.end_ms, interval.ms)).cast(bars.schema.field("ts").type)
    columns = {"symbol": pa.repeat(symbol, count), "interval": pa.repeat(str(interval), count), "ts": times}
    for name, column in columns.items():
        bars = bars.set_column(bars.schema.names.index(name), bars.schema.field(name), column)
    return bars.combine_chunks()


def within(bars: pa.Table, window: Window) -> pa.Table:
    ts = bars["ts"].cast(pa.int64()).to_numpy()
    return bars.filter(pa.array((ts >= window.start_ms) & (ts < window.end_ms))).combine_chunks()


def load(rt: Runtime, bars: pa.Table, name: str) -> None:
    """Rows into MySQL, month by month."""
    for month in Window(BORDER_MS, SIX_MONTHS.end_ms).split_months():
        part = within(bars, month)
        key = f"{name}{month.start_ms}"
        load_bars(rt.db, part, Draft(key, "binance", Market.UM, month, Scope.of(()), complete=True, digest="0" * 64))


def renamed(bars: pa.Table, names: Sequence[str]) -> pa.Table:
    """The same bars under each of some names."""
    place = bars.schema.names.index("symbol")
    field = bars.schema.field(place)
    return pa.concat_tables([bars.set_column(place, field, pa.repeat(name, len(bars))) for name in names])


def in_days(lake: BarLake, bars: pa.Table) -> None:
    """An object for each day, of the two symbols and others of the same values."""
    others = [f"N{number:02}/USDT:USDT" for number in range(NEIGHBOURS)]
    for day in SIX_MONTHS.split(DAY_MS):
        names = [LAKE, *others] if day.start_ms >= BORDER_MS else [LAKE, OVER, *others]
        lake.write(renamed(within(bars, day), names))


def in_buckets(lake: BarLake, bars: pa.Table, spool: Path) -> None:
    """A bucket of each month for either symbol."""
    for month in SIX_MONTHS.split_months():
        for name in [LAKE] if month.start_ms >= BORDER_MS else [LAKE, OVER]:
            with lake.month_writer(
                Dataset.OHLCV, "binance", Interval.M1, month.start_ms, bucket_of(name), spool_dir=spool
            ) as writer:
                writer.add(renamed(within(bars, month), [name]))
                writer.finish()


def judge(
    what: str, rounds: int, rt: Runtime, over: Sequence[str], lake: Sequence[str], interval: Interval, *, judged: bool
) -> bool:
    """Read both ways in turns; whether the ratio of the medians is within the floor."""
    took: dict[str, list[float]] = {"straddling": [], "all in the lake": []}
    answers = {}
    for number in range(rounds + 1):
        for name, symbols in zip(took, (over, lake), strict=True):
            began = time.perf_counter()
            answers[name] = read_everywhere(rt, Dataset.OHLCV, symbols, [interval], SIX_MONTHS)
            if number:  # the first warms the caches of both
                took[name].append(time.perf_counter() - began)
    first, second = (answer.drop_columns(["symbol"]) for answer in answers.values())
    if not first.equals(second):
        raise AssertionError(f"{what}: the stores do not tell the same")
    straddling, alone = (statistics.median(each) for each in took.values())
    print(
        f"{what}, {first.num_rows:,} rows: straddling {straddling * 1000:.0f} ms, all in the lake {alone * 1000:.0f} "
        f"ms, ratio {straddling / alone:.2f} "
        + (f"(at most {FLOOR})" if judged else "(not judged: docs/decisions/0067)"),
        flush=True,
    )
    return not judged or straddling / alone <= FLOOR


def run(server: BenchServer, folder: Path, symbols: int, rounds: int) -> bool:
    settings = load_settings(var_dir=folder / "var", lake_uri=f"file://{folder}/lake", mysql_url="mysql://x:x@x/x")
    days, buckets = (
        Runtime(settings, server.db, BarLake(FileStore(folder / name), locks=server.db), 5.0, print)
        for name in ("days", "buckets")
    )
    minutes = series(OVER, Interval.M1, SIX_MONTHS)
    in_days(days.lake, minutes)
    in_buckets(buckets.lake, minutes, folder / "spool")
    load(days, minutes, "1m")
    pairs = [(f"S{number:02}/USDT:USDT", f"T{number:02}/USDT:USDT") for number in range(symbols)]
    over, lake = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    hours = series(OVER, Interval.H1, SIX_MONTHS)
    older = within(hours, Window(SIX_MONTHS.start_ms, BORDER_MS))
    days.lake.write(pa.concat_tables([renamed(hours, lake), renamed(older, over)]))
    load(days, renamed(hours, over), "1h")
    checks = [
        judge("1 symbol, 1m, days in the lake", rounds, days, [OVER], [LAKE], Interval.M1, judged=True),
        judge("1 symbol, 1m, buckets in the lake", rounds, buckets, [OVER], [LAKE], Interval.M1, judged=False),
        judge(f"{symbols} symbols, 1h", rounds, days, over, lake, Interval.H1, judged=False),
    ]
    return all(checks)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="mariadb")
    asked = parser.parse_args()
    good = True
    with bench_servers(asked.server, buffer_pool_mb=512) as servers:
        for server in servers:
            with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
                print(server.db.dialect)
                good &= run(server, Path(folder), asked.symbols, asked.rounds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
