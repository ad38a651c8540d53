"""The specification's query at 20 M rows and more, on MariaDB and MySQL.

    python -m benchmarks.spec_query [--symbols 180] [--rounds 3] [--server mariadb|mysql|both]

    SELECT * FROM ohlcv WHERE symbol='BTC/USDT' AND ts > UTC_TIMESTAMP() - INTERVAL 1 DAY

Timed in the client, rows fetched as Python values; beside it the gateway's form, which names the intervals. Each round
asks for BTC/USDT a hundred times, and then for symbols drawn at random, whose pages may have to come from disk.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import DAY_MS, Window
from gapless.storage.mysql.partitions import ensure_months, months_of

DAYS = 61
FLOOR_MS = 40.0
SYMBOL = "BTC/USDT"
SPECIFICATION = "SELECT * FROM ohlcv WHERE symbol=%s AND ts > UTC_TIMESTAMP() - INTERVAL 1 DAY"
GATEWAY = SPECIFICATION + " AND `interval` IN ('1m', '5m', '15m', '1h', '4h', '1d')"


def write_series(file: Path, window: Window) -> int:
    """One symbol's bars of all intervals in the window, without the symbol; returns how many."""
    chance = np.random.default_rng(1)
    pieces = []
    for interval in ALL_INTERVALS:
        times = np.array(interval.opens(window), dtype=np.int64)
        prices = [pa.array(np.char.mod("%.8f", chance.uniform(1, 10**5, len(times)))) for _ in range(4)]
        volumes = [pa.array(np.char.mod("%.8f", chance.uniform(0, 10**7, len(times)))) for _ in range(4)]
        trades = pa.array(chance.integers(0, 10**5, len(times)))
        at = pa.array(times // 1000).cast(pa.timestamp("s"))
        columns = [pa.repeat(str(interval), len(times)), at, *prices, *volumes[:2], trades, *volumes[2:]]
        pieces.append(pa.table(columns, names=[str(number) for number in range(len(columns))]))
    table = pa.concat_tables(pieces)
    pacsv.write_csv(table, file, pacsv.WriteOptions(include_header=False, quoting_style="none"))
    return int(table.num_rows)


def fill(server: BenchServer, folder: Path, symbols: list[str]) -> int:
    """The same series under many names, read by the server from a file, two at a time; returns how many rows."""
    with closing(server.root()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("SELECT UNIX_TIMESTAMP()")
        now_ms = int(cursor.fetchone()[0]) * 1000
    window = Window(Interval.D1.floor(now_ms) - DAYS * DAY_MS, Interval.M1.floor(now_ms))
    ensure_months(server.db, "ohlcv", months_of(window))
    file = folder / "series.csv"
    rows = write_series(file, window)
    folder.chmod(0o755)
    file.chmod(0o644)

    def load(symbol: str) -> None:
        with closing(server.root()) as connection:
            connection.query(
                f"LOAD DATA INFILE '{file}' INTO TABLE ohlcv CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' "
                "(`interval`, ts, open, high, low, close, volume, quote_volume, trades, taker_buy_volume, "
                f"taker_buy_quote_volume) SET symbol = '{symbol}', exchange = 'binance', source = 1, receipt_id = 1"
            )
            connection.commit()

    with ThreadPoolExecutor(2) as loaders:
        list(loaders.map(load, symbols))
    return rows * len(symbols)


def ask(connection: Any, query: str, symbol: str) -> tuple[float, int]:
    """Milliseconds and rows of one query."""
    with closing(connection.cursor()) as cursor:
        began = time.perf_counter()
        cursor.execute(query, (symbol,))
        rows = len(cursor.fetchall())
        return (time.perf_counter() - began) * 1000, rows


def percentiles(found: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile."""
    return statistics.median(found), statistics.quantiles(found, n=20)[-1]


def measure(server: BenchServer, symbols: list[str], rounds: int) -> bool:
    """Print the percentiles of each form; returns whether the specification's stays within its floor."""
    times: dict[str, list[float]] = {"specification": [], "gateway": [], "specification, any symbol": []}
    chance = random.Random(1)
    rows = 0
    with closing(server.root()) as connection:
        for _ in range(rounds):
            for _ in range(100):
                spent, rows = ask(connection, SPECIFICATION, SYMBOL)
                times["specification"].append(spent)
                times["gateway"].append(ask(connection, GATEWAY, SYMBOL)[0])
            for symbol in chance.sample(symbols, min(25, len(symbols))):
                times["specification, any symbol"].append(ask(connection, SPECIFICATION, symbol)[0])
            connection.commit()
    print(f"  {rows} rows an answer")
    for name, found in times.items():
        p50, p95 = percentiles(found)
        print(f"  {name:26} p50 {p50:6.1f} ms   p95 {p95:6.1f} ms   of {len(found)}")
    p95 = percentiles(times["specification"])[1]
    kept = p95 <= FLOOR_MS
    verdict = "" if kept else "   ABOVE THE FLOOR"
    print(f"  p95 of the specification's query: {p95:.1f} ms (floor {FLOOR_MS:.0f} ms){verdict}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=180, help="each brings 115,000 rows or so")
    parser.add_argument("--rounds", type=int, default=3, help="a hundred queries of each form in each")
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="both")
    asked = parser.parse_args()
    symbols = sorted([SYMBOL, *(f"C{number:03}/USDT" for number in range(asked.symbols - 1))])
    kept = True
    with bench_servers(asked.server) as servers:
        for server in servers:
            with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
                began = time.perf_counter()
                rows = fill(server, Path(folder), symbols)
                spent = time.perf_counter() - began
                print(f"\n{server.db.dialect}: {rows / 1e6:.1f} M rows, filled in {spent:.0f} s", flush=True)
                kept &= measure(server, symbols, asked.rounds)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
