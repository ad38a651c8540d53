"""The lake's cost: one hour merged into a full day of 600 symbols, and exact decimals against plain Parquet.

    python -m benchmarks.lake [--symbols 600] [--rounds 3]

Ratios are within one run, interleaved, medians. The bars are real months where the recordings lie beside the checkout
(each day becomes a symbol), seeded ones otherwise: real ones compress better, so the line says which.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV, sort_bars
from gapless.domain.window import DAY_MS, HOUR_MS, Window, parse_time
from gapless.storage.lake import BarLake, FileLocks, digests, merge_rows
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.merge import times
from gapless.storage.lake.parquet import decode, narrowed, read_some
from gapless.storage.lake.writing import encode
from tests.bars import bars
from tests.fixtures.data import SHARED_DATA
from tests.storage.lake import recorded

BARS = SHAPES[Dataset.OHLCV]
DAY = parse_time("2026-11-19")
HOUR = Window(DAY + 12 * HOUR_MS, DAY + 13 * HOUR_MS)


def full_day(symbols: int) -> tuple[pa.Table, str]:
    """A day of 1m bars of so many symbols, and where their values are from."""
    months = SHARED_DATA / "klines_1m" / "um_futures_vision_csv"
    if months.is_dir():
        real = [recorded.table(path, "X", "1m") for path in sorted(months.iterdir())]
        days = [table.slice(start, 1440) for table in real for start in range(0, table.num_rows - 1439, 1440)]
        origin = "recorded bars"
    else:
        days = [bars("X", "1m", DAY, 1440, seed=seed) for seed in range(8)]
        origin = "seeded bars"
    times = pa.array(range(DAY, DAY + DAY_MS, 60_000), pa.int64()).cast(OHLCV.field("ts").type)
    parts = []
    for number in range(symbols):
        name = pa.array([f"S{number:03}/USDT:USDT"] * 1440)
        part = scaled(days[number % len(days)], 1 + number // len(days))
        parts.append(part.set_column(1, OHLCV.field(1), name).set_column(3, OHLCV.field(3), times))
    return sort_bars(pa.concat_tables(parts)).combine_chunks(), origin


def scaled(day: pa.Table, factor: int) -> pa.Table:
    """A day whose decimals are `factor` times as large: a day used again must not compress as a copy of itself."""
    for number, field in enumerate(OHLCV):
        if pa.types.is_decimal(field.type):
            wide = pc.multiply(day[field.name], pa.scalar(Decimal(factor), pa.decimal128(3, 0)))
            day = day.set_column(number, field, wide.cast(field.type))
    return day


def interleaved(rounds: int, work: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each piece of work, taken in turns."""
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, action in work.items():
            began = time.perf_counter()
            action()
            took[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in took.items()}


def plain(table: pa.Table) -> bytes:
    """What `pyarrow.parquet.write_table` makes of a table with zstd and otherwise its defaults."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()

    day, origin = full_day(asked.symbols)
    hour = narrowed(day, None, HOUR)
    ts = times(day)
    rest = day.filter(pa.array((ts < HOUR.start_ms) | (ts >= HOUR.end_ms))).combine_chunks()
    floats = pa.table(
        {
            n: c.cast(pa.float64()) if pa.types.is_decimal(c.type) else c
            for n, c in zip(day.column_names, day.columns, strict=True)
        }
    )
    ours, plain_exact, plain_float = encode(day, BARS)[0], plain(day), plain(floats)
    one = frozenset(["S007/USDT:USDT"])

    with tempfile.TemporaryDirectory() as folder:
        lake = BarLake(FileStore(Path(folder)), FileLocks(Path(folder) / "_locks"))

        def write_hour() -> None:
            lake.remove(hour)
            began = time.perf_counter()
            lake.write(hour)
            hourly.append(time.perf_counter() - began)

        hourly: list[float] = []
        lake.write(day)
        took = interleaved(
            asked.rounds,
            {
                "write ours": lambda: encode(day, BARS),
                "write plain decimals": lambda: plain(day),
                "write plain float64": lambda: plain(floats),
                "read ours": lambda: decode(ours, BARS, name="ours"),
                "read plain decimals": lambda: pq.read_table(io.BytesIO(plain_exact)),
                "read plain float64": lambda: pq.read_table(io.BytesIO(plain_float)),
                "read one symbol": lambda: read_some(
                    io.BytesIO(ours), BARS, name="ours", symbols=one, window=Window(DAY, DAY + DAY_MS)
                ),
                "merge one hour": lambda: merge_rows(BARS, rest, hour),
                "digests": lambda: digests(day, BARS),
                "hour into the lake": write_hour,
                "day from the lake": lambda: lake.read(
                    Window(DAY, DAY + DAY_MS), intervals=[Interval.M1], exchange="binance"
                ),
            },
        )
    took["hour into the lake"] = statistics.median(hourly)

    rows = day.num_rows
    sizes = {"ours": ours, "plain decimals": plain_exact, "plain float64": plain_float}
    result = {
        "bars": origin,
        "rows": rows,
        "seconds": {name: round(value, 3) for name, value in took.items()},
        "million_rows_per_s": {
            n: round(rows / took[n] / 1e6, 2) for n in took if n.startswith(("write", "read ours", "read plain"))
        },
        "bytes_per_row": {name: round(len(data) / rows, 2) for name, data in sizes.items()},
        "ratios": {
            "size, ours to plain decimals": round(len(ours) / len(plain_exact), 2),
            "size, ours to plain float64": round(len(ours) / len(plain_float), 2),
            "write time, ours to plain decimals": round(took["write ours"] / took["write plain decimals"], 2),
            "write time, ours to plain float64": round(took["write ours"] / took["write plain float64"], 2),
            "read time, ours to plain decimals": round(took["read ours"] / took["read plain decimals"], 2),
            "one symbol to the whole object": round(took["read one symbol"] / took["read ours"], 3),
        },
    }
    json.dump(result, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
