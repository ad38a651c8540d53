"""An HTTP front for the S3 server under test: conditional PUTs as AWS does them, and faults on demand."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal
from urllib.parse import unquote

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

Fault = Literal["cut answer", "unavailable", "short body", "other bytes"]
"""Done but the answer lost; 503; a body cut short; a body with a byte changed."""


_HOP = ("connection", "transfer-encoding", "content-length", "keep-alive")


class Front:
    """Listens on a free loopback port and passes requests on, signatures untouched.

    Attributes:
        requests: method and path of each request, in order.
        fault: asked for each request (method, path, count of requests before it); None lets it pass.
    """

    def __init__(self, port: int, access_key: str, secret_key: str) -> None:
        self.upstream = port
        self.requests: list[tuple[str, str]] = []
        self.fault: Callable[[str, str, int], Fault | None] = lambda method, path, before: None
        self.writing = threading.Lock()
        self._client: Any = boto3.session.Session().client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                front.serve(self)

            do_HEAD = do_PUT = do_DELETE = do_POST = do_GET  # noqa: N815 - the names that http.server calls

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Front:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        fault = self.fault(request.command, request.path, len(self.requests))
        self.requests.append((request.command, request.path))
        if fault == "unavailable":
            self._answer(request, 503, [], b"<Error><Code>SlowDown</Code></Error>")
            return
        with self.writing:
            refused = request.command == "PUT" and self._refused(request)
            if refused:
                status, headers, data = 412, [], b"<Error><Code>PreconditionFailed</Code></Error>"
            else:
                status, headers, data = self._pass_on(request, body)
        if fault == "cut answer":
            request.close_connection = True
            return
        if fault == "other bytes" and data:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        self._answer(request, status, headers, data, cut=len(data) // 2 if fault == "short body" else 0)

    def _refused(self, request: BaseHTTPRequestHandler) -> bool:
        if_match, if_none = request.headers.get("If-Match"), request.headers.get("If-None-Match")
        if if_match is None and if_none is None:
            return False
        bucket, _, key = request.path.lstrip("/").partition("/")
        try:
            etag = self._client.head_object(Bucket=bucket, Key=_key_in(key))["ETag"].strip('"')
        except ClientError:
            etag = None
        return etag is not None if if_none == "*" else etag != (if_match or "").strip('"')

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        upstream.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in ("expect", "connection"):
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
        if request.command == "HEAD":
            headers.append(("Content-Length", answer.getheader("Content-Length") or "0"))
        upstream.close()
        return answer.status, headers, data

    @staticmethod
    def _answer(
        request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], data: bytes, cut: int = 0
    ) -> None:
        request.send_response(status)
        for name, value in headers:
            request.send_header(name, value)
        if request.command != "HEAD":
            request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[: len(data) - cut])
        request.close_connection = bool(cut)


def _key_in(path: str) -> str:
    """The key in a request's path."""
    return unquote(path.partition("?")[0])
