"""A way to Redis that breaks: a proxy that cuts connections in the middle of what goes through, or holds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit


@dataclass
class Proxy:
    """Forwards to a server on loopback.

    Attributes:
        cut_after: for each connection, after how many bytes from the client and how many from the server it is cut.
        cuts: how many were.
        late: if set, what a client sent past the cut is not lost: it reaches the server when this event is.
    """

    url: str
    cut_after: Callable[[], tuple[int, int]]
    cuts: int = 0
    late: asyncio.Event | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> str:
        """The URL by which the server is reached through this."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        there = urlsplit(self.url)
        up_reader, up_writer = await asyncio.open_connection(there.hostname, there.port)
        up, down = self.cut_after()
        ways = [
            asyncio.create_task(self._forward(reader, up_writer, up, writer)),
            asyncio.create_task(self._forward(up_reader, writer, down, None)),
        ]
        try:
            await asyncio.wait(ways[:1] if self.late else ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for each in (writer, up_writer):
                each.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        left: int,
        client: asyncio.StreamWriter | None,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data[:left])
                await writer.drain()
                left -= len(data)
                if left <= 0:
                    self.cuts += 1
                    if self.late is not None and client is not None:
                        client.transport.abort()
                        await self.late.wait()
                        writer.write(data[left:] if left else b"")
                        await writer.drain()
                    return


@contextlib.asynccontextmanager
async def proxied(url: str, cut_after: Callable[[], tuple[int, int]]) -> AsyncIterator[tuple[str, Proxy]]:
    """A proxy in front of the server at `url`, and the URL to use instead."""
    proxy = Proxy(url, cut_after)
    there = await proxy.start()
    try:
        yield there, proxy
    finally:
        await proxy.stop()
