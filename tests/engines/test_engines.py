"""A month of the lake is read by engines that nobody here wrote, and they agree with MySQL to the last digit."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from gapless.domain.datasets import Dataset
from gapless.pipeline.export import run_export
from gapless.storage.mysql.partitions import Month
from tests.engines.spark import SparkUnavailable, ask, install, unavailable
from tests.fixtures.replica import ReplicaHandle
from tests.pipeline.conftest import Installation, MakeInstallation
from tests.pipeline.export.stage import Quiet

SYMBOLS = "BTC/USDT,BTC/USDT:USDT,币安人生/USDT:USDT"
DECIMALS = (
    "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_volume", "taker_buy_quote_volume",
)  # fmt: skip
SUMS = ", ".join(f"SUM({name})" for name in (*DECIMALS, "trades"))
SERIES = (
    "SELECT exchange, symbol, {interval}, {month}, COUNT(*), MIN({second}), MAX({second}), "
    f"{SUMS} FROM {{source}} GROUP BY 1, 2, 3, 4"
)
Totals = dict[tuple[str, str, str, int], tuple[int | Decimal, ...]]


def as_totals(rows: list[Any]) -> Totals:
    """Of each series and month: count, first and last open time in seconds, exact sums."""
    found: Totals = {}
    for exchange, symbol, interval, month, count, first, last, *sums in rows:
        values = (int(count), int(first), int(last), *(Decimal(str(value)) for value in sums))
        found[str(exchange), str(symbol), str(interval), int(month)] = values
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def spark() -> Path:
    try:
        return install()
    except SparkUnavailable as reason:
        unavailable(reason)


@pytest.fixture
def months(make_installation: MakeInstallation, replica: ReplicaHandle) -> Installation:
    """June in buckets and July in days, the hours of each in month objects; MySQL holds the same. Both exported."""
    replica.limits(um={"weight_per_minute": 10**6}, spot={"weight_per_minute": 10**6})
    installation = make_installation(replica)
    installation.backfill("2026-06-29", "2026-07-01", symbols=SYMBOLS, intervals="1m,1h", into="lake")
    installation.backfill("2026-06-29", "2026-07-03", symbols=SYMBOLS, intervals="1m,1h", into="mysql")
    for month in (Month(2026, 6), Month(2026, 7)):
        with installation.open() as rt:
            report = run_export(rt, Dataset.OHLCV, month, drop=False, watch=Quiet())
        assert (report.verified, report.rows) == (True, 3 * 2 * (1440 + 24))
    names = {path.name for path in (installation.lake / "ohlcv").rglob("*.parquet")}
    for form in ("binance-1m-2026-06.", "binance-1m-2026-07-01", "binance-1h-2026-06.p", "binance-1h-2026-07.p"):
        assert any(name.startswith(form) for name in names), (form, names)
    return installation


def in_mysql(installation: Installation) -> Totals:
    query = SERIES.format(interval="`interval`", month="MONTH(ts)", second="UNIX_TIMESTAMP(ts)", source="ohlcv")
    return as_totals(installation.rows(query))


def test_duckdb_and_pandas_agree_with_mysql_on_every_count_and_sum(months: Installation) -> None:
    expected = in_mysql(months)
    assert len(expected) == 3 * 2 * 2
    source = f"read_parquet('{months.lake}/ohlcv/**/*.parquet', hive_partitioning=true, union_by_name=true)"
    query = SERIES.format(interval="interval", month="MONTH(ts)", second="epoch_ms(ts) // 1000", source=source)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert as_totals(connection.execute(query).fetchall()) == expected

    frame = pd.read_parquet(months.lake / "ohlcv")
    frame["month"] = frame["ts"].dt.month
    frame["second"] = frame["ts"].dt.as_unit("s").astype("int64")
    rows = []
    for key, group in frame.groupby(["exchange", "symbol", "interval", "month"], observed=True):
        sums = [sum(group[name], Decimal(0)) for name in DECIMALS]
        rows.append((*key, len(group), group["second"].min(), group["second"].max(), *sums, group["trades"].sum()))
    assert as_totals(rows) == expected


def test_spark_agrees_with_mysql_on_every_count_and_sum(spark: Path, months: Installation, tmp_path: Path) -> None:
    query = SERIES.format(interval="interval", month="MONTH(ts)", second="unix_timestamp(ts)", source="bars")
    assert as_totals(ask(query, months.lake / "ohlcv", tmp_path)) == in_mysql(months)
