"""A month of more than ten million bars leaves MySQL for the lake: speed, memory, size, against a typed cursor.

    python -m benchmarks.export [--symbols 240] [--rounds 1] [--server mariadb|mysql|both]

The month is 240 perpetuals in six intervals over 31 days, 13.8 M rows, written by the server itself from files (what is
measured is not how it came there). The baseline is what one would write by hand: a typed server-side cursor (Decimal,
datetime), its rows to Arrow with the same exact types, one Parquet file (zstd); half of it runs before and half after
the exports. The export is `gapless export-month` as a process of its own into an empty lake. Copying (reading,
encoding, reading each object back) is held against the cursor and proving against copying; the whole is told beside
them. A second export finds every object there. Memory is the process's high water mark.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from MySQLdb.cursors import SSCursor

from benchmarks.day600 import high_water
from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import OHLCV, Source
from gapless.domain.window import Window
from gapless.storage.mysql.bulk import csv_lines
from gapless.storage.mysql.partitions import Month, ensure_months
from tests.fixtures.replica import start_replica

MONTH = Month(2026, 7)
WINDOW = Window(MONTH.start_ms, MONTH.plus(1).start_ms)
ROOT = Path(__file__).resolve().parents[1]
SYMBOLS_A_FILE = 8
BASELINE_SYMBOLS = 36
CURSOR_ROWS = 50_000

FLOOR_SPEED = 2.0
FLOOR_VERIFY = 0.7
FLOOR_BYTES = 512 * 1000**2
FLOOR_SIZE = 0.25

NAMES = [name for name in OHLCV.names if name not in ("exchange", "source")]


@dataclass
class Filled:
    """A server that holds the month.

    Attributes:
        rows: how many bars. innodb_bytes: of its partition's file.
    """

    server: BenchServer
    home: Path
    symbols: list[str]
    rows: int = 0
    innodb_bytes: int = 0
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ran:
    """One export: seconds of the whole process, its most memory, its report."""

    seconds: float
    peak_bytes: int
    report: dict[str, Any]


def bars_of(symbols: list[str], seed: int) -> pa.Table:
    """A month of bars of some symbols in all intervals, in key order."""
    opens = {each: np.arange(WINDOW.start_ms, WINDOW.end_ms, each.ms) for each in ALL_INTERVALS}
    order: list[Interval] = sorted(ALL_INTERVALS, key=lambda each: each.ms)
    times = np.tile(np.concatenate([opens[each] for each in order]), len(symbols))
    rows, a_symbol = len(times), len(times) // len(symbols)
    random = np.random.default_rng(seed)
    # Ticks of 0.0001 that walk, lots of 0.1 whose sizes spread over decades, money that is their product: digits as
    # those of a perpetual of middling price. Uniform ones would not compress.
    walk = 10_000_000 + np.cumsum(random.integers(-30, 31, rows))
    close = walk + random.integers(-30, 31, rows)
    lots = np.exp(random.normal(7.5, 1.5, rows)).astype(np.int64) + 1
    taken = (lots * random.uniform(0.3, 0.7, rows)).astype(np.int64)
    values = {
        "open": (walk, 4),
        "high": (np.maximum(walk, close) + random.integers(0, 40, rows), 4),
        "low": (np.minimum(walk, close) - random.integers(0, 40, rows), 4),
        "close": (close, 4),
        "volume": (lots, 1),
        "quote_volume": (lots * ((walk + close) // 2), 5),
        "taker_buy_volume": (taken, 1),
        "taker_buy_quote_volume": (taken * ((walk + close) // 2), 5),
    }
    columns: dict[str, pa.Array] = {
        "symbol": pa.array(np.repeat(symbols, a_symbol)),
        "interval": pa.array(np.tile(np.repeat([str(each) for each in order], [len(opens[e]) for e in order]),
                                     len(symbols))),
        "ts": pa.array(times, pa.timestamp("ms")).cast(pa.timestamp("s")),
        "trades": pa.array(lots // 20 + 1, pa.uint32()),
    }  # fmt: skip
    for name, (numbers, places) in values.items():
        words = np.zeros((rows, 2), dtype=np.int64)
        words[:, 0] = numbers * 10 ** (8 - places)
        columns[name] = pa.Array.from_buffers(OHLCV.field(name).type, rows, [None, pa.py_buffer(words.tobytes())])
    return pa.table({name: columns[name] for name in NAMES})


def fill(server: BenchServer, home: Path, symbols: int, exchange: Any) -> Filled:
    """Write the month, symbol by symbol in key order, by the server's own LOAD DATA."""
    names = [f"S{number:04}/USDT:USDT" for number in range(symbols)]
    ensure_months(server.db, "ohlcv", [MONTH])
    columns = ", ".join(f"`{name}`" for name in NAMES)
    home.chmod(0o755)
    path, rows = home / "bars.csv", 0
    with closing(server.root()) as connection:
        for at in range(0, symbols, SYMBOLS_A_FILE):
            bars = bars_of(names[at : at + SYMBOLS_A_FILE], seed=at)
            path.write_bytes(csv_lines(bars))
            path.chmod(0o644)
            connection.query(
                f"LOAD DATA INFILE '{path}' INTO TABLE ohlcv CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' "
                f"OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' ({columns}) "
                f"SET exchange = 'binance', source = {int(Source.VISION)}, receipt_id = 1"
            )
            connection.commit()
            rows += bars.num_rows
        path.unlink()
        with closing(connection.cursor()) as cursor:
            cursor.execute("SELECT @@datadir")
            (folder,) = cursor.fetchone()
    (file,) = (each for each in Path(folder).rglob("*.ibd") if each.name.lower() == f"ohlcv#p#{MONTH.partition}.ibd")
    environment = {
        **os.environ,
        "GAPLESS_MYSQL_URL": server.db.engine.url.set(drivername="mysql").render_as_string(hide_password=False),
        "GAPLESS_VAR_DIR": str(home / "var"),
        "GAPLESS_BINANCE_SPOT_REST_URL": exchange.spot_rest,
        "GAPLESS_BINANCE_UM_REST_URL": exchange.um_rest,
    }
    return Filled(server, home, names, rows, file.stat().st_size, environment)


