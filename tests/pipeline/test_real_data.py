"""Real recordings through the whole pipeline: every field equals the exchange's string, in MySQL and in the lake."""

from __future__ import annotations

import csv
import io
import zipfile
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from gapless.domain.window import Window
from tests.fixtures.replica import ReplicaFactory
from tests.pipeline.conftest import Installation, MakeInstallation

UM = "klines_1m/um_futures_vision_csv"
SPOT = "vision_zip/spot/daily/klines/BTCUSDT/1m"
CASES = [
    ("um", "ALGO/USDT:USDT", f"{UM}/ALGOUSDT-1m-2024-09.csv", "2024-09-01", "2024-10-01"),
    ("um", "AVAX/USDT:USDT", f"{UM}/AVAXUSDT-1m-2023-09.csv", "2023-09-01", "2023-10-01"),
    ("spot", "BTC/USDT", f"{SPOT}/BTCUSDT-1m-2020-01-01.zip", "2020-01-01", "2020-01-02"),
    ("spot", "BTC/USDT", f"{SPOT}/BTCUSDT-1m-2020-01-02.zip", "2020-01-02", "2020-01-03"),
]


def recorded(path: Path) -> list[tuple[object, ...]]:
    """(open time ms, the nine values as exact decimals) of every row of a recording."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0]).decode()
    else:
        text = path.read_text()
    rows = [row for row in csv.reader(io.StringIO(text)) if row[0].isdigit()]
    return [(int(row[0]), *(Decimal(row[n]) for n in (1, 2, 3, 4, 5, 7, 8, 9, 10))) for row in rows]


@pytest.mark.parametrize(("market", "symbol", "path", "start", "end"), CASES, ids=lambda value: str(value)[-24:])
def test_a_recorded_period_arrives_to_the_last_digit(
    make_installation: MakeInstallation,
    start_exchange: ReplicaFactory,
    recordings: Path,
    market: str,
    symbol: str,
    path: str,
    start: str,
    end: str,
) -> None:
    exchange = start_exchange(
        "--data", str((recordings / path).parents[1 if path.endswith("csv") else 4]), "--um-weight", "0"
    )
    installation: Installation = make_installation(exchange)
    report = installation.etl(Window.of(start, end), symbols=symbol, intervals="1m")
    wanted = recorded(recordings / path)
    assert report.errors == ()
    assert report.rows_loaded == len(wanted)
    stored = installation.mysql_bars()
    assert [(row[2], *row[4:13]) for row in stored] == wanted
    assert installation.lake_bars() == stored

    frame = pd.read_parquet(installation.lake / "ohlcv")
    frame = frame.sort_values("ts")
    columns = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"]
    assert [tuple(row) for row in frame[columns].itertuples(index=False)] == [row[1:9] for row in wanted]
