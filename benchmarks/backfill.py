"""History: archive files to MySQL and to the lake, against the loader alone and against what others do.

    python -m benchmarks.backfill [--symbols 12] [--rounds 3] [--server mariadb|mysql] [--peers PYTHON | --no-peers]

The files are the replica's generated archive of USD-M 1m bars, fetched once and served from a folder on loopback, so
that what is measured is taking them: download, checksum, parse, prove, store, verify. Ratios within one run,
interleaved, medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import text

from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.config import load_settings
from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.schema import OHLCV
from gapless.domain.window import DAY_MS, Window, parse_time
from gapless.exchanges.binance.vision.klines import parse_klines_zip
from gapless.exchanges.binance.vision.objects import day_object, month_object
from gapless.pipeline.backfill import BackfillRequest, run_backfill
from gapless.pipeline.runtime import Runtime
from gapless.quality.rules import check_bars
from gapless.storage.mysql import Draft, Scope, load_rows
from tests.fixtures.replica import ReplicaHandle, start_replica

MONTHS = ("2026-03", "2026-04")
TABLES = ("ohlcv", "load_receipt", "load_scope", "restatement", "archive_object", "series_month", "data_gap_log",
          "archive_receipt", "archive_series", "quarantine")  # fmt: skip
PEERS = ("freqtrade==2026.9", "binance_historical_data==0.1.14", "sqlalchemy==2.1.9", "mysqlclient==2.3.1")
ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    ("ZIP to MySQL", "loader alone"): 0.7,
    ("ZIP to lake", "ZIP to MySQL"): 2.0,
}
PARSE_FLOOR = 750_000
PEER_FLOOR = 10.0
RERUN_FLOOR_S = 2.0
MEMORY_FLOOR = 1e9


class Quiet:
    """A watch that says nothing."""

    def plan(self, objects: int, rows: int) -> None: ...
    def object_done(self, name: str, bytes: int) -> None: ...
    def rows_done(self, rows: int) -> None: ...
    def waiting(self, what: str | None) -> None: ...
    def say(self, line: str) -> None: ...


class Files:
    """The archive on disk, served by another process."""

    def __init__(self, folder: Path, exchange: ReplicaHandle, symbols: list[str]) -> None:
        self.folder, self.exchange, self.symbols = folder, exchange, symbols

    def fetch(self, months: list[str], *, days_of: str | None = None) -> None:
        """Fetch the ZIPs of some months, and the days of the first for one symbol, with their CHECKSUMs; once."""
        for symbol in self.symbols:
            for month in months:
                at_ms = parse_time(f"{month}-01")
                objects = [month_object(Market.UM, "klines", symbol, Interval.M1, at_ms)]
                if symbol == days_of and month == months[0]:
                    window = objects[0].window
                    days = range(window.start_ms, window.end_ms, DAY_MS)
                    objects += [day_object(Market.UM, "klines", symbol, Interval.M1, day) for day in days]
                for obj in objects:
                    for name in (obj.path, f"{obj.path}.CHECKSUM"):
                        place = self.folder / name
                        if not place.exists():
                            place.parent.mkdir(parents=True, exist_ok=True)
                            with urllib.request.urlopen(f"{self.exchange.vision}/{name}", timeout=60) as answer:
                                place.write_bytes(answer.read())

    def paths(self, months: tuple[str, ...]) -> list[tuple[str, str, Path]]:
        """Symbol, month and place of every month's ZIP."""
        return [
            (symbol, month, self.folder / month_object(Market.UM, "klines", symbol, Interval.M1,
                                                       parse_time(f"{month}-01")).path)
            for month in months for symbol in self.symbols
        ]  # fmt: skip


