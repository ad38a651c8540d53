"""Payloads to checked canonical bars, exact, against the loader in the same run.

    python -m benchmarks.normalise [--rows 215000] [--rounds 5] [--server mariadb|mysql|both]

A round normalises pages as the exchange sends them (499 rows of twelve fields, real ones where the recordings lie
beside the checkout) and loads the bars that come out; rows per second of each, by CPU time of this process for the
first (it is one core's work) and by the clock for the loader. Floor: 2.5 times the loader.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time

from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.receipts import Batch
from gapless.domain.schema import decimal_text
from gapless.domain.window import Window
from gapless.pipeline.normalise import Page, normalise
from gapless.storage.mysql import Draft, Scope, load_bars
from tests.bars import bars
from tests.fixtures.data import SHARED_DATA

MONTH = Window.of("2024-09-01", "2024-10-01")
PAGE = 499
FLOOR = 2.5


def recorded_rows() -> tuple[list[list[str]], str]:
    """A month of kline rows as texts, and where they are from."""
    path = SHARED_DATA / "klines_1m" / "um_futures_vision_csv" / "ALGOUSDT-1m-2024-09.csv"
    if path.is_file():
        with path.open() as file:
            return list(csv.reader(file))[1:], "recorded bars"
    table = bars("X", "1m", MONTH.start_ms, 43_200)
    texts = {name: decimal_text(table[name]).to_pylist() for name in table.schema.names[4:13]}
    names = ("open", "high", "low", "close", "volume")
    rows = []
    for number in range(table.num_rows):
        start = MONTH.start_ms + number * 60_000
        rest = [
            texts[name][number] for name in ("quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
        ]
        rows.append([str(start), *(texts[name][number] for name in names), str(start + 59_999), *rest, "0"])
    return rows, "seeded bars"


def pages(count: int) -> tuple[Batch, list[Page], str]:
    """At least `count` rows of whole months, a symbol each, as the exchange's pages."""
    rows, origin = recorded_rows()
    symbols = tuple((f"S{n}/USDT:USDT", f"S{n}USDT") for n in range(max(1, count // len(rows))))
    bodies = []
    for at in range(0, len(rows), PAGE):
        part = [[int(row[0]), *row[1:6], int(row[6]), row[7], int(row[8]), *row[9:]] for row in rows[at : at + PAGE]]
        bodies.append((part[0][0], part[-1][6], json.dumps(part, separators=(",", ":"))))
    found = [Page(symbol, "1m", start, end, body) for symbol, _ in symbols for start, end, body in bodies]
    return Batch("binance", Market.UM, symbols, (Interval.M1,), MONTH.start_ms, MONTH.end_ms), found, origin


def measure(server: BenchServer, rows: int, rounds: int) -> bool:
    """Print medians and their ratio; returns whether the floor was kept."""
    batch, received, origin = pages(rows)
    cold, normalised, loaded = [], [], []
    for number in range(rounds):
        for attempt in range(3):  # the first finds the caches full of the load before it: told apart as cold
            began = time.process_time()
            result = normalise(batch, received, server_ms=MONTH.end_ms)
            normalised.append(result.bars.num_rows / (time.process_time() - began))
            if attempt == 0:
                cold.append(normalised[-1])
        with server.db.engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE TABLE ohlcv")
        scope = Scope.product([symbol for symbol, _ in batch.symbols], ["1m"])
        draft = Draft(f"{number:016x}", "binance", Market.UM, MONTH, scope, complete=True, digest="0" * 64)
        began = time.perf_counter()
        load_bars(server.db, result.bars, draft)
        loaded.append(result.bars.num_rows / (time.perf_counter() - began))
    ours, loader = statistics.median(normalised), statistics.median(loaded)
    print(f"\n{server.db.dialect}, {result.bars.num_rows:,} {origin}")
    print(f"  normalise {ours / 1000:8.1f} k rows/s of one core")
    print(f"  load_bars {loader / 1000:8.1f} k rows/s")
    print(
        f"  normalise / load_bars: {ours / loader:.2f}x (floor {FLOOR}x){'' if ours >= FLOOR * loader else '  BELOW'}"
    )
    print(f"  normalise right after a load / load_bars: {statistics.median(cold) / loader:.2f}x (not judged)")
    return ours >= FLOOR * loader


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5 * 43_200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="both")
    asked = parser.parse_args()
    kept = True
    with bench_servers(asked.server) as servers:
        for server in servers:
            kept &= measure(server, asked.rows, max(3, asked.rounds))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
