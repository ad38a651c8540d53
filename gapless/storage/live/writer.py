"""The live writer's pipe into Redis: one connection, commands sent once a turn of the loop, a bounded window.

Exactly once for entries of Streams, however the connection ends: the old connection is killed in Redis, the tails of
the Streams in doubt are read, and what is not in them is sent again (`fence`). What Redis refuses for now (no memory,
no disk, being loaded) is held and tried again; what it refuses for good is told and given up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from time import monotonic_ns, time

from gapless.errors import ConfigError, GaplessError, StorageError
from gapless.storage.live.connecting import Address, Wire
from gapless.storage.live.fence import plan_losses, plan_resend, tails_needed
from gapless.storage.live.flight import Flight, Packed, is_passing
from gapless.storage.live.latency import Latencies
from gapless.storage.live.pipe import PipeListener, PipeSettings
from gapless.storage.live.resp import Command, ReplyCounter, Target

_COMMANDS_A_WRITE = 1000
_HANG_UP = ("READONLY", "NOAUTH", "LOADING", "MASTERDOWN")
"""Errors that a new connection may cure: another server stands behind the address, or the user must greet again."""


class RedisPipe:
    """Sends commands and sees that each is settled once.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        previous: run id and client id of the connection of a process before this one, to be killed.
        remember: told the same of each new connection, before anything is sent on it.

    Attributes:
        is_open: whether there is a connection, and room.
        accepted: commands ever given to `send` or `doubt`, and entries brought again after a restart of Redis.
        resent: entries sent a second time; brought_again: those of them that had been acknowledged.
        reconnects: connections after the first; -1: there was none yet.
        clock_offset_ms: the server's time less this host's, as of the last greeting.
    """

    def __init__(
        self,
        url: str,
        settings: PipeSettings,
        listener: PipeListener,
        *,
        name: str = "gapless-streamer",
        previous: tuple[str, int] | None = None,
        remember: Callable[[str, int], None] = lambda run_id, client_id: None,
    ) -> None:
        self.settings = settings
        self.is_open = False
        self.accepted = 0
        self.resent = self.brought_again = self.doubted = 0
        self.reconnects = -1
        self.connected_ms = 0
        self.last_error = ""
        self.clock_offset_ms = 0
        self._address = Address(url)
        self._listener = listener
        self._name = name
        self._previous = previous
        self._remember = remember
        self._run_id = ""
        self._flight = Flight(int(settings.recent_s * 1e9), settings.recent_bytes)
        self._surcharge = settings.window_bytes // settings.window_count
        self._targets: dict[bytes, Target] = {}
        self._doubtful: list[Command] = []
        self._pending: list[Packed] = []
        self._since_ns = 0
        self._room = self._full_room = settings.window_bytes
        self._mark = self._room
        self._may_send = False
        self._refusing = self._probing = False
        self._frozen: int | None = None
        self._thaw_at = 0
        self._wire: Wire | None = None
        self._gone = asyncio.Event()
        self._counter = ReplyCounter()
        self._answered_ns = 0
        self._backoff_s = 0.0
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def register(self, target: Target) -> None:
        """Look after this Stream when Redis comes back without data."""
        self._targets[target.key] = target

    def send(self, target: Target, identity: bytes, packed: bytes) -> None:
        """Send a command. Never waits; while the pipe is not open it only adds to what is held, so look first.

        Args:
            identity: of an entry, see `Kind`; empty for what need not be sent again, such as a trim or a last value.
        """
        pending = self._pending
        if not pending:
            self._begin()
        pending.append((target, identity, packed))
        self.accepted += 1
        self._room = room = self._room - len(packed) - self._surcharge
        if room < self._mark:
            self._at_mark()

    def doubt(self, commands: Sequence[Command]) -> None:
        """Take over, before the first connection, commands of which a process before this one left it unknown whether
        they were taken; they are settled as after a cut, and count as accepted."""
        self._doubtful += commands
        self.accepted += len(commands)
        self.doubted += len(commands)
        self._freeze(0)

    @property
    def settled(self) -> int:
        """Up to which of the `accepted` all are settled: Redis has them, or never will."""
        return self._flight.settled if self._frozen is None else self._frozen

    @property
    def in_flight(self) -> int:
        """Commands that were given and are not settled."""
        return self.accepted - self._flight.settled

    @property
    def in_flight_bytes(self) -> int:
        """What they take, with a surcharge for each."""
        return self._full_room - self._room

    @property
    def latencies(self) -> Latencies:
        """From `send` to the acknowledgement, by batches."""
        return self._flight.latencies

    async def wait_idle(self, timeout_s: float) -> bool:
        """Wait until everything is settled. False: it is not yet."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def unsettled(self) -> list[Command]:
        """All that is not settled, in order: of what was sent nobody knows whether Redis has it. The pipe is empty
        then, and must not be used any more."""
        if self._wire is not None:
            self._wire.abort()
            self._cut("given up")
        left = [*self._doubtful, *map(Command._make, self._pending)]
        self._doubtful, self._pending = [], []
        return left

    def _begin(self) -> None:
        self._since_ns = monotonic_ns()
        self._mark = max(self._room - self.settings.flush_bytes, 0)
        self._loop.call_soon(self._flush)

    def _at_mark(self) -> None:
        if self._room <= 0:
            self._set_open(False)
        self._flush()

    def _flush(self) -> None:
        """Send what is pending, as far as the connection takes it."""
        while self._pending and self._may_send and self._wire is not None and self._wire.writable:
            batch = self._pending
            if len(batch) > _COMMANDS_A_WRITE:
                batch, self._pending = batch[:_COMMANDS_A_WRITE], batch[_COMMANDS_A_WRITE:]
            else:
                self._pending = []
            self._write(batch, self._since_ns)
        if self._pending:  # the connection takes no more now and says when it does
            self._mark = 0

    def _write(self, batch: Sequence[Packed], since_ns: int) -> None:
        assert self._wire is not None  # noqa: S101 - the callers looked
        assert self._wire.transport is not None  # noqa: S101
        data = b"".join([packed for _, _, packed in batch])
        if not self._flight:
            self._answered_ns = monotonic_ns()
        self._flight.add(batch, len(data) + len(batch) * self._surcharge, since_ns)
        self._wire.transport.write(data)

    def _received(self, data: bytes) -> None:
        replies = self._counter.feed(data)
        self._answered_ns = now_ns = monotonic_ns()
        before = self._flight.cost
        if self._counter.errors or self._refusing:
            self._settle_each(replies, now_ns)
        elif self._flight.settle(replies, now_ns):
            self._backoff_s = 0.0
        else:
            self._hang_up("Redis answered more than was asked")
        freed = before - self._flight.cost
        self._room += freed
        if self._frozen is not None:
            self._thaw()
        if not self.is_open and self._may_send and self._room * 4 > self._full_room:
            self._set_open(True)
        if not self.in_flight:
            self._idle.set()
        if freed:
            self._listener.on_progress()

    def _settle_each(self, replies: int, now_ns: int) -> None:
        settled = self._flight.settled
        try:
            refused = self._flight.settle_each(replies, self._counter.errors, now_ns)
        except IndexError:
            self._hang_up("Redis answered more than was asked")
            return
        for command, error in refused:
            command.target.refused += 1
            self.last_error = f"{command.target.key.decode()}: {error}"
            self._listener.on_refused(command, error)
        passing = [error for _, error in self._counter.errors if is_passing(error)]
        if passing:
            self.last_error = f"Redis refuses: {passing[-1]}"
            if self._probing:  # it was at the front
                self._flight.held.rotate(1)
            self._freeze(settled)
            self._refusing, self._may_send = True, False
            self._set_open(False)
            if passing[-1].startswith(_HANG_UP):
                self._hang_up(self.last_error)
                return
        if self._flight:
            return
        if self._refusing and self._probing and not passing:
            self._resume()
        elif self._refusing:
            self._probing = False
            self._loop.call_later(self._next_backoff(), self._probe)

    def _probe(self) -> None:
        """Try again with the oldest command that was refused, alone."""
        if not self._refusing or self._flight or self._wire is None:
            return
        for command in self._flight.drop_overtaken():
            self._listener.on_overtaken(command)
        self._probing = True
        if self._flight.held:
            self._write([self._flight.held.popleft()], monotonic_ns())
        else:
            self._resume()

    def _resume(self) -> None:
        """Redis takes commands again: all that are held, then the others."""
        self._refusing = self._probing = False
        self._backoff_s = 0.0
        self._pending = [*self._flight.held, *self._pending]
        self._flight.held.clear()
        self._continue()

    def _continue(self) -> None:
        """Go on sending; what is to be sent is pending."""
        waiting = sum(len(packed) + self._surcharge for _, _, packed in self._pending)
        self._room = self._full_room - self._flight.cost - waiting
        self._since_ns = self._since_ns or monotonic_ns()
        self._may_send = True
        self._thaw()
        self._flush()
        if not self.in_flight:
            self._idle.set()
        self._set_open(self._room * 4 > self._full_room)
        self._listener.on_progress()

    def _freeze(self, settled: int) -> None:
        if self._frozen is None:
            self._frozen = settled
        self._thaw_at = self.accepted

    def _thaw(self) -> None:
        if self._flight.settled >= self._thaw_at:
            self._frozen = None

    def _set_open(self, is_open: bool) -> None:
        if self.is_open != is_open:
            self.is_open = is_open
            self._listener.on_room(is_open)

    async def run(self) -> None:
        """Keep a connection until cancelled.

        Raises:
            ConfigError: Redis does not let us in at the first attempt.
        """
        try:
            while True:
                try:
                    await self._session()
                except ConfigError as error:
                    if self.reconnects < 0:
                        raise
                    self.last_error = str(error)
                except TimeoutError:
                    self.last_error = f"Redis at {self._address} does not answer"
                except (OSError, GaplessError) as error:
                    self.last_error = f"Redis at {self._address}: {error}"
                await asyncio.sleep(self._next_backoff())
        finally:
            self._hang_up("the writer ended")

    async def _session(self) -> None:
        settings = self.settings
        self._gone = gone = asyncio.Event()
        wire: Wire | None = None
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                wire = await self._address.connect(self._lost)
                greeting = await self._address.greet(wire, self._name, self._previous)
            async with asyncio.timeout(settings.fence_timeout_s):
                await self._settle_doubts(wire, anew=self._run_id not in ("", greeting.run_id))
            if gone.is_set():
                raise StorageError("Redis hung up")
            self._run_id = greeting.run_id
            self._previous = (greeting.run_id, greeting.client_id)
            self._remember(*self._previous)
            self.clock_offset_ms = greeting.clock_ms - int(time() * 1000)
            self.connected_ms = int(time() * 1000)
            self.reconnects += 1
            self._counter = ReplyCounter()
            wire.count(self._received)
            wire.on_writable = self._flush
            self._wire = wire
            self._listener.on_connected(self.reconnects > 0)
            self._continue()
            await self._watch(gone)
        finally:
            if wire is not None:
                wire.abort()
                if self._wire is wire:
                    self._cut("closed")

    async def _watch(self, gone: asyncio.Event) -> None:
        patience_ns = int(self.settings.reply_timeout_s * 1e9)
        while not gone.is_set():
            try:
                async with asyncio.timeout(self.settings.reply_timeout_s / 4):
                    await gone.wait()
            except TimeoutError:
                if self._flight and monotonic_ns() - self._answered_ns > patience_ns:
                    raise

    async def _settle_doubts(self, wire: Wire, *, anew: bool) -> None:
        """Find out what Redis has of what was sent; the rest is pending afterwards, before all else."""
        acknowledged = self._flight.recent() if anew else []
        doubtful = self._doubtful
        wanted = tails_needed([*acknowledged, *doubtful])
        if anew:
            for target in self._targets.values():
                wanted.setdefault(target, 1)
        if not wanted and not doubtful:
            return
        tails = await wire.tails(wanted)
        plan = plan_resend([*acknowledged, *doubtful], {target: frozenset(tail) for target, tail in tails.items()})
        again = set(map(id, acknowledged))
        brought = sum(1 for command in plan.missing if id(command) in again)
        if anew:
            self._listener.on_losses(plan_losses(acknowledged, doubtful, self._targets.values(), tails))
            self._flight.forget_recent()
        self.accepted += brought
        self.brought_again += brought
        self.resent += len(plan.missing)
        self._flight.settled += len(doubtful) - (len(plan.missing) - brought)
        for command in plan.overtaken:
            self._listener.on_overtaken(command)
        self._doubtful = []
        self._pending = [*plan.missing, *self._pending]
        self._freeze(self.settled)

    def _lost(self, wire: Wire, why: str) -> None:
        if self._wire is wire:
            self._cut(why)
        self._gone.set()

    def _hang_up(self, why: str) -> None:
        if self._wire is not None:
            wire = self._wire
            self._cut(why)
            wire.abort()
            self._gone.set()

    def _cut(self, why: str) -> None:
        """The connection is of no use any more; what was on its way is in doubt."""
        self.last_error = f"Redis at {self._address}: {why}"
        self._wire = None
        self._may_send = self._refusing = self._probing = False
        self._freeze(self._flight.settled)
        self._doubtful = [*self._doubtful, *self._flight.ground()]
        self._set_open(False)

    def _next_backoff(self) -> float:
        longest = self.settings.backoff_s
        self._backoff_s = min(max(self._backoff_s * 2, longest / 100), longest)
        return self._backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
