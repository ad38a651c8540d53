"""The main road, end to end: exchange, raw, canonical, MySQL, lake."""

from __future__ import annotations

import os
import time
from decimal import Decimal
from typing import Any

from gapless.domain.window import HOUR_MS, Window
from gapless.pipeline.etl import archive_s3, extract_raw, load_mysql, transform_normalise
from gapless.pipeline.plan import plan_window
from tests.pipeline.conftest import NOON, Installation


def exchange_bars(installation: Installation, raw_symbol: str, interval: str, window: Window) -> list[list[Any]]:
    """What the exchange itself answers for bars that open in the window."""
    found: list[list[Any]] = installation.exchange.get(
        "/fapi/v1/klines", symbol=raw_symbol, interval=interval, startTime=window.start_ms, endTime=window.end_ms - 1
    )
    return found


def test_an_hour_goes_the_whole_way_to_the_last_digit(installation: Installation) -> None:
    report = installation.etl(symbols="BTC/USDT:USDT,BTC/USDT")
    assert (report.errors, report.complete) == ((), True)
    # 60 + 12 + 4 + 1 bars, and the 4h bar that closes at noon, for each of two symbols.
    assert report.rows_extracted == report.rows_loaded == 2 * 78
    assert report.rows_quarantined == report.restated == 0
    wanted = exchange_bars(installation, "BTCUSDT", "1m", NOON)
    stored = [row for row in installation.mysql_bars() if row[:2] == ("BTC/USDT:USDT", "1m")]
    assert [row[2] for row in stored] == [bar[0] for bar in wanted]
    for row, bar in zip(stored, wanted, strict=True):
        assert row[4:13] == tuple(Decimal(bar[n]) for n in (1, 2, 3, 4, 5, 7, 8, 9, 10))
    assert installation.mysql_bars() == installation.lake_bars()
    assert report.files == len({key for key in installation.lake_files() if key.startswith("ohlcv/")}) == 5


def test_doing_it_again_changes_nothing(installation: Installation) -> None:
    installation.etl()
    before = (installation.bars(), installation.lake_files(), installation.rows("SELECT id FROM load_receipt"))
    report = installation.etl()
    assert (report.rows_extracted, report.rows_loaded, report.restated) == (78, 0, 0)
    assert before == (installation.bars(), installation.lake_files(), installation.rows("SELECT id FROM load_receipt"))


def test_nothing_is_left_in_the_work_zone(installation: Installation) -> None:
    installation.etl()
    assert {key.split("/")[0] for key in installation.lake_files()} == {"_meta", "ohlcv", "raw"}


def test_the_next_hour_joins_the_day_that_is_there(installation: Installation) -> None:
    installation.etl(Window(NOON.start_ms - HOUR_MS, NOON.start_ms))
    installation.etl()
    assert installation.mysql_bars() == installation.lake_bars()
    assert len(installation.lake_bars()) == 77 + 78


def test_work_files_that_nobody_came_back_for_are_swept_after_two_days(installation: Installation) -> None:
    with installation.open() as rt:
        batches = plan_window(rt, NOON, market=None, symbols=["BTC/USDT:USDT"], intervals=None)
        left = transform_normalise(rt, extract_raw(rt, batches[0]))
        installation.etl(symbols="ETH/USDT:USDT")
        assert left.bars_key in installation.lake_files()
        two_days_ago = time.time() - 2 * 86_400 - 60
        os.utime(installation.lake / left.bars_key, (two_days_ago, two_days_ago))
        installation.etl(symbols="ETH/USDT:USDT")
        assert left.bars_key not in installation.lake_files()
        # Whoever was only slow makes it again from the raw payloads.
        load = load_mysql(rt, left)
        assert (load.loaded, archive_s3(rt, [load]).rows > 0) == (78, True)
    assert installation.mysql_bars() == installation.lake_bars()
