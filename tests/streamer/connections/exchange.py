"""An exchange of the tests' own: streams by URL and by SUBSCRIBE, ids counted per stream, and trouble on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from gapless.domain.instrument import Market
from gapless.domain.live import Kind
from gapless.exchanges.binance.streams.names import Route, StreamSpec
from streamer.connections import LaneView, Take

PATIENCE_S = 10.0


def spec(
    name: str, kind: Kind = Kind.TRADES, market: Market = Market.SPOT, quiet_s: float = float("inf")
) -> StreamSpec:
    route = Route.SPOT if market is Market.SPOT else Route.MARKET
    return StreamSpec(kind, market, name, name.upper(), name, route, "", quiet_s)


@dataclass(eq=False)
class Line:
    """One connection, as the exchange sees it."""

    socket: ServerConnection
    path: str
    names: set[str]
    muted: set[str] = field(default_factory=set)


class Exchange:
    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.opened: list[Line] = []
        self.requests: list[dict[str, object]] = []
        self.sent: dict[str, int] = defaultdict(int)
        self.refuse: list[tuple[int, dict[str, str]]] = []
        self.attempts = 0
        self.decline: str = ""
        self.deaf = False
        self.mute_after_ack: set[str] = set()
        self.url = ""
        self._server: Server | None = None

    def speak(self, *names: str) -> None:
        """The next message of each stream, to all who have it."""
        for name in names:
            self.sent[name] += 1
            text = f'{{"stream":"{name}","data":{{"e":"aggTrade","a":{self.sent[name]}}}}}'
            broadcast([ln.socket for ln in self.lines if name in ln.names and name not in ln.muted], text)

    def say(self, text: str) -> None:
        broadcast([line.socket for line in self.lines], text)

    def cut(self) -> None:
        """Every connection, without a word."""
        for line in self.lines:
            line.socket.transport.abort()

    async def start(self, port: int = 0) -> None:
        self._server = await serve(
            self._serve, "127.0.0.1", port, process_request=self._judge, compression=None, ping_interval=None
        )
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def _judge(self, socket: ServerConnection, request: Request) -> Response | None:
        self.attempts += 1
        if not self.refuse:
            return None
        status, headers = self.refuse.pop(0)
        answer = socket.respond(HTTPStatus(status), "no\n")
        for name, value in headers.items():
            answer.headers[name] = value
        return answer

    async def _serve(self, socket: ServerConnection) -> None:
        path = urlsplit(socket.request.path if socket.request else "")
        named = parse_qs(path.query).get("streams", [""])[0]
        line = Line(socket, path.path, {unquote(name) for name in named.split("/") if name})
        self.lines.append(line)
        self.opened.append(line)
        try:
            async for text in socket:
                asked = json.loads(text)
                self.requests.append(asked)
                if self.deaf:
                    continue
                if self.decline:
                    await socket.send(json.dumps({"error": {"code": 2, "msg": self.decline}, "id": asked["id"]}))
                    continue
                names = set(asked.get("params", ()))
                if asked["method"] == "SUBSCRIBE":
                    line.names |= names
                    line.muted -= names - self.mute_after_ack
                else:
                    line.names -= names
                await socket.send(json.dumps({"result": None, "id": asked["id"]}))
        except ConnectionClosed:
            pass
        finally:
            self.lines.remove(line)


@contextlib.asynccontextmanager
async def exchanging() -> AsyncIterator[Exchange]:
    exchange = Exchange()
    await exchange.start()
    try:
        yield exchange
    finally:
        await exchange.stop()


class Desk:
    """An intake that notes everything: `ids` as they came, and once each in `fresh`."""

    def __init__(self) -> None:
        self.ids: dict[str, list[int]] = defaultdict(list)
        self.fresh: dict[str, list[int]] = defaultdict(list)
        self.opened: list[tuple[int, list[str]]] = []
        self.ended: list[tuple[int, list[str], str, bool]] = []
        self.silent: list[str] = []
        self.unread: list[bytes] = []
        self.takers: list[str] = []
        self.said: list[str] = []
        self.fails: Callable[[int], bool] = lambda number: False
        self._news = asyncio.Event()

    def taker(self, spec: StreamSpec) -> Take:
        name = spec.name
        self.takers.append(name)

        def take(data: bytes, received_ns: int) -> None:
            number = json.loads(data)["a"]
            if self.fails(number):
                raise ZeroDivisionError(f"message {number}")
            self.ids[name].append(number)
            fresh = self.fresh[name]
            if not fresh or number > fresh[-1]:
                fresh.append(number)
            self._news.set()

        return take

    def on_opened(self, lane: LaneView, specs: Sequence[StreamSpec]) -> None:
        self.opened.append((lane.id, [spec.name for spec in specs]))
        self._news.set()

    def on_ended(self, lane: LaneView, specs: Sequence[StreamSpec], why: str, covered: bool) -> None:
        self.ended.append((lane.id, [spec.name for spec in specs], why, covered))
        self._news.set()

    def on_silent(self, spec: StreamSpec, silent_s: float) -> None:
        self.silent.append(spec.name)
        self._news.set()

    def on_unread(self, payload: bytes) -> None:
        self.unread.append(payload)
        self._news.set()

    def say(self, line: str) -> None:
        self.said.append(line)
        self._news.set()

    async def until(self, true: Callable[[], bool], *, meanwhile: Callable[[], None] | None = None) -> None:
        """Waits until something holds; `meanwhile` is done again and again, so that the streams speak."""
        async with asyncio.timeout(PATIENCE_S):
            while not true():
                self._news.clear()
                if meanwhile is not None:
                    meanwhile()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.005):
                        await self._news.wait()
