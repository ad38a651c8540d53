"""What is replaced in settled months is kept first, for a bounded time; manifests of months that were proved."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gapless.config import Settings
from gapless.domain.datasets import Dataset
from gapless.domain.interval import ALL_INTERVALS, Interval
from gapless.domain.window import DAY_MS, Window, parse_time
from gapless.errors import ConfigError, NotFound, StorageError
from gapless.storage.lake import open_lake, superseded
from gapless.storage.lake.bars import BarLake
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.locks import FileLocks
from gapless.storage.lake.manifests import get_manifest, list_manifests
from gapless.storage.lake.objects import ObjectStore, Stat
from gapless.storage.lake.superseded import list_superseded, old_superseded, original_key
from tests.bars import bars
from tests.fixtures.s3 import S3Server
from tests.storage.lake.front import Front
from tests.storage.lake.full_disk import no_file_beyond

AUGUST = parse_time("2026-08-01")
KEY = "ohlcv/binance-1m-2026-07-09.parquet"
EVER = Window.of("2015-01-01", "2030-01-01")


def settled_lake(store: ObjectStore, locks: Path, before_ms: int = AUGUST) -> BarLake:
    return BarLake(store, FileLocks(locks), kept_before_ms=lambda: before_ms)


@pytest.fixture
def lake(lake_store: ObjectStore, tmp_path: Path) -> BarLake:
    return settled_lake(lake_store, tmp_path / "locks")


@pytest.fixture
def folder_lake(tmp_path: Path) -> BarLake:
    return settled_lake(FileStore(tmp_path / "lake"), tmp_path / "locks")


def july(seed: int = 1, count: int = 40) -> pa.Table:
    return bars("A/USDT", "1m", "2026-07-09", count, seed=seed)


def copy_of(data: bytes, key: str = KEY) -> str:
    return f"_superseded/{key}-{hashlib.sha256(data).hexdigest()[:16]}"


def kept(lake: BarLake) -> list[str]:
    return [stat.key for stat in list_superseded(lake.store)]


def everything(lake: BarLake) -> pa.Table:
    return lake.read(EVER, intervals=ALL_INTERVALS, exchange="binance")


def test_a_settled_object_is_kept_before_it_is_replaced_or_deleted(lake: BarLake) -> None:
    lake.write(july())
    first = lake.store.get(KEY) or b""
    assert kept(lake) == []
    lake.write(july())  # nothing new, nothing kept
    assert kept(lake) == []
    lake.write(july(seed=2))
    second = lake.store.get(KEY) or b""
    lake.remove(july())
    assert lake.store.get(KEY) is None
    assert sorted(kept(lake)) == sorted([copy_of(first), copy_of(second)])
    assert [lake.store.get(copy_of(data)) for data in (first, second)] == [first, second]
    assert everything(lake).num_rows == 0
    assert list(lake.store.list("ohlcv/")) == []


def test_what_is_still_growing_is_not_kept(folder_lake: BarLake, tmp_path: Path) -> None:
    august = bars("A/USDT", "1m", "2026-08-01", 10)
    hours = bars("A/USDT", "1h", "2026-07-31", 24)
    for seed in (1, 2):
        folder_lake.write(bars("A/USDT", "1m", "2026-08-01", 10, seed=seed))
    assert kept(folder_lake) == []
    for count in (10, 24):
        folder_lake.write(hours.slice(0, count))
    assert len(kept(folder_lake)) == 1  # the month of July is over as a whole
    day_before = settled_lake(FileStore(tmp_path / "other"), tmp_path / "locks", AUGUST - 1)
    for count in (10, 24):
        day_before.write(hours.slice(0, count))
    never = BarLake(FileStore(tmp_path / "never"), FileLocks(tmp_path / "locks"))
    for count in (5, 10):
        never.write(august.slice(0, count))
        never.write(july(count=count))
    assert kept(day_before) == kept(never) == []


def test_a_history_that_is_filled_keeps_what_it_changes_and_not_what_it_adds_to(
    folder_lake: BarLake, tmp_path: Path
) -> None:
    def fill(rows: pa.Table) -> None:
        arguments = (Dataset.OHLCV, "binance", Interval.H1, parse_time("2026-07-01"), None)
        with folder_lake.month_writer(*arguments, spool_dir=tmp_path / "spool") as writer:
            writer.add(rows)
            writer.finish()

    fill(bars("A/USDT", "1h", "2026-07-01", 20))
    fill(bars("B/USDT", "1h", "2026-07-01", 20))
    fill(bars("A/USDT", "1h", "2026-07-01", 40))
    assert kept(folder_lake) == []
    fill(bars("B/USDT", "1h", "2026-07-01", 20, seed=2))
    assert [original_key(key) for key in kept(folder_lake)] == ["ohlcv/binance-1h-2026-07.parquet"]


def test_the_lake_of_the_settings_keeps_what_is_replaced_in_cold_months(tmp_path: Path) -> None:
    lake = open_lake(Settings(lake=f"file://{tmp_path}/lake", hot_months=3))
    cold = bars("A/USDT", "1m", "2019-04-02", 10)
    for count in (5, 10):
        lake.write(cold.slice(0, count))
    assert [original_key(key) for key in kept(lake)] == ["ohlcv/binance-1m-2019-04-02.parquet"]


def test_a_copy_that_is_there_is_not_written_again_and_a_damaged_one_is(folder_lake: BarLake) -> None:
    folder_lake.write(july())
    data = folder_lake.store.get(KEY) or b""
    superseded.keep(folder_lake.store, KEY, data)  # as a writer left it that was killed before it replaced the object
    mark = folder_lake.store.head(copy_of(data))
    folder_lake.write(july(seed=2))
    assert folder_lake.store.head(copy_of(data)) == mark
    folder_lake.write(july())
    folder_lake.store.put(copy_of(data), data[:-1])
    folder_lake.write(july(seed=2))
    assert folder_lake.store.get(copy_of(data)) == data


def test_a_copy_that_comes_back_changed_stops_the_write(s3_server: S3Server, s3_front: Front, tmp_path: Path) -> None:
    store = s3_server.store(tmp_path.name + tmp_path.parent.name, endpoint=s3_front.endpoint)
    lake = settled_lake(store, tmp_path / "locks")
    lake.write(july())
    s3_front.fault = lambda method, path, before: (
        "other bytes" if method == "GET" and "_superseded/" in path and "list-type" not in path else None
    )
    with pytest.raises(StorageError, match=r"_superseded/.*came back with other bytes.*was left as it was"):
        lake.write(july(seed=2))
    assert everything(lake).equals(july())
    s3_front.fault = lambda method, path, before: None
    lake.write(july(seed=2))
    assert everything(lake).equals(july(seed=2))
    assert len(kept(lake)) == 1


def test_without_room_for_the_copy_the_object_stays(folder_lake: BarLake) -> None:
    whole = pa.concat_tables([bars(symbol, "1m", "2026-07-09", 1440) for symbol in ("A/USDT", "B/USDT", "C/USDT")])
    folder_lake.write(whole)
    with (
        no_file_beyond(120_000),
        pytest.raises(StorageError, match=r"no space left to write .*_superseded/.*make room"),
    ):
        folder_lake.remove(whole)
    assert everything(folder_lake).equals(whole)
    assert kept(folder_lake) == []


class Dying(FileStore):
    """A folder whose process is killed at one moment of a write."""

    def __init__(self, root: Path, moment: str) -> None:
        super().__init__(root)
        self.moment = moment

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_absent: bool = False) -> Stat:
        what = "copy" if key.startswith("_superseded/") else "object"
        if self.moment == f"before {what}":
            os.kill(os.getpid(), signal.SIGKILL)
        stat = super().put(key, data, if_match=if_match, if_absent=if_absent)
        if self.moment == f"after {what}":
            os.kill(os.getpid(), signal.SIGKILL)
        return stat


def replace_and_die(folder: str, moment: str) -> None:
    lake = settled_lake(Dying(Path(folder), moment), Path(folder) / "_locks")
    lake.write(july(seed=2))


def lying(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] in ("ohlcv", "_superseded")
    }


def killed(folder: Path, moment: str) -> None:
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    writer = context.Process(target=replace_and_die, args=(str(folder), moment))
    writer.start()
    writer.join(60)
    assert writer.exitcode == -signal.SIGKILL


def test_killed_between_copy_and_replacement_nothing_is_lost(tmp_path: Path) -> None:
    calm = settled_lake(FileStore(tmp_path / "calm"), tmp_path / "locks")
    calm.write(july())
    calm.write(july(seed=2))
    final = lying(tmp_path / "calm")
    assert len(final) == 2
    for moment in ("before copy", "after copy", "before object", "after object"):
        folder = tmp_path / moment.replace(" ", "-")
        lake = settled_lake(FileStore(folder), folder / "_locks")
        lake.write(july())
        killed(folder, moment)
        assert everything(lake).equals(july(seed=2) if moment == "after object" else july())
        assert (KEY in lying(folder), set(lying(folder)) <= set(final)) == (True, True)
        lake.write(july(seed=2))
        assert lying(folder) == final


def test_kept_objects_have_outlived_their_days_and_nothing_else_has(lake: BarLake) -> None:
    lake.write(july())
    lake.write(july(seed=2))
    by_hand = "_superseded/ohlcv/binance-1m-2026-07.07.parquet"  # moved there by an operator: his to remove
    lake.store.put(by_hand, b"rows")
    (copy,) = list_superseded(lake.store)
    end_ms = copy.modified_ms + 30 * DAY_MS
    assert old_superseded(lake.store, end_ms - 1, 30) == []
    assert [stat.key for stat in old_superseded(lake.store, end_ms, 30)] == [copy.key]
    assert {stat.key for stat in lake.store.list("_superseded/")} == {by_hand, copy.key}
    assert everything(lake).equals(july(seed=2))
    with pytest.raises(ConfigError, match="write 1 or more"):
        old_superseded(lake.store, end_ms, 0)


def test_manifests_are_kept_by_month_and_round(lake: BarLake) -> None:
    month = parse_time("2026-07-01")
    uri = lake.put_manifest(Dataset.OHLCV, month, 1, b'{"rows": 1}')
    assert uri == f"{lake.store.root_uri}/manifests/ohlcv/2026-07.1.json"
    assert lake.put_manifest(Dataset.OHLCV, month, 1, b'{"rows": 2}') == uri  # a run that was killed, run again
    lake.put_manifest(Dataset.OHLCV, month, 2, b"{}")
    lake.put_manifest(Dataset.FUNDING, month, 1, b"{}")
    lake.store.put("manifests/ohlcv/notes.txt", b"")
    assert get_manifest(lake.store, Dataset.OHLCV, month, 1) == b'{"rows": 2}'
    assert [stat.key for stat in list_manifests(lake.store, Dataset.OHLCV)] == [
        "manifests/ohlcv/2026-07.1.json",
        "manifests/ohlcv/2026-07.2.json",
    ]
    assert len(list(list_manifests(lake.store))) == 3
    with pytest.raises(NotFound, match=r"2026-07\.3\.json is not there"):
        get_manifest(lake.store, Dataset.OHLCV, month, 3)
    for at, round_ in ((month + 1, 1), (month, 0)):
        with pytest.raises(ConfigError, match="not a manifest"):
            lake.put_manifest(Dataset.OHLCV, at, round_, b"{}")
