"""Every kind of store keeps the same promises; and what only one kind can get wrong."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gapless.config import Settings
from gapless.errors import ConfigError, StorageError
from gapless.storage.lake.files import FileStore
from gapless.storage.lake.objects import ObjectStore, PreconditionFailed, key_of, uri_of
from gapless.storage.lake.opening import open_store
from gapless.storage.lake.s3 import Patience, S3Store
from tests.fixtures.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from tests.storage.lake.front import Fault, Front

KEY = "raw/ohlcv/币安人生=1/é %41+&?#x.bin"


def test_an_object_comes_back_as_it_was_written(lake_store: ObjectStore) -> None:
    for data in (b"", b"\x00\xff" * 50_000, "币".encode()):
        stat = lake_store.put(KEY, data)
        assert lake_store.get(KEY) == data
        assert lake_store.head(KEY) is not None
        assert lake_store.fetch(KEY) == (data, lake_store.head(KEY))
        assert (stat.key, stat.size) == (KEY, len(data))
        assert lake_store.head(KEY).etag == stat.etag  # type: ignore[union-attr]


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(lake_store: ObjectStore) -> None:
    assert lake_store.get("no/such") is lake_store.head("no/such") is lake_store.open("no/such") is None
    lake_store.delete("no/such")
    lake_store.put("no/other", b"x")
    lake_store.delete("no/other")
    assert lake_store.get("no/other") is None


def test_listing_finds_exactly_the_prefix_in_order(lake_store: ObjectStore) -> None:
    keys = ["ohlcv/a-1m-2", "ohlcv/a-1m-10", "ohlcv/a-1h-1", "ohlcv/币", "ohlcv2/x", "raw/a/b/c", "raw/a.b"]
    for key in keys:
        lake_store.put(key, key.encode())
    for prefix in ("ohlcv/", "ohlcv/a-1m-", "raw/a", "raw/a/", "", "nothing/", "ohlcv/币"):
        seen = [stat.key for stat in lake_store.list(prefix) if not stat.key.startswith(("_tmp", "_locks", "_probe"))]
        assert seen == sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    assert {stat.size for stat in lake_store.list("raw/a.b")} == {7}


def test_a_conditional_write_is_refused_when_the_version_is_another(lake_store: ObjectStore) -> None:
    first = lake_store.put("k", b"one", if_absent=True)
    with pytest.raises(PreconditionFailed):
        lake_store.put("k", b"two", if_absent=True)
    second = lake_store.put("k", b"two", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        lake_store.put("k", b"three", if_match=first.etag)
    assert lake_store.get("k") == b"two"
    lake_store.delete("k")
    with pytest.raises(PreconditionFailed):
        lake_store.put("k", b"four", if_match=second.etag)
    assert lake_store.get("k") is None


def test_a_store_knows_whether_its_conditions_are_atomic(
    lake_store: ObjectStore, request: pytest.FixtureRequest
) -> None:
    kind = request.node.callspec.params["lake_store"]
    assert lake_store.conditional is (kind != "s3")  # rclone ignores conditions: a wrong True here would lose bars
    assert list(lake_store.list("_probe/")) == []


def test_of_many_first_writers_one_wins(lake_store: ObjectStore) -> None:
    if not lake_store.conditional:
        pytest.skip("this server ignores conditions: its writers need a lock, see test_bars")
    for race in range(5):

        def claim(number: int, key: str = f"race-{race}") -> int:
            try:
                lake_store.put(key, str(number).encode(), if_absent=True)
            except PreconditionFailed:
                return 0
            return 1

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(claim, range(6))) == 1


def test_an_opened_object_is_read_here_and_there_and_never_mixed_with_its_successor(lake_store: ObjectStore) -> None:
    old, new = os.urandom(400_000), os.urandom(400_000)
    lake_store.put("k", old)
    stream = lake_store.open("k")
    assert stream is not None
    with stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == old[-10:]
        stream.seek(1000)
        assert stream.read(7) == old[1000:1007]
        lake_store.put("k", new)
        stream.seek(0)
        try:
            assert stream.read(1000) == old[:1000]
        except PreconditionFailed as error:
            assert "replaced while it was read" in str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize("key", ["/abs", "a//b", "../x", "a/./b", "", "a\nb", "x" * 256, "\udcff"])
def test_a_key_that_could_leave_the_lake_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a lake key"):
        FileStore(tmp_path).put(key, b"")


def test_uris_lead_back_to_keys_of_their_own_lake_only(lake_store: ObjectStore) -> None:
    assert key_of(lake_store, uri_of(lake_store, KEY)) == KEY
    with pytest.raises(StorageError, match="GAPLESS_LAKE_URI"):
        key_of(lake_store, "file:///elsewhere/x")


# --- folders


def test_a_leftover_of_a_killed_writer_is_swept_and_a_living_writers_file_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "_tmp"
    folder.mkdir()
    (folder / "dead.part").write_bytes(b"half")
    with (folder / "alive.part").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        FileStore(tmp_path).put("k", b"x")
        assert [path.name for path in folder.iterdir()] == ["alive.part"]


def test_writers_survive_a_sweeper_that_never_rests(tmp_path: Path) -> None:
    store, sweeper, done = FileStore(tmp_path), FileStore(tmp_path), threading.Event()

    def sweep() -> None:
        while not done.is_set():
            sweeper.sweep(force=True)

    with ThreadPoolExecutor(1) as pool:
        sweeping = pool.submit(sweep)
        for number in range(300):
            store.put("k", b"%d" % number)
            assert store.get("k") == b"%d" % number
        done.set()
        sweeping.result(30)


def test_only_live_objects_lie_where_readers_look(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put("ohlcv/x.parquet", b"1")
    store.put("ohlcv/x.parquet", b"2")
    assert [path.name for path in (tmp_path / "ohlcv").iterdir()] == ["x.parquet"]
    assert list((tmp_path / "_tmp").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*/file/k"):
        FileStore(tmp_path / "file").put("k", b"")


# --- S3


def quick(server: S3Server, total_s: float) -> S3Store:
    return server.store("t", patience=Patience(total_s=total_s, first_s=0.02, most_s=0.2, connect_s=2, read_s=5))


def test_a_store_away_for_a_while_is_waited_for(own_s3: S3Server) -> None:
    store = quick(own_s3, 60)
    store.put("k", b"before")
    own_s3.stop()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(store.put, "k", b"after")
        time.sleep(0.3)  # not to wait for something: to be away
        assert not writing.done()
        own_s3.start()
        writing.result(60)
    assert store.get("k") == b"after"


def test_a_store_away_for_good_is_a_clear_error_within_the_bound(own_s3: S3Server) -> None:
    store = quick(own_s3, 1.0)
    own_s3.stop()
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"cannot write s3://lake/t/k: .* within 1 s .*run this again"):
        store.put("k", b"x")
    assert time.monotonic() - began < 10


@pytest.fixture
def fronted(s3_front: Front, s3_server: S3Server, tmp_path: Path) -> S3Store:
    return s3_server.store(f"f-{tmp_path.parent.name}-{tmp_path.name}", endpoint=s3_front.endpoint)


def once(fault: Fault, method: str) -> object:
    """A fault for the first request of a method."""
    left = [fault]

    def decide(verb: str, path: str, before: int) -> Fault | None:
        return left.pop() if verb == method and left else None

    return decide


@pytest.mark.parametrize(("fault", "method"), [("unavailable", "PUT"), ("cut answer", "PUT"), ("unavailable", "GET")])
def test_what_passes_is_tried_again(fronted: S3Store, s3_front: Front, fault: Fault, method: str) -> None:
    s3_front.fault = once(fault, method)  # type: ignore[assignment]
    fronted.put("k", b"data")
    assert fronted.get("k") == b"data"
    assert [verb for verb, _ in s3_front.requests].count(method) == 2


def test_a_body_cut_short_is_read_again_not_believed(fronted: S3Store, s3_front: Front) -> None:
    data = os.urandom(100_000)
    fronted.put("k", data)
    s3_front.fault = once("short body", "GET")  # type: ignore[assignment]
    assert fronted.get("k") == data


def test_a_conditional_write_whose_answer_was_lost_is_known_to_be_ours(fronted: S3Store, s3_front: Front) -> None:
    assert fronted.conditional
    s3_front.fault = once("cut answer", "PUT")  # type: ignore[assignment]
    stat = fronted.put("k", b"mine", if_absent=True)  # written, answer lost, tried again, refused: still ours
    assert fronted.get("k") == b"mine"
    s3_front.fault = once("cut answer", "PUT")  # type: ignore[assignment]
    fronted.put("k", b"mine too", if_match=stat.etag)
    assert fronted.get("k") == b"mine too"


@pytest.mark.parametrize(
    ("bucket", "secret", "says"),
    [("nowhere", SECRET_KEY, "NoSuchBucket.*create the bucket"), (BUCKET, "wrong" * 8, "AWS_SECRET_ACCESS_KEY")],
)
def test_a_wrong_setting_fails_at_once_and_says_which(s3_server: S3Server, bucket: str, secret: str, says: str) -> None:
    store = S3Store(bucket, endpoint_url=s3_server.endpoint, access_key=ACCESS_KEY, secret_key=secret, region="x")
    began = time.monotonic()
    with pytest.raises(StorageError, match=says):
        store.put("k", b"")
    assert time.monotonic() - began < 20


def test_settings_open_the_store_they_name(tmp_path: Path, s3_server: S3Server) -> None:
    folder = open_store(Settings(lake_uri=f"file://{tmp_path}/a%20b"))
    folder.put("k", b"1")
    assert (tmp_path / "a b" / "k").read_bytes() == b"1"
    bucket = open_store(
        Settings(
            lake_uri="s3://lake/by-settings",
            s3_endpoint_url=s3_server.endpoint,
            AWS_ACCESS_KEY_ID=ACCESS_KEY,  # type: ignore[call-arg]
            AWS_SECRET_ACCESS_KEY=SECRET_KEY,  # type: ignore[call-arg]
        )
    )
    bucket.put("k", b"2")
    assert (s3_server.bucket_folder / "by-settings" / "k").read_bytes() == b"2"
    for wrong in ("file://relative/x", "s3://"):
        with pytest.raises(ConfigError, match="GAPLESS_LAKE_URI"):
            open_store(Settings(lake_uri=wrong))
