"""The seam by picows: frames are parsed in C and handed over within the read, without a queue or a task."""

from __future__ import annotations

import asyncio
import socket
from ssl import SSLContext
from time import time_ns

from picows import WSCloseCode, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect
from picows.common import WSError
from python_socks import ProxyError

from streamer.transport.fragments import Fragments
from streamer.transport.seam import NO_CLOSE_FRAME, NO_CODE, ConnectFailed, Ended, Receiver, Wire, refused
from streamer.transport.settings import TransportSettings

_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION

_BRACE = ord("{")
_RECEIVE_BYTES = 512 * 1024
"""picows reads what there is and hands all of it over in one turn of the loop: with the kernel's own bound of 6 MB up
to 30,000 messages, during which nothing else runs. The kernel keeps twice this."""


class PicowsTransport:
    name = "picows"

    def __init__(self, settings: TransportSettings | None = None, *, tls: SSLContext | None = None) -> None:
        self._settings = settings or TransportSettings()
        self._tls = tls

    async def connect(self, url: str, receiver: Receiver, *, proxy: str | None, timeout_s: float) -> Wire:
        wire = _PicowsWire(receiver, self._settings.max_message_bytes)
        try:
            async with asyncio.timeout(timeout_s):
                await ws_connect(
                    lambda: wire,
                    url,
                    ssl_context=self._tls,
                    websocket_handshake_timeout=timeout_s,
                    enable_auto_pong=False,  # answered here, so that a ping shows that the peer lives
                    max_frame_size=self._settings.max_message_bytes,
                    proxy=proxy,
                )
        except WSHandshakeError as error:
            if error.response is None:
                raise ConnectFailed(f"the handshake failed: {error}") from None
            headers = error.response.headers
            body = error.raw_body or error.response.body
            raise refused(int(error.response.status), headers.get("Retry-After"), body) from None
        except TimeoutError:
            raise ConnectFailed(f"no connection within {timeout_s:g} s") from None
        except (OSError, WSError, ProxyError, EOFError) as error:
            raise ConnectFailed(f"no connection: {type(error).__name__}: {error}") from error
        finally:
            wire.settle()
        if not wire.connected:
            raise ConnectFailed("no connection: the peer hung up instead of answering the handshake")
        return wire


