"""An answer on the wire, and what a fault does to the connection."""

from __future__ import annotations

import asyncio
import socket
import struct

from aiohttp import web

from replica.answer import Answer

_PIECES_PER_S = 10


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Sends an answer, or does to the connection what a fault wants."""
    headers = {**answer.headers, "Content-Type": answer.content_type}
    if answer.delay_ms:
        await asyncio.sleep(answer.delay_ms / 1000)
    if answer.hang_s is not None:
        await asyncio.sleep(answer.hang_s)
        return reset(request, web.StreamResponse())
    if answer.bytes_per_s is not None:
        return await _slowly(request, answer, headers, answer.bytes_per_s)
    if answer.reset_after is None:
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if answer.reset_after:
        response.content_length = len(answer.body)
        await response.prepare(request)
        await response.write(answer.body[: answer.reset_after])
    return reset(request, response)


async def _slowly(
    request: web.Request, answer: Answer, headers: dict[str, str], bytes_per_s: int
) -> web.StreamResponse:
    """The body in ten pieces a second, up to where it is reset if it is."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    end = len(answer.body) if answer.reset_after is None else answer.reset_after
    step = max(1, bytes_per_s // _PIECES_PER_S)
    if request.method != "HEAD":
        for at in range(0, end, step):
            await response.write(answer.body[at : min(at + step, end)])
            await asyncio.sleep(1 / _PIECES_PER_S if bytes_per_s >= _PIECES_PER_S else 1 / bytes_per_s)
    if answer.reset_after is not None:
        return reset(request, response)
    await response.write_eof()
    return response


def reset(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Drops the connection with a TCP reset, as a broken middle box does; the response is never finished."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return response
