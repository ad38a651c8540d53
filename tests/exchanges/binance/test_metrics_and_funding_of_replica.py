"""Archive and REST of one exchange say the same of the same five minutes and settlements."""

from __future__ import annotations

import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window, parse_time
from gapless.errors import BadSymbol
from gapless.exchanges.binance.connect import connect
from gapless.exchanges.binance.funding import ParsedRows, parse_funding_zip
from gapless.exchanges.binance.metrics import STEP_MS, parse_metrics_zip
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.series_rest import fetch_funding, fetch_metrics
from gapless.exchanges.binance.vision.objects import ArchiveObject, day_object, month_object
from gapless.quality.funding import count_missing_settlements, missing_settlements
from tests.fixtures.replica import ReplicaFactory, ReplicaHandle

SYMBOLS = ["BTCUSDT", "1000PEPEUSDT", "币安人生USDT"]
ALWAYS = Window.of("2019-01-01", "2030-01-01")


def download(replica: ReplicaHandle, obj: ArchiveObject) -> bytes:
    with urllib.request.urlopen(f"{replica.vision}/{urllib.parse.quote(obj.path)}", timeout=30) as answer:
        data: bytes = answer.read()
        return data


def rest_of(replica: ReplicaHandle, tmp_path: Path) -> BinanceRest:
    return connect(
        Market.UM, replica.um_rest, control_url=None, var_dir=tmp_path, budget_share=0.8, max_wait_s=5.0, attempts=1
    )


def metrics_day(replica: ReplicaHandle, symbol: str, day: str) -> ParsedRows:
    obj = day_object(Market.UM, "metrics", symbol, None, parse_time(day))
    return parse_metrics_zip(download(replica, obj), obj, exchange="binance", symbol=symbol)


def funding_month(replica: ReplicaHandle, symbol: str, month: str) -> ParsedRows:
    obj = month_object(Market.UM, "fundingRate", symbol, None, parse_time(f"{month}-01"))
    return parse_funding_zip(download(replica, obj), obj, exchange="binance", symbol=symbol)


def without(rows: pa.Table, *names: str) -> pa.Table:
    return rows.drop_columns(["source", *names])


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_metrics_agree_across_the_change_of_labels(
    start_exchange: ReplicaFactory, tmp_path: Path, symbol: str
) -> None:
    replica = start_exchange("--generate", "7", "--speed", "0", "--start", "2026-06-28T12:00:00")
    files = [metrics_day(replica, symbol, day) for day in ("2026-06-24", "2026-06-25")]
    window = Window.of("2026-06-24", "2026-06-26")
    async with rest_of(replica, tmp_path) as rest:
        live = await fetch_metrics(rest, symbol, symbol, window)
    archived = pa.concat_tables(file.rows for file in files)
    assert all(file.rejected == [] for file in files)
    assert live.rejected == []
    starts = archived["ts"].cast(pa.int64()).to_pylist()
    assert starts == list(range(window.start_ms, window.end_ms, STEP_MS))
    assert without(archived).equals(without(live.rows))


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_funding_agrees_but_for_what_only_one_of_them_says(
    start_exchange: ReplicaFactory, tmp_path: Path, symbol: str
) -> None:
    replica = start_exchange("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    file = funding_month(replica, symbol, "2026-10")
    window = Window.of("2026-10-01", "2026-11-01")
    async with rest_of(replica, tmp_path) as rest:
        live = await fetch_funding(rest, symbol, symbol, window)
    assert file.rejected == live.rejected == []
    only = ("interval_hours", "mark_price")
    assert without(file.rows, *only).equals(without(live.rows, *only))
    assert file.rows["interval_hours"].null_count == live.rows["mark_price"].null_count == 0
    times = live.rows["ts"].cast(pa.int64()).to_numpy()
    hours = np.ma.asarray(file.rows["interval_hours"].to_numpy())
    assert missing_settlements(times, hours, window, ALWAYS) == []
    assert len(times) == window.length_ms // DAY_MS * 24 // int(hours[0])


async def test_years_of_funding_come_whole_and_a_changed_interval_leaves_no_hole(
    start_exchange: ReplicaFactory, tmp_path: Path
) -> None:
    replica = start_exchange("--generate", "7", "--speed", "0", "--start", "2026-11-15T12:30:30")
    window = Window.of("2024-06-01", "2026-11-01")
    async with rest_of(replica, tmp_path) as rest:
        live = await fetch_funding(rest, "ADAUSDT", "ADA/USDT:USDT", window)
        with pytest.raises(BadSymbol):
            await fetch_metrics(rest, "NOSUCHUSDT", "NOSUCH/USDT:USDT", Window.of("2026-11-10", "2026-11-11"))
    times = live.rows["ts"].cast(pa.int64()).to_numpy()
    switch = parse_time("2025-06-10")
    every_8h = np.arange(window.start_ms, switch, DAY_MS // 3)
    every_4h = np.arange(switch, window.end_ms, DAY_MS // 6)
    assert times.tolist() == [*every_8h.tolist(), *every_4h.tolist()]
    assert missing_settlements(times, None, window, ALWAYS) == []
    cut = np.delete(times, [500, 501, 2000])
    assert count_missing_settlements(cut, None, window, ALWAYS) == 3
    assert pc.any(pc.less(live.rows["rate"], 0)).as_py()
