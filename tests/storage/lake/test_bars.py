"""The lake's bars: exact for every reader, each once at any moment, whoever writes at the same time."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.dataset import dataset

from gapless.domain.datasets import Shape
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import OHLCV, OHLCV_KEY, Source, content_digest, sort_bars
from gapless.domain.window import Window, parse_time
from gapless.errors import LakeShrink, StorageError, ValidationError
from gapless.storage.lake import streams
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.objects import Damaged, ObjectStore
from gapless.storage.lake.parquet import narrowed
from gapless.storage.lake.s3 import S3Store
from tests.bars import bars
from tests.fixtures.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.storage.lake import recorded
from tests.storage.lake.front import Fault, Front

BTC, CHINESE = "BTC/USDT:USDT", "币安人生/USDT:USDT"
DAY = Window.of("2026-11-19", "2026-11-20")
EVER = Window.of("2015-01-01", "2030-01-01")


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return BarLake(lake_store, FileLocks(tmp_path / "locks"))


@pytest.fixture
def folder_lake(tmp_path: Path) -> BarLake:
    return BarLake(FileStore(tmp_path / "lake"), FileLocks(tmp_path / "locks"))


def sql(folder: Path) -> str:
    """The contract's query."""
    return f"SELECT * FROM read_parquet('{folder}/ohlcv/**/*.parquet', hive_partitioning=true, union_by_name=true)"


def everything(lake: BarLake) -> pa.Table:
    return lake.read(EVER, intervals=ALL_INTERVALS, exchange="binance")


# --- exactness


@pytest.fixture(scope="module")
def real_bars(recordings: Path) -> pa.Table:
    """Two USD-M months and the spot days, as recorded."""
    months, zips = (
        recordings / "klines_1m" / "um_futures_vision_csv",
        recordings / "vision_zip/spot/daily/klines/BTCUSDT",
    )
    return pa.concat_tables(
        [
            recorded.table(months / "ALGOUSDT-1m-2024-09.csv", "ALGO/USDT:USDT", "1m"),
            recorded.table(months / "AVAXUSDT-1m-2023-09.csv", CHINESE, "1m"),
            recorded.table(zips / "1m" / "BTCUSDT-1m-2020-01-01.zip", "BTC/USDT", "1m"),
            recorded.table(zips / "1m" / "BTCUSDT-1m-2020-01-02.zip", "BTC/USDT", "1m"),
            recorded.table(zips / "1h" / "BTCUSDT-1h-2026-05-08.zip", "BTC/USDT", "1h"),
        ]
    )


def test_real_bars_come_back_to_the_last_digit(lake: BarLake, real_bars: pa.Table) -> None:
    receipts = lake.write(real_bars)
    assert everything(lake).equals(sort_bars(real_bars))
    assert sum(receipt.added for receipt in receipts) == sum(receipt.rows for receipt in receipts) == len(real_bars)
    assert len(receipts) == 30 + 30 + 2 + 1


def test_duckdb_and_pandas_read_the_exchanges_own_digits(
    folder_lake: BarLake, recordings: Path, real_bars: pa.Table
) -> None:
    folder_lake.write(real_bars)
    assert isinstance(folder_lake.store, FileStore)
    root = folder_lake.store.root
    source = recordings / "klines_1m" / "um_futures_vision_csv" / "ALGOUSDT-1m-2024-09.csv"
    fields = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume"]
    fields.append("taker_buy_quote_volume")
    expected = [
        (int(row["open_time"]), *(Decimal(row["count" if name == "trades" else name]) for name in fields))
        for row in recorded.rows(source)
    ]
    got = duckdb.sql(
        f"SELECT epoch_ms(ts), {', '.join(fields)} FROM ({sql(root)}) WHERE symbol = 'ALGO/USDT:USDT' ORDER BY ts"
    ).fetchall()
    assert got == expected
    frame = pd.read_parquet(root / "ohlcv", filters=[("symbol", "==", "ALGO/USDT:USDT")]).sort_values("ts")
    times = [int(at.timestamp() * 1000) for at in frame["ts"]]
    assert list(zip(times, *(frame[name] for name in fields), strict=True)) == expected
    assert str(frame["ts"].dt.tz) == "UTC"


