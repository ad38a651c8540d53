"""The spool: whole batches or none, in order, bounded, and what cannot be read is set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.domain.instrument import Market
from gapless.errors import StorageError
from streamer.bars.items import Item, bar_of_stream
from streamer.bars.spool import BarSpool
from tests.streamer.bars.making import COIN, kline

MORE = 1 << 20


def batch(*numbers: int) -> list[Item]:
    return [bar_of_stream(COIN, Market.UM, kline(number).k, 7) for number in numbers]


def test_batches_come_back_in_order_and_go_when_they_are_loaded(tmp_path: Path) -> None:
    spool = BarSpool(tmp_path, MORE)
    for number in range(3):
        spool.write(batch(2 * number, 2 * number + 1))
    assert spool.rows == 6
    items, files = spool.read(5)
    assert items == batch(0, 1, 2, 3)
    assert spool.rows == 6
    spool.remove(files)
    assert (spool.rows, spool.read(5)[0]) == (2, batch(4, 5))
    assert [each.name for each in tmp_path.glob("*.jsonl")] == ["000000000003-2.jsonl"]
    assert spool.bytes == sum(each.stat().st_size for each in tmp_path.glob("*.jsonl"))


def test_a_batch_larger_than_what_is_asked_for_comes_all_the_same(tmp_path: Path) -> None:
    spool = BarSpool(tmp_path, MORE)
    spool.write(batch(0, 1, 2))
    assert spool.read(1)[0] == batch(0, 1, 2)


def test_the_next_process_goes_on_where_the_last_one_was_killed(tmp_path: Path) -> None:
    spool = BarSpool(tmp_path, MORE)
    spool.write(batch(0))
    (tmp_path / "000000000002-9.jsonl.part").write_bytes(b'["b","um"')  # killed while it wrote
    spool.close()
    again = BarSpool(tmp_path, MORE)
    again.write(batch(1))
    assert again.read(10)[0] == batch(0, 1)
    assert not list(tmp_path.glob("*.part"))


def test_at_the_bound_nothing_more_is_taken_and_what_is_there_stays(tmp_path: Path) -> None:
    spool = BarSpool(tmp_path, 400)
    spool.write(batch(0))
    with pytest.raises(StorageError, match="wait there for MySQL, and no more may"):
        spool.write(batch(1, 2))
    assert spool.read(10)[0] == batch(0)


def test_a_disk_that_takes_nothing_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = BarSpool(tmp_path, MORE)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("streamer.bars.spool.os.fsync", full)
        with pytest.raises(StorageError, match=r"takes no bars .*No space left on device"):
            spool.write(batch(0))
    assert [each.name for each in tmp_path.iterdir()] == ["lock"]
    spool.write(batch(1))
    assert (spool.rows, spool.read(10)[0]) == (1, batch(1))


def test_a_damaged_batch_is_kept_beside_and_those_behind_it_come(tmp_path: Path) -> None:
    spool = BarSpool(tmp_path, MORE)
    for number in range(3):
        spool.write(batch(number))
    (tmp_path / "000000000002-1.jsonl").write_bytes(b"\x00\x00")
    assert spool.read(10)[0] == batch(0, 2)
    assert (spool.damaged, spool.rows) == (1, 2)
    assert (tmp_path / "000000000002-1.jsonl.damaged").read_bytes() == b"\x00\x00"


def test_two_processes_never_share_a_folder(tmp_path: Path) -> None:
    spool = BarSpool(tmp_path, MORE)
    with pytest.raises(StorageError, match="another streamer of this shard uses it"):
        BarSpool(tmp_path, MORE)
    spool.close()
    BarSpool(tmp_path, MORE).close()
