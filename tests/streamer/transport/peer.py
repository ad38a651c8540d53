"""A peer of the tests' own: a WebSocket server that does what it is told, byte by byte; and a proxy before it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    size = len(payload)
    if size < 126:
        length = bytes([size])
    else:
        length = b"\x7e" + struct.pack("!H", size) if size < 65_536 else b"\x7f" + struct.pack("!Q", size)
    return bytes([opcode | (0x80 if fin else 0)]) + length + payload


def closing(code: int, reason: str = "") -> bytes:
    return frame(struct.pack("!H", code) + reason.encode(), CLOSE)


@dataclass
class Side:
    """The server's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: bytes

    async def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def next_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the client's next frame."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", await self.reader.readexactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", await self.reader.readexactly(8))[0]
        mask = await self.reader.readexactly(4)
        masked = await self.reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))

    async def answer_close(self) -> None:
        """Reads until the client's close frame and answers it."""
        while (got := await self.next_frame())[0] != CLOSE:
            pass
        await self.send(frame(got[1], CLOSE))


Script = Callable[[Side], Awaitable[None]]


@dataclass
class Peer:
    url: str
    port: int
    requests: list[bytes] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


@contextlib.asynccontextmanager
async def listening(
    script: Script, *, answer: bytes | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Runs the script on each connection. `answer`: sent instead of the handshake's; the connection is closed then."""
    peer = Peer("", 0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            peer.requests.append(head)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
                return
            key = next(
                line.split(b": ", 1)[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
            )
            accept = base64.b64encode(hashlib.sha1(key.strip() + _GUID).digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            await script(Side(reader, writer, head))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            peer.errors.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    peer.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{peer.port}/stream?streams=btcusdt@aggTrade"
    try:
        yield peer
    finally:
        server.close()
    assert not peer.errors


@contextlib.asynccontextmanager
async def proxying(*, login: str | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that knows CONNECT: its URL without login, and the heads of the requests it saw."""
    seen: list[bytes] = []
    wanted = b"Basic " + base64.b64encode(login.encode()) if login else None

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        if wanted is not None and wanted not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        host, port = head.split(b" ")[1].decode().rsplit(":", 1)
        there, to_there = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pump(reader, to_there), pump(there, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()
