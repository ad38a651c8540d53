"""The network edge: the exchange behind aiohttp on loopback, its ready line, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from gapless.errors import ConfigError
from replica.control import add_control, refuse_wrong_use
from replica.exchange import Call, Exchange
from replica.network import Network
from replica.sending import send
from replica.vision.archive import Archive
from replica.vision.routes import add_archive

HOST = "127.0.0.1"
_PARENT_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class ReadyLine:
    """What the replica says when it answers: the bases of what is served. Parts not served are None.

    Attributes:
        vision: the archive's base; nothing before `/data/...`.
        vision_list: where its bucket is listed, S3's way.
    """

    spot_rest: str
    um_rest: str
    origin: str
    control: str
    vision: str | None = None
    spot_ws: str | None = None
    um_ws: str | None = None
    vision_list: str | None = None

    def json(self) -> str:
        """One line of JSON."""
        places = {name: getattr(self, name) for name in ("spot_rest", "um_rest", "vision", "spot_ws", "um_ws")}
        own = {"vision_list": self.vision_list, "origin": self.origin, "control": self.control}
        return json.dumps({**places, **own}, ensure_ascii=False)


def make_app(exchange: Exchange) -> web.Application:
    """The application: control endpoints, and everything else to the exchange."""
    network = Network()
    archive = Archive(exchange)
    app = web.Application(middlewares=[network.middleware(), refuse_wrong_use])
    add_control(app, exchange, archive, network)
    add_archive(app, archive)

    async def serve(request: web.Request) -> web.StreamResponse:
        call = Call(request.path, request.query, request.remote or "", request.headers.get("X-MBX-TIME-UNIT"))
        return await send(request, exchange.answer(call))

    app.router.add_get("/{path:.*}", serve)
    return app


@asynccontextmanager
async def serving(exchange: Exchange, port: int = 0) -> AsyncIterator[ReadyLine]:
    """Serves on loopback while the block runs; port 0 takes a free one.

    Raises:
        ConfigError: the port is taken or not allowed.
    """
    runner = web.AppRunner(make_app(exchange), access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port, backlog=1024)
        try:
            await site.start()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise ConfigError(f"cannot listen on {HOST}:{port}: {reason}; choose another --port") from None
        base = f"http://{HOST}:{runner.addresses[0][1]}"
        origin, control = f"replica:{exchange.source.mark}", f"{base}/replica"
        yield ReadyLine(base, base, origin, control, vision=f"{base}/vision", vision_list=f"{base}/vision-list")
    finally:
        await runner.cleanup()


async def serve_until_told(exchange: Exchange, port: int, *, die_with_parent: bool) -> None:
    """Serves, prints the ready line on standard output, and ends on SIGTERM, SIGINT or (if asked) with the parent."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    parent = os.getppid()
    async with serving(exchange, port) as ready:
        sys.stdout.write(ready.json() + "\n")
        sys.stdout.flush()
        if not die_with_parent:
            await told.wait()
            return
        # A pipe or PR_SET_PDEATHSIG would tell at once, but the one needs the parent's help and the other takes the
        # death of the thread that started us for the death of the process.
        while os.getppid() == parent:
            try:
                await asyncio.wait_for(told.wait(), _PARENT_POLL_S)
            except TimeoutError:
                continue
            return
