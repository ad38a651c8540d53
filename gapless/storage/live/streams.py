"""The live Streams as a consumer group reads them: found, read, claimed, acknowledged, looked at, trimmed.

At least once: what was read stays pending until it is acknowledged, by whoever read it or by who claims it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from gapless.domain.live import GAPS_KEY, GapEvent, gap_fields
from gapless.errors import ConfigError, StorageError
from gapless.storage.live.scripts import ACKNOWLEDGE, COUNT_PASSED, ENSURE, LOOK, RECOUNT

GROUP = "archive"
RUN_KEY = "archive.redis_run"
"""Which run of Redis the groups' counts are right for."""
GAPS_KEPT = 10_000
"""About how many events `md.gaps` holds."""

_TIMEOUT_S = 10.0
_KEYS_A_CALL = 100
_IDS_AN_ACK = 1000
_MEMORY_SAMPLES = 5


class GroupGone(StorageError):
    """A Stream or its group is not there any more: removed, or Redis came back without it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a Stream gave: ids with their fields, and ids whose entries are not there any more."""

    key: str
    entries: Sequence[tuple[str, Mapping[bytes, bytes]]]
    removed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StreamState:
    """How a Stream stands for the group.

    Attributes:
        first_id, last_id: of the entries there, and the last id ever given; empty: none.
        added: entries ever added.
        delivered_id: up to which it was handed out; empty: there is no such group.
        read: how many were handed out or counted as passed; -1: not known.
        following_id: the oldest entry not yet handed out; empty: none.
        waiting: how many are not yet handed out; -1: not known.
        pending, oldest_pending_id: handed out and not acknowledged.
        bytes: its memory in Redis.
    """

    key: str
    length: int
    first_id: str
    last_id: str
    added: int
    delivered_id: str
    read: int
    following_id: str
    waiting: int
    pending: int
    oldest_pending_id: str
    bytes: int

    @property
    def has_group(self) -> bool:
        """Whether the archive takes this Stream."""
        return self.delivered_id != ""

    @property
    def oldest_untaken_id(self) -> str:
        """The oldest entry that is not acknowledged; empty: all are."""
        if not self.has_group:
            return ""
        return self.oldest_pending_id or self.following_id

    @property
    def countable(self) -> bool:
        """Whether it can be known what was passed over: when all was handed out, or nothing of what is there."""
        return self.read >= 0 and self.following_id in ("", self.first_id)

    @property
    def passed_over(self) -> int:
        """How many entries were removed before they were handed out and are not told yet; 0 while not countable."""
        ahead = self.length if self.following_id else 0
        return max(0, self.added - ahead - self.read) if self.countable else 0


@contextmanager
def _asked(what: str) -> Iterator[None]:
    try:
        yield
    except (AuthenticationError, AuthorizationError) as error:
        raise ConfigError(f"Redis refuses us ({error}): GAPLESS_REDIS_URL needs the right password") from None
    except (ConnectionError, TimeoutError, BusyLoadingError, OSError) as error:
        raise StorageError(f"Redis is away, {what}: {error}") from None
    except ResponseError as error:
        if "NOGROUP" in str(error) or "no such key" in str(error).lower():
            raise GroupGone(f"{what}: {error}") from None
        raise StorageError(f"Redis refuses, {what}: {error}") from None
    except RedisError as error:
        raise StorageError(f"{what}: {error}") from None


