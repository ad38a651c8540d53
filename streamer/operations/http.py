"""Health, readiness and metrics over HTTP, in the event loop that is asked about. One request a connection.

Small on purpose: three pages, a bound for every size and wait, nothing that runs when nobody asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from gapless.errors import ConfigError
from gapless.monitoring.exposition import CONTENT_TYPE, exposition
from gapless.monitoring.live_catalogue import LIVE_CATALOGUE
from streamer.operations.probe import Probe

log = logging.getLogger(__name__)

_PLAIN: Final = "text/plain; charset=utf-8"
_REQUEST_BYTES = 8_192
_PATIENCE_S = 5.0
_MOST_AT_ONCE = 32
_Page = tuple[HTTPStatus, str, bytes]


class HealthServer:
    """`/healthz`, `/readyz`, `/metrics`. An async context manager: listens while entered.

    Attributes:
        url: where it listens, without a path; with the port that was found when 0 was asked for.

    Args:
        host: nobody is asked for a login, so beyond loopback only in a network of one's own.
        port: 0 for any free one.
    """

    def __init__(self, probe: Probe, host: str, port: int) -> None:
        self._probe = probe
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._at_once = 0
        self.url = ""

    async def __aenter__(self) -> HealthServer:
        """Listen.

        Raises:
            ConfigError: the port is taken, or the address is not this machine's.
        """
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=_REQUEST_BYTES)
        except OSError as error:
            raise ConfigError(
                f"--port {self._port}: cannot listen on {self._host}:{self._port}: {error.strerror or error};"
                " name another, or 0 for any"
            ) from None
        address = self._server.sockets[0].getsockname()
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{host}:{address[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._at_once += 1
        try:
            if self._at_once <= _MOST_AT_ONCE:
                async with asyncio.timeout(_PATIENCE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer(head))
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asks and does not wait, or says more than a request, gets nothing
        finally:
            self._at_once -= 1
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
        if method not in (b"GET", b"HEAD"):
            status, kind, body = HTTPStatus.METHOD_NOT_ALLOWED, _PLAIN, b"GET and HEAD\n"
        else:
            status, kind, body = self._page(path)
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body if method != b"HEAD" else b"")

    def _page(self, path: str) -> _Page:
        pages: dict[str, Callable[[], _Page]] = {
            "/metrics": self._metrics,
            "/healthz": lambda: _verdict(*self._probe.healthy()),
            "/readyz": lambda: _verdict(*self._probe.ready()),
        }
        page = pages.get(path)
        if page is None:
            return HTTPStatus.NOT_FOUND, _PLAIN, b"here are /healthz, /readyz and /metrics\n"
        try:
            return page()
        except Exception:
            # A fault of what is asked about must not end the process that is asked.
            log.exception("%s could not be answered", path)
            return HTTPStatus.INTERNAL_SERVER_ERROR, _PLAIN, b"this could not be answered: see the log\n"

    def _metrics(self) -> _Page:
        return HTTPStatus.OK, CONTENT_TYPE, exposition(self._probe.samples(), LIVE_CATALOGUE)


def _verdict(well: bool, said: str) -> _Page:
    return (HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE), _PLAIN, f"{said}\n".encode()
