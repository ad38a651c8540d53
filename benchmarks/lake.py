"""The lake's cost: an hour merged into a day of 600 symbols, a cold month, exact decimals against plain Parquet.

    python -m benchmarks.lake [--symbols 600] [--month-symbols 12] [--rounds 3]

Ratios are within one run, interleaved, medians. The bars are real months where the recordings lie beside the checkout
(each day becomes a symbol), seeded ones otherwise: real ones compress better, so the line says which.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.digests import digests
from gapless.domain.interval import Interval
from gapless.domain.lines import lines
from gapless.domain.schema import OHLCV, sort_bars
from gapless.domain.window import DAY_MS, HOUR_MS, Window, month_start, parse_time
from gapless.storage.lake import BarLake, FileLocks, layout, merge_rows
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.merge import times
from gapless.storage.lake.parquet import (
    ROW_GROUP_ROWS,
    decode,
    narrowed,
    read_some,
    row_groups,
    series_starts,
    writer_of,
)
from gapless.storage.lake.writing import check_contents, encode
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


def interleaved(
    rounds: int, work: dict[str, Callable[[], object]], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each piece of work, taken in turns."""
    took: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, action in work.items():
            began = clock()
            action()
            took[name].append(clock() - began)
    return {name: statistics.median(times) for name, times in took.items()}


def ours_alone(table: pa.Table) -> bytes:
    """Our Parquet without the digests that are made on the way."""
    sink = pa.BufferOutputStream()
    with writer_of(sink, BARS) as writer:
        for start, end in row_groups(series_starts(table, BARS), table.num_rows):
            writer.write_table(table.slice(start, end - start), row_group_size=ROW_GROUP_ROWS)
    return bytes(sink.getvalue().to_pybytes())


def plain(table: pa.Table) -> bytes:
    """What `pyarrow.parquet.write_table` makes of a table with zstd and otherwise its defaults."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def cold_month(symbols: int, rounds: int) -> dict[str, object]:
    """Processor time of writing a bucket of a cold month on one thread: in all and by part, in ns a row."""
    days, _ = full_day(31)
    month = days["ts"].combine_chunks().slice(0, 1440).cast(pa.int64()).to_numpy()
    ts = np.concatenate([month + number * DAY_MS for number in range(30)])
    start = month_start(DAY)
    times_of_month = pa.array(ts - ts[0] + start).cast(OHLCV.field("ts").type)
    one = days.slice(0, len(ts)).set_column(3, OHLCV.field(3), times_of_month)
    names = (f"S{number:05}/USDT:USDT" for number in itertools.count())
    names_of_bucket = list(itertools.islice((name for name in names if layout.bucket_of(name) == 7), symbols))
    parts = [
        scaled(one, 1 + number).set_column(1, OHLCV.field(1), pa.array([name] * len(ts))).combine_chunks()
        for number, name in enumerate(names_of_bucket)
    ]
    rows = sum(part.num_rows for part in parts)

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            lake = BarLake(FileStore(Path(folder)), FileLocks(Path(folder) / "_locks"))
            with lake.month_writer(
                Dataset.OHLCV, "binance", Interval.M1, start, 7, spool_dir=Path(folder) / "spool"
            ) as writer:
                for part in parts:
                    writer.add(part)
                writer.finish()

    def text() -> None:
        for part in parts:
            for at in range(0, part.num_rows, 16_384):
                lines(part.slice(at, 16_384), BARS)

    encoded = [encode(part, BARS) for part in parts]

    def read_back() -> None:
        for data, told in encoded:
            check_contents(data, BARS, told, name="x")

    work: dict[str, Callable[[], object]] = {
        "add and finish": write,
        "text": text,
        "text and digests": lambda: [digests(part, BARS) for part in parts],
        "text, digests and Parquet": lambda: [encode(part, BARS) for part in parts],
        "read back": read_back,
        "plain Parquet": lambda: [plain(part) for part in parts],
    }
    cores = pa.cpu_count()
    pa.set_cpu_count(1)
    took = interleaved(rounds, work, clock=time.process_time)
    pa.set_cpu_count(cores)
    return {
        "rows": rows,
        "ns_per_row": {name: round(seconds / rows * 1e9) for name, seconds in took.items()},
        "million_rows_per_s_and_core": round(rows / took["add and finish"] / 1e6, 2),
        "add and finish to plain Parquet": round(took["add and finish"] / took["plain Parquet"], 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=600)
    parser.add_argument("--month-symbols", type=int, default=12)
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
                "write ours": lambda: ours_alone(day),
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
        "cold month": cold_month(asked.month_symbols, asked.rounds),
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
