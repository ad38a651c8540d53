"""Cold months: each object written once, of one form, verified, with nothing left behind."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from gapless.domain.datasets import Dataset, Shape
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.schema import Source, content_digest, sort_bars
from gapless.domain.window import Window, parse_time
from gapless.errors import ConfigError, LakeShrink, ValidationError
from gapless.storage.lake import layout, streams
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.objects import ObjectStore
from gapless.storage.lake.rewriting import ObjectReceipt
from tests.bars import bars
from tests.storage.lake import recorded

APRIL = parse_time("2019-04-01")
MONTH = Window.of("2019-04-01", "2019-05-01")
EVER = Window.of("2015-01-01", "2030-01-01")
BUCKET = 7
SYMBOLS = sorted(name for n in range(200) if layout.bucket_of(name := f"S{n:03}/USDT:USDT") == BUCKET)[:5]


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return BarLake(lake_store, FileLocks(tmp_path / "locks"))


@pytest.fixture
def folder_lake(tmp_path: Path) -> BarLake:
    return BarLake(FileStore(tmp_path / "lake"), FileLocks(tmp_path / "locks"))


def cold(
    lake: BarLake, spool: Path, *parts: pa.Table, interval: Interval = Interval.M1, bucket: int | None = BUCKET
) -> list[ObjectReceipt]:
    """Write parts, one a symbol, as a cold month."""
    with lake.month_writer(Dataset.OHLCV, "binance", interval, APRIL, bucket, spool_dir=spool) as writer:
        for part in parts:
            writer.add(part)
        return writer.finish()


def everything(lake: BarLake) -> pa.Table:
    return lake.read(EVER, intervals=ALL_INTERVALS, exchange="binance")


def test_a_cold_bucket_comes_back_exactly_and_its_receipt_tells_what_it_holds(lake: BarLake, tmp_path: Path) -> None:
    parts = [bars(symbol, "1m", "2019-04-29T12:00", 1500 + n) for n, symbol in enumerate(SYMBOLS)]
    (receipt,) = cold(lake, tmp_path / "spool", *parts)
    whole = pa.concat_tables(parts)
    assert everything(lake).equals(whole)
    data = lake.store.get(receipt.key) or b""
    assert receipt.key == "ohlcv/binance-1m-2019-04.07.parquet"
    assert (receipt.rows, receipt.added, receipt.written) == (whole.num_rows, whole.num_rows, True)
    assert (receipt.bytes, receipt.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert receipt.content_digest == content_digest(whole)
    assert [(one.symbol, one.day) for one in receipt.series] == [
        (symbol, day) for symbol in SYMBOLS for day in ("2019-04-29", "2019-04-30")
    ]
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_coarse_month_is_one_object_for_cold_and_hourly_writers_alike(lake: BarLake, tmp_path: Path) -> None:
    hourly = bars("B/USDT", "1h", "2019-04-03", 5)
    lake.write(hourly)
    parts = [bars(symbol, "1h", "2019-04-01", 720) for symbol in ("A/USDT", "C/USDT", "币/USDT")]
    (receipt,) = cold(lake, tmp_path, *parts, interval=Interval.H1, bucket=None)
    assert receipt.key == "ohlcv/binance-1h-2019-04.parquet"
    assert (receipt.rows, receipt.added) == (5 + 3 * 720, 3 * 720)
    assert everything(lake).equals(sort_bars(pa.concat_tables([hourly, *parts])))


def test_a_bucket_written_in_two_parts_has_the_bytes_of_one_written_whole(folder_lake: BarLake, tmp_path: Path) -> None:
    parts = [bars(symbol, "1m", "2019-04-02", 9000 + n) for n, symbol in enumerate(SYMBOLS)]
    (first,) = cold(folder_lake, tmp_path, parts[1], parts[3])
    (second,) = cold(folder_lake, tmp_path, parts[0], parts[2].slice(0, 5000), parts[3], parts[4])
    (third,) = cold(folder_lake, tmp_path, parts[2])
    other = BarLake(FileStore(tmp_path / "other"), FileLocks(tmp_path / "locks"))
    (whole,) = cold(other, tmp_path, *parts)
    assert (second.added, second.unchanged) == (9000 + 5000 + 9004, 9003)
    assert {one.symbol for one in second.series} == set(SYMBOLS) - {SYMBOLS[1]}
    assert third.sha256 == whole.sha256
    assert third.content_digest == whole.content_digest
    assert first.rows < second.rows < third.rows == sum(part.num_rows for part in parts)


def test_a_month_written_again_writes_nothing_and_says_so(lake: BarLake, tmp_path: Path) -> None:
    parts = [bars(symbol, "1m", "2019-04-02", 100) for symbol in SYMBOLS]
    (first,) = cold(lake, tmp_path, *parts)
    mark = lake.store.head(first.key)
    (again,) = cold(lake, tmp_path, *parts)
    (one,) = cold(lake, tmp_path, parts[2])
    assert lake.store.head(first.key) == mark
    assert (again.written, again.unchanged, again.sha256, again.series) == (False, 500, first.sha256, first.series)
    assert (one.written, one.unchanged, one.rows) == (False, 100, 500)


def test_nothing_added_and_nothing_finished_leave_nothing(lake: BarLake, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    assert cold(lake, spool) == []
    with lake.month_writer(Dataset.OHLCV, "binance", Interval.M1, APRIL, BUCKET, spool_dir=spool) as writer:
        writer.add(bars(SYMBOLS[0], "1m", "2019-04-02", 100))
    with pytest.raises(ValidationError, match="twice"):
        cold(lake, spool, bars(SYMBOLS[0], "1m", "2019-04-02", 9), pa.concat_tables([bars("Z", "1m", APRIL, 1)] * 2))
    assert list(lake.store.list("")) == []
    assert list(spool.iterdir()) == []


def test_rows_that_do_not_belong_are_refused_and_named(folder_lake: BarLake, tmp_path: Path) -> None:
    good = bars(SYMBOLS[1], "1m", "2019-04-02", 3)
    other = next(s for s in ("Y/USDT", "Z/USDT") if layout.bucket_of(s) != BUCKET)
    wrong = {
        "add symbols once, in UTF-8 order": bars(SYMBOLS[0], "1m", "2019-04-02", 3),
        f"{SYMBOLS[1]} after those of {SYMBOLS[1]}": good,
        f"belong to bucket {layout.bucket_of(other)}, not to 7": bars(other, "1m", "2019-04-02", 3),
        "another month": bars(SYMBOLS[2], "1m", "2019-04-30T23:59", 2),
        "another interval than 1m: 5m": bars(SYMBOLS[2], "5m", "2019-04-02", 2),
        "keys twice": pa.concat_tables([bars(SYMBOLS[2], "1m", "2019-04-02", 2)] * 2),
        "several symbols": pa.concat_tables([bars(s, "1m", "2019-04-02", 2) for s in SYMBOLS[2:4]]),
    }
    with folder_lake.month_writer(Dataset.OHLCV, "binance", Interval.M1, APRIL, BUCKET, spool_dir=tmp_path) as writer:
        writer.add(good)
        for says, rows in wrong.items():
            with pytest.raises(ValidationError, match=says):
                writer.add(rows)
        (receipt,) = writer.finish()
    assert receipt.rows == 3
    for interval, bucket in ((Interval.M1, None), (Interval.M1, 16), (Interval.H1, 3)):
        with pytest.raises(ConfigError, match="bucket"):
            folder_lake.month_writer(Dataset.OHLCV, "binance", interval, APRIL, bucket, spool_dir=tmp_path)
    with pytest.raises(ConfigError, match="not the first moment of a month"):
        folder_lake.month_writer(Dataset.OHLCV, "binance", Interval.M1, APRIL + 60_000, 1, spool_dir=tmp_path)


def test_recorded_months_come_back_to_the_last_digit(lake: BarLake, recordings: Path, tmp_path: Path) -> None:
    folder = recordings / "klines_1m" / "um_futures_vision_csv"
    found = {"ALGO/USDT:USDT": "ALGOUSDT-1m-2024-09.csv", "AVAX/USDT:USDT": "AVAXUSDT-1m-2023-09.csv"}
    for symbol, name in found.items():
        month, start = recorded.table(folder / name, symbol, "1m"), parse_time(name[-11:-4] + "-01")
        with lake.month_writer(
            Dataset.OHLCV, "binance", Interval.M1, start, layout.bucket_of(symbol), spool_dir=tmp_path
        ) as writer:
            writer.add(month)
            (receipt,) = writer.finish()
        assert receipt.rows == 30 * 1440
        assert receipt.content_digest == content_digest(month)
        got = lake.read(EVER, symbols=[symbol], intervals=[Interval.M1], exchange="binance")
        assert got.equals(month)


def test_writers_of_one_bucket_at_once_lose_nothing(lake: BarLake, tmp_path: Path) -> None:
    parts = [bars(symbol, "1m", "2019-04-02", 200) for symbol in SYMBOLS]
    shared = [lake] * len(parts)
    if lake.store.conditional:  # then writers without a common lock agree too
        shared = [BarLake(lake.store, FileLocks(tmp_path / f"locks-{n}")) for n in range(len(parts))]
    with ThreadPoolExecutor(len(parts)) as pool:
        receipts = list(
            pool.map(lambda pair: cold(pair[0], tmp_path / "spool", pair[1]), zip(shared, parts, strict=True))
        )
    assert everything(lake).equals(pa.concat_tables(parts))
    assert sorted(receipt.rows for (receipt,) in receipts) == [200, 400, 600, 800, 1000]


def test_a_cold_write_that_would_shrink_a_bucket_is_refused(
    folder_lake: BarLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (receipt,) = cold(folder_lake, tmp_path, bars(SYMBOLS[0], "1m", "2019-04-02", 10))
    real = streams.merge_rows

    def forgetful(shape: Shape, old: pa.Table, new: pa.Table, *, removed: pa.Table | None) -> object:
        return real(shape, None, new)  # a merge with a bug: what was stored is forgotten

    monkeypatch.setattr(streams, "merge_rows", forgetful)
    with pytest.raises(LakeShrink, match=r"binance-1m-2019-04\.07\.parquet: the write would lose 10 of 10 rows"):
        cold(folder_lake, tmp_path, bars(SYMBOLS[1], "1m", "2019-04-02", 10))
    assert hashlib.sha256(folder_lake.store.get(receipt.key) or b"").hexdigest() == receipt.sha256


def test_disagreements_are_told_by_rank(folder_lake: BarLake, tmp_path: Path) -> None:
    symbol = SYMBOLS[0]
    stood = bars(symbol, "1m", "2019-04-02", 10, source=Source.VISION)
    cold(folder_lake, tmp_path, stood)
    told: dict[str, list[tuple[pa.Table, pa.Table]]] = {"replaced": [], "outranked": []}

    def offer(seed: int, source: Source) -> ObjectReceipt:
        with folder_lake.month_writer(
            Dataset.OHLCV, "binance", Interval.M1, APRIL, BUCKET, spool_dir=tmp_path,
            on_replaced=lambda old, new: told["replaced"].append((old, new)),
            on_outranked=lambda old, new: told["outranked"].append((old, new)),
        ) as writer:  # fmt: skip
            writer.add(bars(symbol, "1m", "2019-04-02", 10, seed=seed, source=source))
            (receipt,) = writer.finish()
        return receipt

    refused = offer(2, Source.STREAM)
    assert (refused.outranked, refused.written) == (10, False)
    ((old, new),) = told["outranked"]
    assert old.equals(stood)
    assert new.equals(bars(symbol, "1m", "2019-04-02", 10, seed=2, source=Source.STREAM))
    better = offer(3, Source.REST)
    assert (better.replaced, better.written) == (10, True)
    ((old, new),) = told["replaced"]
    assert old.equals(stood)
    assert new.equals(everything(folder_lake))