def test_every_reader_sees_the_columns_of_the_contract(folder_lake: BarLake) -> None:
    folder_lake.write(pa.concat_tables([bars(CHINESE, name, "2026-11-19", 3) for name in ("1m", "1h", "1d")]))
    assert isinstance(folder_lake.store, FileStore)
    root = folder_lake.store.root
    described = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE {sql(root)}").fetchall()}
    assert list(described) == OHLCV.names
    assert described["ts"] == "TIMESTAMP WITH TIME ZONE"
    assert (described["open"], described["volume"]) == ("DECIMAL(20,8)", "DECIMAL(28,8)")
    assert pa.Table.from_pandas(pd.read_parquet(root / "ohlcv"), schema=OHLCV).num_rows == 9
    assert dataset(root / "ohlcv").to_table().num_rows == dataset(root / "ohlcv", partitioning="hive").count_rows() == 9
    assert duckdb.sql(f"SELECT DISTINCT symbol FROM ({sql(root)})").fetchall() == [(CHINESE,)]


def test_values_at_the_edge_of_their_columns_survive(lake: BarLake) -> None:
    row = bars(BTC, "1m", "2026-11-19", 1).to_pylist()[0]
    row |= dict.fromkeys(("open", "high", "low", "close"), Decimal("999999999999.99999999"))
    row |= dict.fromkeys(("volume", "quote_volume"), Decimal("99999999999999999999.99999999"))
    row |= {"trades": 2**32 - 1, "taker_buy_volume": Decimal("0.00000001"), "taker_buy_quote_volume": Decimal(0)}
    edge = pa.Table.from_pylist([row], schema=OHLCV)
    lake.write(edge)
    assert everything(lake).equals(edge)


# --- merging into what is stored


def test_the_same_write_twice_writes_nothing_and_says_so(lake: BarLake) -> None:
    some = pa.concat_tables([bars(BTC, "1m", "2026-11-18T23:00", 120), bars("BTC/USDT", "4h", "2026-10-31", 12)])
    first = lake.write(some)
    marks = [lake.store.head(receipt.key) for receipt in first]
    again = lake.write(some)
    assert [lake.store.head(receipt.key) for receipt in again] == marks
    assert [receipt.written for receipt in first + again] == [True] * 4 + [False] * 4
    same = ("key", "uri", "rows", "bytes", "sha256", "content_digest", "series", "period_start")
    assert [[getattr(r, name) for name in same] for r in first] == [[getattr(r, name) for name in same] for r in again]
    assert sum(receipt.unchanged for receipt in again) == len(some)


def test_one_hour_of_one_symbol_leaves_every_other_bar_of_the_month(lake: BarLake) -> None:
    month = pa.concat_tables(
        [bars(symbol, name, "2026-10-30", 48 * 60) for symbol in (BTC, "ETH/USDT", CHINESE) for name in ("1m", "1h")]
    )
    lake.write(month)
    hour = bars(BTC, "1m", "2026-10-31T05:00", 60, seed=2)  # other values: restated
    seen: list[tuple[pa.Table, pa.Table]] = []
    (receipt,) = lake.write(hour, on_replaced=lambda old, new: seen.append((old, new)))
    after = everything(lake)
    untouched = {tuple(row[name] for name in OHLCV_KEY) for row in hour.to_pylist()}
    rest = [row for row in sort_bars(month).to_pylist() if tuple(row[name] for name in OHLCV_KEY) not in untouched]
    assert [r for r in after.to_pylist() if tuple(r[name] for name in OHLCV_KEY) not in untouched] == rest
    assert narrowed(after, None, Window.of("2026-10-31T05:00", "2026-10-31T06:00")).num_rows == 60 * 3 + 3
    assert (receipt.replaced, receipt.added, receipt.rows) == (60, 0, 3 * 1440)
    ((old, new),) = seen
    assert new.equals(hour)
    assert old.select(list(OHLCV_KEY)).equals(hour.select(list(OHLCV_KEY)))
    assert not old.equals(new)


def test_a_stream_bar_never_replaces_the_exchanges_settled_word(lake: BarLake) -> None:
    settled = bars(BTC, "1m", "2026-11-19", 10)
    lake.write(settled)
    (receipt,) = lake.write(bars(BTC, "1m", "2026-11-19", 12, seed=2, source=Source.STREAM))
    assert (receipt.outranked, receipt.added) == (10, 2)
    assert everything(lake).slice(0, 10).equals(settled)


def test_restatements_are_told_before_they_can_be_seen(lake: BarLake) -> None:
    lake.write(bars(BTC, "1m", "2026-11-19", 10))
    before = everything(lake)

    def refuse(old: pa.Table, new: pa.Table) -> None:
        assert everything(lake).equals(before)
        raise StorageError("the books are away")

    with pytest.raises(StorageError, match="the books are away"):
        lake.write(bars(BTC, "1m", "2026-11-19", 10, seed=2), on_replaced=refuse)
    assert everything(lake).equals(before)


