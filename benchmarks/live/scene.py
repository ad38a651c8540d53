"""The real command before a replica whose wire can be cut, with a MySQL that can be killed; looked at throughout."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from benchmarks.live import repaired
from benchmarks.live.breaker import Breaker
from benchmarks.live.faults import NotReady, Sidecar
from benchmarks.live.machine import ROOT, BareRedis, end, free_port, rss_bytes
from benchmarks.live.repaired import MINUTE_MS, Series
from gapless.storage.mysql import MySql
from gapless.storage.mysql.faults import RetryPolicy
from gapless.storage.mysql.schema import upgrade
from streamer.operations.status import StreamerStatus, decode_status, status_key
from tests.fixtures.live import START, LiveReplica, live_process
from tests.fixtures.mysql import private_server

LOOK_S, STOP_S = 0.5, 60.0
_SYMBOLS = 9
"""Of each market."""
_PATIENCE_S = 300.0
_ACCOUNT, _DATABASE = "soak", "gapless_soak"


@dataclass(slots=True)
class Scene:
    """All that runs, and what was seen of it.

    Attributes:
        series: what is streamed. first_ms: the minute that was open when the books were live, exchange time.
        rss: of the sidecar, MB, at every look. spooled: bars that waited on disk for MySQL, at most.
    """

    live: LiveReplica
    server: Any
    db: MySql
    redis: Redis
    wire: Breaker
    process: subprocess.Popen[bytes]
    log: Path
    series: list[Series]
    first_ms: int = 0
    rss: list[float] = field(default_factory=list)
    spooled: int = 0

    def status(self) -> StreamerStatus | None:
        """What the sidecar says of itself."""
        value: Any = self.redis.get(status_key("0/1"))
        return None if value is None else decode_status(value)

    def look(self) -> None:
        """Memory, the spool, and that it is there.

        Raises:
            NotReady: the sidecar ended.
        """
        if self.process.poll() is not None:
            raise NotReady(f"the sidecar ended with status {self.process.returncode}: {self.said()[-1:]}")
        self.rss.append(rss_bytes(self.process.pid) / 1e6)
        if (status := self.status()) is not None and status.bars is not None:
            self.spooled = max(self.spooled, status.bars.spooled)

    def stay(self, seconds: float) -> None:
        """Look at it for so long."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.look()
            time.sleep(min(LOOK_S, left))

    def wait(self, what: Callable[[], bool], why: str, seconds: float = _PATIENCE_S) -> float:
        """Look at it until something holds; the seconds that took.

        Raises:
            NotReady: it does not hold in time.
        """
        began = time.monotonic()
        while not what():
            if time.monotonic() - began > seconds:
                raise NotReady(f"not within {seconds:.0f} s: {why}; it said {self.said()[-3:]}")
            self.look()
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def said(self) -> list[str]:
        return self.log.read_text().splitlines()

    def books_stale(self) -> bool:
        status = self.status()
        return status is not None and all(book.state != "live" for book in status.books)

    def closed(self, until_ms: int) -> bool:
        """Whether MySQL has each symbol's minutes from the first to those that ended by then."""
        end_ms = until_ms // MINUTE_MS * MINUTE_MS
        wanted = (end_ms - self.first_ms) // MINUTE_MS * len(self.series)
        return repaired.bars_stored(self.db, self.first_ms, end_ms) >= wanted


@contextmanager
def played(home: Path, redis: BareRedis) -> Iterator[Scene]:
    """The replica, MySQL, the wire and the sidecar; ended afterwards, each by its handle."""
    live = live_process("--generate", "7", "--start", START)
    server = private_server("mariadb", home / "sql", free_port())
    server.initialise()
    server.start()
    server.create_user_and_database(_ACCOUNT, _ACCOUNT, [_DATABASE])
    url = server.url(_ACCOUNT, _ACCOUNT, _DATABASE)
    db, client = MySql(url, retry=RetryPolicy(total_s=20)), redis.client()
    upgrade(db)
    log, process = home / "outages.log", None
    series = repaired.listed(live, _SYMBOLS)
    try:
        with Breaker([urlsplit(each).port or 0 for each in (live.rest, live.um_ws)]) as wire:
            web, um = wire.ports
            values = {
                "GAPLESS_BINANCE_SPOT_REST_URL": f"http://127.0.0.1:{web}",
                "GAPLESS_BINANCE_UM_REST_URL": f"http://127.0.0.1:{web}",
                "GAPLESS_BINANCE_SPOT_WS_URL": f"ws://127.0.0.1:{web}",
                "GAPLESS_BINANCE_UM_WS_URL": f"ws://127.0.0.1:{um}",
                "GAPLESS_REDIS_URL": redis.url,
                "GAPLESS_REDIS_CONTROL_URL": redis.url,
                "GAPLESS_MYSQL_URL": url,
                "GAPLESS_VAR_DIR": str(home / "outages"),
            }
            port = free_port()
            names = ",".join(each.symbol for each in series)
            with log.open("ab") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "gapless", "stream", "--symbols", names, "--port", str(port)],
                    stdout=said, stderr=said, cwd=ROOT, env={**os.environ, **values},
                )  # fmt: skip
            Sidecar(process, port).wait_ready()
            yield Scene(live, server, db, client, wire, process, log, series)
    finally:
        if process is not None:
            end(process, STOP_S)
        db.close()
        client.close()
        server.stop()
        live.stop()