def export(filled: Filled, lake: Path) -> Ran:
    """`gapless export-month` into a lake, looking at its memory all the while."""
    command = [sys.executable, "-m", "gapless", "export-month", str(MONTH), "--json"]
    environment = {**filled.environment, "GAPLESS_LAKE_URI": f"file://{lake}"}
    began, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=out, stderr=log, env=environment, cwd=ROOT)
        while process.poll() is None:
            peak = max(peak, high_water(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        out.seek(0)
        log.seek(0)
        text, lines = out.read(), log.read().decode(errors="replace").splitlines()
    if process.returncode or not text.strip():
        raise SystemExit(f"the export ended with {process.returncode}: {lines[-3:]}")
    report = json.loads(text)
    if (report["rows"], report["verified"]) != (filled.rows, True):
        raise SystemExit(f"the export is not whole: {report}")
    return Ran(seconds, peak, report)


def typed_cursor(filled: Filled, symbols: list[str], path: Path) -> float:
    """Rows a second of the baseline over some symbols."""
    types = [pa.string() if name in ("symbol", "interval") else OHLCV.field(name).type for name in NAMES]
    types[NAMES.index("ts")] = pa.timestamp("ms")
    schema = pa.schema(list(zip(NAMES, types, strict=True)))
    columns = ", ".join(f"`{name}`" for name in NAMES)
    query = (
        f"SELECT {columns} FROM ohlcv PARTITION ({MONTH.partition}) WHERE symbol >= %s AND symbol <= %s"
        " ORDER BY symbol, `interval`, ts"
    )
    rows, began = 0, time.perf_counter()
    with (
        closing(filled.server.root()) as connection,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
        closing(connection.cursor(SSCursor)) as cursor,
    ):
        cursor.execute(query, (symbols[0], symbols[-1]))
        while found := cursor.fetchmany(CURSOR_ROWS):
            arrays = [pa.array(values, kind) for values, kind in zip(zip(*found, strict=True), types, strict=True)]
            writer.write_table(pa.table(arrays, schema=schema))
            rows += len(found)
    speed = rows / (time.perf_counter() - began)
    path.unlink()
    return speed


def measure(filled: Filled, rounds: int) -> bool:
    """Print what the export takes; whether its floors are kept."""
    chosen = filled.symbols[:BASELINE_SYMBOLS]
    half = max(1, len(chosen) // 2)
    cursor = [typed_cursor(filled, chosen[:half], filled.home / "baseline.parquet")]
    fresh, again = [], []
    for number in range(rounds):
        lake = filled.home / f"lake-{number}"
        fresh.append(export(filled, lake))
        again.append(export(filled, lake))
    cursor.append(typed_cursor(filled, chosen[half:] or chosen, filled.home / "baseline.parquet"))

    baseline = statistics.median(cursor)
    seconds = statistics.median(one.seconds for one in fresh)
    repeated = statistics.median(one.seconds for one in again)
    copying = statistics.median(one.report["copy_seconds"] for one in fresh)
    ratio = filled.rows / copying / baseline
    report = fresh[-1].report
    verify = statistics.median(one.report["verify_seconds"] / one.report["copy_seconds"] for one in fresh)
    peak = max(one.peak_bytes for one in (*fresh, *again))
    size = report["bytes"] / filled.innodb_bytes
    print(f"  typed cursor to Parquet: {baseline / 1000:.1f} k rows/s")
    print(f"  brought into an empty lake: {filled.rows / copying / 1000:.1f} k rows/s, {report['files']} objects:"
          f" {ratio:.2f}x (floor {FLOOR_SPEED}x){said(ratio >= FLOOR_SPEED)}")  # fmt: skip
    whole = filled.rows / seconds
    print(f"  with its proof, from the process's start: {whole / 1000:.1f} k rows/s, {seconds:.0f} s,"
          f" {whole / baseline:.2f}x")  # fmt: skip
    print(f"  the same when the lake holds all: {filled.rows / repeated / 1000:.1f} k rows/s, {repeated:.0f} s,"
          f" {again[-1].report['written']} objects written")  # fmt: skip
    print(f"  proving / copying: {verify:.2f} (floor: at most {FLOOR_VERIFY}){said(verify <= FLOOR_VERIFY)}")
    print(f"  peak {peak / 1e6:.0f} MB (floor: under {FLOOR_BYTES / 1e6:.0f} MB){said(peak < FLOOR_BYTES)}")
    print(f"  Parquet {report['bytes'] / 1e6:.0f} MB of InnoDB's {filled.innodb_bytes / 1e6:.0f} MB: {size:.3f}"
          f" (floor: at most {FLOOR_SIZE}){said(size <= FLOOR_SIZE)}")  # fmt: skip
    return ratio >= FLOOR_SPEED and verify <= FLOOR_VERIFY and peak < FLOOR_BYTES and size <= FLOOR_SIZE


def said(kept: bool) -> str:
    """What stands behind a figure that misses its floor."""
    return "" if kept else "   MISSES THE FLOOR"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=1, help="exports of the whole month (the median counts)")
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="mariadb")
    asked = parser.parse_args()
    kept = True
    exchange = start_replica("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    try:
        with bench_servers(asked.server) as servers:
            for server in servers:
                with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
                    began = time.perf_counter()
                    filled = fill(server, Path(folder), asked.symbols, exchange)
                    print(f"\n{server.db.dialect}: {filled.rows:,} bars, made and stored in"
                          f" {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
                    kept &= measure(filled, asked.rounds)
    finally:
        exchange.stop()
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
