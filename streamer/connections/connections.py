"""All connections of a process: which there are, who watches them, how they are changed and ended."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from gapless.domain.instrument import Market
from gapless.exchanges.binance.streams.names import StreamSpec
from streamer.connections.lane import Lane
from streamer.connections.office import Office
from streamer.connections.plan import Plan, ShardKey
from streamer.connections.seams import ConnectionsState, Intake, LaneView
from streamer.connections.settings import ConnectionSettings
from streamer.connections.shard import Shard
from streamer.connections.silence import Stream
from streamer.transport import Transport

_HOUR_S = 3_600.0


def _no_proxy(url: str) -> str | None:
    return None


class Connections:
    """Keeps the wanted streams coming.

    >>> connections = Connections(intake, transport_of("picows"), {Market.SPOT: "wss://..."}, settings, say=print)
    >>> connections.want(specs)                     # at any time, again and again
    >>> await connections.run()                     # until it is cancelled, or `close`
    """

    def __init__(
        self,
        intake: Intake,
        transport: Transport,
        urls: Mapping[Market, str],
        settings: ConnectionSettings | None = None,
        *,
        say: Callable[[str], None],
        proxy_for: Callable[[str], str | None] = _no_proxy,
        clock: Callable[[], float] = time.monotonic,
        utc_ns: Callable[[], int] = time.time_ns,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            urls: `Settings.ws_url(market)` of each market that will be wanted.
            say: takes a line for the log.
            proxy_for: the proxy of a URL (`Settings.proxy_for`), or None.
            clock: monotonic seconds. draw: at random from [0, 1).
        """
        self._settings = settings or ConnectionSettings()
        self._office = Office(intake, transport, urls, self._settings, proxy_for, say, clock, utc_ns, draw)
        self._plan = Plan(self._settings.streams)
        self._shards: dict[ShardKey, Shard] = {}
        self._streams: dict[tuple[Market, str], Stream] = {}
        self._changed = asyncio.Event()

    def want(self, specs: Sequence[StreamSpec]) -> None:
        """Makes these the wanted streams, all others unwanted. Connections that carry neither a new nor an unwanted one
        are not touched; the others subscribe and unsubscribe by messages."""
        change = self._plan.want(specs)
        added: dict[ShardKey, list[Stream]] = {}
        removed: dict[ShardKey, list[Stream]] = {}
        for key, spec in change.removed:
            removed.setdefault(key, []).append(self._streams.pop((spec.market, spec.name)))
        for key, spec in change.added:
            stream = Stream(spec, self._office.intake.taker(spec))
            self._streams[spec.market, spec.name] = stream
            added.setdefault(key, []).append(stream)
        for key in {**removed, **added}:
            if key not in self._shards:
                self._shards[key] = Shard(key, self._office)
            self._shards[key].want(added.get(key, []), removed.get(key, []))
        for key in [key for key in self._shards if key not in self._plan.shards]:
            del self._shards[key]
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled or closed.

        Raises:
            ExceptionGroup: of what cannot be repaired: who takes messages failed again and again.
        """
        tasks: dict[Shard, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch(), name="watchdog")
            while not self._office.closing:
                self._changed.clear()
                wanted = set(self._shards.values())
                for shard in [shard for shard in tasks if shard not in wanted]:
                    tasks.pop(shard).cancel()
                for shard in self._shards.values():
                    if shard not in tasks:
                        tasks[shard] = group.create_task(shard.run(), name=f"shard {shard.key}")
                await self._changed.wait()
            await self._close_lanes()
            for task in (watching, *tasks.values()):
                task.cancel()

    async def close(self) -> None:
        """Makes `run` end in order: every connection is closed by handshake, within `close_s`."""
        self._office.closing = True
        self._changed.set()

    def lanes(self) -> list[LaneView]:
        """Every connection that is open or closing."""
        return [lane.view() for lane in self._lanes()]

    def state(self) -> ConnectionsState:
        """Counts."""
        return self._office.state

    def stream_seen(self, name: str, market: Market | None = None) -> tuple[int, int]:
        """Messages of a stream over all connections, and when the last one was received, UTC ns (0: none).

        Args:
            market: where names are the same on both; None: the sum of both.
        """
        messages, last_ns = 0, 0
        for each in Market if market is None else (market,):
            stream = self._streams.get((each, name))
            if stream is not None:
                messages, last_ns = messages + stream.past_messages, max(last_ns, stream.past_ns)
        for lane in self._lanes():
            entry = lane.entries.get(name.encode()) if market in (None, lane.key.market) else None
            if entry is not None:
                messages, last_ns = messages + entry.count, max(last_ns, entry.last_ns)
        return messages, last_ns

    def _lanes(self) -> Iterator[Lane]:
        for shard in self._shards.values():
            yield from shard.lanes

    async def _watch(self) -> None:
        """Looks at everything once a tick; time in which the process did not run counts for nobody's silence."""
        tick_s, clock = self._settings.tick_s, self._office.clock
        hour_s = clock()
        while True:
            before_s = clock()
            await asyncio.sleep(tick_s)
            now_s = clock()
            self._office.lost.woke(now_s - before_s)
            for lane in list(self._lanes()):
                lane.look()
            if now_s - hour_s >= _HOUR_S:
                hour_s = now_s
                for stream in self._streams.values():
                    stream.hour_passed()

    async def _close_lanes(self) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in list(self._lanes()):
                group.create_task(lane.close("stopped"), name=f"closing {lane.key}")
