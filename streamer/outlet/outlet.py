"""The one way out into Redis: entries of Streams, events of `md.gaps`, last values. Who calls never waits.

In the normal case an entry is one formatting of bytes and one append. Behind a full window, or while Redis is away,
entries wait in memory (`backlog`), then on disk (`spooling`), and past that are dropped, counted and told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic_ns, time

import msgspec

from gapless.domain.live import GAPS_KEY, GapEvent, Kind, parse_stream_key
from gapless.errors import StorageError, ValidationError
from gapless.storage.live.fence import Loss
from gapless.storage.live.latency import BOUNDS_MS
from gapless.storage.live.resp import Command, Target, pack, pack_entry
from gapless.storage.live.writer import RedisPipe
from streamer.outlet.backlog import Backlog
from streamer.outlet.settings import OutletSettings
from streamer.outlet.spool import Spool
from streamer.outlet.spooling import Spooling
from streamer.outlet.state import OutletState
from streamer.outlet.streams import OutStream, is_lossless, pack_gap
from streamer.outlet.telling import Telling
from streamer.outlet.trims import Trims
from streamer.outlet.values import LastValues

_BEAT_S = 0.01
_SLOW_BEAT_S = 1.0
_TAKEN_BYTES = 256 * 2**10

Put = Callable[[OutStream, int, int, bytes, bytes], None]


class Outlet:
    """Made in a running loop; works while `run` runs.

    Args:
        url: of Redis.
        folder: for the spool; of this shard alone.
        name: how the connection calls itself; no spaces.
        say: lines for people.

    Attributes:
        put: write an entry: its Stream, event time (ms), time of receipt (ns), identity (see `Kind`; not empty) and
            the exchange's JSON object. Never waits, never raises.
        on_trades_shed: told (exchange, symbol, first id, last id) when trades were dropped.

    Raises:
        ConfigError: the URL is none.
        StorageError: another process uses the folder, or the disk cannot be used.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        settings: OutletSettings | None = None,
        *,
        name: str = "gapless-streamer",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.settings = settings = settings or OutletSettings()
        self.on_trades_shed: Callable[[str, str, int, int], None] = lambda exchange, symbol, first, last: None
        self._say = say
        spool = Spool(folder, settings.spool_bytes, settings.segment_bytes)
        self._connection = folder / "connection"
        self._pipe = RedisPipe(url, settings.pipe, self, name=name, previous=self._previous(), remember=self._remember)
        self._send = self._pipe.send
        self._entries = self._pipe.packer
        self._entries.straight, self._entries.otherwise = False, self._put_aside
        self.put: Put = self._entries.put  # itself: a call more for each entry is worth sparing
        self._telling = Telling(self.tell)
        self._backlog = Backlog(settings.memory_bytes)
        self._spooling = Spooling(spool, self._pipe, self._stream_of, settings.gap_events, say)
        self._values = LastValues(settings.value_every_ms, settings.value_keys)
        self._value_target = Target("last values")
        self._trims = Trims(settings)
        self._streams: dict[bytes, OutStream] = {}
        self._gaps = self.stream(Kind.GAPS, "", "")
        self._stowed = False
        self._aside = 0
        self._other = self._moved = 0
        self._values_written = 0
        self._dropped: Counter[Kind] = Counter()
        self._refused: Counter[Kind] = Counter()
        self._overtaken: Counter[Kind] = Counter()

    def stream(self, kind: Kind, exchange: str, symbol: str) -> OutStream:
        """The Stream of an instrument, to be asked for once and kept.

        Raises:
            ValidationError: such a name would not be read back.
        """
        out = OutStream(kind, exchange, symbol)
        known = self._streams.setdefault(out.key, out)
        if known is out:
            out.ages = self.settings.bound(kind).minutes > 0
            self._pipe.register(out)
            self._trims.add(out)
        return known

    def flush(self) -> None:
        """Nothing more will be put soon: send what was, without waiting for the end of the loop's turn."""
        self._pipe.flush()

    def tell(self, gap: GapEvent) -> None:
        """Write an event to `md.gaps`. It is never shed."""
        identity, packed = pack_gap(self._gaps, gap)
        if self._entries.straight:
            self._send(self._gaps, identity, packed)
        else:
            self._aside += 1
            if self._spooling.active or not self._backlog.put_command(self._gaps, identity, packed):
                self._spool(Command(self._gaps, identity, packed))

    def keep(self, key: str, value: bytes, expires_ms: int) -> None:
        """Write a last value: the newest wins, and it is gone so long after its last refreshing."""
        if self._values.put(key, value, expires_ms, monotonic_ns()) and self._pipe.is_open:
            self._write_values()

    async def run(self) -> None:
        """Work until cancelled. `drain` before that, or what waits in memory is lost.

        Raises:
            ConfigError: Redis does not let us in at the first attempt (in an `ExceptionGroup`).
        """
        try:
            self._spooling.doubt()
        except OSError as error:
            raise StorageError(f"the spool cannot be read: {error}") from None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pipe.run())
            tasks.create_task(self._keep_spool())
            tasks.create_task(self._beat())

    def close(self) -> None:
        """Give the folder to others; after `run`. What is on disk stays for the next start."""
        self._spooling.close()

    async def drain(self, timeout_s: float) -> bool:
        """Bring everything to Redis; what it does not take in time goes to disk, and the outlet is of no more use.

        While `run` still runs, and after the last `put`.

        Returns:
            Whether Redis has everything.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    self._pump()
                    self._spooling.wake.set()
                    if not self._backlog and not self._spooling.active and await self._pipe.wait_idle(timeout_s):
                        return True
                    await asyncio.sleep(_BEAT_S)
        return await self._stow()

    def state(self) -> OutletState:
        """How it stands."""
        pipe, backlog, spooling, taken = self._pipe, self._backlog, self._spooling, self._pipe.latencies
        lost = self._dropped + backlog.dropped + self._overtaken
        entries = pipe.accepted - pipe.brought_again - self._other
        given_up = sum(self._refused.values()) + sum(self._overtaken.values())
        return OutletState(
            connected=pipe.is_open,
            connected_ms=pipe.connected_ms,
            reconnects=max(pipe.reconnects, 0),
            put=entries - self._moved - spooling.unspooled + self._aside,
            written=max(entries - pipe.in_flight - given_up, 0),
            resent=pipe.resent,
            in_flight=pipe.in_flight,
            in_flight_bytes=pipe.in_flight_bytes,
            waiting=backlog.entries,
            waiting_bytes=backlog.bytes,
            stage=int(backlog.stage),
            spooling=spooling.active,
            spool_bytes=spooling.bytes,
            spooled=spooling.spooled,
            unspooled=spooling.unspooled,
            conflated=_by_kind(backlog.conflated),
            coalesced=_by_kind(backlog.coalesced),
            dropped=_by_kind(lost),
            refused=_by_kind(self._refused),
            values_written=self._values_written,
            values_conflated=self._values.conflated,
            untold=spooling.untold,
            spool_damaged=spooling.damaged,
            latency_bounds_ms=BOUNDS_MS,
            latency_counts=tuple(taken.counts),
            latency_sum_ms=taken.sum_ns / 1e6,
            p50_ms=taken.quantile_ms(0.5),
            p99_ms=taken.quantile_ms(0.99),
            last_error=spooling.disk_error or pipe.last_error,
        )  # fmt: skip

    def _put_aside(self, out: Target, event_ms: int, received_ns: int, identity: bytes, payload: bytes) -> None:
        assert isinstance(out, OutStream)  # noqa: S101 - the outlet makes no others
        self._aside += 1
        spooling = self._spooling.active and is_lossless(out, identity)
        if spooling or not self._backlog.put(out, event_ms, received_ns, identity, payload):
            self._spool(Command(out, identity, pack_entry(out, event_ms, received_ns, identity, payload)))
        if self._backlog.has_news:
            self._tell_dropped_diffs()
        if self._pipe.is_open and not self._backlog_waits_for_spool():
            self._pump()

    def _spool(self, command: Command) -> None:
        """Keep on disk what must not be lost; past its bound it is dropped and told."""
        if not self._spooling.active:
            self._say(f"{self._backlog.bytes:,} bytes wait for Redis: trades and closed bars go to disk now")
            for bar in self._backlog.closed_bars():
                if not self._spooling.put(bar):
                    self._drop(bar)
        if not self._spooling.put(command):
            self._drop(command)

    def _drop(self, command: Command) -> None:
        out = command.target
        assert isinstance(out, OutStream)  # noqa: S101 - the outlet makes no others
        self._dropped[out.kind] += 1
        self._telling.dropped(out, command.identity)

    def _backlog_waits_for_spool(self) -> bool:
        return not self._backlog.has_next(bars=not self._spooling.active)

    def _pump(self) -> None:
        """Send what waits in memory, as far as there is room."""
        bars = not self._spooling.active
        while self._pipe.is_open:
            self._backlog.relax()
            if self._backlog.has_news:
                self._tell_dropped_diffs()
            if not self._backlog.has_next(bars=bars):
                break
            for command in self._backlog.take(_TAKEN_BYTES, bars=bars):
                self._moved += 1
                self._send(*command)
        self._straighten()

    def _straighten(self) -> None:
        aside = not self._pipe.is_open or bool(self._backlog) or self._spooling.active or self._stowed
        self._entries.straight = not aside

    async def _stow(self) -> bool:
        self._entries.straight = False
        self._spooling.active = True  # what is told from here on goes to disk
        unsettled = [c for c in self._pipe.unsettled() if isinstance(c.target, OutStream) and c.identity]
        lossless = [c for c in unsettled if is_lossless(_stream(c), c.identity)]
        left = len(unsettled) - len(lossless)
        self._dropped.update(_stream(c).kind for c in unsettled if not is_lossless(_stream(c), c.identity))
        waiting = self._backlog.close()
        self._tell_dropped_diffs()
        self._tell_lost()
        self._stowed = True
        try:
            kept = await self._spooling.stow(lossless, waiting)
        except OSError as error:
            self._say(
                f"Redis is away and the disk takes nothing ({error}): {len(lossless) + len(waiting)} entries lost"
            )
            return False
        self._say(f"Redis is away: {kept} entries are on disk and go out at the next start; {left} others were let go")
        return False

    async def _keep_spool(self) -> None:
        spooling = self._spooling
        while not self._stowed:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05 if spooling.active else 1.0):
                    await spooling.wake.wait()
            spooling.wake.clear()
            if spooling.active and not self._stowed:
                await spooling.step(may_send=self._backlog_waits_for_spool())
                if not spooling.active:
                    self._pump()

    async def _beat(self) -> None:
        """What goes by the clock: last values, trims, and telling what was dropped."""
        slow_ns = monotonic_ns()
        while not self._stowed:
            await asyncio.sleep(_BEAT_S)
            now_ns = monotonic_ns()
            next_ns = self._values.next_ns()
            if self._pipe.is_open and next_ns is not None and next_ns <= now_ns:
                self._write_values()
            if (passed_s := (now_ns - slow_ns) / 1e9) >= _SLOW_BEAT_S:
                slow_ns = now_ns
                self._tell_lost()
                if self._pipe.is_open:
                    self._trim(passed_s)

    def _write_values(self) -> None:
        for key, value, left_ms in self._values.due(monotonic_ns()):
            self._send(self._value_target, b"", pack(b"SET", key, value, b"PX", b"%d" % left_ms))
            self._other += 1
            self._values_written += 1

    def _trim(self, passed_s: float) -> None:
        for out, command in self._trims.due(passed_s, int(time() * 1000) + self._pipe.clock_offset_ms):
            self._send(out, b"", command)
            self._other += 1

    def on_room(self, is_open: bool) -> None:
        if is_open:
            self._write_values()
            self._pump()
            self._spooling.wake.set()
        self._straighten()

    def on_progress(self) -> None:
        if self._spooling.active:
            self._spooling.wake.set()
        if self._backlog:
            self._pump()

    def on_connected(self, again: bool) -> None:
        self._values.again(monotonic_ns())
        if not again:
            return
        self._telling.reconnected(self._streams.values())

    def on_losses(self, losses: Sequence[Loss]) -> None:
        self._telling.losses(losses)

    def on_overtaken(self, command: Command) -> None:
        out = _stream(command)
        self._overtaken[out.kind] += 1
        if out.kind is Kind.DEPTH:
            self._telling.overtaken(out, command.identity)

    def on_refused(self, command: Command, error: str) -> None:
        out = command.target
        if isinstance(out, OutStream) and command.identity:
            self._refused[out.kind] += 1
            if out.refused == 1:
                self._say(f"{out.key.decode()}: Redis does not take its entries: {error}")

    def _tell_dropped_diffs(self) -> None:
        for dropped in self._backlog.news():
            self._telling.dropped_diffs(dropped)

    def _tell_lost(self) -> None:
        for out, first, last in self._telling.tell_dropped():
            if out.kind is Kind.TRADES and first.isdigit() and last.isdigit():
                self.on_trades_shed(out.exchange, out.symbol, int(first), int(last))

    def _stream_of(self, key: bytes) -> OutStream | None:
        if key == GAPS_KEY.encode():
            return self._gaps
        known = self._streams.get(key)
        if known is None:
            try:
                known = self.stream(*parse_stream_key(key.decode()))
            except (ValidationError, UnicodeDecodeError):
                return None
        return known

    def _previous(self) -> tuple[str, int] | None:
        try:
            run_id, client_id = msgspec.json.decode(self._connection.read_bytes(), type=tuple[str, int])
        except (OSError, msgspec.DecodeError):
            return None
        return run_id, client_id

    def _remember(self, run_id: str, client_id: int) -> None:
        part = self._connection.with_suffix(".new")
        try:
            part.write_bytes(msgspec.json.encode((run_id, client_id)))
            part.replace(self._connection)
        except OSError as error:
            self._say(f"{self._connection}: {error.strerror}; after a kill entries may come twice")


def _stream(command: Command) -> OutStream:
    assert isinstance(command.target, OutStream)  # noqa: S101 - what has an identity is of a Stream
    return command.target


def _by_kind(counts: Counter[Kind]) -> dict[str, int]:
    return {str(kind): count for kind, count in counts.items()}
