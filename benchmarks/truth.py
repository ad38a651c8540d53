"""Digest and audit: what they cost beside the reading that they cannot do without, on MariaDB and a lake in a folder.

    python -m benchmarks.truth [--symbols 200] [--days 3] [--rounds 3] [--history 2000000] [--sample 1000]
                               [--server mariadb]

1m bars of many symbols. Digests are timed with the rows in MySQL, in the lake as days, in both, and as a cold month in
buckets, each against reading the same rows. The audit's draw is timed over the books of a long history: so many series
days of the lake on record (only those that hold bars here can be drawn from, so the choosing is timed apart).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from benchmarks.loader import BARS_A_DAY, DAY, day_of_bars
from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.config import load_settings
from gapless.domain.datasets import Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.window import DAY_MS, Window
from gapless.pipeline.audit.draw import draw_bars
from gapless.pipeline.audit.tickets import Tickets
from gapless.pipeline.digest import DigestRequest, run_digest
from gapless.pipeline.runtime import Runtime
from gapless.pipeline.stored import stored_months
from gapless.storage.lake import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.layout import BUCKETS, bucket_of
from gapless.storage.mysql import Draft, Scope, count_days, load_bars, put_archive_receipts, read_bars
from gapless.storage.mysql.books import archive_series
from gapless.storage.mysql.days import EVER, held_days
from gapless.storage.mysql.partitions import Month, ensure_months

CEILINGS = {"MySQL": 2.5, "lake, days": 6.0, "lake, a cold month": 6.0, "both": 4.0}
"""At most so many times the time of reading alone."""


def shifted(bars: pa.Table, days: int) -> pa.Table:
    """The same bars so many days later."""
    times = bars["ts"].cast(pa.int64()).to_numpy() + days * DAY_MS
    return bars.set_column(3, "ts", pa.array(times).cast(bars.schema.field("ts").type)).cast(bars.schema)


def load(rt: Runtime, bars: pa.Table, name: str) -> None:
    ts = bars["ts"].cast(pa.int64()).to_numpy()
    scope = Scope.of({(symbol, "1m") for symbol in bars["symbol"].unique().to_pylist()})
    window = Window(int(ts.min()), int(ts.max()) + 1)
    load_bars(rt.db, bars, Draft(name, "binance", Market.UM, window, scope, complete=True, digest="0" * 64))


def write_month(rt: Runtime, bars: pa.Table, folder: Path) -> None:
    """A cold month in its buckets, all symbols."""
    month = Window.of("2026-06-01", "2026-07-01")
    names = bars["symbol"].to_numpy()
    first = month.start_ms - DAY.start_ms
    for bucket in range(BUCKETS):
        mine = sorted(name for name in set(names.tolist()) if bucket_of(name) == bucket)
        if not mine:
            continue
        with rt.lake.month_writer(
            Dataset.OHLCV, "binance", Interval.M1, month.start_ms, bucket, spool_dir=folder / "spool"
        ) as writer:
            for symbol in mine:
                day = bars.slice(int(np.searchsorted(names, symbol)), BARS_A_DAY)
                writer.add(pa.concat_tables([shifted(day, first // DAY_MS + number) for number in range(30)]))
            put_archive_receipts(rt.db, writer.finish())


def measure(rounds: int, ways: dict[str, Callable[[], int]]) -> dict[str, tuple[float, float]]:
    """Rows a second of each, and nanoseconds of this process's processors a row; medians, interleaved."""
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began, worked = time.perf_counter(), time.process_time()
            rows = way()
            took = time.perf_counter() - began
            speeds[name].append((rows / took, (time.process_time() - worked) / rows * 1e9))
    return {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in speeds.items()}


def digest(rt: Runtime, window: Window) -> int:
    request = DigestRequest(start_ms=window.start_ms, end_ms=window.end_ms, intervals=(Interval.M1,))
    return sum(each.rows for month in run_digest(rt, request).months for each in month)


def read_mysql(rt: Runtime, parts: list[Window], symbols: list[str]) -> int:
    return sum(read_bars(rt.db, symbols, [Interval.M1], part).num_rows for part in parts)


def read_lake(rt: Runtime, parts: list[Window], symbols: list[str]) -> int:
    """All symbols of a day at once, those of a month a few at a time, as memory has it."""
    at_once = 8 if parts[0].length_ms > DAY_MS else len(symbols)
    return sum(
        rt.lake.read(part, symbols=symbols[at : at + at_once], intervals=[Interval.M1], exchange="binance").num_rows
        for part in parts
        for at in range(0, len(symbols), at_once)
    )