class Run:
    def __init__(self, server: BenchServer, files: Files, vision: str, home: Path) -> None:
        self.server, self.files, self.home = server, files, home
        self.values: dict[str, Any] = {
            "mysql_url": server.db.engine.url.set(drivername="mysql").render_as_string(hide_password=False),
            "var_dir": home / "var",
            "lake_uri": f"file://{home}/lake",
            "binance_um_rest_url": files.exchange.um_rest,
            "binance_spot_rest_url": files.exchange.spot_rest,
            "binance_vision_url": vision,
        }
        self.settings = load_settings(**self.values)
        self.window = Window(parse_time(f"{MONTHS[0]}-01"), parse_time("2026-05-01"))
        self.tables = [self.parse(*each) for each in files.paths(MONTHS)]
        self.rows = sum(table.num_rows for table in self.tables)
        self.speeds: dict[str, list[float]] = {}

    def parse(self, symbol: str, month: str, path: Path) -> pa.Table:
        obj = month_object(Market.UM, "klines", symbol, Interval.M1, parse_time(f"{month}-01"))
        found = parse_klines_zip(path.read_bytes(), obj, exchange="binance", symbol=unified(symbol))
        return check_bars(found.bars).good.select(OHLCV.names)

    def clean(self) -> None:
        with self.server.db.engine.begin() as connection:
            for table in TABLES:
                connection.execute(text(f"TRUNCATE TABLE {table}"))
        shutil.rmtree(self.home / "lake" / "ohlcv", ignore_errors=True)

    def round(self) -> None:
        """Measure everything once, on empty stores."""
        for name, work in (
            ("parse, one core", self.parse_all),
            ("loader alone", self.load_all),
            ("ZIP to MySQL", lambda: self.backfill("mysql")),
            ("ZIP to lake", lambda: self.backfill("lake")),
        ):
            self.clean()
            began = time.perf_counter()
            rows = work()
            self.speeds.setdefault(name, []).append(rows / (time.perf_counter() - began))

    def parse_all(self) -> int:
        return sum(self.parse(*each).num_rows for each in self.files.paths(MONTHS))

    def load_all(self) -> int:
        """The same loads as the engine makes, a symbol's month each, of tables that are ready."""
        for number, table in enumerate(self.tables):
            first = table["ts"][0].value
            window = Window(first, table["ts"][-1].value + 60_000)
            scope = Scope.product([table["symbol"][0].as_py()], ["1m"])
            draft = Draft(f"{number:016x}", "binance", Market.UM, window, scope, complete=True, digest="0" * 64)
            load_rows(self.server.db, SHAPES[Dataset.OHLCV], table, draft)
        return self.rows

    def backfill(self, into: str) -> int:
        """The engine over all files; returns the rows it loaded."""
        request = BackfillRequest(
            market=Market.UM, symbols=tuple(self.files.symbols), intervals=(Interval.M1,),
            start_ms=self.window.start_ms, end_ms=self.window.end_ms, into=into,  # type: ignore[arg-type]
        )  # fmt: skip
        with Runtime.open(self.settings) as rt:
            report = run_backfill(rt, request, Quiet())
        assert report.rows_loaded == self.rows, report
        return report.rows_loaded

    def command(self, *options: str) -> tuple[float, int, dict[str, Any]]:
        """`gapless backfill` as a process: seconds, peak memory in bytes, its report."""
        names = {"mysql_url", "var_dir", "lake_uri", "binance_um_rest_url", "binance_spot_rest_url",
                 "binance_vision_url"}  # fmt: skip
        environment = {**os.environ, **{f"GAPLESS_{name.upper()}": str(self.values[name]) for name in names}}
        command = [
            sys.executable,
            "-m",
            "gapless",
            "backfill",
            "ohlcv",
            "--market",
            "um",
            "--intervals",
            "1m",
            "--json",
        ]
        began, peak = time.perf_counter(), 0
        with (
            tempfile.TemporaryFile() as out,
            subprocess.Popen(
                [*command, *options], stdout=out, stderr=subprocess.DEVNULL, env=environment, cwd=ROOT
            ) as process,
        ):
            while process.poll() is None:
                # Not ru_maxrss: that is inherited from this process, which is larger.
                peak = max(peak, high_water(process.pid))
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            out.seek(0)
            return seconds, peak, json.load(out)


def high_water(pid: int) -> int:
    """The most memory a process has held so far, in bytes; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def unified(raw_symbol: str) -> str:
    return f"{raw_symbol.removesuffix('USDT')}/USDT:USDT"


def serve(folder: Path, stack: ExitStack) -> str:
    """A static file server in a process of its own."""
    code = (
        "import sys\nfrom aiohttp import web\napp = web.Application()\n"
        f"app.router.add_static('/', {str(folder)!r})\n"
        "import asyncio\n"
        "async def main():\n"
        "    runner = web.AppRunner(app, access_log=None)\n    await runner.setup()\n"
        "    site = web.TCPSite(runner, '127.0.0.1', 0)\n    await site.start()\n"
        "    print(runner.addresses[0][1], flush=True)\n    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
    stack.callback(process.terminate)
    assert process.stdout is not None
    return f"http://127.0.0.1:{process.stdout.readline().strip()}"


def peers_python(asked: str | None) -> str | None:
    """An environment with the others in it, made beside the benchmarks' data when it is not named."""
    if asked:
        return asked
    place = ROOT / "var" / "bench-peers"
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    wanted = subprocess.run([python, "-m", "pip", "install", "-q", *PEERS], capture_output=True, text=True)
    if wanted.returncode:
        print(f"  the others: not run ({wanted.stderr.strip().splitlines()[-1]})")
        return None
    return str(python)


