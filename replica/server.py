"""The network edge: the exchange behind aiohttp on loopback, its ready line, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from aiohttp import web

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.control import add_control, add_live_control, refuse_wrong_use
from replica.exchange import Call, Exchange
from replica.live.control import LiveControl
from replica.live.edge import listening_port, serve_stream
from replica.live.fault_schema import LiveScript
from replica.live.hub import Hub
from replica.live.messages import Live
from replica.live.rules import EXCHANGE_RULES, LiveRules
from replica.live.silent import Silent
from replica.network import Network
from replica.sending import send
from replica.vision.archive import Archive
from replica.vision.routes import add_archive

HOST = "127.0.0.1"
_PARENT_POLL_S = 0.5
_UM_ROUTES = ("/public/", "/market/", "/private/")
_LONGEST_URL = 1 << 17  # a thousand streams, percent-encoded


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


@dataclass(frozen=True, slots=True)
class LiveStart:
    """How the live side begins: its fault script, and the exchange's rules for connections."""

    script: LiveScript = field(default_factory=LiveScript)
    rules: Mapping[Market, LiveRules] = field(default_factory=lambda: EXCHANGE_RULES)


@dataclass(frozen=True, slots=True)
class Served:
    """What answers: its URLs, and what a test in the same loop may look at and change."""

    ready: ReadyLine
    network: Network
    hub: Hub
    pump: asyncio.Task[None]


def make_app(exchange: Exchange, network: Network, hub: Hub, um_ports: Collection[int]) -> web.Application:
    """The application: control endpoints, streams, and everything else to the exchange.

    Args:
        um_ports: where `/ws` and `/stream` are USD-M's; elsewhere they are spot's. `/public` and `/market` say it.
    """
    archive = Archive(exchange)
    app = web.Application(middlewares=[network.middleware(), refuse_wrong_use])
    add_control(app, exchange, archive, network)
    add_live_control(app, LiveControl(hub))
    add_archive(app, archive)

    async def serve(request: web.Request) -> web.StreamResponse:
        is_um = listening_port(request) in um_ports or request.path.startswith(_UM_ROUTES)
        stream = await serve_stream(request, Market.UM if is_um else Market.SPOT, hub)
        if stream is not None:
            return stream
        call = Call(request.path, request.query, request.remote or "", request.headers.get("X-MBX-TIME-UNIT"))
        return await send(request, exchange.answer(call))

    app.router.add_get("/{path:.*}", serve)
    return app


@asynccontextmanager
async def serving(
    exchange: Exchange, port: int = 0, um_ws_port: int = 0, *, start: LiveStart | None = None, live: Live | None = None
) -> AsyncIterator[Served]:
    """Serves on loopback while the block runs; port 0 takes a free one. USD-M's streams have a port of their own, since
    `/ws` is a path of both markets.

    Args:
        start: how the live side begins; as the exchange does when absent.
        live: another live side than the exchange's own.

    Raises:
        ConfigError: a port is taken or not allowed.
    """
    network, um_ports = Network(), set[int]()
    start = start or LiveStart()
    hub = Hub(exchange.clock, live or exchange.live or Silent(), start.script, start.rules)
    app = make_app(exchange, network, hub, um_ports)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2, max_line_size=_LONGEST_URL)
    await runner.setup()
    pump = asyncio.create_task(hub.run())
    try:
        for wanted in (port, um_ws_port):
            site = web.TCPSite(runner, HOST, wanted, backlog=1024)
            try:
                await site.start()
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise ConfigError(f"cannot listen on {HOST}:{wanted}: {reason}; choose another --port") from None
        main, um = (f"{HOST}:{address[1]}" for address in runner.addresses)
        um_ports.add(runner.addresses[1][1])
        base = f"http://{main}"
        ready = ReadyLine(
            base, base, f"replica:{exchange.source.mark}", f"{base}/replica", f"{base}/vision", f"ws://{main}", f"ws://{um}",
            f"{base}/vision-list",
        )  # fmt: skip
        yield Served(ready, network, hub, pump)
    finally:
        pump.cancel()
        await runner.cleanup()
        with suppress(asyncio.CancelledError):
            await pump  # what broke it, if something did, is told here


async def serve_until_told(
    exchange: Exchange, port: int, um_ws_port: int = 0, *, start: LiveStart | None = None, die_with_parent: bool
) -> None:
    """Serves, prints the ready line on standard output, and ends on SIGTERM, SIGINT or (if asked) with the parent; and
    when the pump of the streams breaks, with what broke it."""
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    parent = os.getppid()
    async with serving(exchange, port, um_ws_port, start=start) as served:
        served.pump.add_done_callback(lambda _: told.set())
        sys.stdout.write(served.ready.json() + "\n")
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
