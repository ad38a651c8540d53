"""The loader against what one would write by hand, on MariaDB and MySQL.

    python -m benchmarks.loader [--rows 345600] [--rounds 3] [--server mariadb|mysql|both]

Ratios are within one run, interleaved, medians. Every method fills the same empty table with the same bars (a day of
1m bars of many symbols); ours compares with what is stored, logs restatements and writes a receipt as it always does.
The slow ones get fewer rows. What a baseline needs beforehand (tuples, a data frame, a file) is made outside its time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import text

from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.domain.instrument import Market
from gapless.domain.schema import OHLCV
from gapless.domain.window import Window
from gapless.storage.mysql import Draft, Scope, load_bars
from gapless.storage.mysql.bulk import csv_lines

DAY = Window.of("2026-11-19", "2026-11-20")
BARS_A_DAY = 1440

DIGITS = {
    **dict.fromkeys(("open", "high", "low", "close"), (1_000, 4)),
    **dict.fromkeys(("volume", "taker_buy_volume"), (1_000_000, 1)),
    **dict.fromkeys(("quote_volume", "taker_buy_quote_volume"), (1_000_000, 5)),
}
"""Of each value: the most it is, and its decimal places, as in recorded bars of perpetuals (`0.1231`, `137407.3`)."""

# The driver's floor is for exact Python values (Decimal, datetime); texts made beforehand are for comparison.
FLOORS = {
    ("load_bars, fresh", "executemany, Decimals"): 4.0,
    ("load_bars, fresh", "executemany, texts"): None,
    ("load_bars, fresh", "to_sql(multi)"): 20.0,
    ("load_bars, fresh", "server-side LOAD DATA"): 0.6,
    ("load_bars, same again", "load_bars, fresh"): 1.0,
}


def day_of_bars(rows: int) -> pa.Table:
    """Sorted 1m bars of one day, with as many digits as the exchange gives for a perpetual of middling price."""
    symbols = max(1, rows // BARS_A_DAY)
    rows = symbols * BARS_A_DAY
    random = np.random.default_rng(1)
    times = np.tile(DAY.start_ms + np.arange(BARS_A_DAY) * 60_000, symbols)
    columns: dict[str, pa.Array] = {
        "exchange": pa.repeat("binance", rows),
        "symbol": pa.array(np.repeat([f"S{number:04}/USDT:USDT" for number in range(symbols)], BARS_A_DAY)),
        "interval": pa.repeat("1m", rows),
        "ts": pa.array(times).cast(OHLCV.field("ts").type),
        "trades": pa.array(random.integers(0, 100_000, rows), pa.uint32()),
        "source": pa.repeat(pa.scalar(1, pa.uint8()), rows),
    }
    for field in OHLCV:
        if field.name not in columns:
            most, places = DIGITS[field.name]
            words = np.zeros((rows, 2), dtype=np.int64)
            words[:, 0] = random.integers(1, most * 10**places, rows) * 10 ** (8 - places)
            columns[field.name] = pa.Array.from_buffers(field.type, rows, [None, pa.py_buffer(words.tobytes())])
    return pa.table([columns[name] for name in OHLCV.names], schema=OHLCV)


class Run:
    """One server's measurements: rows per second of each method, one number a round."""

    def __init__(self, server: BenchServer, rows: int, folder: Path) -> None:
        self.server = server
        self.bars = day_of_bars(rows)
        self.csv = folder / "bars.csv"
        self.speeds: dict[str, list[float]] = {}
        # Without source and receipt in the file, as ours: they are constants of the statement.
        plain = self.bars.set_column(3, "ts", self.bars["ts"].cast(pa.timestamp("s", tz="UTC")).cast(pa.timestamp("s")))
        self.columns = [name for name in OHLCV.names if name not in ("exchange", "source")]
        self.csv.write_bytes(csv_lines(plain.select(self.columns)))
        self.csv.chmod(0o644)
        folder.chmod(0o755)
        # The exchange's own text of the numbers, as short as ours.
        texts = [plain[name].cast(pa.string()) for name in self.columns]
        texts = [
            pc.utf8_rtrim(pc.utf8_rtrim(text, "0"), ".") if name in DIGITS else text
            for name, text in zip(self.columns, texts, strict=True)
        ]
        part = slice(0, max(BARS_A_DAY, plain.num_rows // 4))
        self.tuples = {}
        for kind, source in (("texts", texts), ("Decimals", [plain[name] for name in self.columns])):
            values = zip(*(column.slice(0, part.stop).to_pylist() for column in source), strict=True)
            self.tuples[kind] = [(*row, "binance", 1, 1) for row in values]
        frame = pa.table(dict(zip(self.columns, texts, strict=True))).slice(0, max(BARS_A_DAY, plain.num_rows // 12))
        self.frame = frame.to_pandas().assign(exchange="binance", source=1, receipt_id=1)
        self.count = 0

    def methods(self) -> dict[str, Callable[[], int]]:
        """By name; each returns how many rows it wrote. The order matters: `same again` follows `fresh`."""
        return {
            "executemany, Decimals": lambda: self.executemany("Decimals"),
            "executemany, texts": lambda: self.executemany("texts"),
            "server-side LOAD DATA": self.server_side,
            "to_sql(multi)": self.to_sql,
            "load_bars, fresh": self.load,
            "load_bars, same again": self.load,
        }

    def round(self) -> None:
        for name, method in self.methods().items():
            if name != "load_bars, same again":
                with self.server.db.engine.begin() as connection:
                    for table in ("ohlcv", "load_receipt", "load_scope", "restatement"):
                        connection.execute(text(f"TRUNCATE TABLE {table}"))
            began = time.perf_counter()
            rows = method()
            self.speeds.setdefault(name, []).append(rows / (time.perf_counter() - began))

    def load(self) -> int:
        self.count += 1
        symbols = self.bars["symbol"].unique().to_pylist()
        scope = Scope.product(symbols, ["1m"])
        draft = Draft(f"{self.count:016x}", "binance", Market.UM, DAY, scope, complete=True, digest="0" * 64)
        return load_bars(self.server.db, self.bars, draft).counts.rows

    def executemany(self, kind: str) -> int:
        rows = self.tuples[kind]
        names = ", ".join(f"`{name}`" for name in self.columns)
        marks = ", ".join(["%s"] * len(rows[0]))
        updates = ", ".join(f"`{name}` = VALUES(`{name}`)" for name in self.columns[3:])
        # Nothing but marks in the row, and VALUES() on both servers (not `AS new`): otherwise the driver would not join
        # the rows into one statement, and this would be an easy baseline.
        statement = (
            f"INSERT INTO ohlcv ({names}, exchange, source, receipt_id) VALUES ({marks}) "
            f"ON DUPLICATE KEY UPDATE {updates}, source = VALUES(source), receipt_id = VALUES(receipt_id)"
        )
        with closing(self.server.root()) as connection, closing(connection.cursor()) as cursor:
            for at in range(0, len(rows), 1000):
                cursor.executemany(statement, rows[at : at + 1000])
            connection.commit()
        return len(rows)

    def server_side(self) -> int:
        names = ", ".join(f"`{name}`" for name in self.columns)
        with closing(self.server.root()) as connection:
            connection.query(
                f"LOAD DATA INFILE '{self.csv}' REPLACE INTO TABLE ohlcv CHARACTER SET utf8mb4 "
                f"FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"' ESCAPED BY '' ({names}) "
                "SET exchange = 'binance', source = 1, receipt_id = 1"
            )
            connection.commit()
        return int(self.bars.num_rows)

    def to_sql(self) -> int:
        with self.server.db.engine.begin() as connection:
            self.frame.to_sql("ohlcv", connection, if_exists="append", index=False, method="multi", chunksize=1000)
        return len(self.frame)


def report(dialect: Any, speeds: dict[str, list[float]]) -> bool:
    """Print the medians and ratios of one server; returns whether every floor was kept."""
    median = {name: statistics.median(found) for name, found in speeds.items()}
    print(f"\n{dialect}")
    for name, speed in sorted(median.items(), key=lambda item: -item[1]):
        print(f"  {name:24} {speed / 1000:8.1f} k rows/s")
    kept = True
    for (ours, baseline), floor in FLOORS.items():
        ratio = median[ours] / median[baseline]
        held = floor is None or ratio >= floor
        kept &= held
        wanted = "no floor" if floor is None else f"floor {floor}x"
        print(f"  {ours} / {baseline}: {ratio:.2f}x ({wanted}){'' if held else '   BELOW THE FLOOR'}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=240 * BARS_A_DAY, help="rows of the fast methods")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (the median counts)")
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="both")
    asked = parser.parse_args()
    names = ("mysqlclient", "pandas", "sqlalchemy", "pyarrow")
    print("baselines: " + ", ".join(f"{name} {version(name)}" for name in names))
    kept = True
    with bench_servers(asked.server) as servers:
        for server in servers:
            with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
                run = Run(server, asked.rows, Path(folder))
                for _ in range(max(3, asked.rounds)):
                    run.round()
                kept &= report(server.db.dialect, run.speeds)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
