"""A month has one form: days or buckets, decided once, whoever writes at the same time."""

from __future__ import annotations

import multiprocessing
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import sort_bars
from gapless.domain.window import Window, parse_time
from gapless.errors import StorageError
from gapless.storage.lake import layout
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.forms import Forms
from gapless.storage.lake.layout import Form, Month
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.objects import ObjectStore
from gapless.storage.lake.s3 import S3Store
from tests.bars import bars
from tests.fixtures.s3 import ACCESS_KEY, SECRET_KEY, S3Server

MAY = parse_time("2021-05-01")
EVER = Window.of("2015-01-01", "2030-01-01")
SYMBOLS = sorted(f"S{n:02}/USDT" for n in range(6))
M1_MAY = Month(Dataset.OHLCV, "binance", Interval.M1, MAY)


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return BarLake(lake_store, FileLocks(tmp_path / "locks"))


@pytest.fixture
def folder_lake(tmp_path: Path) -> BarLake:
    return BarLake(FileStore(tmp_path / "lake"), FileLocks(tmp_path / "locks"))


def everything(lake: BarLake) -> pa.Table:
    return lake.read(EVER, intervals=ALL_INTERVALS, exchange="binance")


def forms_of(lake: BarLake) -> set[Form]:
    found = [layout.parse_key(stat.key) for stat in lake.store.list("ohlcv/")]
    assert None not in found
    return {each.form for each in found if each is not None}


def cold(lake: BarLake, spool: Path, symbols: list[str], start: str, count: int) -> pa.Table:
    """Write 1m bars of some symbols by the buckets they belong to; all of them."""
    parts = {symbol: bars(symbol, "1m", start, count) for symbol in sorted(symbols)}
    for bucket in sorted({layout.bucket_of(symbol) for symbol in symbols}):
        with lake.month_writer(Dataset.OHLCV, "binance", Interval.M1, MAY, bucket, spool_dir=spool) as writer:
            for symbol, part in parts.items():
                if layout.bucket_of(symbol) == bucket:
                    writer.add(part)
            writer.finish()
    return pa.concat_tables(parts.values())


def test_a_month_that_lies_in_days_stays_in_days(lake: BarLake, tmp_path: Path) -> None:
    hourly = pa.concat_tables([bars(symbol, "1m", "2021-05-02T22:00", 240) for symbol in SYMBOLS[:2]])
    lake.write(hourly)
    symbol = SYMBOLS[3]
    with lake.month_writer(
        Dataset.OHLCV, "binance", Interval.M1, MAY, layout.bucket_of(symbol), spool_dir=tmp_path
    ) as writer:
        writer.add(bars(symbol, "1m", "2021-05-01T12:00", 2880))
        receipts = writer.finish()
    assert [receipt.key[-13:-8] for receipt in receipts] == ["05-01", "05-02", "05-03", "05-04"][: len(receipts)]
    assert [receipt.added for receipt in receipts] == [720, 1440, 720]
    assert [[one.symbol for one in receipt.series] for receipt in receipts] == [[symbol]] * 3
    assert forms_of(lake) == {Form.DAYS}
    assert everything(lake).equals(sort_bars(pa.concat_tables([hourly, bars(symbol, "1m", "2021-05-01T12:00", 2880)])))


def test_hourly_bars_of_a_month_in_buckets_go_into_its_buckets(lake: BarLake, tmp_path: Path) -> None:
    before = cold(lake, tmp_path / "spool", SYMBOLS, "2021-05-01", 90)
    late = pa.concat_tables([bars(symbol, "1m", "2021-05-31T23:00", 60) for symbol in [*SYMBOLS, "新/USDT"]])
    june = bars(SYMBOLS[0], "1m", "2021-06-01", 60)
    receipts = lake.write(pa.concat_tables([late, june]))
    assert {receipt.key for receipt in receipts} == {
        M1_MAY.bucket(layout.bucket_of(symbol)).key for symbol in [*SYMBOLS, "新/USDT"]
    } | {"ohlcv/binance-1m-2021-06-01.parquet"}
    assert everything(lake).equals(sort_bars(pa.concat_tables([before, late, june])))
    window = Window.of("2021-05-31T23:30", "2021-06-01T00:30")
    some = lake.read(window, symbols=[SYMBOLS[0], "新/USDT"], intervals=[Interval.M1], exchange="binance")
    assert some.num_rows == 30 + 30 + 30
    lake.remove(late)
    assert everything(lake).equals(sort_bars(pa.concat_tables([before, june])))


def test_a_month_emptied_keeps_the_form_it_was_given(folder_lake: BarLake, tmp_path: Path) -> None:
    before = cold(folder_lake, tmp_path, SYMBOLS, "2021-05-01", 5)
    folder_lake.remove(before)
    assert list(folder_lake.store.list("ohlcv/")) == []
    folder_lake.write(before)
    assert forms_of(folder_lake) == {Form.BUCKETS}


def test_a_month_written_before_there_were_claims_keeps_its_form(folder_lake: BarLake, tmp_path: Path) -> None:
    folder_lake.write(bars(SYMBOLS[0], "1m", "2021-05-02", 10))
    folder_lake.store.delete(layout.form_key(M1_MAY))
    again = BarLake(folder_lake.store, folder_lake.locks)
    cold(again, tmp_path, SYMBOLS, "2021-05-01", 5)
    assert forms_of(again) == {Form.DAYS}


