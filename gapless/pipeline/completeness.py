"""The monthly figure, measured and put into the books, as a check like others: what its metric then tells."""

from __future__ import annotations

import time
from hashlib import sha256

import msgspec

from gapless.domain.datasets import Dataset
from gapless.domain.window import Window, month_start, next_month, parse_time
from gapless.pipeline.calendar import MonthRow
from gapless.pipeline.coverage import known_time, measure_coverage
from gapless.pipeline.runtime import EXCHANGE, Runtime
from gapless.storage.mysql.checks import CLEAN, DIRTY, CheckRun, put_check

KIND = "completeness"
"""Of the check runs that this makes, one a month; measured again, a month's run is replaced."""


def record_completeness(rt: Runtime, *, months: int = 2, link: str = "") -> tuple[MonthRow, ...]:
    """Measure the newest months, the running one included, and enter each as a check run of kind `completeness`.

    A run is `dirty` when a market's bars of an interval lack more than `missing_allowed_percent` of what the exchange
    has. Counted are the watchlist and all else that anything is stored of.

    Args:
        months: how many, 1 or more. link: where a person finds the task that measured.

    Raises:
        StorageError: MySQL or the lake is away. ExchangeError: its clock cannot be read and never was.
    """
    began_ms = _host_ms()
    now_ms = known_time(rt, None, enough_ms=None)
    first = month_start(now_ms)
    for _ in range(months - 1):
        first = month_start(first - 1)
    report = measure_coverage(rt, start_ms=first, end_ms=now_ms)
    by_month: dict[str, list[MonthRow]] = {}
    for row in report.months:
        by_month.setdefault(row.month, []).append(row)
    for month, rows in sorted(by_month.items()):
        start = parse_time(f"{month}-01")
        put_check(
            rt.db,
            CheckRun(
                identity=sha256(f"{KIND}\0{EXCHANGE}\0{month}".encode()).hexdigest(),
                kind=KIND,
                dataset=str(Dataset.OHLCV),
                window=Window(start, next_month(start)),
                state=CLEAN if all(row.within for row in rows) else DIRTY,
                result={
                    "until": report.until,
                    "allowed_percent": rt.settings.missing_allowed_percent,
                    **{name: sum(getattr(row, name) for row in rows) for name in _SUMS},
                    "months_beyond": sum(not row.within for row in rows),
                    "rows": msgspec.to_builtins(rows),
                },
                link=link,
                started_ms=began_ms,
                finished_ms=_host_ms(),
            ),
        )
    return report.months


_SUMS = ("expected", "present", "unfillable", "missing")


def _host_ms() -> int:
    return time.time_ns() // 1_000_000