class LiveStreams:
    """A consumer of the group `archive`. Errors of Redis are `StorageError` throughout; none is retried here.

    Args:
        client: without decoding of answers.
        consumer: its name; after a death the next of the same name goes on with what it had not acknowledged.
    """

    def __init__(self, client: Redis, consumer: str, *, group: str = GROUP) -> None:
        self._redis: Any = client
        self._consumer = consumer
        self._group = group
        self._acknowledge_script = client.register_script(ACKNOWLEDGE)
        self._ensure_script = client.register_script(ENSURE)
        self._look_script = client.register_script(LOOK)
        self._pass_script = client.register_script(COUNT_PASSED)

    def check(self) -> None:
        """Make sure that the server is there and knows what is asked of it.

        Raises:
            ConfigError: the password is wrong, or the server is older than Redis 7.
            StorageError: it is away.
        """
        with _asked("asking its version"):
            version = str(self._redis.info("server")["redis_version"])
        if int(version.partition(".")[0]) < 7:
            raise ConfigError(f"Redis {version} does not count what leaves a Stream: 7.0 or newer is needed")

    def now_ms(self) -> int:
        """The time of Redis, of which Stream ids are made."""
        with _asked("asking its time"):
            seconds, micros = self._redis.time()
            return int(seconds) * 1000 + int(micros) // 1000

    def all_keys(self) -> list[str]:
        """The keys of all Streams below `md.`, sorted; what they are named does not matter here."""
        with _asked("looking for Streams"):
            found = self._redis.scan_iter(match="md.*", count=1000, _type="STREAM")
            return sorted({key.decode("utf-8", "backslashreplace") for key in found})

    def ensure(self, keys: Sequence[str], *, seen_from_the_start: bool) -> tuple[list[str], list[str]]:
        """Make the group where it is missing; it begins with the oldest entry there.

        Args:
            seen_from_the_start: whether these Streams were made while we watched: then what was removed before the
                group is lost. Else it was before our time.

        Returns:
            The Streams that are there, and those of them whose group was made now.
        """
        there: list[str] = []
        made: list[str] = []
        since = "1" if seen_from_the_start else "0"
        for some in _chunks(keys, _KEYS_A_CALL):
            with _asked("making groups"):
                pipe = self._redis.pipeline(transaction=False)
                for key in some:
                    self._ensure_script(keys=[key], args=[self._group, since], client=pipe)
                for key, (answer, *_) in zip(some, pipe.execute(), strict=True):
                    if answer:
                        there.append(key)
                    if answer == 2:
                        made.append(key)
        return there, made

    def read_new(self, keys: Sequence[str], count: int) -> list[Delivery]:
        """At most `count` entries of each Stream that nobody in the group has had.

        Raises:
            GroupGone: one of the Streams or groups is not there; nothing was read.
        """
        return self._read(dict.fromkeys(keys, ">"), count)

    def read_pending(self, keys: Sequence[str], count: int) -> list[Delivery]:
        """At most `count` entries of each Stream that this consumer has had and not acknowledged, oldest first.

        Raises:
            GroupGone: one of the Streams or groups is not there; nothing was read.
        """
        return self._read(dict.fromkeys(keys, "0"), count)

    def claim(self, keys: Sequence[str], count: int, idle_ms: int) -> list[Delivery]:
        """At most `count` entries of each Stream that any consumer has had for `idle_ms` without acknowledging them."""
        found: list[Delivery] = []
        with _asked("claiming what others left"):
            pipe = self._redis.pipeline(transaction=False)
            for key in keys:
                pipe.execute_command(
                    "XAUTOCLAIM", key, self._group, self._consumer, idle_ms, "0-0", "COUNT", count, keys=[key]
                )
            for key, (_, entries, *removed) in zip(keys, pipe.execute(), strict=True):
                gone = [each.decode() for each in (removed[0] if removed else ())]
                if entries or gone:
                    delivery = _delivery(key, entries)
                    found.append(Delivery(key, delivery.entries, [*delivery.removed, *gone]))
        return found

    def acknowledge(self, ids: Mapping[str, Sequence[str]], telling: Sequence[GapEvent] = ()) -> None:
        """Tell the group that these entries are done with, and in the same step what of them is lost."""
        with _asked("acknowledging"):
            pipe = self._redis.pipeline(transaction=bool(telling))
            for gap in telling:
                _add(pipe, gap)
            for key, each in ids.items():
                for some in _chunks(each, _IDS_AN_ACK):
                    self._acknowledge_script(keys=[key], args=[self._group, *some], client=pipe)
            pipe.execute()

    def look(self, keys: Sequence[str]) -> list[StreamState]:
        """How Streams stand now; those that are not there are left out."""
        found: list[StreamState] = []
        for some in _chunks(keys, _KEYS_A_CALL):
            with _asked("looking at Streams"):
                pipe = self._redis.pipeline(transaction=False)
                for key in some:
                    self._look_script(keys=[key], args=[self._group, _MEMORY_SAMPLES], client=pipe)
                found += [_state(key, values) for key, values in zip(some, pipe.execute(), strict=True) if values]
        return found

    def tell_passed(self, key: str, gap: GapEvent) -> None:
        """Tell that entries were removed before they were handed out, and in the same step count them as passed."""
        with _asked(f"telling what {key} lost"):
            pipe = self._redis.pipeline(transaction=True)
            _add(pipe, gap)
            self._pass_script(keys=[key], args=[self._group, gap.count], client=pipe)
            pipe.execute()

    def tell(self, gaps: Iterable[GapEvent]) -> None:
        """Add events to `md.gaps`."""
        with _asked(f"writing {GAPS_KEY}"):
            pipe = self._redis.pipeline(transaction=False)
            for gap in gaps:
                _add(pipe, gap)
            pipe.execute()

    def trim(self, min_ids: Mapping[str, str]) -> int:
        """Remove the entries below these ids; how many that were."""
        with _asked("trimming"):
            pipe = self._redis.pipeline(transaction=False)
            for key, min_id in min_ids.items():
                pipe.xtrim(key, minid=min_id, approximate=False)
            return sum(pipe.execute())

    def say_state(self, name: str, value: bytes, expires_s: int) -> None:
        """Keep what we are doing where others can see it, until it expires."""
        with _asked("saying our state"):
            self._redis.set(name, value, ex=expires_s)

    def states(self, prefix: str) -> list[bytes]:
        """What consumers say of themselves now."""
        with _asked("reading the consumers' states"):
            names = sorted(self._redis.scan_iter(match=f"{prefix}*", count=1000))
            return [value for value in (self._redis.get(name) for name in names) if value is not None]

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _read(self, since: Mapping[str, str], count: int) -> list[Delivery]:
        with _asked("reading Streams"):
            group = ("GROUP", self._group, self._consumer)
            answer = self._redis.execute_command(
                "XREADGROUP", *group, "COUNT", count, "STREAMS", *since, *since.values()
            )
        return [_delivery(key.decode(), entries) for key, entries in _by_key(answer)]


