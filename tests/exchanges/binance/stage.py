"""A scripted exchange on loopback in made-up time, for answers that a test wants in an exact order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from gapless.domain.instrument import Market
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.pacing import Pacer, Store
from tests.exchanges.pacing.world import World

Answer = Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]
HOUR = 3_600_000


def page(status: int = 200, body: str = "[]", kind: str = "application/json", **headers: str) -> Answer:
    """An answer with a body and headers (`retry_after` is written `Retry-After`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: web.Response(status=status, text=body, content_type=kind, headers=named)


def error(status: int, code: int, message: str = "no", **headers: str) -> Answer:
    return page(status, json.dumps({"code": code, "msg": message}), **headers)


def reset(request: web.Request) -> web.StreamResponse:
    """The connection is cut before an answer."""
    assert request.transport
    request.transport.abort()
    return web.Response()


def bars(request: web.Request) -> web.StreamResponse:
    """One bar for each hour asked for, numbers as text."""
    query = request.query
    opens = range(int(query["startTime"]), int(query["endTime"]) + 1, HOUR)
    rows = [[t, "1.1", "1.2", "1.0", "1.10", "5", t + HOUR - 1, "5.5", 3, "1", "1.1", "0"] for t in opens]
    return web.Response(text=json.dumps(rows[: int(query["limit"])]), content_type="application/json")


@dataclass
class Stage:
    """The scripted exchange and the client in front of it.

    Attributes:
        script: answers to klines requests, first to last; afterwards `usual`.
        asked: queries of all klines requests.
        used: the used-weight header of every answer, when set.
    """

    world: World
    script: list[Answer] = field(default_factory=list)
    usual: Answer = bars
    asked: list[dict[str, str]] = field(default_factory=list)
    times: int = 0
    used: int | None = None
    time_script: list[Answer] = field(default_factory=list)
    info: str = '{"serverTime": 1, "rateLimits": [], "symbols": []}'
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/time"):
            self.times += 1
            if self.time_script:
                return await _played(self.time_script.pop(0), request)
            return web.json_response({"serverTime": self.world.now_ms()})
        if request.path.endswith("/exchangeInfo"):
            return web.Response(text=self.info, content_type="application/json")
        self.asked.append(dict(request.query))
        answer = self.script.pop(0) if self.script else self.usual
        response = await _played(answer, request)
        if self.used is not None:
            response.headers["X-MBX-USED-WEIGHT-1M"] = str(self.used)
        return response

    def client(self, store: Store, market: Market = Market.UM, *, limit: int = 2400, **options: Any) -> BinanceRest:
        wait_s = options.pop("max_wait_s", 900.0)
        pacer: Pacer = self.world.pacer(store, limit=limit, max_wait_s=wait_s)
        timing = {"monotonic": self.world.monotonic, "wall": self.world.wall, "sleep": self.world.sleep}
        return BinanceRest(market, self.url, pacer, jitter=lambda: 1.0, **timing, **options)


@asynccontextmanager
async def staged(world: World) -> AsyncIterator[Stage]:
    """A stage that is being played."""
    stage = Stage(world)
    app = web.Application()
    app.router.add_get("/{path:.*}", stage.answer)
    async with TestServer(app) as server:
        stage.url = str(server.make_url("/")).rstrip("/")
        yield stage


async def _played(answer: Answer, request: web.Request) -> web.StreamResponse:
    response = answer(request)
    return response if isinstance(response, web.StreamResponse) else await response
