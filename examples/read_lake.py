"""Read bars from the lake with DuckDB, exact: `python examples/read_lake.py BTC/USDT:USDT 1h`.

Nothing of Gapless is needed to read the lake; only where it lies is asked of the settings here.
"""

from __future__ import annotations

import sys

import duckdb

from gapless.config import settings

symbol, interval = sys.argv[1:3] if len(sys.argv) > 2 else ("BTC/USDT:USDT", "1h")
files = settings().lake.removeprefix("file://") + "/ohlcv/**/*.parquet"
bars = duckdb.sql(
    """
    SELECT ts, open, high, low, close, volume, trades
    FROM read_parquet($files, hive_partitioning = true, union_by_name = true)
    WHERE symbol = $symbol AND interval = $interval
    ORDER BY ts DESC LIMIT 20""",
    params={"files": files, "symbol": symbol, "interval": interval},
)
label = " (generated data, not from an exchange)" if settings().mode == "demo" else ""
print(f"{symbol} {interval}, newest first, open time in UTC{label}")
print(bars)
