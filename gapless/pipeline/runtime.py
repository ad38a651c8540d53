"""What the steps need open while they run: settings, MySQL, the lake, the way to the exchange."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from gapless.config import Settings
from gapless.domain.instrument import Market
from gapless.domain.window import iso
from gapless.errors import ConfigError
from gapless.exchanges.binance.symbols import EXCHANGE
from gapless.pipeline.retention.rules import first_cold_border_ms
from gapless.storage.lake import BarLake, open_store
from gapless.storage.mysql import MySql
from gapless.storage.mysql.faults import RetryPolicy

if TYPE_CHECKING:
    from gapless.exchanges.binance.rest import BinanceRest

TASK_WAIT_S = 75.0
"""How long one request of a step waits for budget before the step gives its slot back: a minute's window and some."""

__all__ = ["EXCHANGE", "TASK_WAIT_S", "Runtime"]


@dataclass(frozen=True)
class Runtime:
    """An open installation.

    Attributes:
        lake: its writers exclude each other by MySQL's locks.
        max_wait_s: how long one request waits for a ban or an empty budget before `RateLimited` is raised.
        say: told in one line what is being waited for, and until when.
    """

    settings: Settings
    db: MySql
    lake: BarLake
    max_wait_s: float
    say: Callable[[str], None]

    @classmethod
    @contextmanager
    def open(
        cls, settings: Settings, *, max_wait_s: float = TASK_WAIT_S, say: Callable[[str], None] = print
    ) -> Iterator[Runtime]:
        """Open lazily: nothing is contacted until a step needs it.

        Raises:
            ConfigError: no database is configured, or the lake's address is wrong.
        """
        if settings.mysql_url is None:
            raise ConfigError("GAPLESS_MYSQL_URL is not set: run `gapless up`, or write mysql://user:password@host/db")
        retry = RetryPolicy(total_s=settings.storage_patience_s)
        db = MySql(settings.mysql_url.get_secret_value(), retry=retry)
        cold_before_ms = cache(
            lambda: first_cold_border_ms(settings, time.time_ns() // 1_000_000)
        )  # read when asked for
        try:
            lake = BarLake(open_store(settings), locks=db, kept_before_ms=cold_before_ms)
            yield cls(settings, db, lake, max_wait_s, say)
        finally:
            db.close()

    def exchange(self, market: Market) -> BinanceRest:
        """A client of one market, paced with all others behind this address; to be entered with `async with`."""
        # Half a second of imports that a command without a question to the exchange does not pay for.
        from gapless.exchanges.binance.connect import connect

        return connect(
            market,
            self.settings.rest_url(market),
            control_url=self.settings.control_url,
            var_dir=self.settings.var_dir,
            budget_share=self.settings.budget_share,
            max_wait_s=self.max_wait_s,
            on_wait=lambda reason, until_ms: self.say(f"waiting until {iso(until_ms)}: {reason}"),
        )
