"""A live side whose every message the test says itself, and a client's view of a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import websockets

from gapless.domain.instrument import Market
from replica.live.messages import LiveMessage
from tests.fixtures.live import START, LiveReplica, live_in_loop

KINDS = {"aggTrade": "trades", "depth": "depth", "bookTicker": "book_ticker", "kline_1m": "klines"}
WAIT_S = 20


class Feed:
    """Streams of any name but `nosuch...`; `say` is what happens."""

    def __init__(self) -> None:
        self.watched: list[tuple[Market, str]] = []
        self._said: list[LiveMessage] = []

    def say(self, stream: str, *numbers: int, market: Market = Market.SPOT, **fields: Any) -> None:
        """Messages with these ids; each tells its event time as 1000 times its id."""
        symbol, _, rest = stream.partition("@")
        for number in numbers:
            data = {"e": "aggTrade", "E": number * 1000, "a": number, **fields}
            kind = KINDS.get(rest.partition("@")[0], "")
            text = json.dumps(data, separators=(",", ":")).encode()
            said = LiveMessage(market, stream, text, number * 1000, symbol.upper(), kind, number, number)
            self._said.append(said)

    def knows(self, market: Market, stream: str) -> bool:
        return not stream.startswith("nosuch")

    def watch(self, market: Market, stream: str) -> None:
        self.watched.append((market, stream))

    def unwatch(self, market: Market, stream: str) -> None:
        self.watched.remove((market, stream))

    def advance(self, now_ms: int) -> list[LiveMessage]:
        said, self._said = self._said, []
        return said

    def activity(
        self, changes: Mapping[str, Any], *, market: Market | None = None, symbols: Iterable[str] | None = None
    ) -> None:
        raise NotImplementedError

    def truth(self, market: Market, raw_symbol: str, update_id: int | None = None) -> dict[str, Any]:
        return {"market": market, "symbol": raw_symbol, "update_id": update_id}

    def trades_between(self, market: Market, raw_symbol: str, first: int, last: int) -> list[dict[str, Any]]:
        return [{"a": number} for number in range(first, last + 1)]


class Client:
    """A connection as its client sees it. `saw` needs no waiting: what was sent before an answer comes before it."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket
        self._asked = 0

    async def next(self) -> Any:
        """The next message, decoded."""
        async with asyncio.timeout(WAIT_S):
            return json.loads(await self.socket.recv())

    async def ask(self, method: str, *params: Any) -> Any:
        """A request's answer; messages before it are not expected."""
        self._asked += 1
        await self.socket.send(json.dumps({"method": method, "params": params, "id": self._asked}))
        answer = await self.next()
        assert answer["id"] == self._asked
        return answer

    async def saw(self) -> list[Any]:
        """All messages up to now."""
        self._asked += 1
        await self.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": self._asked}))
        seen = []
        while True:
            message = await self.next()
            if message.get("id") == self._asked:
                return seen
            seen.append(message)

    async def ids(self) -> list[int]:
        """The ids of all messages up to now."""
        return [message.get("data", message)["a"] for message in await self.saw()]

    async def end(self) -> tuple[int | None, list[Any]]:
        """Waits for the end: the close code (None without a close frame), and what came before."""
        seen = []
        try:
            while True:
                seen.append(await self.next())
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else None, seen


@asynccontextmanager
async def connected(base: str, path: str, **options: Any) -> AsyncIterator[Client]:
    """A client on a path such as `/ws/btcusdt@aggTrade`."""
    async with websockets.connect(base + path, compression=None, ping_interval=None, **options) as socket:
        yield Client(socket)


@asynccontextmanager
async def feeding(*options: str) -> AsyncIterator[tuple[LiveReplica, Feed]]:
    """A replica whose streams say what the test says, with clients that may say as much as they like."""
    feed = Feed()
    async with live_in_loop("--speed", "0", "--start", START, *options, live=feed) as live:
        live.limits(spot={"messages_per_s": 1000}, um={"messages_per_s": 1000})
        yield live, feed
