"""The spool: what was synced is read after any death, a damaged file is told, and files are handed over for good."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapless.domain.live import HOUR_MS, Entry, Kind
from gapless.errors import ConfigError, StorageError
from gapless.storage.spool import (
    Damage,
    SegmentWriter,
    hour_folder,
    read_hour,
    remove,
    seal,
    spooled_bytes,
    spooled_hours,
    streams_root,
    writing,
)

HOUR = 1_763_654_400_000


def entry(number: int, *, hour: int = 0, kind: Kind = Kind.TRADES, symbol: str = "BTC/USDT:USDT") -> Entry:
    payload = b'{"p":"%d.10"}' % number
    return Entry(kind, "binance", symbol, f"{number}-0", HOUR + hour * HOUR_MS + number, number, str(number), payload)


def held(root: Path, *, hour: int = 0, kind: Kind = Kind.TRADES, damage: list[Damage] | None = None) -> list[Entry]:
    found: list[Damage] = []
    entries = [e for frame in read_hour(root, kind, "binance", HOUR + hour * HOUR_MS, found.append) for e in frame]
    if damage is None:
        assert not found
    else:
        damage += found
    return entries


def spool(root: Path, *batches: Sequence[Entry], consumer: str = "one") -> Path:
    """Write batches as a frame each; the one file of the first hour."""
    writer = SegmentWriter(root, consumer)
    for batch in batches:
        writer.append(batch)
    writer.close()
    (file,) = hour_folder(root, Kind.TRADES, "binance", HOUR).glob(f"{consumer}-*")
    return file


def test_entries_are_read_by_the_hour_of_their_event(tmp_path: Path) -> None:
    root = streams_root(tmp_path)
    entries = [entry(1), entry(2, hour=1), entry(3), entry(4, kind=Kind.MARK_PRICE, symbol="币安人生/USDT:USDT")]
    writer = SegmentWriter(root, "one")
    writer.append(entries)
    writer.sync()

    assert held(root) == [entries[0], entries[2]], "before the file is closed"
    assert held(root, hour=1) == [entries[1]]
    writer.close()
    assert held(root, kind=Kind.MARK_PRICE) == [entries[3]]
    assert held(root, hour=7) == []
    assert [(h.kind, h.exchange, h.hour_ms, h.files) for h in spooled_hours(root)] == [
        (Kind.MARK_PRICE, "binance", HOUR, 1),
        (Kind.TRADES, "binance", HOUR, 1),
        (Kind.TRADES, "binance", HOUR + HOUR_MS, 1),
    ]
    assert hour_folder(root, Kind.TRADES, "binance", HOUR).name == "2025-11-20T16"
    assert spooled_bytes(root) == sum(p.stat().st_size for p in root.rglob("*.seg"))


def test_files_rotate_and_nothing_is_held_but_a_frame(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "one", segment_bytes=20_000)
    entries = [entry(number) for number in range(9000)]
    writer.append(entries)
    writer.append(entries[:10])
    writer.close()

    assert held(tmp_path) == entries + entries[:10]
    assert spooled_hours(tmp_path)[0].files > 1
    assert max(len(f) for f in read_hour(tmp_path, Kind.TRADES, "binance", HOUR, pytest.fail)) <= 4096


@settings(max_examples=60)
@given(cut=st.floats(0, 1), batches=st.integers(1, 4))
def test_a_file_cut_anywhere_gives_its_whole_frames_and_tells_of_the_rest(
    tmp_path_factory: pytest.TempPathFactory, cut: float, batches: int
) -> None:
    root = tmp_path_factory.mktemp("spool")
    entries = [[entry(batch * 10 + row) for row in range(3)] for batch in range(batches)]
    file = spool(root, *entries)
    whole = file.stat().st_size
    os.truncate(file, int(cut * whole))

    damage: list[Damage] = []
    found = held(root, damage=damage)
    assert found == [e for batch in entries for e in batch][: len(found)]
    assert len(found) % 3 == 0
    assert all(each.torn for each in damage), "a cut is a write that did not end"
    assert sum(each.lost_bytes + each.offset for each in damage) in (0, file.stat().st_size)


@settings(max_examples=80)
@given(at=st.floats(0, 0.9999), flip=st.integers(1, 255))
def test_a_wrong_byte_anywhere_is_never_taken_for_data(
    tmp_path_factory: pytest.TempPathFactory, at: float, flip: int
) -> None:
    root = tmp_path_factory.mktemp("spool")
    batches = [[entry(batch * 10 + row) for row in range(3)] for batch in range(3)]
    file = spool(root, *batches)
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= flip
    file.write_bytes(data)

    damage: list[Damage] = []
    found = held(root, damage=damage)
    (told,) = damage
    assert found in ([], batches[0], batches[0] + batches[1])
    assert told.path == file
    assert told.offset + told.lost_bytes == len(data)
    assert str(file) in str(told.error)
    if len(found) < 6:
        assert not told.torn, "what follows was whole: this is no crash"


def test_a_file_that_ends_in_zeros_is_a_crash_and_not_a_broken_disk(tmp_path: Path) -> None:
    file = spool(tmp_path, [entry(1)])
    with file.open("ab") as stream:
        stream.write(b"\0" * 5000)
    damage: list[Damage] = []
    assert held(tmp_path, damage=damage) == [entry(1)]
    assert [d.torn for d in damage] == [True]


_KILLED = """
import sys
from pathlib import Path
from gapless.storage.spool import SegmentWriter
from tests.storage.spool.test_spool import entry
writer = SegmentWriter(Path(sys.argv[1]), "one")
for number in range(1_000_000):
    writer.append([entry(number)])
    writer.sync()
    print(number, flush=True)
