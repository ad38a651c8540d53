from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.errors import StorageError
from streamer.outlet.spool import FRAMES_ON_THEIR_WAY, Frame, Record, Spool

SEGMENT = 4000


def records(first: int, count: int, size: int = 100) -> list[Record]:
    return [(b"md.trades.binance.A/USDT", b"%d" % n, b"x" * size) for n in range(first, first + count)]


def ids(frames: list[Frame]) -> list[int]:
    return [int(identity) for frame in frames for _, identity, _ in frame.records]


def read_all(spool: Spool) -> list[Frame]:
    frames = []
    while (frame := spool.read()) is not None:
        frames.append(frame)
    return frames


def test_what_was_written_is_read_in_order_and_gone_when_settled(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**6, SEGMENT)
    for first in range(0, 200, 10):
        spool.write(records(first, 10))
    frames = read_all(spool)
    assert ids(frames) == list(range(200))
    assert len(list(tmp_path.glob("*.seg"))) > 3
    for frame in frames:
        spool.settle(frame)
    assert not spool
    assert spool.bytes == 0
    assert not list(tmp_path.glob("*.seg"))


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["write", "read", "settle", "die"]), max_size=60), st.data())
def test_after_any_death_all_that_was_not_settled_is_there_and_little_else(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, 10**6, SEGMENT)
    written, settled, on_way = 0, 0, list[Frame]()
    for step in [*steps, "die"]:
        if step == "write":
            count = data.draw(st.integers(1, 20))
            spool.write(records(written, count))
            written += count
        elif step == "read" and len(on_way) < FRAMES_ON_THEIR_WAY and (frame := spool.read()):
            on_way.append(frame)
        elif step == "settle" and on_way:
            frame = on_way.pop(0)
            settled = int(frame.records[-1][1]) + 1
            spool.settle(frame)
        elif step == "die":
            os.close(spool._lock)
            spool, on_way = Spool(folder, 10**6, SEGMENT), []
    assert ids(read_all(spool)) == list(range(settled, written))


def test_a_write_that_a_kill_cut_off_costs_nothing_that_came_before(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**6, SEGMENT)
    spool.write(records(0, 5))
    spool.write(records(5, 5))
    spool.close()
    (path,) = tmp_path.glob("*.seg")
    os.truncate(path, path.stat().st_size - 7)
    spool = Spool(tmp_path, 10**6, SEGMENT)
    assert ids(read_all(spool)) == list(range(5))
    assert spool.damaged == 1
    assert list(tmp_path.glob("*.bad"))
    spool.write(records(10, 5))
    assert ids(read_all(spool)) == list(range(10, 15))


def test_what_is_put_before_comes_first_and_is_in_doubt(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**6, SEGMENT)
    spool.write(records(10, 5))
    spool.put_before(records(0, 10))
    spool.close()
    frames = read_all(Spool(tmp_path, 10**6, SEGMENT))
    assert ids(frames) == list(range(15))
    assert [frame.doubtful for frame in frames] == [True, False]


def test_two_processes_do_not_share_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**6, SEGMENT)
    with pytest.raises(StorageError, match="another streamer"):
        Spool(tmp_path, 10**6, SEGMENT)
    spool.close()


def test_a_full_disk_takes_nothing_half(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from pathlib import Path
from streamer.outlet.spool import Spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
spool = Spool(Path({str(tmp_path)!r}), 10**6, 10**6)
taken = 0
try:
    while True:
        spool.write([(b"k", b"%d" % taken, b"x" * 400)])
        taken += 1
except OSError:
    print(taken)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    taken = int(done.stdout)
    assert taken > 3
    spool = Spool(tmp_path, 10**6, SEGMENT)
    assert ids(read_all(spool)) == list(range(taken))
    assert spool.damaged == 0