def open_streams(url: str, consumer: str, *, timeout_s: float = _TIMEOUT_S) -> LiveStreams:
    """A consumer of the Redis at `url`. Nothing is asked of the server yet."""
    client = Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1),
        protocol=2,
        redis_connect_func=_recount,  # first of all: a restart of Redis may else go unnoticed
    )
    # Answers of the hot commands are taken as they come: the client's own shaping of them costs more than the read.
    for name in ("XREADGROUP", "XAUTOCLAIM"):
        client.response_callbacks.pop(name, None)
    return LiveStreams(client, consumer)


def _recount(connection: Any) -> None:
    connection.on_connect()
    connection.send_command("EVAL", RECOUNT, 1, RUN_KEY, GROUP)
    connection.read_response()


def _add(pipe: Any, gap: GapEvent) -> None:
    pipe.xadd(GAPS_KEY, gap_fields(gap), maxlen=GAPS_KEPT, approximate=True)


def _state(key: str, values: Sequence[Any]) -> StreamState:
    texts: list[Any] = [value.decode() if isinstance(value, bytes) else value for value in values]
    return StreamState(key, *texts)


def _by_key(answer: Any) -> Iterable[tuple[bytes, Any]]:
    return answer or ()


def _delivery(key: str, rows: Any) -> Delivery:
    entries: list[tuple[str, Mapping[bytes, bytes]]] = []
    removed: list[str] = []
    for stream_id, flat in rows:
        if flat is None:
            removed.append(stream_id.decode())
        else:
            entries.append((stream_id.decode(), dict(zip(flat[::2], flat[1::2], strict=True))))
    return Delivery(key, entries, removed)


def _chunks(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