"""


def test_what_was_synced_before_a_kill_is_read_and_the_dead_writers_file_is_sealed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(30)]
    (hour,) = spooled_hours(tmp_path)
    assert seal(tmp_path, hour) == (), "its writer lives"
    child.send_signal(signal.SIGKILL)
    said += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    child.wait()

    sealed = seal(tmp_path, hour)
    assert len(sealed) == 1
    damage: list[Damage] = []
    found = held(tmp_path, damage=damage)
    assert found[: len(said)] == [entry(number) for number in said]
    assert all(each.torn for each in damage)


def test_a_publisher_takes_only_what_nobody_writes_any_more_and_removes_exactly_that(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "one")
    writer.append([entry(1), entry(2, hour=1)])
    first, second = spooled_hours(tmp_path)
    assert writer.close_ended(HOUR + HOUR_MS + 29_999, grace_ms=30_000) == 0
    assert seal(tmp_path, first) == ()
    assert writer.close_ended(HOUR + HOUR_MS + 30_000, grace_ms=30_000) == 1
    taken = seal(tmp_path, first)
    assert [path.suffix for path in taken] == [".seg"]
    assert seal(tmp_path, second) == ()

    writer.append([entry(3)])
    writer.sync()
    remove(taken)
    assert held(tmp_path) == [entry(3)], "a late entry has a file of its own"
    remove(taken)
    writer.close()
    remove(seal(tmp_path, first))
    assert not hour_folder(tmp_path, Kind.TRADES, "binance", HOUR).exists()
    writer.append([entry(4)])
    writer.close()
    assert held(tmp_path) == [entry(4)], "the folder is made again"


def test_a_file_being_written_is_not_removed(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "one")
    writer.append([entry(1)])
    (part,) = tmp_path.rglob("*.part")
    with pytest.raises(ValueError, match="being written"):
        remove([part])
    assert part.exists()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_what_was_synced_and_the_next_write_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writer = SegmentWriter(tmp_path, "one")
    writer.append([entry(1)])
    writer.sync()
    real, written = getattr(os, call), 0

    def full(file: int, *data: bytes) -> int:
        nonlocal written
        written += 1
        if call == "write" and written == 1:
            return int(real(file, data[0][:7]))
        raise OSError(errno.ENOSPC, "No space left on device")

    def spool_two() -> None:
        writer.append([entry(2)])
        writer.sync()

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, call, full)
        with pytest.raises(StorageError, match="No space left on device"):
            spool_two()
    writer.append([entry(2), entry(3)])
    writer.close()

    damage: list[Damage] = []
    assert held(tmp_path, damage=damage) == [entry(1), entry(2), entry(3)], "what was not synced was taken back"
    assert not damage


def test_many_hours_do_not_keep_many_files_open(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "one")
    writer.append(entry(1, hour=hour) for hour in range(100))
    writer.sync()
    assert len(list(tmp_path.rglob("*.part"))) == writing.MOST_OPEN
    writer.close()
    assert len(spooled_hours(tmp_path)) == 100


def test_two_writers_of_one_name_do_not_share_a_file(tmp_path: Path) -> None:
    one, other = SegmentWriter(tmp_path, "same"), SegmentWriter(tmp_path, "same")
    for number, writer in enumerate((one, other, one)):
        writer.append([entry(number)])
    one.close()
    other.close()
    assert sorted(e.identity for e in held(tmp_path)) == ["0", "1", "2"]


def test_a_consumer_must_be_a_file_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no consumer"):
        SegmentWriter(tmp_path, "../x")


def test_what_else_lies_in_the_spool_is_left_alone(tmp_path: Path) -> None:
    spool(tmp_path, [entry(1)])
    for name in ("nonsense/binance/2025-11-20T16", "trades/binance/yesterday"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "x-1.seg").write_bytes(b"x")
    assert len(spooled_hours(tmp_path)) == 1