class _PicowsWire(WSListener):
    def __init__(self, receiver: Receiver, max_message_bytes: int) -> None:
        self.connected = False
        self.controls = 0
        self._receiver = receiver
        self._on_message = receiver.on_message
        self._fragments = Fragments(max_message_bytes)
        self._transport: WSTransport | None = None
        self._read_ns = 0
        self._settled = False
        self._error: Exception | None = None
        self._receiver_failed = False
        self._why = ""
        self._writable = asyncio.Event()
        self._writable.set()

    # What picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._settled:  # whoever wanted it has gone: cancelled, or out of time
            transport.disconnect(graceful=False)
            return
        self._transport = transport
        self.connected = True
        if (connection := transport.underlying_transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # One stamp a read: the frames of a batch came at once, and the last must not be dated by the work on the first.
        read_ns = self._read_ns
        if not read_ns:
            read_ns = self._read_ns = time_ns()
            if transport.is_close_frame_sent and not self._why:
                # picows found a violation, said so to the peer, and parses on until its delayed hang-up (2.3.1).
                self._on_message = _nobody
        if frame.last_in_buffer:
            self._read_ns = 0
        payload = frame.get_payload_as_bytes()
        try:
            # `msg_type` makes an enumeration's member and takes as long as all the rest. What begins with a brace is no
            # close frame (its code would be above 30,000), and pings and pongs do not come with one from an exchange.
            if payload and payload[0] == _BRACE and frame.fin and not self._fragments.pending:
                self._on_message(payload, read_ns)
            else:
                self._on_unusual(transport, frame, frame.msg_type, read_ns)
        except Exception as error:
            self._receiver_failed = self._error is None
            self._fail(error, WSCloseCode.INTERNAL_ERROR)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._writable.set()

    # The seam

    @property
    def is_open(self) -> bool:
        transport = self._transport
        return (
            transport is not None
            and not transport.is_disconnected
            and transport.close_handshake is None
            and self._error is None
        )

    async def run(self) -> Ended:
        transport = self._there()
        try:
            await transport.wait_disconnected()
        except Exception as error:  # picows' own: a violation of the protocol by the peer
            self._error = self._error or error
        handshake = transport.close_handshake
        received = handshake.recv if handshake is not None else None
        code, reason = NO_CLOSE_FRAME, self._why
        if received is not None:
            code, reason = _number(received.code) or NO_CODE, received.reason or self._why
        self._on_message = _nobody
        ended = Ended(code, reason, received is not None, self._error, self._receiver_failed)
        self._receiver.on_ended(ended)
        return ended

    async def send(self, text: str) -> None:
        if self.is_open:
            self._there().send(_TEXT, text)
            await self._writable.wait()

    async def ping(self) -> None:
        if self.is_open:
            self._there().send_ping(b"alive?")
            await self._writable.wait()

    def pause_reading(self) -> None:
        self._there().underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        self._there().underlying_transport.resume_reading()

    async def close(self, timeout_s: float) -> None:
        transport = self._there()
        try:
            async with asyncio.timeout(timeout_s):
                if self.is_open:
                    self._why = "we closed it"
                    transport.send_close(WSCloseCode.OK)
                await self._gone()
        except TimeoutError:
            self.abort()
            await self._gone()

    def abort(self) -> None:
        self._why = self._why or "we dropped it"
        self._there().disconnect(graceful=False)

    # Within

    def settle(self) -> None:
        """The attempt to connect is over: what opens after this is nobody's."""
        self._settled = True

    def _there(self) -> WSTransport:
        if self._transport is None:  # a wire is handed out only when it is connected
            raise RuntimeError("there is no connection yet")
        return self._transport

    async def _gone(self) -> None:
        try:
            await self._there().wait_disconnected()
        except Exception as error:  # told by `run`
            self._error = self._error or error

    def _on_unusual(self, transport: WSTransport, frame: WSFrame, kind: WSMsgType, read_ns: int) -> None:
        if kind is WSMsgType.PING:
            self.controls += 1
            if transport.close_handshake is None:
                transport.send_pong(frame.get_payload_as_bytes())
        elif kind is WSMsgType.PONG:
            self.controls += 1
        elif kind is WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                code = frame.get_close_code()
                transport.send_close(code if _number(code) else WSCloseCode.OK)
            transport.disconnect()
        elif (kind is _TEXT or kind is _BINARY) and frame.fin and not self._fragments.pending:
            self._on_message(frame.get_payload_as_bytes(), read_ns)
        else:
            self._joined(frame, kind, read_ns)

    def _joined(self, frame: WSFrame, kind: WSMsgType, read_ns: int) -> None:
        part, whole = frame.get_payload_as_bytes(), None
        try:
            if kind is _CONTINUATION:
                whole = self._fragments.more(part, last=frame.fin)
            else:
                self._fragments.first(part)
        except ValueError as error:
            self._fail(error, WSCloseCode.PROTOCOL_ERROR)
            return
        if whole is not None:
            self._on_message(whole, read_ns)

    def _fail(self, error: Exception, code: WSCloseCode) -> None:
        """Ends the connection; the rest of the batch at hand goes to nobody."""
        self._on_message = _nobody
        self._error = self._error or error
        transport = self._there()
        if not transport.is_close_frame_sent:
            transport.send_close(code)
        transport.disconnect()


def _number(code: WSCloseCode) -> int:
    """Of an enumeration's member, or of a code that the enumeration lacks, which picows gives as a plain number."""
    return code if isinstance(code, int) else code.value


def _nobody(payload: bytes, received_ns: int) -> None:
    """After the end."""
