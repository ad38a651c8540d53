"""The WebSocket side on the wire: handshakes, and what clients say, brought to the hub."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from gapless.domain.instrument import Market
from replica.live.hub import Hub
from replica.live.subscriptions import parse_place

_LARGEST_REQUEST = 1 << 20
_CLOSE_WITHIN_S = 1.0


async def serve_stream(request: web.Request, market: Market, hub: Hub) -> web.StreamResponse | None:
    """Serves a handshake and the connection after it; None when the path is none of the streams'."""
    place = parse_place(market, request.rel_url.raw_path, request.rel_url.raw_query_string)
    if place is None:
        return None
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.Response(status=400, text="a WebSocket is served here")
    if "timeUnit" in request.query:
        return web.Response(status=501, text="the replica's streams know milliseconds alone")
    address = request.remote or ""
    refuse, life_s = hub.admit(market, address, place)
    if refuse is not None:
        headers = {} if refuse.retry_after is None else {"Retry-After": str(refuse.retry_after)}
        return web.Response(status=refuse.status, headers=headers)
    if len(place.streams) > hub.rules[market].streams:
        return web.Response(status=400, text="too many streams")
    if "permessage-deflate" in request.headers.get("Sec-WebSocket-Extensions", ""):
        hub.counts[market].asked_compression += 1
    socket = web.WebSocketResponse(
        autoping=False, compress=False, max_msg_size=_LARGEST_REQUEST, timeout=_CLOSE_WITHIN_S
    )
    await socket.prepare(request)
    transport = request.transport
    if transport is None:
        return socket
    connection = hub.welcome(market, address, place, socket, transport, life_s)
    try:
        while True:
            heard = await socket.receive()
            if heard.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                hub.heard(connection, heard.data)
            elif heard.type is WSMsgType.PING:
                if hub.counted(connection):
                    connection.pong(bytes(heard.data))
            elif heard.type is WSMsgType.PONG:
                if hub.counted(connection):
                    connection.ponged(bytes(heard.data))
            else:
                break
    finally:
        hub.gone(connection)
    if connection.closing is not None:
        await asyncio.wait([connection.closing])  # or the server would end TCP before the close frame is answered
    return socket


def listening_port(request: web.Request) -> int:
    """The port by which a request came in."""
    transport = request.transport
    name = None if transport is None else transport.get_extra_info("sockname")
    return int(name[1]) if name else 0
