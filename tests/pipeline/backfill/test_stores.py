"""A backfill over a real S3 server, stores that go away, and sources that disagree."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest

from gapless.domain.window import Window, parse_time
from gapless.errors import StorageError
from tests.fixtures.replica import ReplicaHandle
from tests.fixtures.s3 import S3Server
from tests.pipeline.conftest import MakeInstallation
from tests.pipeline.test_stores import on_s3

SYMBOLS = "BTC/USDT:USDT,币安人生/USDT:USDT,ETH/USDT"
SUMMER = ("2026-06-01", "2026-08-01")


def test_a_lake_on_s3_holds_what_a_folder_holds(
    make_installation: MakeInstallation, replica: ReplicaHandle, own_s3: S3Server
) -> None:
    folder = make_installation(replica, name="folder")
    bucket = on_s3(make_installation, replica, own_s3, name="bucket")
    for one in (folder, bucket):
        report = one.backfill(*SUMMER, symbols=SYMBOLS, intervals="15m,1d")
        assert report.whole, report.errors
    bucket.settings = bucket.settings.model_copy(update={"lake_uri": f"file://{own_s3.bucket_folder}/home"})
    assert bucket.lake_bars() == folder.lake_bars()


def test_an_object_store_that_goes_away_on_the_way_is_waited_for(
    make_installation: MakeInstallation, replica: ReplicaHandle, own_s3: S3Server
) -> None:
    one = on_s3(make_installation, replica, own_s3)
    one.backfill("2026-05-01", "2026-05-02", intervals="1d")  # claims the lake while it is there
    own_s3.stop()
    back = threading.Timer(3.0, own_s3.start)
    back.start()
    try:
        report = one.backfill(*SUMMER, symbols=SYMBOLS, intervals="15m")
    finally:
        back.join()
    assert report.whole, report.errors


def test_an_object_store_that_stays_away_is_a_clear_failure_and_the_next_run_does_the_work(
    make_installation: MakeInstallation, replica: ReplicaHandle, own_s3: S3Server
) -> None:
    one = on_s3(make_installation, replica, own_s3)
    one.backfill("2026-05-01", "2026-05-02", intervals="1d")
    own_s3.stop()
    patient = one.settings
    one.settings = patient.model_copy(update={"storage_patience_s": 1.0})
    with pytest.raises(StorageError, match="object store"):
        one.backfill(*SUMMER, intervals="15m")
    own_s3.start()
    one.settings = patient
    again = one.backfill(*SUMMER, intervals="15m")
    assert (again.whole, again.bars_present) == (True, 61 * 96)


@pytest.mark.parametrize("into", ["mysql", "lake"])
@pytest.mark.parametrize("first", ["rest", "vision"])
def test_rest_stands_above_the_archive_whichever_came_first_and_both_are_on_record(
    make_installation: MakeInstallation, replica: ReplicaHandle, first: str, into: str
) -> None:
    replica.restate("um", "BTCUSDT", "15m", "2026-06-03T04:00", close="1234.5", high="999999", low="1000")
    one = make_installation(replica)
    second = "vision" if first == "rest" else "rest"
    day = ("2026-06-03", "2026-06-04")
    reports = [one.backfill(*day, intervals="15m", source=first, into=into)]
    with one.db.engine.begin() as connection:  # what is settled is not asked for again: forget it
        connection.exec_driver_sql("DELETE FROM series_month")
    reports.append(one.backfill(*day, intervals="15m", source=second, into=into))
    stored = one.mysql_bars() if into == "mysql" else one.lake_bars()
    at = parse_time("2026-06-03T04:00")
    (bar,) = [row for row in stored if row[2] == at]
    assert (bar[7], bar[13]) == (Decimal("1234.5"), 1)
    assert len(stored) == 96
    books = one.rows("SELECT applied, old_source, new_source FROM restatement")
    assert books == [(1, 2, 1) if first == "vision" else (0, 1, 2)]
    assert [report.restated for report in reports] == [0, 1 if first == "vision" else 0]


def test_an_hour_that_is_loaded_into_a_month_of_buckets_is_read_once(
    make_installation: MakeInstallation, replica: ReplicaHandle
) -> None:
    one = make_installation(replica)
    one.backfill("2026-06-01", "2026-07-01", intervals="15m")
    report = one.etl(Window.of("2026-06-10T10:00", "2026-06-10T11:00"), symbols="BTC/USDT:USDT,SOL/USDT:USDT")
    assert report.errors == ()
    bars = one.lake_bars()
    keys = [row[:4] for row in bars]
    assert len(keys) == len(set(keys))
    fives = [row for row in bars if row[1] == "15m"]
    assert len(fives) == 30 * 96 + 4
    assert not [key for key in one.lake_files() if key.startswith("ohlcv/binance-15m-2026-06-")], "days beside buckets"