def test_objects_moved_by_hand_are_an_error_that_says_so_never_a_second_form(
    folder_lake: BarLake, tmp_path: Path
) -> None:
    store = folder_lake.store
    folder_lake.write(bars(SYMBOLS[0], "1m", "2021-05-02", 10))
    data = store.get(M1_MAY.day(parse_time("2021-05-02")).key) or b""
    store.delete(M1_MAY.day(parse_time("2021-05-02")).key)
    store.put(M1_MAY.bucket(3).key, data)
    with pytest.raises(StorageError, match=r"lies in days, but it lies in buckets"):
        BarLake(store, folder_lake.locks).write(bars(SYMBOLS[0], "1m", "2021-05-02", 10))
    store.put(M1_MAY.day(parse_time("2021-05-02")).key, data)
    with pytest.raises(StorageError, match=r"in days and in buckets"):
        BarLake(store, folder_lake.locks).write(bars(SYMBOLS[0], "1m", "2021-05-02", 10))
    with pytest.raises(StorageError, match=r"twice"):
        everything(folder_lake)


def test_the_contracts_query_reads_months_of_both_forms_with_each_bar_once(
    folder_lake: BarLake, tmp_path: Path
) -> None:
    buckets = cold(folder_lake, tmp_path / "spool", SYMBOLS, "2021-05-30", 2880)
    days = pa.concat_tables([bars(symbol, "1m", "2021-06-01", 1500) for symbol in SYMBOLS])
    folder_lake.write(days)
    assert forms_of(folder_lake) == {Form.BUCKETS, Form.DAYS}
    root = tmp_path / "lake"
    query = f"read_parquet('{root}/ohlcv/**/*.parquet', hive_partitioning=true, union_by_name=true)"
    whole = sort_bars(pa.concat_tables([buckets, days]))
    counted = duckdb.sql(f"SELECT count(*), count(DISTINCT (exchange, symbol, interval, ts)), sum(volume) FROM {query}")
    assert counted.fetchall() == [(len(whole), len(whole), sum(whole["volume"].to_pylist(), Decimal(0)))]
    frame = pd.read_parquet(root / "ohlcv")
    assert sort_bars(pa.Table.from_pandas(frame, schema=whole.schema, preserve_index=False)).equals(whole)


def store_at(where: dict[str, str]) -> ObjectStore:
    if "folder" in where:
        return FileStore(Path(where["folder"]))
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "region": "us-east-1"}
    return S3Store("lake", where["prefix"], endpoint_url=where["endpoint"], **keys)


def write_month(where: dict[str, str], locks: str, spool: str, hourly: bool, barrier: object) -> None:
    """One of two processes, to whom several months are new at the same moment."""
    lake = BarLake(store_at(where), FileLocks(Path(locks)))
    for month in range(1, 6):
        barrier.wait(60)  # type: ignore[attr-defined]
        if hourly:
            lake.write(pa.concat_tables([bars(symbol, "1m", f"2021-{month:02}-02", 60) for symbol in SYMBOLS]))
            continue
        start = parse_time(f"2021-{month:02}-01")
        for symbol in SYMBOLS:
            with lake.month_writer(
                Dataset.OHLCV, "binance", Interval.M1, start, layout.bucket_of(symbol), spool_dir=Path(spool)
            ) as writer:
                writer.add(bars(symbol, "1m", start, 60))
                writer.finish()


@pytest.mark.parametrize("shared_lock", [True, False])
def test_two_first_writers_at_once_never_make_both_forms(
    lake: BarLake, tmp_path: Path, shared_lock: bool, request: pytest.FixtureRequest
) -> None:
    if not shared_lock and not lake.store.conditional:
        pytest.skip("without conditional PUTs a lock shared by all writers is required (decision 0032)")
    if isinstance(lake.store, FileStore):
        where = {"folder": str(lake.store.root)}
    else:
        server: S3Server = request.getfixturevalue("s3_server")
        endpoint = request.getfixturevalue("s3_front").endpoint if lake.store.conditional else server.endpoint
        where = {"prefix": lake.store.root_uri.removeprefix("s3://lake/"), "endpoint": endpoint}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    barrier = context.Barrier(2)
    locks = [str(tmp_path / ("locks" if shared_lock else f"locks-{n}")) for n in range(2)]
    writers = [
        context.Process(target=write_month, args=(where, locks[n], str(tmp_path / "spool"), bool(n), barrier))
        for n in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(240)
        assert writer.exitcode == 0
    forms = Forms(lake.store, lake.locks)
    for month in range(1, 6):
        start = parse_time(f"2021-{month:02}-01")
        one = Month(Dataset.OHLCV, "binance", Interval.M1, start)
        assert forms.lying(one) in (Form.DAYS, Form.BUCKETS)  # fails on both
    expected = [
        bars(symbol, "1m", f"2021-{month:02}-{day:02}", 60)
        for symbol in SYMBOLS for month in range(1, 6) for day in (1, 2)
    ]  # fmt: skip
    assert everything(lake).equals(sort_bars(pa.concat_tables(expected)))
    assert list((tmp_path / "spool").iterdir()) == []
