"""One day of 600 USD-M perpetuals in six intervals, with funding and metrics, in a database of its own, beside the
replica that it is equal to.

The rows are the generated market's, made in this process and stored by the loader, so that a day stands in half a
minute: what is measured is not how it came there. Spot is not asked for anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.sql_servers import BenchServer, bench_servers
from gapless.config import load_settings
from gapless.domain.datasets import SHAPES, Dataset
from gapless.domain.instrument import Market
from gapless.domain.interval import ALL_INTERVALS
from gapless.domain.schema import OHLCV, sort_bars
from gapless.domain.schema import Source as Code
from gapless.domain.window import Window, parse_time
from gapless.exchanges.binance.funding import read_funding_page, settlements
from gapless.exchanges.binance.metrics import parse_metrics_zip
from gapless.exchanges.binance.payloads import Payload, parse_klines
from gapless.exchanges.binance.series_rows import Ledger
from gapless.exchanges.binance.vision.objects import day_object
from gapless.pipeline.instruments import refresh_market
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import Draft, Scope, load_rows
from replica.answer import rows_body
from replica.command import add_arguments, build
from replica.query import KlineQuery
from replica.series_query import FundingQuery
from replica.source import Source
from tests.fixtures.replica import ReplicaHandle, start_replica

SEED = "11"
DAY = Window.of("2026-11-14", "2026-11-15")
NOW = "2026-11-15T00:10:30"
NOW_MS = parse_time(NOW)
LIFTED = 10**8
ROOT = Path(__file__).resolve().parents[1]

_SYMBOLS_A_LOAD = 60


@dataclass
class Day600:
    """The day, ready to be compared.

    Attributes:
        symbols: unified, those that have bars.
        rows: how many bars are stored.
    """

    server: BenchServer
    exchange: ReplicaHandle
    home: Path
    symbols: list[str]
    rows: int = 0
    filled_s: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment that makes another process work on it."""
        return {**os.environ, **{f"GAPLESS_{name.upper()}": str(value) for name, value in self.settings.items()}}

    @property
    def window(self) -> tuple[str, ...]:
        """The day and its series as options of the command line."""
        return "--start", "2026-11-14", "--end", "2026-11-15", "--market", "um", "--symbols", "all:USDT"

    def command(self, *options: str) -> Ran:
        """`gapless OPTIONS --json` as a process of its own."""
        return run_process([sys.executable, "-m", "gapless", *options, "--json"], self.environment, self.exchange)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a process needed.

    Attributes:
        cpu_s: its own and its children's. replica_cpu_s: the exchange's, meanwhile.
        peak_bytes: the most memory it held at once.
        report: what it printed as JSON.
    """

    status: int
    seconds: float
    cpu_s: float
    replica_cpu_s: float
    peak_bytes: int
    report: dict[str, Any]


def run_process(command: list[str], environment: dict[str, str], exchange: ReplicaHandle) -> Ran:
    """Run to the end, looking at its memory all the while.

    Not by `ru_maxrss`: a child inherits that from this process, which is larger.
    """
    before, began, peak = cpu_s(exchange.process.pid), time.perf_counter(), 0
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=out, stderr=log, env=environment, cwd=ROOT)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, high_water(process.pid))
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        out.seek(0)
        log.seek(0)
        text, lines = out.read(), log.read().decode(errors="replace").splitlines()
    replica_s = cpu_s(exchange.process.pid) - before
    if not text.strip():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode} and no report: {lines[-3:]}")
    report = json.loads(text)
    return Ran(process.returncode, seconds, usage.ru_utime + usage.ru_stime, replica_s, peak, report)


def high_water(pid: int) -> int:
    """The most memory a process has held so far, in bytes; 0 when it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_s(pid: int) -> float:
    """Seconds of processor that a process has used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def made_market(seed: str, count: int) -> tuple[Source, dict[str, str]]:
    """The replica's market in this process, and its perpetuals that trade: unified symbols by raw symbol."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    source = build(parser.parse_args(["--generate", seed, "--symbols", str(count)])).source
    told = source.symbols(Market.UM, NOW_MS)
    names = sorted(name for name, symbol in told.items() if symbol["status"] == "TRADING")
    return source, {name: f"{name.removesuffix('USDT')}/USDT:USDT" for name in names}


