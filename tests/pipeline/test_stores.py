"""The same road on real MySQL and a real S3 server; and stores that are away, for a while or for good."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from tests.fixtures.forks import run_forked
from tests.fixtures.mysql import KINDS
from tests.fixtures.replica import ReplicaHandle
from tests.fixtures.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.pipeline.conftest import Installation, MakeInstallation

HOUR = ["etl", "ohlcv", "--start", "2026-11-15T11:00", "--end", "2026-11-15T12:00", "--symbols", "BTC/USDT:USDT"]


def on_s3(make: MakeInstallation, exchange: ReplicaHandle, server: S3Server, **settings: Any) -> Installation:
    return make(
        exchange,
        lake_uri=f"s3://{BUCKET}/home",
        s3_endpoint_url=server.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        aws_region="us-east-1",
        **settings,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_chinese_named_coin_goes_the_whole_way_on_either_server_and_s3(
    make_installation: MakeInstallation, replica: ReplicaHandle, own_s3: S3Server, kind: str
) -> None:
    installation = on_s3(make_installation, replica, own_s3, kind=kind)
    report = installation.etl(symbols="币安人生/USDT,币安人生/USDT:USDT")
    assert (report.errors, report.rows_loaded) == ((), 2 * 78)
    stored = installation.mysql_bars()
    assert {row[0] for row in stored} == {"币安人生/USDT", "币安人生/USDT:USDT"}
    installation.settings = installation.settings.model_copy(
        update={"lake_uri": f"file://{own_s3.bucket_folder}/home"}  # the server's own folder, for DuckDB to read
    )
    assert installation.lake_bars() == stored


def test_an_object_store_that_is_away_for_a_while_is_waited_for(
    make_installation: MakeInstallation, replica: ReplicaHandle, own_s3: S3Server
) -> None:
    installation = on_s3(make_installation, replica, own_s3)
    own_s3.stop()
    back = threading.Timer(3.0, own_s3.start)
    back.start()
    try:
        report = installation.etl()
    finally:
        back.join()
    assert (report.errors, report.rows_loaded) == ((), 78)


def test_an_object_store_that_stays_away_is_a_clear_failure_and_the_next_run_finishes_the_work(
    make_installation: MakeInstallation, replica: ReplicaHandle, own_s3: S3Server
) -> None:
    installation = on_s3(make_installation, replica, own_s3)
    installation.etl(symbols="ETH/USDT:USDT", intervals="1h")  # claims the lake while it is there
    own_s3.stop()
    installation.settings = installation.settings.model_copy(update={"storage_patience_s": 1.0})
    with pytest.raises(Exception, match="object store"):
        installation.etl()
    own_s3.start()
    report = installation.etl()
    assert (report.errors, report.rows_extracted) == ((), 78)
    assert installation.rows("SELECT COUNT(*) FROM load_receipt WHERE archived_at IS NULL") == [(0,)]


def test_a_database_that_stays_away_is_one_line_and_status_1(installation: Installation) -> None:
    around = {
        **installation.environment,
        "GAPLESS_MYSQL_URL": "mysql://gapless:s3cret@127.0.0.1:9/gapless",
        "GAPLESS_STORAGE_PATIENCE_S": "1",
    }
    result = run_forked([sys.executable, "-m", "gapless", *HOUR], env=around, text=True, timeout=60)
    assert result.returncode == 1
    assert "127.0.0.1:9" in result.stderr
    assert "s3cret" not in result.stderr
    assert "Traceback" not in result.stderr
    assert installation.bars() == []
