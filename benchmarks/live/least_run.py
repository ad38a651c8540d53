"""The least that a process can do with the feed: hand each message on to Redis, unread.

    python -m benchmarks.live.least_run SENDER_PORT REDIS_PORT STAMPS

Blocking sockets, no loop, no parsing, no book, one XADD a message, the answers waited for at once. What it takes from
due to acknowledged is the machine's, but for some microseconds of Python: the sender's timer, wake-ups, Redis. The
times are kept in memory and written at the end, as by `cryptofeed_run`.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import socket
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

_HEAD = b"*5\r\n$4\r\nXADD\r\n$5\r\nleast\r\n$1\r\n*\r\n$1\r\np\r\n$%d\r\n"
_ID = re.compile(rb'"s":"([A-Z0-9]+)".*?"(?:a|u)":(\d+)')


class _Over(Exception):
    """SIGTERM came."""


def main() -> int:
    """Run until SIGTERM."""
    sender, redis, place = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    with urllib.request.urlopen(f"http://127.0.0.1:{sender}/api/v3/exchangeInfo", timeout=30) as answer:
        names = [each["symbol"].lower() for each in json.load(answer)["symbols"]]
    source = _websocket(sender, [f"{name}@{kind}" for name in names for kind in ("aggTrade", "depth@100ms")])
    sink = socket.create_connection(("127.0.0.1", redis))
    sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    taken: list[tuple[int, list[bytes]]] = []
    signal.signal(signal.SIGTERM, _end)
    with suppress(_Over):
        _forward(source, sink, taken)
    with place.open("w") as file:
        for at_ns, payloads in taken:
            for payload in payloads:
                if found := _ID.search(payload):
                    kind = "T" if b"@aggTrade" in payload else "D"
                    file.write(f"{kind} {found[1].decode()} {int(found[2])} {at_ns}\n")
    return 0


def _forward(source: socket.socket, sink: socket.socket, taken: list[tuple[int, list[bytes]]]) -> None:
    rest = b""
    while data := source.recv(1 << 20):
        data = rest + data
        at, payloads, commands = 0, [], []
        while at + 4 <= len(data):
            length, begin = data[at + 1], at + 2
            if length == 126:
                length, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            if begin + length > len(data):
                break
            payload, at = data[begin : begin + length], begin + length
            if payload.startswith(b"{"):
                payloads.append(payload)
                commands += (_HEAD % length, payload, b"\r\n")
        rest = data[at:]
        sink.sendall(b"".join(commands))
        answered = 0
        while answered < len(payloads):
            answered += sink.recv(1 << 16).count(b"$")
        taken.append((time.monotonic_ns(), payloads))


def _websocket(port: int, streams: list[str]) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.sendall(
        f"GET /stream?streams={'/'.join(streams)} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += made.recv(1)
    return made


def _end(*_: object) -> None:
    raise _Over


if __name__ == "__main__":
    sys.exit(main())
