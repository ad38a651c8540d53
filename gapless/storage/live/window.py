"""What is sent on a connection and answered: commands in batches, a bounded window, refusals tried again.

What Redis refuses for now (no memory, no disk, being loaded) is held and tried again; what it refuses for good is told
and given up. Who makes connections, and finds out what a lost one had done, is the pipe (`writer`).
"""

from __future__ import annotations

import asyncio
import random
from time import monotonic_ns

from gapless.storage.live.connecting import Wire
from gapless.storage.live.flight import Batch, Flight, is_passing
from gapless.storage.live.latency import Latencies
from gapless.storage.live.outbox import Outbox
from gapless.storage.live.pipe import PipeListener, PipeSettings
from gapless.storage.live.resp import Command, ReplyCounter, Target

_HANG_UP = ("READONLY", "NOAUTH", "LOADING", "MASTERDOWN")
"""Errors that a new connection may cure: another server stands behind the address, or the user must greet again."""


class Window:
    """Sends commands and sees that each is settled once, on one connection at a time.

    Attributes:
        is_open: whether there is a connection, and room.
        packer: what takes entries.
        put: its `put`, an entry in its parts, and the cheapest way in.
    """

    def __init__(self, address: str, settings: PipeSettings, listener: PipeListener) -> None:
        self.settings = settings
        self.is_open = False
        self.last_error = ""
        self._where = address
        self._listener = listener
        self._targets: dict[bytes, Target] = {}
        self._flight = Flight(int(settings.recent_s * 1e9), settings.recent_bytes, self._targets)
        surcharge = settings.window_bytes // settings.window_count
        self._outbox = Outbox(settings.flush_bytes, surcharge, self._begin, self._full)
        self.packer = self._outbox.packer
        self.put = self.packer.put
        self._doubtful: list[Command] = []
        self._extra = 0
        self._since_ns = 0
        self._will_flush = False
        self._room = self._full_room = settings.window_bytes
        self._looking = False
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
        """Take entries of this Stream, and look after it when Redis comes back without data."""
        self._targets[target.key] = target

    def send(self, target: Target, identity: bytes, packed: bytes) -> None:
        """Send a command. Never waits; while the pipe is not open it only adds to what is held, so look first.

        Args:
            identity: of an entry, see `Kind`; empty for what need not be sent again, such as a trim or a last value.
        """
        if identity:
            self._targets.setdefault(target.key, target).newest = identity
        self.packer.add(packed)

    @property
    def accepted(self) -> int:
        """Commands ever given to `put`, `send` or `doubt`, and entries brought again after a restart of Redis."""
        return self._outbox.given + self._extra

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
        return self._full_room - self._room + self._outbox.unpacked_cost

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
        left = [*self._doubtful, *self._outbox.empty(self._targets)]
        self._doubtful = []
        return left

    def flush(self) -> None:
        """Send what was given now and not at the end of the loop's turn: nothing more will come soon."""
        self._pack()
        self._write_packed()
        if self._room <= 0:
            self._set_open(False)

    def _begin(self) -> None:
        self._since_ns = monotonic_ns()
        if not self._will_flush:
            self._will_flush = True
            self._loop.call_soon(self._end_of_turn)

    def _end_of_turn(self) -> None:
        self._will_flush = False
        self.flush()

    def _full(self) -> None:
        """So much was given that it is worth a write; and a turn may be long, so look whether answers are there."""
        self._pack()
        self._write_packed()
        if self.is_open and self._room * 2 < self._full_room:
            self._look_for_answers()
        if self._room <= 0:
            self._set_open(False)

    def _pack(self) -> None:
        batch = self._outbox.pack(self._since_ns, self._room)
        if batch is not None:
            self._room -= batch.cost
            self._flight.made(batch)

    def _write_packed(self) -> None:
        """Send what is packed, as far as the connection takes it; when it takes more it says so."""
        while self._outbox and self._may_send and self._wire is not None and self._wire.writable:
            self._write(self._outbox.next())

    def _write(self, batch: Batch) -> None:
        assert self._wire is not None  # noqa: S101 - the callers looked
        assert self._wire.transport is not None  # noqa: S101
        if not self._flight:
            self._answered_ns = monotonic_ns()
        self._flight.add(batch)
        self._wire.transport.write(batch.data)

    def _look_for_answers(self) -> None:
        if self._looking or self._wire is None:
            return
        self._looking = True
        try:
            while self.is_open and self._wire is not None and (data := self._wire.read_now()):
                self._received(data)
        finally:
            self._looking = False

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
        if not self._flight and not self.in_flight:
            self._idle.set()
        if freed:
            if self._looking:  # whose entries made us look is not to be called within
                self._loop.call_soon(self._listener.on_progress)
            else:
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
            self._write(self._outbox.alone(self._flight.held.popleft(), monotonic_ns()))
        else:
            self._resume()

    def _resume(self) -> None:
        """Redis takes commands again: all that are held, then the others."""
        self._refusing = self._probing = False
        self._backoff_s = 0.0
        self._outbox.pack_again(self._flight.held, monotonic_ns())
        self._flight.held.clear()
        self._continue()

    def _continue(self) -> None:
        """Go on sending; what is to be sent is packed."""
        self._room = self._full_room - self._flight.cost - self._outbox.packed_cost
        self._may_send = True
        self._thaw()
        self.flush()
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
        self.last_error = f"Redis at {self._where}: {why}"
        self._wire = None
        self._may_send = self._refusing = self._probing = False
        self._freeze(self._flight.settled)
        self._doubtful = [*self._doubtful, *self._flight.ground()]
        self._set_open(False)

    def _next_backoff(self) -> float:
        longest = self.settings.backoff_s
        self._backoff_s = min(max(self._backoff_s * 2, longest / 100), longest)
        return self._backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