def bars_of(source: Source, symbols: dict[str, str]) -> pa.Table:
    """The day's bars as a REST reader has them."""
    payloads: list[Payload] = []
    for raw_symbol, symbol in symbols.items():
        for interval in ALL_INTERVALS:
            asked = KlineQuery(Market.UM, raw_symbol, str(interval), interval.ms, DAY.start_ms, DAY.end_ms - 1, 1500)
            payloads.append(("binance", symbol, str(interval), rows_body(source.rows(asked, NOW_MS))))
    bars, rejected = parse_klines(payloads, Code.REST)
    if rejected:
        raise SystemExit(f"the replica's own bars cannot be read: {rejected[0]}")
    return sort_bars(bars.select(OHLCV.names))


def funding_of(source: Source, symbols: dict[str, str]) -> pa.Table:
    """The day's settlements as a REST reader has them."""
    parts = []
    for raw_symbol, symbol in symbols.items():
        asked = FundingQuery(raw_symbol, DAY.start_ms, DAY.end_ms - 1, 1000)
        ledger = Ledger.of(symbol)
        read_funding_page(rows_body(source.series.funding(asked, NOW_MS)).decode(), ledger, raw_symbol, DAY)
        parts.append(settlements(ledger, "binance", Code.REST, DAY).rows)
    return pa.concat_tables(parts)


def metrics_of(source: Source, symbols: dict[str, str]) -> pa.Table:
    """The day's metrics as the archive has them."""
    parts = []
    for raw_symbol, symbol in symbols.items():
        obj = day_object(Market.UM, "metrics", raw_symbol, None, DAY.start_ms)
        packed = BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(obj.member, source.series.archive_csv("metrics", raw_symbol, DAY))
        parts.append(parse_metrics_zip(packed.getvalue(), obj, exchange="binance", symbol=symbol).rows)
    return pa.concat_tables(parts)


def fill(server: BenchServer, seed: str, count: int) -> tuple[list[str], int]:
    """Store the day; its symbols, and how many bars."""
    source, symbols = made_market(seed, count)
    names, rows = list(symbols), 0
    intervals = {Dataset.OHLCV: [str(interval) for interval in ALL_INTERVALS]}
    for at in range(0, len(names), _SYMBOLS_A_LOAD):
        some = {name: symbols[name] for name in names[at : at + _SYMBOLS_A_LOAD]}
        for dataset, make in (
            (Dataset.OHLCV, bars_of),
            (Dataset.FUNDING, funding_of),
            (Dataset.METRICS, metrics_of),
        ):
            table = make(source, some)
            scope = Scope.product(list(some.values()), intervals.get(dataset, [""]))
            key = sha256(f"{dataset} {at}".encode()).hexdigest()[:16]
            draft = Draft(key, "binance", Market.UM, DAY, scope, complete=True, digest="0" * 64, dataset=str(dataset))
            load_rows(server.db, SHAPES[dataset], table, draft)
            rows += table.num_rows if dataset is Dataset.OHLCV else 0
    with server.db.engine.connect() as connection:
        for dataset in Dataset:
            connection.exec_driver_sql(f"ANALYZE TABLE {dataset}").all()
    return list(symbols.values()), rows


@contextmanager
def days600(which: str = "mariadb", *, symbols: int = 600, seed: str = SEED) -> Iterator[Iterator[Day600]]:
    """The day in each of the servers asked for (`mariadb`, `mysql`, `both`), one after another."""
    exchange = start_replica(
        *("--generate", seed, "--symbols", str(symbols), "--speed", "0", "--start", NOW),
        *("--um-weight", str(LIFTED), "--spot-weight", str(LIFTED)),
    )
    try:
        exchange.limits(um={"funding_per_5m": None, "futures_data_per_5m": None})
        with bench_servers(which, buffer_pool_mb=1024) as servers:
            yield _days(servers, exchange, symbols, seed)
    finally:
        exchange.stop()


def _days(servers: Iterator[BenchServer], exchange: ReplicaHandle, symbols: int, seed: str) -> Iterator[Day600]:
    for server in servers:
        with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
            home = Path(folder)
            began = time.perf_counter()
            names, rows = fill(server, seed, symbols)
            settings: dict[str, Any] = {
                "mysql_url": server.db.engine.url.set(drivername="mysql").render_as_string(hide_password=False),
                "var_dir": home / "var",
                "lake_uri": f"file://{home}/lake",
                "binance_um_rest_url": exchange.um_rest,
                "binance_spot_rest_url": exchange.spot_rest,
                "binance_vision_url": exchange.vision,
                "binance_vision_list_url": exchange.vision_list,
            }
            filled_s = time.perf_counter() - began
            with Runtime.open(load_settings(**settings)) as rt:
                refresh_market(rt, Market.UM)
            yield Day600(server, exchange, home, names, rows, filled_s, settings)
