"""The network edge: the exchange behind aiohttp on loopback, its ready line, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from gapless.errors import ConfigError
from replica.answer import Answer
from replica.control import add_control, refuse_wrong_use
from replica.exchange import Call, Exchange

HOST = "127.0.0.1"
_PARENT_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class ReadyLine:
    """What the replica says when it answers: the bases of what is served. Parts not served are None."""

    spot_rest: str
    um_rest: str
    origin: str
    control: str
    vision: str | None = None
    spot_ws: str | None = None
    um_ws: str | None = None

    def json(self) -> str:
        """One line of JSON."""
        places = {name: getattr(self, name) for name in ("spot_rest", "um_rest", "vision", "spot_ws", "um_ws")}
        return json.dumps({**places, "origin": self.origin, "control": self.control}, ensure_ascii=False)


def make_app(exchange: Exchange) -> web.Application:
    """The application: control endpoints, and everything else to the exchange."""
    app = web.Application(middlewares=[refuse_wrong_use])
    add_control(app, exchange)

    async def serve(request: web.Request) -> web.StreamResponse:
        call = Call(request.path, request.query, request.remote or "", request.headers.get("X-MBX-TIME-UNIT"))
        return await send(request, exchange.answer(call))

    app.router.add_get("/{path:.*}", serve)
    return app


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Sends an answer, or does to the connection what a fault wants."""
    headers = {**answer.headers, "Content-Type": answer.content_type}
    if answer.delay_ms:
        await asyncio.sleep(answer.delay_ms / 1000)
    if answer.hang_s is not None:
        await asyncio.sleep(answer.hang_s)
        return _reset(request, web.StreamResponse())
    if answer.reset_after is None:
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if answer.reset_after:
        response.content_length = len(answer.body)
        await response.prepare(request)
        await response.write(answer.body[: answer.reset_after])
    return _reset(request, response)


def _reset(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Drops the connection with a TCP reset, as a broken middle box does; the response is never finished."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return response


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
        yield ReadyLine(base, base, f"replica:{exchange.source.mark}", f"{base}/replica")
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
