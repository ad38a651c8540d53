"""Killed anywhere, or out of space: the old object or the new one, and nothing else left behind."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless.domain.datasets import Dataset
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import Window, parse_time
from gapless.errors import StorageError
from gapless.storage.lake import layout
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.s3 import Patience
from tests.bars import bars
from tests.fixtures.s3 import S3Server

SYMBOLS = [f"S{n:02}/USDT" for n in range(12)]


def processes() -> Any:
    """Fresh processes, the slow imports made once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def before() -> pa.Table:
    return pa.concat_tables([bars(symbol, "1m", "2026-11-19", 120) for symbol in SYMBOLS])


def added() -> pa.Table:
    return pa.concat_tables([bars(symbol, "1m", "2026-11-19T02:00", 30) for symbol in SYMBOLS])


def open_folder(folder: Path) -> BarLake:
    return BarLake(FileStore(folder), FileLocks(folder / "_locks"))


def write_for_ever(folder: str, ready: object) -> None:
    """Rewrite one object again and again, until killed."""
    lake, first, second = open_folder(Path(folder)), before(), added()
    ready.set()  # type: ignore[attr-defined]
    seed = 0
    while True:
        seed += 1
        lake.write(pa.concat_tables([second, bars("EXTRA/USDT", "1m", "2026-11-19", 5, seed=seed)]))
        lake.remove(second)
        lake.write(first)


def objects_under(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "_locks"
    }


def test_a_writer_killed_anywhere_and_run_again_leaves_the_undisturbed_object(tmp_path: Path) -> None:
    final = pa.concat_tables([added(), bars("EXTRA/USDT", "1m", "2026-11-19", 5, seed=7)])
    calm = open_folder(tmp_path / "calm")
    calm.write(before())
    calm.write(final)
    whole = {len(before()), len(before()) + len(added()), len(before()) + 5, len(before()) + len(added()) + 5}
    rng = random.Random(2026)
    context = processes()
    folder = tmp_path / "killed"
    lake = open_folder(folder)
    lake.write(before())
    for _ in range(8):
        ready = context.Event()
        writer = context.Process(target=write_for_ever, args=(str(folder), ready))
        writer.start()
        assert ready.wait(60)
        time.sleep(rng.uniform(0, 0.25))  # where it is killed is the point, not a wait for anything
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join(30)
        # At once, before anything is repaired: readers see a whole object, of one of the writes.
        seen = lake.read(Window.of("2026-11-19", "2026-11-20"), intervals=ALL_INTERVALS, exchange="binance")
        assert seen.num_rows in whole
    again = open_folder(folder)  # a new process starts with a sweep
    again.write(before())
    again.write(final)
    assert objects_under(folder) == objects_under(tmp_path / "calm")


