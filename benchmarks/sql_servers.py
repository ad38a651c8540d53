"""Private servers for the benchmarks: started for one run, on loopback, and gone afterwards.

Files past the kernel's cache (O_DIRECT), the log flushed once a second, no binary log.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gapless.storage.mysql import MySql
from gapless.storage.mysql.schema import upgrade
from tests.fixtures.mysql import MySqlUnavailable, free_port, private_server

USER, PASSWORD, DATABASE = "bench", "bench", "gapless_bench"


class BenchServer:
    """A running server with the schema in it.

    Attributes:
        url: its address, with name and password. db: the database, as the pipeline uses it.
    """

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url: str = server.url(USER, PASSWORD, DATABASE)
        self.db = MySql(self.url, statement_timeout_s=900)

    def root(self) -> Any:
        """A driver's connection with every right (server-side files), in the same database and kind of session."""
        connection = self._server._connect()
        connection.select_db(DATABASE)
        for statement in (
            "SET NAMES utf8mb4",
            "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'",
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        ):
            connection.query(statement)
        connection.autocommit(False)
        return connection


@contextmanager
def bench_servers(which: str, *, buffer_pool_mb: int = 2048) -> Iterator[Iterator[BenchServer]]:
    """The servers asked for (`mariadb`, `mysql`, `both`), one after another; says so where MySQL cannot be had."""

    def serve() -> Iterator[BenchServer]:
        for kind in ("mariadb", "mysql") if which == "both" else (which,):
            with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
                try:
                    place = Path(folder) / "server"
                    server = private_server(kind, place, free_port(), buffer_pool_mb=buffer_pool_mb, durable=True)
                except MySqlUnavailable as reason:
                    print(f"MySQL: not run ({reason})")
                    continue
                server.initialise()
                server.start()
                try:
                    server.create_user_and_database(USER, PASSWORD, [DATABASE])
                    bench = BenchServer(server)
                    upgrade(bench.db)
                    with closing(bench.root()) as connection:
                        connection.query("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
                    yield bench
                    bench.db.close()
                finally:
                    server.stop()

    servers = serve()
    try:
        yield servers
    finally:
        servers.close()  # type: ignore[attr-defined]
