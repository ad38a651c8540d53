"""Taking Streams to the spool, with a real Redis: nothing acknowledged is missing; what is lost is told and counted."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from gapless.config import Settings
from gapless.domain.live import GAPS_KEY, GapEvent, GapReason, Kind, gap_of, stream_key
from gapless.domain.retention import SpoolBounds, StreamBounds
from gapless.errors import ConfigError, StorageError
from gapless.pipeline.metrics.live import stream_archive
from gapless.pipeline.stream_archive import watch
from gapless.pipeline.stream_archive.take import DEFAULT_KINDS, Taker
from gapless.storage.live import open_streams
from gapless.storage.spool import read_hour, spooled_hours, streams_root, writing
from tests.fixtures.redis import OwnRedis
from tests.pipeline.stream_archive.writer import BTC, Writer

KEY = stream_key(Kind.TRADES, "binance", BTC)
ETH = "ETH/USDT:USDT"


class Clock:
    """Monotonic seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Archive:
    """A consumer under test, its spool, its words, and its clock."""

    def __init__(self, url: str, spool: Path) -> None:
        self.url, self.spool = url, spool
        self.said: list[str] = []
        self.clock = Clock()

    def taker(self, kinds: tuple[Kind, ...] = DEFAULT_KINDS, *, consumer: str = "one", **bounds: Any) -> Taker:
        return Taker(
            open_streams(self.url, consumer),
            self.spool,
            kinds,
            consumer=consumer,
            stream_bounds=bounds.get("streams", StreamBounds()),
            spool_bounds=bounds.get("spool", SpoolBounds()),
            say=self.said.append,
            clock=self.clock,
        )

    def look(self, taker: Taker) -> None:
        """Time passes until everything is due, and a round of it."""
        self.clock.now_s += 60
        taker.step()

    def held(self, kind: Kind = Kind.TRADES) -> list[str]:
        """The identities in the spool, in its order."""
        root = streams_root(self.spool)
        return [
            entry.identity
            for hour in spooled_hours(root)
            if hour.kind is kind
            for frame in read_hour(root, kind, hour.exchange, hour.hour_ms, pytest.fail)
            for entry in frame
        ]


@pytest.fixture
def writer(redis_url: str) -> Writer:
    return Writer(redis_url)


@pytest.fixture
def archive(redis_url: str, tmp_path: Path) -> Archive:
    return Archive(redis_url, tmp_path / "spool")


def gaps(writer: Writer) -> list[GapEvent]:
    return [gap_of(stream_id.decode(), fields) for stream_id, fields in writer.redis.xrange(GAPS_KEY)]


def named(numbers: range) -> list[str]:
    return [str(number) for number in numbers]


def test_all_that_is_there_is_taken_and_acknowledged_and_other_kinds_are_left(writer: Writer, archive: Archive) -> None:
    writer.write(range(5000))
    writer.write(range(3), Kind.MARK_PRICE, "币安人生/USDT:USDT")
    writer.write(range(3), Kind.DEPTH)
    writer.redis.xadd("md.nonsense.binance.X", {"a": "b"})
    writer.redis.set("md.trades.binance.NOT/STREAM", "x")
    archive.taker().once()

    assert archive.held() == named(range(5000))
    assert archive.held(Kind.MARK_PRICE) == named(range(3))
    assert archive.held(Kind.DEPTH) == []
    assert writer.pending() == 0
    assert not gaps(writer)
    assert sum("md.nonsense.binance.X" in line for line in archive.said) == 1

    writer.write(range(5000, 5010))
    archive.taker((Kind.DEPTH, Kind.TRADES)).once()
    assert archive.held() == named(range(5010)), "the group goes on where it was"
    assert archive.held(Kind.DEPTH) == named(range(3))


def test_a_stream_that_appears_later_is_found(writer: Writer, archive: Archive) -> None:
    taker = archive.taker()
    archive.look(taker)
    writer.write(range(3), symbol=ETH)
    archive.look(taker)
    archive.look(taker)
    assert archive.held() == named(range(3))


