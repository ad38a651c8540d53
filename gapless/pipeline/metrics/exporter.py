"""Scrapes answered within seconds, whatever the database does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Overdue
from contextlib import contextmanager
from dataclasses import replace

from gapless.config import Settings
from gapless.monitoring.exposition import Sample, exposition
from gapless.pipeline.metrics.collect import collect
from gapless.pipeline.metrics.exchange_time import ExchangeTime
from gapless.pipeline.metrics.lag import LagWatch
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql import MySql
from gapless.storage.mysql.faults import RetryPolicy

FRESH_S = 5.0
"""How long what was read is told again: two who scrape, or somebody's reload, cost one look."""
PATIENCE_S = 8.0
"""How long a scrape waits for the database; Prometheus itself gives up after ten seconds."""
_STATEMENT_S = 15


@contextmanager
def open_for_scrapes(settings: Settings, *, say: Callable[[str], None]) -> Iterator[Runtime]:
    """An installation whose database is asked once and not waited for: the next scrape asks again.

    Raises:
        ConfigError: no database is configured.
    """
    with Runtime.open(settings, say=say) as rt:
        # `Runtime.open` has refused an installation without a database.
        url = settings.mysql_url.get_secret_value() if settings.mysql_url else ""
        db = MySql(url, retry=RetryPolicy(total_s=0.0), pool_size=2, statement_timeout_s=_STATEMENT_S)
        try:
            yield replace(rt, db=db)
        finally:
            db.close()


class Exporter:
    """Reads the books at most once in `fresh_s`, in one thread, however many ask.

    Args:
        rt: of this exporter alone; see `open_for_scrapes`.
        clock: the exchange's time.
        patience_s: how long a scrape waits for a look; after that it tells that the database does not answer.
    """

    def __init__(
        self, rt: Runtime, clock: ExchangeTime, *, fresh_s: float = FRESH_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._rt = rt
        self._clock = clock
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._lags = LagWatch()
        self._lock = threading.Lock()
        self._reader = ThreadPoolExecutor(1, "metrics")
        self._look: Future[list[Sample]] | None = None
        self._looked_s = 0.0

    def samples(self) -> list[Sample]:
        """The values of now, or of a few seconds ago."""
        try:
            return self._current().result(timeout=self._patience_s)
        except Overdue:
            self._rt.say(f"no metrics but gapless_up: the database has not answered for {self._patience_s:g} s")
            return [Sample("gapless_up", 0)]

    def scrape(self) -> bytes:
        """The same as Prometheus reads it."""
        return exposition(self.samples())

    def close(self) -> None:
        """Begin no other look."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _current(self) -> Future[list[Sample]]:
        """The look that is under way or fresh, or a new one. A look that hangs is waited for, never doubled."""
        with self._lock:
            look, now = self._look, time.monotonic()
            if look is None or (look.done() and now - self._looked_s >= self._fresh_s):
                look = self._look = self._reader.submit(collect, self._rt, self._clock, self._lags)
                look.add_done_callback(self._stamp)
            return look

    def _stamp(self, _: Future[list[Sample]]) -> None:
        self._looked_s = time.monotonic()