def compare_peers(run: Run, python: str, rounds: int) -> bool:
    """Print ours against the others; returns whether every judged floor was kept."""
    symbol, month = run.files.symbols[0], MONTHS[0]
    speeds: dict[str, list[float]] = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in run.files.folder.rglob(f"{symbol}-1m-{month}*.zip"):
            shutil.copy(path, folder)
        for _ in range(rounds):
            url = run.server.db.engine.url.set(drivername="mysql+mysqldb").render_as_string(hide_password=False)
            answer = subprocess.run([python, str(ROOT / "benchmarks" / "peers.py"), folder, url, symbol, month],
                                    capture_output=True, text=True, check=True)  # fmt: skip
            told = json.loads(answer.stdout.splitlines()[-1])
            versions = told["versions"]
            for name, speed in told["rows_s"].items():
                speeds.setdefault(name, []).append(speed)
    print("  the others: " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    kept = True
    for name, found in speeds.items():
        ours = "ZIP to lake" if "feather" in name else "ZIP to MySQL"
        ratio = statistics.median(run.speeds[ours]) / statistics.median(found)
        judged = not name.endswith("to_sql") and "feather" not in name
        held = ratio >= PEER_FLOOR
        kept &= held or not judged
        said = f"floor {PEER_FLOOR:.0f}x" if judged else f"{PEER_FLOOR:.0f}x was asked for; see docs/decisions/0071"
        speed = statistics.median(found) / 1000
        below = "" if held or not judged else "   BELOW THE FLOOR"
        print(f"    {ours} / {name}: {ratio:.1f}x of {speed:.1f} k rows/s ({said}){below}")
    return kept


def report(run: Run) -> bool:
    """Print medians and ratios of one server; returns whether every floor was kept."""
    median = {name: statistics.median(found) for name, found in run.speeds.items()}
    print(f"\n{run.server.db.dialect}, {run.rows:,} rows of 1m bars a round")
    for name, speed in sorted(median.items(), key=lambda item: -item[1]):
        print(f"  {name:18} {speed / 1000:8.1f} k rows/s")
    kept = True
    for (ours, baseline), floor in FLOORS.items():
        ratio = median[ours] / median[baseline]
        kept &= ratio >= floor
        print(f"  {ours} / {baseline}: {ratio:.2f}x (floor {floor}x){'' if ratio >= floor else '   BELOW THE FLOOR'}")
    held = median["parse, one core"] >= PARSE_FLOOR
    print(f"  parse on one core: {median['parse, one core'] / 1e6:.2f} M rows/s (floor {PARSE_FLOOR / 1e6} M)"
          f"{'' if held else '   BELOW THE FLOOR'}")  # fmt: skip
    return kept and held


def year(run: Run) -> bool:
    """Twelve months of twenty symbols in a process of its own: its peak memory; then a hundred of them again."""
    run.clean()
    symbols = ",".join(run.files.symbols[:20])
    options = ("--symbols", symbols, "--start", "2025-05-01", "--end", "2026-05-01")
    seconds, peak, told = run.command(*options, "--into", "lake")
    print(f"  12 months x 20 symbols into the lake: {told['rows_loaded']:,} rows in {seconds:.0f} s,"
          f" peak {peak / 1e6:.0f} MB (floor: under {MEMORY_FLOOR / 1e6:.0f})")  # fmt: skip
    some = ",".join(run.files.symbols[:10])
    again = ("--symbols", some, "--start", "2025-07-01", "--end", "2026-05-01", "--into", "lake")
    times = [run.command(*again) for _ in range(3)]
    best = statistics.median(seconds for seconds, _, _ in times)
    last = times[-1][2]
    print(f"  100 symbol-months again: {best:.2f} s (floor: under {RERUN_FLOOR_S:.0f}), {last['requests']} requests")
    return peak < MEMORY_FLOOR and best < RERUN_FLOOR_S and last["nothing_to_do"] and told["bars_expected"] > 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=20, help="symbols of a round")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each (the median counts)")
    parser.add_argument("--server", choices=["mariadb", "mysql", "both"], default="both")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has the others installed")
    parser.add_argument("--no-peers", action="store_true", help="leave the others out")
    parser.add_argument("--no-year", action="store_true", help="leave out memory and re-run")
    asked = parser.parse_args()
    kept = True
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
        exchange = start_replica("--generate", "bench", "--symbols", str(max(20, asked.symbols)), "--speed", "0",
                                 "--start", "2026-11-15T12:30:30", "--um-weight", "0")  # fmt: skip
        stack.callback(exchange.stop)
        listed = exchange.get("/fapi/v1/exchangeInfo")["symbols"]
        old = [each["symbol"] for each in listed if each["status"] == "TRADING" and each["symbol"].isascii()
               and each["onboardDate"] < parse_time("2025-05-01")]  # fmt: skip
        files = Files(Path(folder) / "files", exchange, old[: max(20, asked.symbols)])
        files.fetch([*MONTHS], days_of=old[0])
        python = None if asked.no_peers else peers_python(asked.peers)
        with bench_servers(asked.server) as servers:
            for number, server in enumerate(servers):
                files.symbols = old[: asked.symbols]
                home = Path(folder) / f"home-{number}"
                run = Run(server, files, serve(files.folder, stack), home)
                for _ in range(max(1, asked.rounds)):
                    run.round()
                kept &= report(run)
                if python:
                    kept &= compare_peers(run, python, min(3, asked.rounds))
                if number == 0 and not asked.no_year:
                    files.symbols = old[:20]
                    files.fetch([f"{y}-{m:02}" for y, m in [*((2025, m) for m in range(5, 13)),
                                                            *((2026, m) for m in range(1, 5))]])  # fmt: skip
                    kept &= year(run)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
