"""A month of bars in MySQL that is about to leave, and what must be true of it at every moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gapless.domain.datasets import Dataset
from gapless.domain.interval import ALL_INTERVALS
from gapless.pipeline.export import ExportReport, run_export
from gapless.pipeline.read import read_everywhere
from gapless.pipeline.runtime import Runtime
from gapless.storage.mysql.exports import DROPPED, read_exports
from gapless.storage.mysql.leaving import find_twins, standing_months
from gapless.storage.mysql.partitions import Month
from tests.pipeline.conftest import Installation

JULY = Month(2026, 7)
SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT", "币安人生/USDT:USDT")
DAYS = ("2026-07-30", "2026-08-01")


@dataclass
class Quiet:
    """A watch that remembers what it was told."""

    said: list[str] = field(default_factory=list)
    counted: list[tuple[int, int]] = field(default_factory=list)

    def say(self, line: str) -> None:
        self.said.append(line)

    def rows(self, done: int, total: int) -> None:
        self.counted.append((done, total))


def fill(installation: Installation, *, intervals: str = "15m,1h") -> list[tuple[Any, ...]]:
    """Two days of July in MySQL, and some of August beside them; every stored bar, as `everything` gives them."""
    installation.exchange.limits(um={"weight_per_minute": 10**6}, spot={"weight_per_minute": 10**6})
    installation.backfill(DAYS[0], "2026-08-02", symbols=",".join(SYMBOLS), intervals=intervals, into="mysql")
    found = everything(installation)
    assert len(found) > 100
    return found


def export(installation: Installation, *, drop: bool = True, month: Month = JULY) -> ExportReport:
    """The export in this process."""
    with installation.open() as rt:
        return run_export(rt, Dataset.OHLCV, month, drop=drop, watch=Quiet())


def everything(installation: Installation) -> list[tuple[Any, ...]]:
    """Every bar of July and August as a reader sees it: both stores as one."""
    with installation.open() as rt:
        return as_read(rt)


def as_read(rt: Runtime) -> list[tuple[Any, ...]]:
    """The same of an open runtime."""
    from gapless.domain.window import Window

    window = Window(JULY.start_ms, JULY.plus(2).start_ms)
    bars = read_everywhere(rt, Dataset.OHLCV, SYMBOLS, ALL_INTERVALS, window)
    return [tuple(row.values()) for row in bars.drop_columns(["source"]).to_pylist()]


def has_left(installation: Installation, truth: list[tuple[Any, ...]]) -> None:
    """July is gone from MySQL, with nothing left over, and every reader sees what it saw before."""
    assert installation.rows("SELECT COUNT(*) FROM ohlcv WHERE ts < '2026-08-01'") == [(0,)]
    assert installation.rows("SELECT COUNT(*) FROM ohlcv PARTITION (p_before)") == [(0,)]
    assert find_twins(installation.db) == []
    assert JULY not in standing_months(installation.db, "ohlcv")
    assert everything(installation) == truth
    of_july = [row for row in installation.lake_bars() if row[2] < JULY.plus(1).start_ms]
    assert len(of_july) == sum(row[3] < JULY.plus(1).window.start for row in truth)
    assert [each.state for each in read_exports(installation.db, Dataset.OHLCV, JULY)][-1] == DROPPED
