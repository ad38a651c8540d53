"""Out of reach is told from within reach, and the reason is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from gapless.config import Settings
from gapless.errors import ExchangeError
from gapless.stack.ports import choose
from gapless.stack.probe import out_of_reach, ping


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "said"), [(451, "refuses this region"), (403, "firewall"), (500, "HTTP 500"), (200, None), (429, None)]
)
def test_the_answer_decides(status: int, said: str | None) -> None:
    with answering(status) as url:
        reason = ping(f"{url}/api/v3/ping", 5)
    assert reason is None if said is None else said in (reason or "")


def test_no_listener_is_out_of_reach() -> None:
    ports, _ = choose(["nobody"], {}, seed=4711)
    assert "no connection" in (ping(f"http://127.0.0.1:{ports['nobody']}/api/v3/ping", 5) or "")


def test_one_refused_market_is_enough_and_is_named() -> None:
    def probe(url: str, timeout_s: float) -> str | None:
        return "it refuses this region (HTTP 451)" if "fapi" in url else None

    assert out_of_reach(Settings(), probe=probe) == "fapi.binance.com: it refuses this region (HTTP 451)"
    assert out_of_reach(Settings(), probe=lambda url, timeout_s: None) is None


def test_a_url_the_user_set_is_an_error_not_a_demonstration() -> None:
    user = Settings(binance_um_rest_url="http://127.0.0.1:9")
    with pytest.raises(ExchangeError, match=r"GAPLESS_BINANCE_UM_REST_URL is http://127.0.0.1:9"):
        out_of_reach(user, probe=lambda url, timeout_s: "no connection" if "127.0.0.1" in url else None)
