"""A wire that can be cut: TCP passed on from ports of its own, until it is told to vanish, or to refuse.

with Breaker([9000, 9001]) as wire:
    connect_to(wire.ports[0])   # as if it were 9000
    wire.vanish()
    wire.refuse()
    wire.mend()
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_CHUNK = 1 << 18
_BACKLOG = 1
_ANSWER_S = 10.0
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: a close is a reset."""


class Breaker:
    """Passes connections on to ports of this machine, in a thread of its own.

    Args:
        targets: ports that are reached through it.

    Attributes:
        ports: its own, in the order of the targets.
        passed: connections so far. cut: of them, those that a cut ended.
    """

    def __init__(self, targets: Sequence[int]) -> None:
        self._targets = tuple(targets)
        self.ports: tuple[int, ...] = ()
        self.passed = self.cut = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="breaker", daemon=True)
        self._flowing = asyncio.Event()
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._open_now: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ANSWER_S)
        self._loop.close()

    def vanish(self) -> None:
        """From now on nothing passes and nobody is told: what is open stays silent, who connects gets no answer."""
        self._do(self._vanish())

    def refuse(self) -> None:
        """From now on what is open is reset, and who connects is refused."""
        self._do(self._refuse())

    def mend(self) -> None:
        """From now on all passes again, at the same ports. Only after `refuse`."""
        self._do(self._open())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(_ANSWER_S)

    async def _open(self) -> None:
        self._flowing.set()
        for place, target in enumerate(self._targets):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(("127.0.0.1", self.ports[place] if len(self.ports) > place else 0))
            listener.listen(128)
            self._listeners.append(listener)
            self._accepting.append(asyncio.create_task(self._accept(listener, target)))
        self.ports = tuple(listener.getsockname()[1] for listener in self._listeners)

    async def _vanish(self) -> None:
        self._flowing.clear()
        await self._stop_accepting()
        for listener in self._listeners:
            listener.listen(_BACKLOG)  # beyond these the kernel answers no SYN; those within are never spoken to

    async def _refuse(self) -> None:
        await self._stop_accepting()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        tasks = list(self._open_now)
        self.cut += len(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _stop_accepting(self) -> None:
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._accepting.clear()

    async def _accept(self, listener: socket.socket, target: int) -> None:
        while True:
            near, _ = await self._loop.sock_accept(listener)
            far = socket.socket()
            for each in (near, far):
                each.setblocking(False)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self._join(near, far, target))
            self._open_now.add(task)
            self.passed += 1

    async def _join(self, near: socket.socket, far: socket.socket, target: int) -> None:
        try:
            await self._loop.sock_connect(far, ("127.0.0.1", target))
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(near, far))
                both.create_task(self._pump(far, near))
        except* OSError:
            _reset(near, far)
        except* asyncio.CancelledError:
            _reset(near, far)
        finally:
            near.close()
            far.close()
            task = asyncio.current_task()
            assert task is not None
            self._open_now.discard(task)

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        while data := await self._loop.sock_recv(source, _CHUNK):
            await self._flowing.wait()
            await self._loop.sock_sendall(sink, data)
        await self._flowing.wait()  # the news of an end vanishes like all else
        sink.shutdown(socket.SHUT_WR)


def _reset(*sockets: socket.socket) -> None:
    """Their close will be a reset."""
    for each in sockets:
        with suppress(OSError):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
