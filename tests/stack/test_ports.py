"""Ports are chosen once, kept, and given up only when somebody else has taken them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gapless.stack.ports import LOOPBACK, choose, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield int(server.getsockname()[1])


def test_a_port_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_every_name_gets_a_port_of_its_own_outside_the_range_of_outgoing_connections() -> None:
    ports, lines = choose(["mariadb", "redis", "replica"], {}, seed=12345)
    assert len(set(ports.values())) == 3
    assert all(1024 < port < 32768 for port in ports.values())
    assert lines == []


def test_kept_ports_stay_while_they_are_free() -> None:
    first, _ = choose(["mariadb", "redis"], {}, seed=99)
    again, lines = choose(["mariadb", "redis"], first, seed=4)
    assert again == first
    assert lines == []


def test_a_port_taken_meanwhile_is_chosen_anew_and_said(taken: int) -> None:
    ports, lines = choose(["redis"], {"redis": taken})
    assert ports["redis"] != taken
    assert is_free(ports["redis"])
    assert lines == [f"port {taken} of redis was taken by another program: redis moves to {ports['redis']}"]


def test_a_port_our_own_service_holds_is_kept(taken: int) -> None:
    ports, lines = choose(["redis"], {"redis": taken}, held={"redis"})
    assert ports == {"redis": taken}
    assert lines == []


def test_a_new_name_never_gets_the_kept_port_of_another() -> None:
    kept, _ = choose(["mariadb"], {}, seed=7)
    ports, _ = choose(["redis", "mariadb"], kept, seed=7)
    assert ports["mariadb"] == kept["mariadb"] != ports["redis"]
