"""The spool's keeper: gathers what goes to disk, reads it back when Redis takes it, removes what Redis has.

While anything is on disk, or on its way from there, all that must not be lost passes through here, so that order holds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns

from gapless.domain.live import Kind
from gapless.storage.live.resp import Command
from gapless.storage.live.writer import RedisPipe
from streamer.outlet.spool import FRAME_BYTES, FRAMES_ON_THEIR_WAY, Frame, Record, Spool
from streamer.outlet.streams import OutStream

GATHERED_BYTES = 16 * 2**20
"""At most so much is gathered for the disk; when it does not take it, there is no room. On a machine that others starve
a turn of the loop may bring the messages of several seconds: a quarter of this was too little there once."""

_OLDEST_NS = 50_000_000
_DISK_AGAIN_NS = 1_000_000_000


class Spooling:
    """Owns the spool.

    Args:
        stream_of: the Stream of a key, made if need be; None: no such can be.
        gap_events: so many events of `md.gaps` are gathered even when there is no room.

    Attributes:
        active: whether what must not be lost has to pass through here.
        spooled, unspooled: records that ever came in and that were sent on.
        untold: events of `md.gaps` beyond the bound.
        disk_error: why the disk does not take anything; empty: it does.
    """

    def __init__(
        self,
        spool: Spool,
        pipe: RedisPipe,
        stream_of: Callable[[bytes], OutStream | None],
        gap_events: int,
        say: Callable[[str], None],
    ) -> None:
        self.active = bool(spool)
        self.spooled = self.unspooled = self.untold = 0
        self.disk_error = ""
        self._spool, self._pipe, self._stream_of, self._say = spool, pipe, stream_of, say
        self._gap_events = gap_events
        self._gathered: list[Command] = []
        self._gathered_bytes = self._gathered_gaps = 0
        self._since_ns = 0
        self._again_ns = 0
        self._on_way: deque[tuple[int, Frame, frozenset[tuple[bytes, bytes]]]] = deque()
        self._lock = asyncio.Lock()
        self.wake = asyncio.Event()

    @property
    def bytes(self) -> int:
        """What lies on disk or is gathered for it."""
        return self._spool.bytes + self._gathered_bytes

    @property
    def damaged(self) -> int:
        """Frames that could not be read."""
        return self._spool.damaged

    def put(self, command: Command) -> bool:
        """Keep a command behind all others. False: neither memory nor disk has room."""
        size = len(command.packed)
        assert isinstance(command.target, OutStream)  # noqa: S101 - the outlet makes no others
        if command.target.kind is Kind.GAPS:
            if self._gathered_gaps >= self._gap_events:
                self.untold += 1
                return True
            self._gathered_gaps += 1
        elif self._gathered_bytes >= GATHERED_BYTES or not self._spool.has_room(self._gathered_bytes + size):
            return False
        if not self._gathered:
            self._since_ns = monotonic_ns()
        self.active = True
        self._gathered.append(command)
        self._gathered_bytes += size
        self.spooled += 1
        if self._gathered_bytes >= FRAME_BYTES:
            self.wake.set()
        return True

    def close(self) -> None:
        """Give the folder to others."""
        self._spool.close()

    def doubt(self) -> None:
        """Hand the pipe what a process before this one may have sent. Before the pipe runs.

        Raises:
            OSError: the disk cannot be read.
        """
        plain = 0
        while plain < FRAMES_ON_THEIR_WAY and (frame := self._spool.read()) is not None:
            plain += not frame.doubtful
            self._pipe.doubt(self._note(frame, ahead=True))

    async def step(self, *, may_send: bool) -> None:
        """Do what is to be done now: remove, write, read, send.

        Args:
            may_send: whether nothing older waits in memory.
        """
        async with self._lock:
            self._settle()
            now_ns = monotonic_ns()
            ripe = self._gathered_bytes >= FRAME_BYTES or now_ns - self._since_ns >= _OLDEST_NS
            if self._gathered and ripe and now_ns >= self._again_ns:
                await self._write(now_ns)
            if may_send:
                self._send()

    async def stow(self, unsettled: Sequence[Command], waiting: Sequence[Command]) -> int:
        """Put everything on disk, as the last thing: in front what was on its way and what waited in memory, behind
        it what was gathered. Returns how many records that are.

        Raises:
            OSError: the disk does not take it.
        """
        async with self._lock:
            self._settle()
            on_disk = frozenset[tuple[bytes, bytes]]().union(*(ids for _, _, ids in self._on_way))
            front = [c for c in unsettled if (c.target.key, c.identity) not in on_disk]
            before = _records([*front, *waiting])
            behind = _records(self._gathered)
            await asyncio.to_thread(self._spool.put_before, before)
            await asyncio.to_thread(self._spool.write, behind)
            self._gathered, self._gathered_bytes, self._gathered_gaps = [], 0, 0
            self._spool.close()
            return len(before) + len(behind)

    def _note(self, frame: Frame, *, ahead: bool) -> list[Command]:
        """A frame is about to be sent: its commands. `ahead`: they count as accepted only when that is done."""
        commands = []
        for key, identity, packed in frame.records:
            out = self._stream_of(key)
            if out is not None:
                commands.append(Command(out, identity, packed))
        at = self._pipe.accepted + len(commands) if ahead else self._pipe.accepted
        self._on_way.append((at, frame, frozenset((c.target.key, c.identity) for c in commands)))
        self.unspooled += len(commands)
        return commands

    def _settle(self) -> None:
        settled: Frame | None = None
        while self._on_way and self._pipe.settled >= self._on_way[0][0]:
            settled = self._on_way.popleft()[1]
        if settled is not None:
            try:
                self._spool.settle(settled)
            except OSError as error:  # it is in doubt again after a kill: then the tails tell
                self.disk_error = str(error)

    async def _write(self, now_ns: int) -> None:
        gathered, size, gaps = self._gathered, self._gathered_bytes, self._gathered_gaps
        self._gathered, self._gathered_gaps = [], 0
        try:
            await asyncio.to_thread(self._spool.write, _records(gathered))
        except OSError as error:
            self._gathered = [*gathered, *self._gathered]
            self._gathered_gaps += gaps
            self._again_ns = now_ns + _DISK_AGAIN_NS
            if not self.disk_error:
                self._say(f"{self._spool.folder}: the disk takes nothing ({error.strerror}); trades are dropped soon")
            self.disk_error = error.strerror or str(error)
        else:
            self._gathered_bytes -= size
            self._since_ns = monotonic_ns()
            if self.disk_error:
                self._say(f"{self._spool.folder}: the disk takes entries again")
            self.disk_error = ""

    def _send(self) -> None:
        pipe = self._pipe
        while self.active and pipe.is_open and len(self._on_way) < FRAMES_ON_THEIR_WAY:
            frame = self._read()
            if frame is None:
                break
            for command in self._note(frame, ahead=True):
                pipe.send(*command)
        if self.active and pipe.is_open and not self._on_way and not self._spool.has_unread:
            self._end()

    def _read(self) -> Frame | None:
        damaged = self._spool.damaged
        try:
            return self._spool.read()
        except OSError as error:
            self.disk_error = str(error)
            return None
        finally:
            if self._spool.damaged > damaged:
                self._say(f"{self._spool.folder}: the end of a file could not be read and is kept as .bad")

    def _end(self) -> None:
        """Redis has all that was on disk: send what was gathered since, and nothing has to pass through here."""
        try:
            self._spool.finish()
        except OSError as error:
            self.disk_error = str(error)
            return
        for command in self._gathered:
            self._pipe.send(*command)
        self.unspooled += len(self._gathered)
        self._gathered, self._gathered_bytes, self._gathered_gaps = [], 0, 0
        self.active = False
        self._say("the spool is empty again: Redis has all of it")


def _records(commands: Sequence[Command]) -> list[Record]:
    return [(command.target.key, command.identity, command.packed) for command in commands]
