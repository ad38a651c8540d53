"""Watching over the Streams while they are taken: trims, tells what was lost, raises alarms, tells how it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gapless.domain.live import GAPS_KEY, GapEvent, GapReason, Kind
from gapless.domain.retention import SpoolBounds, StreamBounds
from gapless.pipeline.stream_archive import watch
from gapless.pipeline.stream_archive.watch import ArchiveStatus
from gapless.storage.live import LiveStreams, StreamSize, StreamState, plan_trims
from gapless.storage.spool import spooled_bytes, streams_root


@dataclass
class Counts:
    """Entries by kind since a consumer started."""

    taken: Counter[Kind] = field(default_factory=Counter)
    refused: Counter[Kind] = field(default_factory=Counter)
    lost: Counter[Kind] = field(default_factory=Counter)


class Guard:
    """Looks at the Streams from time to time; see `Taker` for the arguments."""

    def __init__(
        self,
        streams: LiveStreams,
        spool_dir: Path,
        kinds: Sequence[Kind],
        *,
        consumer: str,
        stream_bounds: StreamBounds,
        spool_bounds: SpoolBounds,
        say: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._streams = streams
        self._spool_root = streams_root(spool_dir)
        self._kinds = kinds
        self._consumer = consumer
        self._stream_bounds = stream_bounds
        self._spool_bounds = spool_bounds
        self._say = say
        self._clock = clock
        self._seen: dict[str, StreamState] = {}
        self._counted: dict[str, str] = {}
        self._rated: tuple[float, Counter[Kind]] = (clock(), Counter())
        self._started_ms = time.time_ns() // 1_000_000
        self.spool_bytes = 0
        self.status: ArchiveStatus | None = None

    def measure_spool(self) -> int:
        """How many bytes the spool holds now."""
        self.spool_bytes = spooled_bytes(self._spool_root)
        return self.spool_bytes

    def look(self, keys: Sequence[str], others: Sequence[str], counts: Counts, blocked: str) -> None:
        """Trim what may go, tell what was lost, raise alarms, say how we are.

        Args:
            keys: the Streams that are taken. others: those that are only kept in bounds.
            blocked: why nothing is taken; empty: it is.

        Raises:
            StorageError: Redis is away or refuses.
        """
        self.measure_spool()
        states = self._streams.look([*keys, *others])
        now_ms = self._streams.now_ms()
        self._trim(states, now_ms)
        for state in states:
            before = self._seen.get(state.key)
            lost = watch.trimmed(state, self._counted.get(state.key, ""), now_ms)
            if lost is not None:
                self._streams.tell_passed(state.key, lost)
                self._log(lost)
                counts.lost[lost.kind] += lost.count
            if (back := watch.went_back(state, before, now_ms)) is not None:
                self._tell([back])
            if state.countable:
                self._counted[state.key] = state.delivered_id
        self._seen = {state.key: state for state in states}
        self._counted = {key: counted for key, counted in self._counted.items() if key in self._seen}
        self._say_state([state for state in states if state.has_group], now_ms, counts, blocked)

    def tell_of_return(self, keys: Iterable[str]) -> None:
        """Tell that Streams came back without their group: what they held is gone, and nobody knows how much that was.

        Raises:
            StorageError: Redis is away or refuses.
        """
        now_ms = self._streams.now_ms()
        detail = "the Stream came back without its group"
        seen = {key: self._seen[key].delivered_id if key in self._seen else "" for key in keys}
        self._tell([watch.gap(key, GapReason.RESTARTED, seen[key], "", -1, now_ms, detail) for key in seen])

    def forget(self, keys: Iterable[str]) -> None:
        """Compare these Streams with nothing that was seen before: they are new."""
        for key in keys:
            self._seen.pop(key, None)
            self._counted.pop(key, None)

    def _trim(self, states: Sequence[StreamState], now_ms: int) -> None:
        sizes = [
            StreamSize(state.key, state.bytes, state.first_id, state.last_id, state.oldest_untaken_id)
            for state in states
            if state.key != GAPS_KEY
        ]
        bounds = self._stream_bounds
        plan = plan_trims(sizes, now_ms=now_ms, minutes=bounds.minutes, bytes_bound=bounds.bytes)
        if plan.untaken:
            self._say(
                f"the Streams hold more than {bounds.bytes} bytes: removing what is not taken of {len(plan.untaken)}"
            )
        if plan.min_ids:
            self._streams.trim(plan.min_ids)

    def _tell(self, events: Sequence[GapEvent]) -> None:
        self._streams.tell(events)
        for event in events:
            self._log(event)

    def _log(self, event: GapEvent) -> None:
        count = "an unknown number of" if event.count < 0 else str(event.count)
        self._say(f"lost: {count} {event.kind} of {event.symbol} ({event.reason}: {event.detail})")

    def _say_state(self, states: Sequence[StreamState], now_ms: int, counts: Counts, blocked: str) -> None:
        since, before = self._rated
        now = self._clock()
        if now - since >= 1:
            rates = {kind: (counts.taken[kind] - before[kind]) / (now - since) for kind in self._kinds}
            self._rated = (now, counts.taken.copy())
        else:
            rates = {each.kind: each.per_second for each in self.status.kinds} if self.status else {}
        found = watch.alarms(states, now_ms, self._stream_bounds, self._spool_bounds, self.spool_bytes)
        if blocked:
            found.append(blocked)
        raised = set(self.status.alarms) if self.status else set()
        for line in found:
            if line.partition(":")[0] not in {each.partition(":")[0] for each in raised}:
                self._say(f"alarm: {line}")
        self.status = ArchiveStatus(
            consumer=self._consumer,
            state=blocked or "taking",
            alarms=found,
            kinds=watch.by_kind(
                self._kinds,
                states,
                now_ms,
                taken=counts.taken,
                per_second=rates,
                refused=counts.refused,
                lost=counts.lost,
            ),
            redis_bytes=sum(state.bytes for state in self._seen.values()),
            spool_bytes=self.spool_bytes,
            started_ms=self._started_ms,
            at_ms=now_ms,
        )
        name = f"{watch.STATE_PREFIX}{self._consumer}"
        self._streams.say_state(name, msgspec.json.encode(self.status), watch.STATE_EXPIRES_S)
