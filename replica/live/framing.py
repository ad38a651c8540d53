"""WebSocket frames made once and sent to many: a server's frames carry no mask, so all receivers get the same bytes."""

from __future__ import annotations

import struct

_SHORT = 126
_MEDIUM = 1 << 16
_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A


def text_frame(payload: bytes) -> bytes:
    """A whole text message."""
    return _head(_TEXT, len(payload)) + payload


def ping_frame(payload: bytes) -> bytes:
    """A ping; its pong must carry the same payload."""
    return _head(_PING, len(payload)) + payload


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping."""
    return _head(_PONG, len(payload)) + payload


def combined(stream: str, data: bytes) -> bytes:
    """The envelope of combined connections."""
    return b'{"stream":"%b","data":%b}' % (stream.encode(), data)


def _head(kind: int, length: int) -> bytes:
    if length < _SHORT:
        return bytes((kind, length))
    if length < _MEDIUM:
        return struct.pack("!BBH", kind, 126, length)
    return struct.pack("!BBQ", kind, 127, length)