def limited_write(folder: str, limit: int, answer: object) -> None:
    """Write with a file size limit in place, as a full disk would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        open_folder(Path(folder)).write(added())
    except StorageError as error:
        answer.put(str(error))  # type: ignore[attr-defined]
    else:
        answer.put("written")  # type: ignore[attr-defined]


def test_a_file_that_may_not_grow_leaves_the_old_object(tmp_path: Path) -> None:
    lake = open_folder(tmp_path)
    lake.write(before())
    held = objects_under(tmp_path)
    context = processes()
    answer = context.Queue()
    writer = context.Process(target=limited_write, args=(str(tmp_path), 10_000, answer))
    writer.start()
    message = answer.get(timeout=60)
    writer.join(30)
    assert "no space left to write" in message
    assert "binance-1m-2026-11-19.parquet" in message
    assert objects_under(tmp_path) == held


def test_a_full_disk_leaves_the_old_object(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=768k", "tmpfs", str(mount)], capture_output=True)
    if made.returncode:
        pytest.skip("mounts are not allowed here; the file size limit above stands in")
    try:
        lake = open_folder(mount / "lake")
        lake.write(before())
        held = objects_under(mount)
        more = pa.concat_tables([bars(f"M{n:02}/USDT", "1m", "2026-11-19", 1440) for n in range(8)])
        with pytest.raises(StorageError, match=r"no space left to write .* make room"):
            lake.write(more)
        assert objects_under(mount) == held
        assert lake.write(added())[0].rows == 12 * 150  # there is room for less
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_store_that_goes_away_during_a_write_leaves_the_old_object(own_s3: S3Server, tmp_path: Path) -> None:
    store = own_s3.store("lake", patience=Patience(total_s=1.5, first_s=0.05, most_s=0.2, connect_s=2, read_s=5))
    lake = BarLake(store, FileLocks(tmp_path / "locks"))
    lake.write(before())
    lake.write(bars("S00/USDT", "1m", "2026-11-19T02:00", 1))
    held = objects_under(own_s3.bucket_folder)
    with pytest.raises(StorageError, match="see that it runs and can be reached"):
        lake.write(bars("S00/USDT", "1m", "2026-11-19", 60, seed=2), on_replaced=lambda old, new: own_s3.stop())
    assert objects_under(own_s3.bucket_folder) == held
    own_s3.start()
    lake.write(added())
    assert lake.write(added())[0].rows == 12 * 150


APRIL = parse_time("2019-04-01")
COLD = sorted(name for n in range(200) if layout.bucket_of(name := f"C{n:03}/USDT") == 7)[:4]


def cold(folder: Path, seed: int) -> None:
    """A bucket of a cold month, whole."""
    with open_folder(folder / "lake").month_writer(
        Dataset.OHLCV, "binance", Interval.M1, APRIL, 7, spool_dir=folder / "spool"
    ) as writer:
        for symbol in COLD:
            writer.add(bars(symbol, "1m", "2019-04-02", 400, seed=seed))
        writer.finish()


def cold_for_ever(folder: str, ready: object) -> None:
    """Restate a bucket of a cold month again and again, until killed."""
    ready.set()  # type: ignore[attr-defined]
    seed = 1
    while True:
        seed += 1
        cold(Path(folder), seed)


def test_a_cold_month_killed_anywhere_and_written_again_is_as_if_nothing_had_happened(tmp_path: Path) -> None:
    rng, context, folder = random.Random(2019), processes(), tmp_path / "killed"
    left_behind = 0
    for round_ in range(8):
        ready = context.Event()
        writer = context.Process(target=cold_for_ever, args=(str(folder), ready))
        writer.start()
        assert ready.wait(60)
        time.sleep(rng.uniform(0, 0.02 if round_ < 2 else 0.3))  # where it is killed is the point
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join(30)
        left_behind += len(list((folder / "spool").glob("*"))) if (folder / "spool").exists() else 0
        seen = open_folder(folder / "lake").read(
            Window.of("2019-04-01", "2019-05-01"), intervals=[Interval.M1], exchange="binance"
        )
        assert seen.num_rows in (0, 1600)
        lying = [path.relative_to(folder / "lake").as_posix() for path in (folder / "lake/ohlcv").rglob("*")]
        assert lying in ([], ["ohlcv/binance-1m-2019-04.07.parquet"])
    assert left_behind > 0  # or no kill ever hit a writer at work
    cold(folder, 1)
    cold(tmp_path / "calm", 1)
    open_folder(folder / "lake").store.sweep(force=True)  # type: ignore[attr-defined]
    assert objects_under(folder / "lake") == objects_under(tmp_path / "calm" / "lake")
    assert list((folder / "spool").iterdir()) == []


def test_a_living_writers_spool_is_not_swept(tmp_path: Path) -> None:
    lake = open_folder(tmp_path / "lake")
    arguments = (Dataset.OHLCV, "binance", Interval.M1, APRIL, 7)
    with lake.month_writer(*arguments, spool_dir=tmp_path / "spool") as first:
        first.add(bars(COLD[0], "1m", "2019-04-02", 40))
        with lake.month_writer(*arguments, spool_dir=tmp_path / "spool") as second:
            second.add(bars(COLD[1], "1m", "2019-04-02", 40))
            assert second.finish()[0].rows == 40
        assert first.finish()[0].rows == 80
    assert list((tmp_path / "spool").iterdir()) == []


def limited_cold(folder: str, limit: int, answer: object) -> None:
    """A cold month with a file size limit in place, as a full disk would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        cold(Path(folder), 1)
    except StorageError as error:
        answer.put(str(error))  # type: ignore[attr-defined]
    else:
        answer.put("written")  # type: ignore[attr-defined]


def test_a_spool_that_may_not_grow_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    context = processes()
    answer = context.Queue()
    writer = context.Process(target=limited_cold, args=(str(tmp_path), 20_000, answer))
    writer.start()
    message = answer.get(timeout=60)
    writer.join(30)
    assert "cannot write the spool of ohlcv/binance-1m-2019-04" in message
    assert "make room there" in message
    assert list((tmp_path / "spool").iterdir()) == []
    assert not (tmp_path / "lake" / "ohlcv").exists()


def test_a_damaged_bucket_stops_the_writer_and_stays_as_it_is(tmp_path: Path) -> None:
    cold(tmp_path, 1)
    path = tmp_path / "lake" / "ohlcv" / "binance-1m-2019-04.07.parquet"
    good = path.read_bytes()
    bad = good[: len(good) // 3] + b"\xff\xff\xff\xff" + good[len(good) // 3 + 4 :]
    path.write_bytes(bad)
    with pytest.raises(StorageError, match=r"binance-1m-2019-04\.07\.parquet cannot be read"):
        cold(tmp_path, 2)
    assert path.read_bytes() == bad
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_store_that_goes_away_can_be_finished_when_it_is_back(own_s3: S3Server, tmp_path: Path) -> None:
    store = own_s3.store("lake", patience=Patience(total_s=1.5, first_s=0.05, most_s=0.2, connect_s=2, read_s=5))
    lake = BarLake(store, FileLocks(tmp_path / "locks"))
    with lake.month_writer(Dataset.OHLCV, "binance", Interval.M1, APRIL, 7, spool_dir=tmp_path / "spool") as writer:
        for symbol in COLD:
            writer.add(bars(symbol, "1m", "2019-04-02", 40))
        own_s3.stop()
        with pytest.raises(StorageError, match="see that it runs and can be reached"):
            writer.finish()
        own_s3.start()
        (receipt,) = writer.finish()
    assert (receipt.rows, receipt.added) == (160, 160)
    assert list((tmp_path / "spool").iterdir()) == []
