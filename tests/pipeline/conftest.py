"""A whole installation for a test: its own database, lake and exchange."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from gapless.config import Settings, load_settings
from gapless.domain.instrument import Market
from gapless.domain.interval import parse_intervals
from gapless.domain.window import Window, parse_time
from gapless.pipeline.backfill import BackfillReport, BackfillRequest, run_backfill
from gapless.pipeline.plan import plan_window
from gapless.pipeline.run import EtlReport, run_etl
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import MySql
from tests.fixtures.forks import run_forked
from tests.fixtures.mysql import fresh_database
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle

NOON = Window.of("2026-11-15T11:00", "2026-11-15T12:00")
"""The last whole hour by the replica's frozen clock (12:30:30); the hour that closes a 4h bar."""


@dataclass
class Told:
    """A watch that remembers what it was told."""

    said: list[str]
    objects: list[str] = field(default_factory=list)

    def plan(self, objects: int, rows: int) -> None: ...

    def object_done(self, name: str, bytes: int) -> None:
        self.objects.append(name)

    def rows_done(self, rows: int) -> None: ...

    def waiting(self, what: str | None) -> None:
        if what:
            self.said.append(what)

    def say(self, line: str) -> None:
        self.said.append(line)


@dataclass
class Installation:
    """Settings, stores and exchange of one test, and what they hold."""

    settings: Settings
    db: MySql
    exchange: ReplicaHandle
    said: list[str] = field(default_factory=list)
    max_wait_s: float = 5.0

    def open(self) -> AbstractContextManager[Runtime]:
        return Runtime.open(self.settings, max_wait_s=self.max_wait_s, say=self.said.append)

    def etl(
        self,
        window: Window = NOON,
        *,
        symbols: str = "BTC/USDT:USDT",
        market: Market | None = None,
        intervals: str | None = None,
    ) -> EtlReport:
        """The four steps over a window, in this process."""
        with self.open() as rt:
            chosen = parse_intervals(intervals) if intervals else None
            batches = plan_window(rt, window, market=market, symbols=symbols.split(","), intervals=chosen)
            return run_etl(rt, batches, on_step=self.said.append, on_batch=lambda done, total: None)

    def backfill(self, start: str, end: str, *, symbols: str = "BTC/USDT:USDT", **options: Any) -> BackfillReport:
        """A backfill in this process; options as of `BackfillRequest`, intervals as on the command line."""
        intervals = parse_intervals(options.pop("intervals", "1m"))
        request = BackfillRequest(
            symbols=tuple(symbols.split(",")),
            intervals=intervals,
            start_ms=parse_time(start),
            end_ms=parse_time(end),
            **options,
        )
        with self.open() as rt:
            return run_backfill(rt, request, Told(self.said))

    @property
    def environment(self) -> dict[str, str]:
        """The environment that makes another process work on this installation."""
        names = {
            "GAPLESS_MYSQL_URL": self.settings.mysql_url.get_secret_value() if self.settings.mysql_url else "",
            "GAPLESS_LAKE_URI": self.settings.lake_uri,
            "GAPLESS_VAR_DIR": str(self.settings.var_dir),
            "GAPLESS_BINANCE_SPOT_REST_URL": self.settings.binance_spot_rest_url,
            "GAPLESS_BINANCE_UM_REST_URL": self.settings.binance_um_rest_url,
            "GAPLESS_BINANCE_VISION_URL": self.settings.binance_vision_url,
            "GAPLESS_BINANCE_VISION_LIST_URL": self.settings.vision_list_url or "",
            "GAPLESS_SYMBOLS_FILE": str(self.settings.symbols_file),
        }
        return {**os.environ, **names}

    def command(self, *arguments: str) -> tuple[int, dict[str, Any], str]:
        """`gapless ARGUMENTS --json` as a process: exit status, the object on standard output, standard error."""
        words = [sys.executable, "-m", "gapless", *arguments, "--json"]
        result = run_forked(words, env=self.environment, text=True, timeout=120)
        return result.returncode, json.loads(result.stdout or "null"), result.stderr

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query on the database."""
        with self.db.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query, values or None)]

    def bars(self) -> list[tuple[Any, ...]]:
        """Every stored bar, every column, in key order."""
        return self.rows("SELECT * FROM ohlcv ORDER BY symbol, `interval`, ts, exchange")

    @property
    def lake(self) -> Path:
        return Path(self.settings.lake.removeprefix("file://"))

    def lake_files(self) -> dict[str, bytes]:
        """Every object of the lake but locks, by key."""
        files = (path for path in self.lake.rglob("*") if path.is_file())
        named = {str(path.relative_to(self.lake)): path for path in files}
        return {key: path.read_bytes() for key, path in sorted(named.items()) if not key.startswith("_locks/")}

    def lake_bars(self) -> list[tuple[Any, ...]]:
        """Every bar of the lake as DuckDB reads it by the contract's query, columns as in MySQL, in the same order."""
        query = f"""
            SELECT symbol, interval, epoch_ms(ts), exchange, open, high, low, close, volume, quote_volume, trades,
                   taker_buy_volume, taker_buy_quote_volume, source
            FROM read_parquet('{self.lake}/ohlcv/**/*.parquet', hive_partitioning=true, union_by_name=true)
            ORDER BY symbol, interval, ts, exchange"""
        with duckdb.connect() as connection:
            return connection.execute(query).fetchall()

    def mysql_bars(self) -> list[tuple[Any, ...]]:
        """Every stored bar in the form of `lake_bars`."""
        columns = "open, high, low, close, volume, quote_volume, trades, taker_buy_volume, taker_buy_quote_volume"
        rows = self.rows(
            f"SELECT symbol, `interval`, CAST(UNIX_TIMESTAMP(ts) AS SIGNED) * 1000, exchange, {columns}, source"
            " FROM ohlcv"
        )
        return sorted(rows, key=lambda row: (row[0].encode(), row[1], row[2], row[3]))


MakeInstallation = Callable[..., Installation]


@pytest.fixture
def make_installation(tmp_path: Path, mysql_servers: Any) -> Iterator[MakeInstallation]:
    """A factory of installations: `make_installation(exchange, lake_uri=..., kind="mysql", **settings)`."""
    opened: list[AbstractContextManager[MySql]] = []

    def make(exchange: ReplicaHandle, *, kind: str = "mariadb", name: str = "one", **settings: Any) -> Installation:
        database = fresh_database(mysql_servers(kind))
        db = database.__enter__()
        opened.append(database)
        home = tmp_path / name
        values = {
            "mysql_url": mysql_url(db),
            "var_dir": home / "var",
            "lake_uri": f"file://{home}/lake",
            "binance_spot_rest_url": exchange.spot_rest,
            "binance_um_rest_url": exchange.um_rest,
            "binance_vision_url": exchange.vision,
            **settings,
        }
        return Installation(load_settings(**values), db, exchange)

    yield make
    for database in reversed(opened):
        database.__exit__(None, None, None)


@pytest.fixture
def installation(make_installation: MakeInstallation, replica: ReplicaHandle) -> Installation:
    """An empty installation on the frozen generated market."""
    return make_installation(replica)


def mysql_url(db: MySql) -> str:
    """The URL that opens this database."""
    return db.engine.url.set(drivername="mysql").render_as_string(hide_password=False)


def as_builtins(report: EtlReport) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found


__all__: Sequence[str] = ["NOON", "Installation", "MakeInstallation", "ReplicaFactory"]
