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

from gapless.domain.interval import ALL_INTERVALS
from gapless.domain.window import Window
from gapless.errors import StorageError
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
