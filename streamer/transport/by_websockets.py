"""The seam by websockets: its own asyncio connection, whose frames are taken as they are parsed.

The library's `recv()` puts a queue and a change of task between a frame and its reader; stamps would tell of the queue.
So its `ClientConnection` is given to it in a version of ours (`create_connection`, the documented way) that hands data
frames over within the read. `process_event` is a method of the library's that its documentation calls internal: the
suite of the transports runs on it, so a version that changes it shows.
"""

from __future__ import annotations

import asyncio
from functools import partial
from ssl import SSLContext
from time import time_ns
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN

from streamer.transport.fragments import Fragments
from streamer.transport.seam import NO_CLOSE_FRAME, ConnectFailed, Ended, Receiver, Wire, refused
from streamer.transport.settings import TransportSettings

_CLOSE_S = 5.0
"""How long a peer that began to close may take to hang up."""


class WebsocketsTransport:
    name = "websockets"

    def __init__(self, settings: TransportSettings | None = None, *, tls: SSLContext | None = None) -> None:
        self._settings = settings or TransportSettings()
        self._tls = tls

    async def connect(self, url: str, receiver: Receiver, *, proxy: str | None, timeout_s: float) -> Wire:
        limit = self._settings.max_message_bytes
        tls: dict[str, Any] = {"ssl": self._tls} if self._tls is not None and url.startswith("wss:") else {}
        ours: Any = partial(_Connection, receiver, limit)
        try:
            async with asyncio.timeout(timeout_s):
                connection: Any = await connect(
                    url,
                    compression=None,
                    proxy=proxy,
                    open_timeout=None,
                    ping_interval=None,
                    close_timeout=_CLOSE_S,
                    max_size=limit,
                    create_connection=ours,
                    **tls,
                )
        except InvalidStatus as error:
            answer = error.response
            raise refused(answer.status_code, answer.headers.get("Retry-After"), answer.body) from None
        except TimeoutError:
            raise ConnectFailed(f"no connection within {timeout_s:g} s") from None
        except (OSError, WebSocketException, EOFError) as error:
            raise ConnectFailed(f"no connection: {type(error).__name__}: {error}") from error
        return _WebsocketsWire(connection, receiver)


class _Connection(ClientConnection):
    def __init__(self, receiver: Receiver, max_message_bytes: int, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.controls = 0
        self.error: Exception | None = None
        self.on_message = receiver.on_message
        self.fragments = Fragments(max_message_bytes)
        self.read_ns = 0

    def data_received(self, data: bytes) -> None:
        # One stamp a read: the frames of a batch came at once, and the last must not be dated by the work on the first.
        self.read_ns = time_ns()
        super().data_received(data)
        # The library leaves it to the server to hang up. One that does not would keep the connection for ever.
        if self.protocol.close_rcvd is not None or self.protocol.parser_exc is not None:
            self.transport.close()

    def process_event(self, event: Any) -> None:
        if not isinstance(event, Frame):
            super().process_event(event)
            return
        try:
            opcode = event.opcode
            if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
                if event.fin:
                    self.on_message(bytes(event.data), self.read_ns)
                else:
                    self.fragments.first(bytes(event.data))
            elif opcode is Opcode.CONT:
                whole = self.fragments.more(bytes(event.data), last=event.fin)
                if whole is not None:
                    self.on_message(whole, self.read_ns)
            else:
                if opcode is not Opcode.CLOSE:
                    self.controls += 1
                super().process_event(event)
        except Exception as error:
            self.error = self.error or error
            self.on_message = _nobody  # the rest of the batch at hand
            self.protocol.fail(CloseCode.INTERNAL_ERROR)
            self.send_data()
            self.transport.close()


class _WebsocketsWire:
    def __init__(self, connection: _Connection, receiver: Receiver) -> None:
        self._connection = connection
        self._receiver = receiver
        self._why = ""

    @property
    def is_open(self) -> bool:
        return self._connection.state is OPEN and self._connection.error is None

    @property
    def controls(self) -> int:
        return self._connection.controls

    async def run(self) -> Ended:
        connection = self._connection
        await connection.wait_closed()
        connection.on_message = _nobody
        received = connection.protocol.close_rcvd
        cause = connection.protocol.parser_exc or connection.connection_exc
        error = connection.error or (
            cause if isinstance(cause, Exception) and not isinstance(cause, EOFError) else None
        )
        code = int(received.code) if received is not None else NO_CLOSE_FRAME
        reason = (received.reason if received is not None else "") or self._why
        ended = Ended(code, reason, received is not None, error, connection.error is not None)
        self._receiver.on_ended(ended)
        return ended

    async def send(self, text: str) -> None:
        try:
            if self.is_open:
                await self._connection.send(text)
        except ConnectionClosed:
            return  # told by `run`

    async def ping(self) -> None:
        try:
            if self.is_open:
                await self._connection.ping()
        except ConnectionClosed:
            return  # told by `run`

    def pause_reading(self) -> None:
        self._connection.transport.pause_reading()

    def resume_reading(self) -> None:
        self._connection.transport.resume_reading()

    async def close(self, timeout_s: float) -> None:
        connection = self._connection
        if self.is_open:
            self._why = "we closed it"
        try:
            async with asyncio.timeout(timeout_s):
                await connection.close()
                await connection.wait_closed()
        except TimeoutError:
            self.abort()
            await connection.wait_closed()

    def abort(self) -> None:
        self._why = self._why or "we dropped it"
        self._connection.transport.abort()


def _nobody(payload: bytes, received_ns: int) -> None:
    """After the end."""
