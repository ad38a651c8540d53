"""The running sidecar, looked at: its status for people, its metrics for Prometheus, whether it is well."""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from gapless.domain.instrument import Market
from gapless.exchanges.pacing import WEIGHT
from gapless.monitoring.exposition import Distribution, Sample
from gapless.monitoring.live_catalogue import DELAY_BOUNDS_MS
from streamer.books.outcome import BookState
from streamer.channels.channel import Channel
from streamer.channels.depth import DepthChannel
from streamer.channels.trades import TradesChannel
from streamer.connections import Connections
from streamer.operations.clocks import LoopWatch
from streamer.operations.metrics import delays_sample, samples_of
from streamer.operations.status import (
    BookStatus,
    LaneStatus,
    MarketStatus,
    OutletStatus,
    StreamerStatus,
    StreamStatus,
)
from streamer.operations.universe import Universe

if TYPE_CHECKING:
    from streamer.side import MarketSide
    from streamer.sidecar import Sidecar
    from streamer.stores import Stores

_LEAST_WINDOW_S = 1.0


class _Counted:
    """What was counted of a stream or lane at the last look, and what it came to a second."""

    __slots__ = ("at_s", "count", "delay_ms", "exchange_ms", "rate")

    def __init__(self) -> None:
        self.at_s = self.rate = 0.0
        self.count = self.delay_ms = 0
        self.exchange_ms: float | None = None