def compare_looks(rt: Runtime, rounds: int) -> bool:
    """Which days MySQL holds: asked of its key, against counting every row."""
    month = Window.of("2026-11-01", "2026-12-01")
    (rows,) = rt.db.run("counting", lambda connection: connection.exec_driver_sql("SELECT COUNT(*) FROM ohlcv").one())
    took: dict[str, list[float]] = {"asked of the key": [], "counted": []}
    for _ in range(rounds):
        for name, look in zip(took, (held_days, count_days), strict=True):
            began = time.perf_counter()
            look(rt.db, Dataset.OHLCV, "binance", month)
            took[name].append(time.perf_counter() - began)
    asked, counted = (statistics.median(each) for each in took.values())
    print(f"days of {rows:,} rows in MySQL: asked of the key in {asked:.3f} s, counted in {counted:.3f} s")
    return asked < counted


def pretend_history(rt: Runtime, series_days: int) -> None:
    """Entries of the books for a long history, as many as asked."""

    def enter(rows: list[dict[str, Any]], connection: Connection) -> None:
        connection.execute(archive_series.insert(), rows)

    days, first = 1000, date(2019, 1, 1)
    for number in range(max(1, series_days // days)):
        rows = [
            {"dataset": "ohlcv", "exchange": "binance", "symbol": f"H{number // 6:04}/USDT:USDT",
             "interval": str(list(Interval)[number % 6]), "day": first + timedelta(days=day), "rows": 1,
             "sha256": "0" * 64, "archive_receipt_id": 1}
            for day in range(days)
        ]  # fmt: skip
        rt.db.run("pretending", partial(enter, rows))


def run(server: BenchServer, folder: Path, asked: Any) -> bool:
    settings = load_settings(var_dir=folder / "var", lake_uri=f"file://{folder}/lake", mysql_url="mysql://x:x@x/x")
    rt = Runtime(settings, server.db, BarLake(FileStore(folder / "lake"), locks=server.db), 5.0, print)
    day = day_of_bars(asked.symbols * BARS_A_DAY)
    symbols = day["symbol"].unique().to_pylist()
    ensure_months(rt.db, "ohlcv", [Month(2026, 11)])
    spans = {}
    for name, first in (("MySQL", 0), ("lake, days", -asked.days), ("both", -2 * asked.days)):
        start = DAY.start_ms + first * DAY_MS
        spans[name] = Window(start, start + asked.days * DAY_MS)
        for number in range(asked.days):
            bars = shifted(day, first + number)
            if name != "lake, days":
                load(rt, bars, f"{name}{number}")
            if name != "MySQL":
                put_archive_receipts(rt.db, rt.lake.write(bars))
    write_month(rt, day, folder)
    spans["lake, a cold month"] = Window.of("2026-06-01", "2026-07-01")
    good = True
    for name, window in spans.items():
        parts = [window] if name.endswith("month") else list(window.split(DAY_MS))
        reader = partial(read_lake if name.startswith("lake") else read_mysql, rt, parts, symbols)
        rounds = 1 if name.endswith("month") else asked.rounds
        found = measure(rounds, {"reading": reader, "digest": partial(digest, rt, window)})
        (alone, alone_ns), (speed, ns) = found["reading"], found["digest"]
        good &= alone / speed <= CEILINGS[name]
        print(
            f"digest, {name:18} {speed:>10,.0f} rows/s ({ns:,.0f} ns of processor a row); reading alone {alone:>10,.0f}"
            f" ({alone_ns:,.0f} ns); {alone / speed:.2f} times as long (at most {CEILINGS[name]})",
            flush=True,
        )
    good &= compare_looks(rt, asked.rounds)
    pretend_history(rt, asked.history)
    began = time.perf_counter()
    months = stored_months(rt, Dataset.OHLCV)
    chose = time.perf_counter() - began
    tickets = Tickets(months, EVER)
    print(f"audit: {len(months):,} months of series on record, {len(tickets):,} tickets, found in {chose:.1f} s")
    held = Tickets([month for month in months if month.symbol.startswith("S")], EVER)
    began = time.perf_counter()
    drawn = draw_bars(rt, held, asked.sample, 7)
    seconds = time.perf_counter() - began
    print(f"audit: {drawn.num_rows:,} of {len(held):,} bars drawn and read in {seconds:.1f} s "
          f"({seconds / drawn.num_rows * 1000:.1f} ms a bar)")  # fmt: skip
    return bool(good)


def main() -> int:
    """Measure; 1 when a ceiling is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=200)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--history", type=int, default=2_000_000)
    parser.add_argument("--sample", type=int, default=1000)
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="mariadb")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gapless-truth-") as folder, bench_servers(asked.server) as servers:
        return 0 if all(run(server, Path(folder), asked) for server in servers) else 1


if __name__ == "__main__":
    sys.exit(main())
