"""The live writer's pipe into Redis: one connection, commands sent once a turn of the loop, a bounded window.

Exactly once for entries of Streams, however the connection ends: the old connection is killed in Redis, the tails of
the Streams in doubt are read, and what is not in them is sent again (`fence`, `settling`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic_ns, time

from gapless.errors import ConfigError, GaplessError, StorageError
from gapless.storage.live.connecting import Address, Wire
from gapless.storage.live.pipe import PipeListener, PipeSettings
from gapless.storage.live.resp import Command, ReplyCounter
from gapless.storage.live.settling import settle_doubts
from gapless.storage.live.window import Window


class RedisPipe(Window):
    """Sends commands and sees that each is settled once.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        previous: run id and client id of the connection of a process before this one, to be killed.
        remember: told the same of each new connection, before anything is sent on it.

    Attributes:
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
        self._address = Address(url)
        super().__init__(str(self._address), settings, listener)
        self.resent = self.brought_again = self.doubted = 0
        self.reconnects = -1
        self.connected_ms = 0
        self.clock_offset_ms = 0
        self._name = name
        self._previous = previous
        self._remember = remember
        self._run_id = ""

    def doubt(self, commands: Sequence[Command]) -> None:
        """Take over, before the first connection, commands of which a process before this one left it unknown whether
        they were taken; they are settled as after a cut, and count as accepted."""
        for command in commands:
            self._targets.setdefault(command.target.key, command.target).newest = command.identity
        self._doubtful += commands
        self._extra += len(commands)
        self.doubted += len(commands)
        self._freeze(0)

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
            wire.on_writable = self._write_packed
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
        """Find out what Redis has of what was sent; the rest is packed afterwards, before all else."""
        settled = await settle_doubts(wire, self._flight, self._doubtful, self._targets, anew=anew)
        if settled is None:
            return
        self._doubtful = []
        if anew:
            self._listener.on_losses(settled.losses)
        self._extra += settled.brought
        self.brought_again += settled.brought
        self.resent += len(settled.missing)
        for command in settled.overtaken:
            self._listener.on_overtaken(command)
        self._outbox.pack_again(settled.missing, monotonic_ns())
        self._freeze(self.settled)