def test_one_busy_stream_among_many_is_read_to_its_end(writer: Writer, archive: Archive) -> None:
    for number in range(150):
        writer.write([number], symbol=f"C{number}/USDT:USDT")
    writer.write(range(1000, 9000))
    archive.taker().once()
    assert len(set(archive.held())) == 8150


def test_nothing_is_acknowledged_before_it_is_synced(
    writer: Writer, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(range(10))
    real, pending = os.fsync, []

    def watched(file: int) -> None:
        pending.append(writer.pending())
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, "fsync", watched)
        archive.taker().once()
    assert pending[0] == 10
    assert writer.pending() == 0


_RESIDENT = """
import sys, threading
from pathlib import Path
from tests.pipeline.stream_archive.test_take import Archive
from tests.pipeline.stream_archive.writer import Writer
archive = Archive(sys.argv[1], Path(sys.argv[2]))
taker = archive.taker()
print("up", flush=True)
while True:
    archive.clock.now_s += 1
    taker.step()
"""


@pytest.mark.parametrize("seen", [1, 2500])
def test_after_a_kill_all_that_was_acknowledged_is_in_the_spool_and_the_rest_is_taken(
    writer: Writer, archive: Archive, redis_url: str, seen: int
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _RESIDENT, redis_url, str(archive.spool)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        written = 0
        while len(archive_files(archive.spool)) < 1 or written < seen + 500:
            writer.write(range(written, written + 100))
            written += 100
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()

    (group,) = writer.redis.xinfo_groups(KEY)
    unacknowledged = {each["message_id"] for each in writer.redis.xpending_range(KEY, "archive", "-", "+", 100_000)}
    delivered = writer.redis.xrange(KEY, "-", group["last-delivered-id"])
    safe = {fields[b"i"].decode() for stream_id, fields in delivered if stream_id not in unacknowledged}
    root = streams_root(archive.spool)
    (hour,) = spooled_hours(root)
    held = {e.identity for f in read_hour(root, Kind.TRADES, "binance", hour.hour_ms, lambda _: None) for e in f}
    assert safe <= held

    archive.taker().once()
    held = {e.identity for f in read_hour(root, Kind.TRADES, "binance", hour.hour_ms, lambda _: None) for e in f}
    assert held == set(named(range(written)))
    assert writer.pending() == 0
    assert not gaps(writer)


def archive_files(spool: Path) -> list[Path]:
    return [*spool.rglob("*.part"), *spool.rglob("*.seg")]


def test_what_a_dead_consumer_left_is_claimed_when_it_has_waited(
    writer: Writer, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(range(50))
    dead = open_streams(archive.url, "dead")
    dead.ensure([KEY], seen_from_the_start=False)
    assert dead.read_new([KEY], 30)
    archive.taker().once()
    assert archive.held() == named(range(30, 50)), "it may be at work on it"
    assert writer.pending() == 30

    monkeypatch.setattr("gapless.pipeline.stream_archive.take._CLAIM_IDLE_MS", 0)
    archive.taker().once()
    assert sorted(map(int, archive.held())) == list(range(50))
    assert writer.pending() == 0


def test_entries_trimmed_before_they_are_taken_are_told_and_counted_once(writer: Writer, archive: Archive) -> None:
    taker = archive.taker()
    first = writer.write(range(10))
    archive.look(taker)
    archive.look(taker)
    second = writer.write(range(10, 40))
    assert writer.redis.xtrim(KEY, maxlen=8, approximate=False) == 32
    archive.look(taker)
    archive.look(taker)

    (gap,) = gaps(writer)
    assert (gap.kind, gap.symbol, gap.reason, gap.count, gap.repaired) == (Kind.TRADES, BTC, "trimmed", 22, False)
    assert gap.from_id == first[-1]
    assert gap.from_id < gap.to_id
    assert gap.to_id in second[22:]
    assert archive.held() == named(range(10)) + named(range(32, 40))
    assert taker.status is not None
    assert {kind.kind: kind.lost for kind in taker.status.kinds}[Kind.TRADES] == 22
    assert any("22 trades of BTC/USDT:USDT" in line for line in archive.said)

    writer.write(range(40, 50))
    archive.look(taker)
    archive.look(taker)
    assert len(gaps(writer)) == 1
    assert archive.held(Kind.GAPS), "the events are archived too"


def test_a_loss_while_nobody_was_at_work_is_told_by_the_next(writer: Writer, archive: Archive) -> None:
    writer.write(range(10))
    archive.taker().once()
    writer.write(range(10, 30), maxlen=5, approximate=False)
    writer.write(range(4), symbol=ETH, maxlen=3, approximate=False)
    archive.taker().once()
    assert sorted((gap.symbol, gap.count) for gap in gaps(writer)) == [(BTC, 15), (ETH, 1)]


def test_what_was_removed_before_the_first_start_is_no_loss(writer: Writer, archive: Archive) -> None:
    writer.write(range(100), maxlen=10, approximate=False)
    archive.taker().once()
    archive.taker().once()
    assert not gaps(writer)
    assert archive.held() == named(range(90, 100))


def test_what_was_trimmed_after_a_dead_consumer_had_read_it_is_told(writer: Writer, archive: Archive) -> None:
    ids = writer.write(range(10))
    dead = open_streams(archive.url, "one")
    dead.ensure([KEY], seen_from_the_start=False)
    dead.read_new([KEY], 10)
    writer.redis.xtrim(KEY, maxlen=6, approximate=False)
    archive.taker().once()

    (gap,) = gaps(writer)
    assert (gap.reason, gap.count, gap.from_id, gap.to_id) == ("trimmed", 4, ids[0], ids[3])
    assert archive.held() == named(range(4, 10))
    assert writer.pending() == 0


def test_what_was_trimmed_after_it_was_synced_by_one_who_died_then_is_no_loss(
    writer: Writer, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(range(10))

    def dies(*_: object, **__: object) -> None:
        raise StorageError("dies before it acknowledges")

    with monkeypatch.context() as patch:
        patch.setattr("gapless.storage.live.LiveStreams.acknowledge", dies)
        with pytest.raises(StorageError, match="dies"):
            archive.taker().once()
    assert writer.pending() == 10
    writer.redis.xtrim(KEY, maxlen=3, approximate=False)
    archive.taker().once()
    assert not gaps(writer)
    assert set(archive.held()) == set(named(range(10)))
    assert writer.pending() == 0


def test_a_stream_that_came_back_is_joined_again_and_the_loss_is_told(writer: Writer, archive: Archive) -> None:
    taker = archive.taker()
    writer.write(range(10))
    archive.look(taker)
    archive.look(taker)
    writer.redis.flushdb()
    writer.write(range(10, 20))
    archive.look(taker)
    archive.look(taker)

    assert archive.held() == named(range(20))
    (gap,) = gaps(writer)
    assert (gap.reason, gap.count) == (GapReason.RESTARTED, -1)


def test_a_redis_that_dies_is_waited_for(own_redis: OwnRedis, tmp_path: Path) -> None:
    archive, stop = Archive(own_redis.url, tmp_path / "spool"), threading.Event()
    writer = Writer(own_redis.url)
    writer.write(range(10))
    away, taken = threading.Event(), threading.Event()

    def say(line: str) -> None:
        archive.said.append(line)
        if "Redis is away" in line:
            away.set()
        if "taking again" in line:
            taken.set()

    taker = Taker(
        open_streams(own_redis.url, "one"),
        archive.spool,
        consumer="one",
        stream_bounds=StreamBounds(),
        spool_bounds=SpoolBounds(),
        say=say,
    )
    at_work = threading.Thread(target=taker.run, args=(stop,))
    at_work.start()
    try:
        own_redis.kill()
        assert away.wait(60)
        own_redis.start()
        assert taken.wait(60)
        Writer(own_redis.url).write(range(10, 20), symbol=ETH)
    finally:
        stop.set()
        at_work.join(60)
    archive.taker().once()
    assert set(archive.held()) >= set(named(range(10, 20)))


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_redis_that_comes_back_with_all_it_had_lost_nothing(
    own_redis: OwnRedis, tmp_path: Path, goes_on: bool
) -> None:
    writer, archive = Writer(own_redis.url), Archive(own_redis.url, tmp_path / "spool")
    taker = archive.taker()
    writer.write(range(500))
    taker.once()
    # Trimmed unread, and told; then some that are read and not acknowledged when both die.
    writer.write(range(500, 520))
    writer.redis.xtrim(KEY, maxlen=5, approximate=False)
    archive.look(taker)
    writer.write(range(520, 560))
    if not goes_on:
        assert len(open_streams(own_redis.url, "one").read_new([KEY], 30)[0].entries) == 30
    told = len(gaps(writer))
    assert told == 1

    own_redis.kill()
    own_redis.start()
    writer.write(range(560, 570))
    again = taker if goes_on else archive.taker()
    for _ in range(4):
        archive.look(again)
    assert len(gaps(writer)) == told
    assert archive.held() == named(range(500)) + named(range(515, 570))
    # And what is lost from now on is counted to the entry.
    writer.write(range(570, 580))
    writer.redis.xtrim(KEY, maxlen=3, approximate=False)
    archive.look(again)
    archive.look(again)
    assert [gap.count for gap in gaps(writer)[told:]] == [7]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_acknowledges_nothing_and_goes_on_when_there_is_room(
    writer: Writer, archive: Archive, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    writer.write(range(10))
    taker = archive.taker()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing.os, call, full)
        for _ in range(3):
            archive.look(taker)
        assert writer.pending() == 10
        assert taker.status is not None
        assert "No space left on device" in taker.status.state
        assert any("No space left on device" in alarm for alarm in taker.status.alarms)
        with pytest.raises(StorageError, match="stays pending"):
            taker.finish()
    archive.look(taker)
    taker.finish()
    assert archive.held() == named(range(10))
    assert writer.pending() == 0
    assert sum("No space left" in line for line in archive.said if not line.startswith("alarm")) == 1


def test_a_spool_at_its_bound_takes_nothing_more_and_says_so(writer: Writer, archive: Archive) -> None:
    taker = archive.taker(spool=SpoolBounds(bytes=1 << 20))
    for _ in range(2):
        writer.redis.xadd(KEY, {"e": "1763654400000", "r": "1", "i": "1", "d": b"{" + os.urandom(600_000) + b"}"})
    archive.look(taker)
    archive.look(taker)
    writer.write(range(3))
    archive.look(taker)
    assert len(archive.held()) == 2
    assert taker.status is not None
    assert "publish its hours" in taker.status.state
    with pytest.raises(StorageError, match="publish its hours"):
        archive.taker(spool=SpoolBounds(bytes=1 << 20)).once()

    taker.finish()
    for path in archive_files(archive.spool):
        path.unlink()
    archive.look(taker)
    archive.look(taker)
    assert archive.held() == named(range(3))
    assert taker.status.state == "taking"


def test_an_entry_that_is_none_is_kept_told_and_does_not_stand_in_the_way(writer: Writer, archive: Archive) -> None:
    writer.write(range(2))
    bad = writer.redis.xadd(KEY, {"e": "soon", "d": b"\xff{"})
    writer.write(range(2, 4))
    archive.taker().once()

    assert archive.held() == named(range(4))
    assert writer.pending() == 0
    (gap,) = gaps(writer)
    assert (gap.reason, gap.count, gap.from_id) == ("garbled", 1, bad.decode())
    (file,) = (archive.spool / "refused").iterdir()
    kept = msgspec.json.decode(file.read_bytes())
    assert (kept["stream"], kept["id"], kept["fields"]) == (KEY, bad.decode(), {"e": "soon", "d": "\\xff{"})


def test_old_entries_go_when_they_are_taken_and_not_before(
    writer: Writer, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.write(range(3), id="1000-*")
    writer.write(range(3, 5))
    writer.write(range(3), Kind.DEPTH, id="1000-*")
    with monkeypatch.context() as patch:
        patch.setattr(Taker, "_take", lambda self: self._discover())
        taker = archive.taker()
        archive.look(taker)
        assert writer.redis.xlen(KEY) == 5
        assert writer.redis.xlen(stream_key(Kind.DEPTH, "binance", BTC)) == 0, "nobody takes these"
        assert taker.status is not None
        (alarm,) = taker.status.alarms
        assert KEY in alarm
    archive.look(taker)
    archive.look(taker)
    assert archive.held() == named(range(5))
    assert writer.redis.xlen(KEY) == 2
    assert not taker.status.alarms
    assert not gaps(writer)


def test_streams_beyond_their_bytes_lose_what_is_taken_first_and_tell_of_the_rest(
    writer: Writer, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = StreamBounds(bytes=1 << 20)
    taker = archive.taker(streams=bounds)
    writer.write(range(300, 1000), size=1000)
    archive.look(taker)
    archive.look(taker)
    writer.write(range(1000, 1600), symbol=ETH, size=1000)
    with monkeypatch.context() as patch:
        patch.setattr(Taker, "_take", lambda self: self._discover())
        archive.look(taker)
        assert writer.redis.xlen(KEY) < 700
        assert writer.redis.xlen(stream_key(Kind.TRADES, "binance", ETH)) == 600
        writer.write(range(1600, 3000), symbol=ETH, size=1000)
        archive.look(taker)
        assert writer.redis.xlen(KEY) == 0
    archive.look(taker)
    archive.look(taker)
    lost = sum(gap.count for gap in gaps(writer))
    assert lost > 0
    assert len(archive.held()) == 2700 - lost
    assert all(gap.symbol == ETH for gap in gaps(writer))


def test_the_state_is_in_redis_and_expires(writer: Writer, archive: Archive) -> None:
    writer.write(range(7))
    archive.taker().once()
    said = writer.redis.get("last.archive.one")
    status = msgspec.json.decode(said, type=watch.ArchiveStatus)
    assert {each.kind: each.taken for each in status.kinds} == {
        Kind.TRADES: 7, Kind.MARK_PRICE: 0, Kind.LIQUIDATIONS: 0, Kind.GAPS: 0,
    }  # fmt: skip
    assert status.alarms == []
    assert 0 < writer.redis.ttl("last.archive.one") <= watch.STATE_EXPIRES_S


def test_a_wrong_password_is_one_line(redis_url: str, archive: Archive) -> None:
    archive.url = redis_url.replace("redis://:", "redis://:wrong-")
    with pytest.raises(ConfigError, match="GAPLESS_REDIS_URL"):
        archive.taker().once()


def test_two_consumers_share_the_work(writer: Writer, archive: Archive) -> None:
    writer.write(range(300))
    one, other = archive.taker(), archive.taker(consumer="two")
    for number in range(300, 900, 100):
        archive.look(one if number % 200 else other)
        writer.write(range(number, number + 100))
    one.once()
    other.once()
    assert sorted(map(int, archive.held())) == list(range(900))
    assert not gaps(writer)


def test_metrics_tell_of_alarms_and_losses_and_of_nobody_at_work(
    writer: Writer, archive: Archive, redis_url: str
) -> None:
    def told(url: str = redis_url) -> dict[tuple[str, ...], float]:
        found = stream_archive(Settings(redis_url=SecretStr(url)))
        return {(each.name.removeprefix("stream_archive_"), *each.labels): each.value for each in found}

    assert told() == {("consumers",): 0}
    assert told("redis://127.0.0.1:1") == {("consumers",): 0}
    assert list(stream_archive(Settings(redis_url=None))) == []
    writer.write(range(10))
    archive.taker().once()
    writer.write(range(10, 30), maxlen=5, approximate=False)
    archive.taker(spool=SpoolBounds(bytes=1 << 20)).once()
    found = told()
    assert (found[("consumers",)], found[("alarms",)], found[("lost_entries", "trades")]) == (1, 0, 15)
    assert found[("spool_bytes",)] > 0
    assert found[("oldest_untaken_seconds", "mark_price")] == 0
