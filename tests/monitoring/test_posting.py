"""Handing JSON to a receiver: what is tried again, what is refused, and what never shows."""

from __future__ import annotations

import socket
import threading
from contextlib import closing

import pytest

from gapless.errors import PagerError
from gapless.monitoring.posting import Line, Patience
from tests.fixtures.mysql import free_port
from tests.fixtures.pager import ROUTING_KEY, EventsReceiver

EVENT = b'{"routing_key": "%s", "event_action": "resolve", "dedup_key": "k"}' % ROUTING_KEY.encode()


class Waits:
    """Sleeps that take no time, and a clock that shows them."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def line(url: str, waits: Waits, **patience: float) -> Line:
    return Line(
        "PagerDuty", url, [ROUTING_KEY], Patience(**patience), sleep=waits.sleep, clock=lambda: 0.0, jitter=lambda: 0.5
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_passes_is_tried_again_with_growing_waits(events_receiver: EventsReceiver, status: int) -> None:
    waits = Waits()
    events_receiver.failing = [(status, {})] * 3
    line(events_receiver.url, waits).post(EVENT, what="the page k")
    assert waits.slept == [0.5, 1.0, 2.0]
    assert len(events_receiver.events) == 1


def test_it_gives_up_after_its_tries_and_says_what_was_heard(events_receiver: EventsReceiver) -> None:
    waits = Waits()
    events_receiver.failing = [(503, {})] * 9
    with pytest.raises(PagerError) as caught:
        line(events_receiver.url, waits).post(EVENT, what="the page k")
    assert caught.value.away
    assert len(events_receiver.bodies) == 4
    assert str(caught.value).startswith(f"the page k to PagerDuty (127.0.0.1:{events_receiver.port}): HTTP 503 not now")


def test_the_receiver_may_say_when(events_receiver: EventsReceiver) -> None:
    waits = Waits()
    events_receiver.failing = [(429, {"Retry-After": "7"}), (429, {"Retry-After": "Fri, 20 Nov 2026 10:00:00 GMT"})]
    line(events_receiver.url, waits).post(EVENT, what="the page k")
    assert waits.slept == [7.0, 1.0]


def test_a_wait_beyond_its_patience_is_left_to_the_next_run(events_receiver: EventsReceiver) -> None:
    waits = Waits()
    events_receiver.failing = [(429, {"Retry-After": "3600"})]
    with pytest.raises(PagerError) as caught:
        line(events_receiver.url, waits).post(EVENT, what="the page k")
    assert caught.value.away
    assert waits.slept == []


def test_all_posts_of_a_run_share_one_patience(events_receiver: EventsReceiver) -> None:
    waits = Waits()
    mine = line(events_receiver.url, waits, total_s=2.0)
    events_receiver.failing = [(500, {}), (500, {})]
    mine.post(EVENT, what="the page k")
    events_receiver.failing = [(500, {})]
    with pytest.raises(PagerError, match="the next run goes on"):
        mine.post(EVENT, what="the page k")
    assert sum(waits.slept) <= 2.0


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_repeated_and_shows_no_secret(events_receiver: EventsReceiver, status: int) -> None:
    waits = Waits()
    events_receiver.failing = [(status, {})]
    with pytest.raises(PagerError) as caught:
        line(events_receiver.url, waits).post(EVENT, what="the page k")
    assert not caught.value.away
    assert "asked to fail" in str(caught.value)
    assert ROUTING_KEY not in str(caught.value)
    assert "***" in str(caught.value)
    assert len(events_receiver.bodies) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(events_receiver: EventsReceiver, status: int) -> None:
    events_receiver.failing = [(status, {"Location": events_receiver.url})]
    with pytest.raises(PagerError) as caught:
        line(events_receiver.url, Waits()).post(EVENT, what="the page k")
    assert not caught.value.away
    assert len(events_receiver.bodies) == 1


def test_nobody_there_is_away_and_password_and_key_stay_hidden() -> None:
    waits = Waits()
    with pytest.raises(PagerError) as caught:
        line(f"http://me:s3cr%2Ft@127.0.0.1:{free_port()}/x", waits).post(EVENT, what="the page k")
    assert caught.value.away
    assert "refused" in str(caught.value)
    assert "s3cr" not in str(caught.value)
    assert len(waits.slept) == 3


def test_silence_is_given_up() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        mine = line(f"http://127.0.0.1:{silent.getsockname()[1]}/", Waits(), request_s=0.05, tries=2)
        with pytest.raises(PagerError, match="timed out") as caught:
            mine.post(EVENT, what="the page k")
    assert caught.value.away


def test_an_answer_that_is_no_http_is_away() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def babble() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"220 smtp.example ready\r\n\r\n")

        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        with pytest.raises(PagerError, match="220 smtp") as caught:
            line(f"http://127.0.0.1:{server.getsockname()[1]}/", Waits(), tries=2).post(EVENT, what="the page k")
        thread.join(10)
    assert caught.value.away


def test_user_and_password_of_the_address_become_a_header(events_receiver: EventsReceiver) -> None:
    mine = line(f"http://me:s3cr%2Ft@127.0.0.1:{events_receiver.port}/v2/enqueue", Waits())
    mine.post(EVENT, what="the page k")
    assert mine._headers["Authorization"] == "Basic bWU6czNjci90"
    assert events_receiver.actions() == [("resolve", "k")]


def test_the_proxy_of_the_environment_is_used(events_receiver: EventsReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{events_receiver.port}")
    with pytest.raises(PagerError) as caught:
        line("http://pager.invalid/v2/enqueue", Waits()).post(EVENT, what="the page k")
    # The receiver stands in for the proxy: it was asked for the whole address, which it does not know as its path.
    assert "no such address: http://pager.invalid/v2/enqueue" in str(caught.value)
