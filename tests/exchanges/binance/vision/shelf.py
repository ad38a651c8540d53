"""An archive on loopback, in made-up time, for answers that a test wants in an exact order."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from aiohttp.test_utils import TestServer

from gapless.exchanges.binance.vision.archive import Archive
from gapless.exchanges.binance.vision.objects import ArchiveObject
from tests.exchanges.binance.stage import reset
from tests.exchanges.pacing.world import World

Answer = Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]


def body(data: bytes | str = b"", status: int = 200, **headers: str) -> Answer:
    """An answer of these bytes (`retry_after` is written `Retry-After`)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    raw = data.encode() if isinstance(data, str) else data
    return lambda request: web.Response(status=status, body=raw, headers=named)


def cut(data: bytes, keep: int) -> Answer:
    """The promised length, and the connection closed after `keep` bytes."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        await response.write(data[:keep])
        assert request.transport
        request.transport.close()
        return response

    return answer


def checksum(data: bytes, name: str) -> bytes:
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()


@dataclass
class Shelf:
    """The archive and what was asked of it.

    Attributes:
        files: bodies by path (below `/vision`); anything else is a 404.
        scripts: answers by path, first to last; afterwards the file. The path "*" is for every request.
        asked: paths in the order of requests, probes as "HEAD".
        raw: the same as they came over the wire, percent-encoded.
        away_until_s: every connection is reset until then, by the made-up clock.
        listing: answers `/list` from the query.
    """

    world: World
    files: dict[str, bytes] = field(default_factory=dict)
    scripts: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    away_until_s: float = 0.0
    listing: Callable[[dict[str, str]], bytes] | None = None
    told: list[str] = field(default_factory=list)
    url: str = ""

    def put(self, obj: ArchiveObject, data: bytes, *, told: bytes | None = None) -> None:
        """An object and its CHECKSUM, right unless `told` is its content."""
        self.files[obj.path] = data
        self.files[f"{obj.path}.CHECKSUM"] = checksum(data, obj.name) if told is None else told

    def archive(self, **options: Any) -> Archive:
        timing = {"monotonic": self.world.monotonic, "sleep": self.world.sleep, "jitter": lambda: 1.0}
        defaults: dict[str, Any] = {"base_url": self.url + "/vision", "list_url": self.url + "/list", "timeout_s": 5.0}
        return Archive(**(defaults | timing | {"on_wait": self.told.append} | options))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            self.asked.append("HEAD")
            return reset(request) if self.world.elapsed_s < self.away_until_s else web.Response()
        path = unquote(request.path).removeprefix("/vision/")
        self.asked.append(path)
        self.raw.append(request.raw_path)
        if self.world.elapsed_s < self.away_until_s:
            return reset(request)
        for scripted in (path, "*"):
            if self.scripts.get(scripted):
                response = self.scripts[scripted].pop(0)(request)
                return response if isinstance(response, web.StreamResponse) else await response
        if path == "/list" and self.listing is not None:
            self.queries.append(dict(request.query))
            return web.Response(body=self.listing(dict(request.query)), content_type="application/xml")
        if path not in self.files:
            return web.Response(status=404, body=b"<Error><Code>NoSuchKey</Code></Error>")
        data = self.files[path]
        return web.Response(body=data, headers={"ETag": f'"{hashlib.md5(data).hexdigest()}"'})


@asynccontextmanager
async def opened() -> AsyncIterator[Shelf]:
    """A shelf that is being served."""
    shelf = Shelf(World())
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", shelf.answer)
    async with TestServer(app) as server:
        shelf.url = str(server.make_url("/")).rstrip("/")
        yield shelf
