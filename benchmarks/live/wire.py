"""The server's end of HTTP and WebSocket, by hand: requests in, frames out. Pure."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


@dataclass(frozen=True, slots=True)
class Request:
    """A request without a body."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]


def take_request(data: bytearray) -> Request | None:
    """The first whole request, taken out of the bytes; None while there is none."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *rest = bytes(data[:end]).decode("latin-1").split("\r\n")
    del data[: end + 4]
    parts = urlsplit(first.split(" ")[1])
    headers = {
        key.strip().lower(): value.strip() for key, value in (line.split(":", 1) for line in rest if ":" in line)
    }
    query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
    return Request(unquote(parts.path), query, headers)


def switching(request: Request) -> bytes:
    """The answer that turns a connection into a WebSocket, without extensions."""
    key = request.headers["sec-websocket-key"] + _GUID
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    ).encode()


def response(body: object, *, status: str = "200 OK") -> bytes:
    """A JSON answer; the weight header says that next to nothing was used."""
    text = body if isinstance(body, bytes) else msgspec.json.encode(body)
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        "X-MBX-USED-WEIGHT-1M: 1\r\nConnection: keep-alive\r\n\r\n"
    )
    return head.encode() + text


def frame(opcode: int, payload: bytes) -> bytes:
    """A frame as a server sends it."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", 0x80 | opcode, length) + payload
    return struct.pack("!BBH", 0x80 | opcode, 126, length) + payload


def take_frame(data: bytearray) -> tuple[int, bytes] | None:
    """The first whole frame of a client, unmasked, taken out of the bytes; None while there is none."""
    if len(data) < 6:
        return None
    length, at = data[1] & 0x7F, 2
    if length == 126:
        length, at = int.from_bytes(data[2:4], "big"), 4
    elif length == 127:
        length, at = int.from_bytes(data[2:10], "big"), 10
    if len(data) < at + 4 + length:
        return None
    mask, body = data[at : at + 4], data[at + 4 : at + 4 + length]
    opcode = data[0] & 0x0F
    del data[: at + 4 + length]
    return opcode, bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
