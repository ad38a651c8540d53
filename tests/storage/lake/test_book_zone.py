"""The zone of the books: an export exists when its manifest does, and nothing goes that a kept export names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapless.domain.window import DAY_MS, HOUR_MS
from gapless.errors import ConfigError, NotFound, StorageError
from gapless.storage.lake.book_zone import (
    FORMAT,
    BookObject,
    BooksManifest,
    ExportedBook,
    get_object,
    list_exports,
    manifest_key,
    object_key,
    part_writer,
    put_manifest,
    put_object,
    read_manifest,
    rows_of,
    stamp_ms,
    stamp_of,
    sweep_books,
)
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.objects import Damaged, ObjectStore

NOW = stamp_ms("2026-11-20T001500Z")


def export(
    store: ObjectStore, at_ms: int, *, again: tuple[BookObject, ...] = (), finished: bool = True
) -> BooksManifest:
    """An export of one book: an object of its own, and objects of another export."""
    stamp = stamp_of(at_ms)
    key = object_key(stamp, "counter", "", 0)
    put_object(store, key, key.encode())
    mine = BookObject(key, "", 1, len(key), hashlib.sha256(key.encode()).hexdigest())
    book = ExportedBook("counter", ("name",), 1 + len(again), "0" * 64, (*again, mine))
    manifest = BooksManifest(FORMAT, stamp, "0004", "binance", "MariaDB", store.root_uri, at_ms, (book,)).sealed()
    if finished:
        put_manifest(store, manifest)
    return manifest


def keys(store: ObjectStore) -> set[str]:
    return {stat.key for stat in store.list("books/")}


def test_an_export_exists_when_its_manifest_does(lake_store: ObjectStore) -> None:
    assert list_exports(lake_store) == []
    export(lake_store, NOW, finished=False)
    assert list_exports(lake_store) == []
    second = export(lake_store, NOW + 1_000)
    assert list_exports(lake_store) == ["2026-11-20T001501Z"]
    assert read_manifest(lake_store, second.stamp) == second
    with pytest.raises(NotFound, match="never finished"):
        read_manifest(lake_store, stamp_of(NOW))
    with pytest.raises(StorageError, match="exists already"):
        put_manifest(lake_store, second)
    assert get_object(lake_store, second.tables[0].objects[0]) == b"books/2026-11-20T001501Z/counter.00.parquet"
    gone = sweep_books(lake_store, NOW + 90 * DAY_MS, 30, dry=False)
    assert [stat.key for stat in gone] == ["books/2026-11-20T001500Z/counter.00.parquet"]
    assert list_exports(lake_store) == [second.stamp], "the newest stays, however old it is"


def test_a_manifest_of_a_later_format_or_another_name_is_not_read(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    manifest = export(store, NOW)
    later = msgspec.structs.replace(manifest, format=FORMAT + 1).sealed()
    store.put(manifest_key(manifest.stamp), msgspec.json.encode(later))
    with pytest.raises(StorageError, match="is of format 2"):
        read_manifest(store, manifest.stamp)
    store.put(manifest_key(stamp_of(NOW + 1_000)), msgspec.json.encode(manifest))
    with pytest.raises(Damaged, match="choose another export"):
        read_manifest(store, stamp_of(NOW + 1_000))
    store.put(manifest_key(stamp_of(NOW + 1_000)), b"{")
    with pytest.raises(Damaged, match="choose another export"):
        sweep_books(store, NOW + 90 * DAY_MS, 30, dry=False)
    assert len(keys(store)) == 3, "what belongs to the newest is not known: nothing goes"
    for name in ("2026-11-20", "2026-13-20T001500Z", "../2026-11-20T001500Z", ""):
        with pytest.raises(ConfigError, match="not the name of an export"):
            read_manifest(store, name)


@given(
    ages=st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.integers(0, 3)), min_size=1, max_size=8),
    days=st.integers(1, 40),
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_a_kept_export_names_is_swept_and_a_dry_run_tells_what_goes(
    tmp_path_factory: pytest.TempPathFactory, ages: list[tuple[int, bool, int]], days: int
) -> None:
    store = FileStore(tmp_path_factory.mktemp("zone"))
    made: list[BooksManifest] = []
    for number, (age, finished, reused) in enumerate(sorted(ages, reverse=True)):
        newest = made[-1].tables[0].objects if made else ()
        again = newest[max(0, len(newest) - reused) :]
        found = export(store, NOW - age * DAY_MS + number * 1_000, again=again, finished=finished)
        made += [found] if finished else []
    now = NOW + HOUR_MS
    before = keys(store)
    told = sweep_books(store, now, days, dry=True)
    assert keys(store) == before
    gone = sweep_books(store, now, days, dry=False)
    assert [stat.key for stat in gone] == [stat.key for stat in told]
    assert keys(store) == before - {stat.key for stat in gone}
    kept = [one for one in made if one is made[-1] or one.snapshot_ms >= now - days * DAY_MS]
    assert list_exports(store) == [one.stamp for one in kept]
    for one in kept:
        for each in one.tables[0].objects:
            get_object(store, each)
    assert sweep_books(store, now, days, dry=False) == [], "a sweep leaves nothing to the next"
    young = {stamp_of(NOW - age * DAY_MS + n * 1_000) for n, (age, done, _) in enumerate(sorted(ages, reverse=True))
             if not done and age < 2}  # fmt: skip
    assert {key.split("/")[1] for key in keys(store)} >= young, "an export that may still be made is left alone"


def test_a_sweep_that_was_killed_leaves_no_manifest_without_its_objects(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    old = export(store, NOW - 50 * DAY_MS)
    new = export(store, NOW, again=old.tables[0].objects)
    older = export(store, NOW - 60 * DAY_MS)
    gone = [stat.key for stat in sweep_books(store, NOW, 30, dry=True)]
    assert gone[:2] == [manifest_key(older.stamp), manifest_key(old.stamp)]
    assert gone[2:] == [older.tables[0].objects[0].key], "the newest names an object of the older one"
    store.delete(gone[0])  # killed here
    store.delete(gone[1])
    assert [stat.key for stat in sweep_books(store, NOW, 30, dry=False)] == gone[2:]
    assert list_exports(store) == [new.stamp]


def test_a_wrong_byte_in_a_part_is_noticed_even_without_its_checksum(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("name", pa.string(), nullable=False)])
    rows = pa.table({"name": [f"{n:064}" for n in range(1_000)]}, schema=schema)
    file = tmp_path / "part"
    with part_writer(str(file), schema) as writer:
        writer.write_table(rows)
    data = file.read_bytes()
    assert pa.concat_tables(rows_of(data, schema, "it")).equals(rows)
    with pytest.raises(Damaged, match="it cannot be read"):
        list(rows_of(data[:200] + bytes([data[200] ^ 1]) + data[201:], schema, "it"))
    with pytest.raises(Damaged, match="does not have the columns of its book"):
        list(rows_of(data, pa.schema([pa.field("other", pa.string())]), "it"))
