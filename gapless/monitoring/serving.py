"""Metrics over HTTP, loopback by default: `/metrics` for Prometheus, `/healthz` for who keeps the process alive."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from gapless.errors import ConfigError
from gapless.monitoring.exposition import CONTENT_TYPE

log = logging.getLogger(__name__)

LOOPBACK: Final = "127.0.0.1"
_CLIENT_PATIENCE_S = 10.0
_PLAIN = "text/plain; charset=utf-8"


class MetricsServer(ThreadingHTTPServer):
    """Answers until `shutdown`. `scrape` may be called by several threads at once.

    Args:
        host: the address to listen on. Nobody is asked for a login, so beyond loopback only in a network of one's own.

    Raises:
        ConfigError: the port is taken, or the address is not this machine's.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, scrape: Callable[[], bytes], port: int, host: str = LOOPBACK) -> None:
        self.scrape = scrape
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise ConfigError(
                f"--port {port}: cannot listen on {host}:{port}: {error.strerror}; name another, or 0 for any"
            ) from None

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version = "gapless"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = _CLIENT_PATIENCE_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            try:
                body = self.server.scrape()
            except Exception:
                log.exception("the metrics could not be collected")
                self._answer(
                    HTTPStatus.INTERNAL_SERVER_ERROR, _PLAIN, b"the metrics could not be collected: see the log\n"
                )
                return
            self._answer(HTTPStatus.OK, CONTENT_TYPE, body)
        elif path == "/healthz":
            self._answer(HTTPStatus.OK, _PLAIN, b"ok\n")
        else:
            self._answer(HTTPStatus.NOT_FOUND, _PLAIN, b"here are /metrics and /healthz\n")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)
