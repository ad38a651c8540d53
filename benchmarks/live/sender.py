"""A process that sends a feed over WebSockets and is never the bottleneck: `python -m benchmarks.live.sender`.

One thread, one loop: large slices of a prepared buffer, written over in place for the next cycle. It answers REST too.
`GET /bench/rate?rate=N` sets its pace: messages a second over all connections; 0 rests; -1 as fast as the connection
takes them, or, with `&redis=PORT`, as they are acknowledged: no more than AHEAD are under way, as Redis' own count of
XADD calls tells. `GET /bench/state` says what was sent and when each message was due; `/bench/stop` ends it.

It prints one line of JSON when it is ready: `{"port": ..., "streams": ...}`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import select
import socket
import time
from bisect import bisect_left, bisect_right
from collections import deque

from benchmarks.live import wire
from benchmarks.live.answers import Answers, streams_in
from benchmarks.live.feed import Block, Feed, Shape
from benchmarks.live.timetable import TICK_NS, Timetable

_SLICE = 262_144
_PATCH = 256
_PING_S = 20.0
_ASK_S = 0.002
AHEAD = 4000
_PR_SET_TIMERSLACK = 29


class Peer:
    """One connection: HTTP until it is upgraded, then a receiver of its part of the feed.

    Attributes:
        done: messages of its part sent whole, over all cycles. bytes: sent in all.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.inbox = bytearray()
        self.block: Block | None = None
        self.streams: list[str] = []
        self.done = self.bytes = 0
        self.blocked = self.ended = False
        self._into = 0  # bytes of the message at `done` that are sent
        self._patched = 0
        self._control: deque[bytes] = deque()
        self._feed_length = 1

    def subscribe(self, feed: Feed, streams: list[str], ordinal: int) -> None:
        """Send these from the message with this ordinal on."""
        self.streams = streams
        self.block = Block(feed, set(streams))
        self._feed_length = feed.shape.messages
        self.done = self._patched = self.target(ordinal)
        self._into = 0

    def target(self, ordinal: int) -> int:
        """How many messages of its own come before this one of the feed."""
        assert self.block is not None
        cycle, rest = divmod(ordinal, self._feed_length)
        return cycle * len(self.block) + bisect_left(self.block.messages, rest)

    def ordinal(self) -> int:
        """The feed's message that it waits for."""
        assert self.block is not None
        cycle, at = divmod(self.done, len(self.block))
        return cycle * self._feed_length + int(self.block.messages[at])

    def say(self, data: bytes) -> None:
        """Send this between two messages."""
        self._control.append(data)

    def repace(self) -> None:
        """Times written ahead are no longer true."""
        self._patched = self.done + (1 if self._into else 0)

    def push(self, target: int, table: Timetable, offset_ns: int) -> None:
        """Send what is due, as far as it is taken."""
        self.blocked = False
        self._speak()
        block = self.block
        if block is None or not len(block) or self.ended:
            return
        length, offsets = len(block), block.offsets
        while (self.done < target or self._into) and not self.blocked:
            if self._patched <= self.done:
                self._patch(table, offset_ns)
            cycle, at = divmod(self.done, length)
            end = min(max(target, self.done + 1), self._patched, (cycle + 1) * length) - cycle * length
            if self._control and self._into:
                end = at + 1
            low = offsets[at] + self._into
            high = min(offsets[end], low + _SLICE)
            try:
                sent = self.sock.send(block.view[low:high])
            except BlockingIOError:
                sent, self.blocked = 0, True
            except OSError:
                self.ended = True
                return
            self.bytes += sent
            at = bisect_right(offsets, low + sent) - 1
            self.done, self._into = cycle * length + at, low + sent - offsets[at]
            if not self._into:
                self._speak()
        if self._patched < target + _PATCH and self._patched < self.done + length - _PATCH:
            self._patch(table, offset_ns)

    def _patch(self, table: Timetable, offset_ns: int) -> None:
        block = self.block
        assert block is not None
        length = len(block)
        cycle, low = divmod(self._patched, length)
        high = min(low + _PATCH, length)
        ordinals = block.messages[low:high] + cycle * self._feed_length
        due = table.now.times_ns(ordinals, time.monotonic_ns())
        block.patch(cycle, low, high, (due + offset_ns) // 1_000_000)
        self._patched += high - low

    def _speak(self) -> None:
        while self._control and not self._into and not self.ended:
            try:
                sent = self.sock.send(self._control[0])
            except BlockingIOError:
                return
            except OSError:
                self.ended = True
                return
            self._control[0] = self._control[0][sent:]
            if self._control[0]:
                return
            self._control.popleft()


class Acknowledged:
    """How many XADD calls a Redis has answered since this began."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._next = 0.0
        self._seen = self._first = 0
        self._first = self._ask()

    def count(self) -> int:
        """As of two milliseconds ago at most."""
        if time.monotonic() > self._next:
            self._seen = self._ask()
            self._next = time.monotonic() + _ASK_S
        return self._seen - self._first

    def _ask(self) -> int:
        self._sock.sendall(b"INFO commandstats\r\n")
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self._sock.recv(65_536)
        found = re.search(rb"cmdstat_xadd:calls=(\d+)", data)
        return int(found[1]) if found else 0


class Sender:
    """The loop and all connections."""

    def __init__(self, feed: Feed, listener: socket.socket) -> None:
        self._feed, self._listener = feed, listener
        self._answers = Answers(feed)
        self._peers: dict[int, Peer] = {}
        self._poll = select.epoll()
        self._poll.register(listener.fileno(), select.EPOLLIN)
        self._table = Timetable(time.monotonic_ns())
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._running, self._pinged = True, time.monotonic()
        self._late_ns = 0
        self._acknowledged: Acknowledged | None = None
        self._done_before = 0

    def run(self) -> None:
        """Until it is told to stop."""
        look = 0
        while self._running:
            now = time.monotonic_ns()
            stretch = self._table.now
            peers = [peer for peer in self._peers.values() if peer.block is not None]
            if stretch.rate < 0:
                room = self._room(peers)
                for peer in peers:
                    peer.push(peer.done + min(2 * _PATCH, room // len(peers)), self._table, self._offset_ns)
                if room < len(peers):
                    time.sleep(TICK_NS / 1e9)
                else:
                    self._wait_for_room([peer for peer in peers if not peer.ended])
                self._serve(0)
                continue
            due = stretch.due(now)
            for peer in peers:
                peer.push(peer.target(due), self._table, self._offset_ns)
            if stretch.rate == 0:
                self._serve(0.02)
                continue
            look += 1
            if look % 5 == 0:
                self._serve(0)
            spent = time.monotonic_ns() - stretch.start_ns
            self._late_ns = max(self._late_ns, time.monotonic_ns() - now)
            time.sleep((TICK_NS - spent % TICK_NS) / 1e9)

    def _room(self, peers: list[Peer]) -> int:
        """How many messages may be sent now, where only what is acknowledged makes room."""
        if self._acknowledged is None:
            return 1 << 30
        return AHEAD - (sum(peer.done for peer in peers) - self._done_before - self._acknowledged.count())

    def _wait_for_room(self, peers: list[Peer]) -> None:
        if all(peer.blocked for peer in peers):
            select.select([self._listener], [peer.sock for peer in peers], [], 0.005)

    def _serve(self, timeout_s: float) -> None:
        for number, _ in self._poll.poll(timeout_s):
            if number == self._listener.fileno():
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._peers[sock.fileno()] = Peer(sock)
                self._poll.register(sock.fileno(), select.EPOLLIN)
            elif peer := self._peers.get(number):
                self._read(peer)
        if time.monotonic() - self._pinged > _PING_S:
            self._pinged = time.monotonic()
            for peer in self._peers.values():
                if peer.block is not None:
                    peer.say(wire.frame(wire.PING, b"still here"))
        for number, peer in list(self._peers.items()):
            if peer.ended:
                self._poll.unregister(number)
                peer.sock.close()
                del self._peers[number]

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            peer.ended = True
        peer.inbox += data
        if peer.block is None:
            while request := wire.take_request(peer.inbox):
                self._request(peer, request)
        else:
            while message := wire.take_frame(peer.inbox):
                self._message(peer, *message)

    def _position(self) -> int:
        """How many messages of the feed are sent, or due."""
        if self._table.now.rate >= 0:
            return self._table.now.due(time.monotonic_ns())
        return max((peer.ordinal() for peer in self._peers.values() if peer.block), default=self._table.now.ordinal)

    def _request(self, peer: Peer, request: wire.Request) -> None:
        if "sec-websocket-key" in request.headers:
            peer.say(wire.switching(request))
            peer.subscribe(self._feed, streams_in(request.path, request.query), self._position())
        elif request.path.startswith("/bench/"):
            peer.say(wire.response(self._told(request)))
        else:
            # A book is asked for as it was sent to all: what is due but still waits here is not yet in it.
            sent = min((each.ordinal() for each in self._peers.values() if each.block), default=self._position())
            body = self._answers.of(request.path, request.query, min(sent, self._position()))
            peer.say(wire.response({"code": -1, "msg": "none such"}, status="404 Not Found") if body is None
                     else wire.response(body))  # fmt: skip
        peer.push(0, self._table, self._offset_ns)

    def _message(self, peer: Peer, opcode: int, body: bytes) -> None:
        if opcode == wire.PING:
            peer.say(wire.frame(wire.PONG, body))
        elif opcode == wire.CLOSE:
            peer.say(wire.frame(wire.CLOSE, body[:2]))
            peer.push(peer.done, self._table, self._offset_ns)
            peer.ended = True
        elif opcode == wire.TEXT:
            asked = json.loads(body)
            names = asked.get("params") or []
            if asked["method"] in ("SUBSCRIBE", "UNSUBSCRIBE"):
                kept = [each for each in peer.streams if each not in names]
                wanted = kept + (names if asked["method"] == "SUBSCRIBE" else [])
                peer.push(peer.done, self._table, self._offset_ns)
                peer.subscribe(self._feed, wanted, self._position())
            peer.say(wire.frame(wire.TEXT, json.dumps({"result": None, "id": asked["id"]}).encode()))

    def _told(self, request: wire.Request) -> dict[str, object]:
        now = time.monotonic_ns()
        if request.path == "/bench/rate":
            self._table.change(float(request.query["rate"]), self._position(), now)
            self._late_ns = 0
            self._acknowledged = Acknowledged(int(request.query["redis"])) if "redis" in request.query else None
            self._done_before = sum(peer.done for peer in self._peers.values() if peer.block is not None)
            for peer in self._peers.values():
                peer.repace()
        elif request.path == "/bench/stop":
            self._running = False
        peers = [peer for peer in self._peers.values() if peer.block is not None]
        position = self._position()
        return {
            "now_ns": now,
            "offset_ns": self._offset_ns,
            "position": position,
            "behind": sum(max(0, peer.target(position) - peer.done) for peer in peers)
            if self._table.now.rate >= 0
            else 0,
            "stretches": [[each.ordinal, each.start_ns, each.rate] for each in self._table.stretches],
            "peers": [[len(peer.streams), peer.done, peer.bytes] for peer in peers],
            "snapshots": self._answers.snapshots,
            "requests": self._answers.others,
            "longest_turn_ms": self._late_ns / 1e6,
        }


def main() -> None:
    """Serve until `/bench/stop`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=100)
    parser.add_argument("--messages", type=int, default=60_000, help="a cycle")
    parser.add_argument("--mix", default="0.4,0.6,0", help="shares of depth, trades, book tickers")
    parser.add_argument("--levels", type=float, default=47.0, help="mean of a diff")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    depth, trades, tickers = (float(each) for each in asked.mix.split(","))
    feed = Feed(Shape(asked.symbols, asked.messages, (depth, trades, tickers), asked.levels))
    assert feed.frames
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1000, 0, 0, 0)
    listener = socket.create_server(("127.0.0.1", asked.port), backlog=256)
    listener.setblocking(False)
    print(json.dumps({"port": listener.getsockname()[1], "streams": len(feed.streams)}), flush=True)
    Sender(feed, listener).run()


if __name__ == "__main__":
    main()