class Watch:
    """A `Probe` of a session.

    Attributes:
        loop: watches the event loop.
    """

    def __init__(self, sidecar: Sidecar, universe: Universe, *, loop: LoopWatch) -> None:
        self.loop = loop
        self._sidecar = sidecar
        self._connections: Connections | None = None
        self._stores: Stores | None = None
        self._universe = universe
        self._started_ms = time.time_ns() // 1_000_000
        self._counted: dict[object, _Counted] = {}
        self._offsets: dict[Market, float] = {}
        self._acknowledged = 0
        self._acknowledged_s = time.monotonic()

    def begin(self, connections: Connections, stores: Stores) -> None:
        """The session has got so far; before, there is little to see."""
        self._connections, self._stores = connections, stores

    def on_offset(self, market: Market, offset_ms: int) -> None:
        """The host's clock is ahead of a market's by so much."""
        self._offsets[market] = offset_ms
        if (side := self._sidecar.sides.get(market)) is not None:
            side.desk.offset_ms = offset_ms

    # ---- the probe ---------------------------------------------------------------------------------------------------

    def status(self) -> StreamerStatus:
        sidecar, request = self._sidecar, self._sidecar.request
        streams = tuple(self._streams())
        return StreamerStatus(
            shard=str(request.shard),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=_version(),
            started_ms=self._started_ms,
            at_ms=time.time_ns() // 1_000_000,
            transport=request.transport,
            symbols=len(self._universe.instruments),
            channels=tuple(map(str, request.channels)),
            lanes=tuple(self._lanes()),
            streams=streams,
            books=tuple(self._books()),
            outlet=self._outlet(),
            bars=self._stores.status() if self._stores else None,
            markets=tuple(self._markets()),
            loop_lag_ms=round(self.loop.lag_ms, 1),
            gaps=dict(sidecar.gaps),
            refused=dict(sidecar.refusals.by_reason),
        )

    def samples(self) -> Iterable[Sample]:
        status = self.status()
        yield from samples_of(
            status, ready=self.ready()[0], most_symbols=self._sidecar.options.operations.symbol_series
        )
        for side in self._sidecar.sides.values():
            delays = side.desk.delays
            total = float(sum(channel.delay_ms for channel in side.channels.values()))
            yield delays_sample(
                "ws_message_latency_ms", delays.below([int(b) for b in DELAY_BOUNDS_MS]), total, (str(side.market),)
            )
        if self._stores is not None:
            yield from self._stores.samples()
        state = self._sidecar.outlet.state()
        below, so_far = [], 0
        for count in state.latency_counts:
            so_far += count
            below.append(so_far)
        yield Sample(
            "event_end2end_latency_ms", Distribution(state.latency_bounds_ms, tuple(below), state.latency_sum_ms)
        )

    def healthy(self) -> tuple[bool, str]:
        return (True, "the event loop turns") if self.loop.turning else (False, "the event loop stands still")

    def ready(self) -> tuple[bool, str]:
        operations = self._sidecar.options.operations
        if self._connections is None:
            return False, "it is starting: the exchange has not said what trades, or Redis does not answer"
        lanes = self._connections.lanes()
        down = [lane for lane in lanes if lane.state != "open"]
        if not lanes or len(down) == len(lanes):
            return False, "no connection to the exchange is open"
        state = self._sidecar.outlet.state()
        now_s = time.monotonic()
        if state.written != self._acknowledged or not state.in_flight:
            self._acknowledged, self._acknowledged_s = state.written, now_s
        if not state.connected or now_s - self._acknowledged_s > operations.ready_ack_s:
            return False, "Redis does not take entries"
        books = [book for side in self._sidecar.sides.values() for book in side.books.values()]
        live = sum(book.sync.state is BookState.LIVE for book in books)
        if books and live < operations.ready_books * len(books):
            return False, f"{live} of {len(books)} books are live"
        return True, f"{len(self._sidecar.specs)} streams, {live} of {len(books)} books live"

    # ---- its parts ---------------------------------------------------------------------------------------------------

    def _streams(self) -> Iterator[StreamStatus]:
        connections = self._connections
        if connections is None:
            return
        now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        for side in self._sidecar.sides.values():
            exchange_ms = now_ms - side.desk.offset_ms
            for name, channel in side.channels.items():
                messages, last_ns = connections.stream_seen(name, side.market)
                counted = self._count((side.market, name), messages, now_s, channel)
                spec = channel.spec
                yield StreamStatus(
                    kind=str(spec.kind),
                    market=str(side.market),
                    symbol=spec.symbol,
                    interval=spec.interval,
                    messages=messages,
                    rate_per_s=round(counted.rate, 2),
                    exchange_ms=counted.exchange_ms,
                    last_id=str(channel.last_id),
                    last_event_age_s=(
                        round(max(0, exchange_ms - channel.last_event_ms) / 1000, 3) if channel.last_event_ms else None
                    ),
                    duplicates=_duplicates(channel),
                    refused=channel.refused,
                    silent=self._sidecar.is_silent(spec, last_ns),
                    **_holes(side, channel),
                )

    def _count(self, key: object, count: int, now_s: float, channel: Channel | None = None) -> _Counted:
        counted = self._counted.setdefault(key, _Counted())
        passed_s = now_s - counted.at_s
        if not counted.at_s:
            counted.at_s, counted.count = now_s, count
        elif passed_s >= _LEAST_WINDOW_S:
            messages = max(0, count - counted.count)
            counted.rate = messages / passed_s
            counted.at_s, counted.count = now_s, count
            if channel is not None:
                # Doubled messages count among the messages and have no delay: with two connections it is half.
                if messages:
                    counted.exchange_ms = round((channel.delay_ms - counted.delay_ms) / messages, 2)
                counted.delay_ms = channel.delay_ms
        return counted

    def _lanes(self) -> Iterator[LaneStatus]:
        now_s, now_ms = time.monotonic(), time.time_ns() // 1_000_000
        for lane in self._connections.lanes() if self._connections else ():
            yield LaneStatus(
                market=str(lane.market),
                route=str(lane.route),
                state="retiring" if lane.state == "closing" else lane.state,
                streams=lane.streams,
                age_s=round(max(0, now_ms - lane.since_ms) / 1000, 1) if lane.since_ms else 0.0,
                messages=lane.messages,
                messages_per_s=round(self._count(lane.id, lane.messages, now_s).rate, 1),
                bytes=lane.bytes,
                silent_s=round(max(0.0, lane.silent_s), 1),
                reconnects=lane.reconnects,
            )

    def _books(self) -> Iterator[BookStatus]:
        now_ns = time.monotonic_ns()
        for side in self._sidecar.sides.values():
            for channel in side.books.values():
                sync = channel.sync
                yield BookStatus(
                    market=str(side.market),
                    symbol=channel.spec.symbol,
                    state=str(sync.state),
                    for_s=round((now_ns - sync.since_ns) / 1e9, 1),
                    last_id=max(sync.id, 0),
                    bids=sync.book.sizes[0] if sync.book else 0,
                    asks=sync.book.sizes[1] if sync.book else 0,
                    resyncs=sync.resyncs,
                    crossed=sync.crossings,
                    differences=sync.differing,
                )

    def _outlet(self) -> OutletStatus:
        state = self._sidecar.outlet.state()
        shed: dict[str, int] = {}
        for counts in (state.conflated, state.coalesced, state.dropped):
            for kind, count in counts.items():
                shed[kind] = shed.get(kind, 0) + count
        return OutletStatus(
            connected=state.connected,
            acknowledged=state.written,
            waiting=state.waiting + state.in_flight,
            waiting_bytes=state.waiting_bytes + state.in_flight_bytes,
            p50_ms=state.p50_ms if state.written else None,
            p99_ms=state.p99_ms if state.written else None,
            shed=shed,
            resent=state.resent,
            spooled=max(0, state.spooled - state.unspooled),
            spool_bytes=state.spool_bytes if state.spooling else 0,
            refused=sum(state.refused.values()),
            damaged=state.spool_damaged,
            untold=state.untold,
            said=state.last_error if not state.connected else "",
        )

    def _markets(self) -> Iterator[MarketStatus]:
        for market, side in self._sidecar.sides.items():
            standing, offset_ms = side.standing, self._offsets.get(market)
            if standing is None:
                yield MarketStatus(market=str(market), offset_ms=offset_ms)
                continue
            usable = next((int(pool.limit * pool.share) for pool in standing.pools if pool.name == WEIGHT), None)
            yield MarketStatus(
                market=str(market),
                offset_ms=offset_ms,
                used=standing.spent.get(WEIGHT),
                usable=usable,
                halted_until_ms=(standing.halt.until_ms or 0) if standing.halt else 0,
            )


def _holes(side: MarketSide, channel: Channel) -> dict[str, int]:
    if not isinstance(channel, TradesChannel):
        return {}  # of a book the resyncs tell it
    line = channel.line
    return {
        "holes_open": len(line.missing(0, 1 << 62)),
        "filled": line.filled,
        "lost": side.backfill.lost(channel.spec.symbol),
    }


def _duplicates(channel: Channel) -> int:
    if isinstance(channel, TradesChannel):
        return channel.line.duplicates
    return channel.sync.duplicates if isinstance(channel, DepthChannel) else channel.duplicates


def _version() -> str:
    try:
        return version("gapless")
    except PackageNotFoundError:
        return platform.python_version()