def test_the_receipts_digests_are_those_of_each_series_and_day(lake: BarLake) -> None:
    stored = pa.concat_tables([bars(symbol, "1h", "2026-11-01", 72) for symbol in (BTC, CHINESE)])
    lake.write(stored)
    extra = bars(CHINESE, "1h", "2026-11-02", 60)
    (receipt,) = lake.write(extra)
    assert [(one.symbol, one.day, one.rows) for one in receipt.series] == [
        (CHINESE, "2026-11-02", 24), (CHINESE, "2026-11-03", 24), (CHINESE, "2026-11-04", 12)
    ]  # fmt: skip
    held = everything(lake)
    for one in receipt.series:
        day = Window(parse_time(one.day), parse_time(one.day) + 86_400_000)
        part = narrowed(held, frozenset([CHINESE]), day)
        assert one.sha256 == content_digest(part)
    assert receipt.content_digest == content_digest(held)
    data = lake.store.get(receipt.key)
    assert data is not None
    assert (receipt.bytes, receipt.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_equal_bars_make_equal_bytes_however_they_came(tmp_path: Path) -> None:
    whole = pa.concat_tables([bars(symbol, "1m", "2026-11-19", 200) for symbol in (BTC, CHINESE, "A/USDT")])
    lakes = [BarLake(FileStore(tmp_path / name), FileLocks(tmp_path / "locks")) for name in ("a", "b", "c")]
    lakes[0].write(whole)
    for start in range(0, 600, 50):
        lakes[1].write(whole.slice(start, 50))
    lakes[2].write(whole.take(list(range(599, -1, -1))))
    assert len({lake.write(whole)[0].sha256 for lake in lakes}) == 1


def test_removed_bars_are_gone_and_no_other(lake: BarLake) -> None:
    some = bars(BTC, "1m", "2026-11-19", 10)
    lake.write(some)
    (receipt,) = lake.remove(some.slice(3, 2))
    assert (receipt.removed, receipt.rows) == (2, 8)
    assert everything(lake).equals(pa.concat_tables([some.slice(0, 3), some.slice(5)]))
    lake.remove(some)
    assert everything(lake).num_rows == 0
    assert list(lake.store.list("ohlcv/")) == []
    assert lake.remove(some) == []


def test_a_write_that_would_shrink_an_object_is_refused(folder_lake: BarLake, monkeypatch: pytest.MonkeyPatch) -> None:
    some = bars(BTC, "1m", "2026-11-19", 10)
    (receipt,) = folder_lake.write(some)
    real = streams.merge_rows

    def forgetful(shape: Shape, old: pa.Table, new: pa.Table, *, removed: pa.Table | None) -> object:
        return real(shape, None, new)  # a merge with a bug: what was stored is forgotten

    monkeypatch.setattr(streams, "merge_rows", forgetful)
    with pytest.raises(LakeShrink, match=r"binance-1m-2026-11-19\.parquet: the write would lose 10 of 10 rows"):
        folder_lake.write(bars(BTC, "1m", "2026-11-19T10:00", 10))
    monkeypatch.undo()
    assert hashlib.sha256(folder_lake.store.get(receipt.key) or b"").hexdigest() == receipt.sha256


def test_bars_that_come_twice_in_one_write_are_refused(folder_lake: BarLake) -> None:
    some = bars(BTC, "1m", "2026-11-19", 3)
    with pytest.raises(ValidationError, match="twice"):
        folder_lake.write(pa.concat_tables([some, some.slice(1, 1)]))
    assert list(folder_lake.store.list("ohlcv/")) == []


# --- reading


def test_reading_prunes_to_what_was_asked(lake: BarLake) -> None:
    symbols = [BTC, CHINESE, "A/USDT", "Z/USDT"]
    held = pa.concat_tables([bars(s, name, "2026-10-31T20:00", 450) for s in symbols for name in ("1m", "15m", "1h")])
    lake.write(held)
    window = Window.of("2026-10-31T22:10", "2026-11-01T03:00")
    got = lake.read(
        window, symbols=[CHINESE, "A/USDT", "NONE/USDT"], intervals=[Interval.M1, Interval.H1], exchange="binance"
    )
    expected = [
        row for row in held.to_pylist()
        if row["symbol"] in (CHINESE, "A/USDT") and row["interval"] in ("1m", "1h")
        and window.start <= row["ts"] < window.end
    ]  # fmt: skip
    assert got.equals(sort_bars(pa.Table.from_pylist(expected, schema=OHLCV)))
    assert lake.read(window, symbols=[], intervals=[Interval.M1], exchange="binance").num_rows == 0
    assert lake.read(window, intervals=[Interval.M1], exchange="okx").num_rows == 0


def test_what_others_left_beside_the_bars_is_not_read(folder_lake: BarLake) -> None:
    some = bars(BTC, "1m", "2026-11-19", 3)
    folder_lake.write(some)
    folder_lake.store.put("ohlcv/notes.txt", b"hello")
    assert everything(folder_lake).equals(some)


def test_a_damaged_object_is_an_error_that_names_it_never_fewer_bars(folder_lake: BarLake) -> None:
    some = bars(BTC, "1m", "2026-11-19", 500)
    (receipt,) = folder_lake.write(some)
    good = folder_lake.store.get(receipt.key) or b""
    for at in range(4, len(good), max(1, len(good) // 40)):
        folder_lake.store.put(receipt.key, good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        try:
            got = everything(folder_lake)
        except StorageError as error:
            assert receipt.uri in str(error)  # noqa: PT017 - a flipped bit in a name or statistic may be harmless
        else:
            assert got.equals(some)
    for cut in (good[: len(good) // 2], b"PAR1", b""):
        folder_lake.store.put(receipt.key, cut)
        with pytest.raises(Damaged, match=r"binance-1m-2026-11-19\.parquet cannot be read"):
            everything(folder_lake)
        with pytest.raises(Damaged):
            folder_lake.read(DAY, symbols=[BTC], intervals=[Interval.M1], exchange="binance")
        with pytest.raises(Damaged):
            folder_lake.write(some)


def test_a_store_that_changes_a_byte_is_noticed_by_reading_back(
    s3_front: Front, s3_server: S3Server, tmp_path: Path
) -> None:
    store = s3_server.store(f"rb-{tmp_path.parent.name}-{tmp_path.name}", endpoint=s3_front.endpoint)
    lake = BarLake(store, FileLocks(tmp_path / "locks"))

    def damage(method: str, path: str, before: int) -> Fault | None:
        return "other bytes" if method == "GET" and path.endswith(".parquet") else None

    s3_front.fault = damage
    with pytest.raises(StorageError, match="came back"):
        lake.write(bars(BTC, "1m", "2026-11-19", 100))


# --- at the same time


def test_a_reader_sees_every_bar_exactly_once_during_rewrites(folder_lake: BarLake) -> None:
    assert isinstance(folder_lake.store, FileStore)
    root = folder_lake.store.root
    base = pa.concat_tables([bars(symbol, "1m", "2026-11-19", 1440) for symbol in (BTC, CHINESE)])
    folder_lake.write(base)
    done = threading.Event()

    def read() -> int:
        looks = 0
        connection = duckdb.connect()
        while not done.is_set() or not looks:
            counted = connection.execute(
                f"SELECT count(*), count(DISTINCT (exchange, symbol, interval, ts)) FROM ({sql(root)})"
            ).fetchall()
            assert counted == [(2880, 2880)]
            assert everything(folder_lake).num_rows == 2880
            looks += 1
        return looks

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for seed in range(2, 52):
                folder_lake.write(bars(BTC, "1m", "2026-11-19T01:00", 60, seed=seed))
        finally:
            done.set()
        assert reading.result(60) >= 3


def test_ours_reads_one_version_while_the_object_is_replaced(lake: BarLake) -> None:
    base = pa.concat_tables([bars(f"S{n:02}/USDT", "1m", "2026-11-19", 200) for n in range(20)])
    lake.write(base)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            got = lake.read(DAY, symbols=["S03/USDT", BTC], intervals=[Interval.M1], exchange="binance")
            count = got.num_rows - 200
            assert count >= 0
            assert count % 10 == 0

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            for step in range(12):
                lake.write(bars(BTC, "1m", parse_time("2026-11-19") + step * 600_000, 10))
        finally:
            done.set()
        reading.result(60)


def write_part(store: dict[str, str], locks: str, number: int, barrier: object) -> None:
    """One of several writing processes: six writes of one series of its own into one day."""
    if "folder" in store:
        target: ObjectStore = FileStore(Path(store["folder"]))
    else:
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "region": "us-east-1"}
        target = S3Store("lake", store["prefix"], endpoint_url=store["endpoint"], **keys)
    lake = BarLake(target, FileLocks(Path(locks)))
    barrier.wait(60)  # type: ignore[attr-defined]
    for step in range(6):
        lake.write(bars(f"W{number}/USDT", "1m", parse_time("2026-11-19") + step * 600_000, 10))


@pytest.mark.parametrize("shared_lock", [True, False])
def test_processes_that_write_one_day_at_once_lose_nothing(
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
    writers = [
        context.Process(target=write_part, args=(where, str(tmp_path / ("l" if shared_lock else f"l{n}")), n, barrier))
        for n in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    expected = pa.concat_tables(
        [bars(f"W{n}/USDT", "1m", parse_time("2026-11-19") + s * 600_000, 10) for n in range(2) for s in range(6)]
    )
    assert everything(lake).equals(sort_bars(expected))
