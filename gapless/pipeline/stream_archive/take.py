"""Taking the live Streams to the disk spool: read, write, sync, and only then acknowledge. At least once, bounded."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gapless.domain.live import GAPS_KEY, Kind
from gapless.domain.retention import SpoolBounds, StreamBounds
from gapless.errors import StorageError, ValidationError
from gapless.pipeline.stream_archive.batch import BATCH_ENTRIES, Batch
from gapless.pipeline.stream_archive.guard import Counts, Guard
from gapless.pipeline.stream_archive.watch import ArchiveStatus, kind_of
from gapless.storage.live import Delivery, GroupGone, LiveStreams
from gapless.storage.spool import SegmentWriter, streams_root
from gapless.storage.spool.refused import keep_refused

DEFAULT_KINDS = (Kind.TRADES, Kind.MARK_PRICE, Kind.LIQUIDATIONS)

BATCH_S = 1.0
"""How long what was read waits for more before it is written, synced and acknowledged."""
_READ_ENTRIES = 4000  # at most so many a call, whatever the number of Streams: what one answer may hold in memory
_READ_STREAMS = 100
_DISCOVER_S = 5.0
_CLAIM_S = 10.0
_CLAIM_IDLE_MS = 20_000
_WATCH_S = 5.0
_GRACE_MS = 60_000  # how long after its hour a file stays open for the last entries
_LONGEST_WAIT_S = 5.0


class Taker:
    """One consumer of the Streams of some kinds, and of `md.gaps`.

    Args:
        spool_dir: the settings' own; two consumers may share it.
        say: takes lines for the operator.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        streams: LiveStreams,
        spool_dir: Path,
        kinds: Iterable[Kind] = DEFAULT_KINDS,
        *,
        consumer: str,
        stream_bounds: StreamBounds,
        spool_bounds: SpoolBounds,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = streams
        self._spool_dir = spool_dir
        self._kinds = [*dict.fromkeys(kinds), Kind.GAPS]
        self._guard = Guard(
            streams,
            spool_dir,
            self._kinds,
            consumer=consumer,
            stream_bounds=stream_bounds,
            spool_bounds=spool_bounds,
            say=say,
            clock=clock,
        )
        self._spool_bounds = spool_bounds
        self._say = say
        self._clock = clock
        self._writer = SegmentWriter(streams_root(spool_dir), consumer)
        self._batch = Batch()
        self._keys: list[str] = []
        self._others: list[str] = []
        self._known: set[str] = set()
        self._told: set[str] = set()
        self._recovered = False
        self._discovered = False
        self._blocked = ""
        self._noted = ""
        self._due = dict.fromkeys(("discover", "claim", "watch"), float("-inf"))
        self._counts = Counts()

    @property
    def status(self) -> ArchiveStatus | None:
        """How it stood at its last look; None before the first."""
        return self._guard.status

    def run(self, stop: threading.Event) -> None:
        """Take until told to stop, through whatever Redis and the disk do; then write and acknowledge what is at hand.

        Raises:
            ConfigError: Redis refuses our password, or is too old.
            StorageError: what was at hand at the end could not be spooled or acknowledged; it stays pending.
        """
        wait_s = 0.0
        while not stop.wait(wait_s):
            try:
                busy = self.step()
            except StorageError as error:
                self._note(f"waiting: {error}")
                self._recovered = False
                wait_s = min(_LONGEST_WAIT_S, max(0.1, wait_s * 2))
            else:
                if not self._blocked:
                    self._note("")
                wait_s = min(_LONGEST_WAIT_S, max(0.5, wait_s * 2)) if self._blocked else 0.0 if busy else BATCH_S / 2
        self.finish()

    def once(self) -> None:
        """Take all that is there now.

        Raises:
            ConfigError: Redis refuses our password, or is too old.
            StorageError: Redis or the disk did not do what was asked; what was not spooled stays pending.
        """
        while self.step() or self._batch:
            if self._blocked:
                break
        self._watch()
        self.finish()
        if self._blocked:
            raise StorageError(self._blocked)

    def step(self) -> bool:
        """One round: what is due of looking, claiming and watching, and a batch. Returns whether there may be more.

        Raises:
            StorageError: Redis is away or refuses.
        """
        more = False
        if self._flush():
            try:
                more = self._take()
            except GroupGone as error:
                self._say(f"{error}; making the groups again")
                self._recovered = False
                self._due["discover"] = float("-inf")
                more = True
        if self._is_due("watch", _WATCH_S):
            self._watch()
        return more

    def finish(self) -> None:
        """Write and acknowledge what is at hand, and close the files.

        Raises:
            StorageError: it could not be; what is not acknowledged stays pending.
        """
        try:
            done = self._flush()
        finally:
            self._writer.close()
        if not done:
            raise StorageError(f"{self._blocked}; what was read stays pending in Redis and is taken by the next run")

    def _take(self) -> bool:
        """Fill a batch and flush it; whether there may be more to read."""
        if self._is_due("discover", _DISCOVER_S):
            self._discover()
        if not self._has_room():
            return False
        until = self._clock() + BATCH_S
        if not self._recovered:
            self._recovered = not self._recover()
            return True
        if self._is_due("claim", _CLAIM_S):
            for keys in _some(self._keys, _READ_STREAMS):
                self._add(self._streams.claim(keys, max(1, _READ_ENTRIES // len(keys)), _CLAIM_IDLE_MS))
                if self._batch.full and not self._flush():
                    return False
        hot = self._keys
        while hot and self._clock() < until:
            hot = self._read(hot)
            if self._batch.full and not self._flush():
                return False
        self._flush()
        self._close_ended()
        return bool(hot)

    def _read(self, keys: Sequence[str]) -> list[str]:
        """Read Streams once; those that gave all that was asked for, which may have more."""
        hot: list[str] = []
        for some in _some(keys, _READ_STREAMS):
            count = max(1, _READ_ENTRIES // len(some))
            found = self._streams.read_new(some, count)
            self._add(found)
            hot += [each.key for each in found if len(each.entries) >= count]
            if self._batch.full and not self._flush():
                return []
        return hot

    def _recover(self) -> bool:
        """Take what this consumer had read and not acknowledged before; whether there may be more."""
        more = False
        for some in _some(self._keys, _READ_STREAMS):
            found = self._streams.read_pending(some, max(1, _READ_ENTRIES // len(some)))
            found = [each for each in found if each.entries or each.removed]
            more = more or bool(found)
            self._add(found)
            if found and not self._flush():
                return True
        return more

    def _add(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._batch.add(delivery)

    def _flush(self) -> bool:
        """Spool, sync, tell what is wrong with the batch, acknowledge. False: the disk does not take it, try again.

        Raises:
            StorageError: Redis did not take the acknowledgement; the batch is kept, spooled.
        """
        batch = self._batch
        if not batch:
            return True
        if not batch.spooled:
            try:
                self._writer.append(batch.entries)
                self._writer.sync()
                if batch.refused:
                    keep_refused(self._spool_dir, batch.refused, time.time_ns() // 1_000_000)
            except StorageError as error:
                self._block(f"nothing is acknowledged: {error}")
                return False
            batch.spooled = True
            self._blocked = ""
            batch.forgive(streams_root(self._spool_dir))
        events = list(batch.events(self._streams.now_ms())) if batch.refused or batch.removed else []
        self._streams.acknowledge(batch.ids, telling=events)
        self._counts.taken.update(entry.kind for entry in batch.entries)
        self._counts.refused.update(kind_of(entry.key) for entry in batch.refused)
        for key, ids in batch.removed.items():
            self._counts.lost[kind_of(key)] += len(ids)
        self._batch = Batch()
        return True

    def _discover(self) -> None:
        """Find the Streams of our kinds and be in each one's group."""
        ours: list[str] = []
        others: list[str] = []
        for key in self._streams.all_keys():
            kind = self._kind(key)
            if kind is not None:
                (ours if kind in self._kinds else others).append(key)
        if not self._discovered:
            self._streams.check()
            had = {kind_of(state.key) for state in self._streams.look(ours) if state.has_group}
            there, _ = self._streams.ensure([k for k in ours if kind_of(k) not in had], seen_from_the_start=False)
            self._known.update(there)
        there, made = self._streams.ensure(ours, seen_from_the_start=True)
        back = [key for key in made if key in self._known and key != GAPS_KEY]
        if back:
            self._say(f"{len(back)} Streams came back without their group: Redis lost data, or they were removed")
            self._guard.tell_of_return(back)
        self._guard.forget(made)
        self._known.update(there)
        self._keys, self._others = there, others
        if not self._discovered:
            self._discovered = True
            self._watch()  # before the first read: afterwards nobody knows where what was lost meanwhile lay

    def _kind(self, key: str) -> Kind | None:
        try:
            return kind_of(key)
        except ValidationError as error:
            if key not in self._told and len(self._told) < BATCH_ENTRIES:
                self._told.add(key)
                self._say(f"left alone: {error}")
            return None

    def _has_room(self) -> bool:
        held = self._guard.spool_bytes
        if held < self._spool_bounds.bytes:
            return True
        self._block(
            f"nothing more is taken: the spool holds {held} of {self._spool_bounds.bytes} bytes;"
            " publish its hours (stream_archive_hourly), or raise spool.bytes in retention.yaml"
        )
        return False

    def _watch(self) -> None:
        """Look at all Streams; with room in the spool again, reading goes on."""
        blocked = self._blocked
        if blocked and not self._batch and self._guard.measure_spool() < self._spool_bounds.bytes:
            blocked = self._blocked = ""
        self._guard.look(self._keys, self._others, self._counts, blocked)

    def _close_ended(self) -> None:
        try:
            self._writer.close_ended(time.time_ns() // 1_000_000, grace_ms=_GRACE_MS)
        except StorageError as error:
            self._say(str(error))  # all in it was synced before it was acknowledged

    def _block(self, why: str) -> None:
        self._note(why)
        self._blocked = why

    def _note(self, why: str) -> None:
        """Say why nothing goes on, once, and when it does again."""
        if why.partition(":")[0] != self._noted.partition(":")[0]:
            self._say(why or "taking again")
        self._noted = why

    def _is_due(self, what: str, every_s: float) -> bool:
        now = self._clock()
        if now < self._due[what]:
            return False
        self._due[what] = now + every_s
        return True


def consumer_name() -> str:
    """What a consumer of this host is called, from start to start: it goes on with what it had not acknowledged."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "archive"


def _some(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
