"""What each service of a native start is: its command, what its environment holds, how long its end may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from gapless.config import Settings, project_root
from gapless.stack.keys import load_keys
from gapless.stack.layout import Layout, Mode
from gapless.stack.servers import PORT_NAMES, Servers, port_names
from gapless.stack.service import Service
from gapless.stack.values import needs
from streamer.operations.settings_file import StreamerSettings

PORTS = {name: 21_000 + number for number, name in enumerate(PORT_NAMES)}


def services(folder: Path, mode: Mode) -> dict[str, Service]:
    layout = Layout.of(project_root(), folder / "var")
    layout.make()
    keys = load_keys(layout.keys_file)
    built = Servers(layout, mode, needs(Settings(), mode), PORTS, keys, {"PATH": "/usr/bin"}, None)
    return {service.name: service for service in built.services}


def test_the_sidecar_of_a_demonstration_streams_the_replica_that_runs_beside_it(tmp_path: Path) -> None:
    found = services(tmp_path, "demo")
    streamer, replica = found["streamer"], found["replica"]
    assert streamer.command[1:] == ("stream", "--port", str(PORTS["streamer"]))
    assert streamer.url == f"http://127.0.0.1:{PORTS['streamer']}"
    places = dict(zip(replica.command[4::2], replica.command[5::2], strict=True))
    for market, option in (("SPOT", "--port"), ("UM", "--um-ws-port")):
        assert streamer.environment[f"GAPLESS_BINANCE_{market}_WS_URL"] == f"ws://127.0.0.1:{places[option]}"
    assert streamer.environment["GAPLESS_REDIS_URL"] == found["archive-streams"].environment["GAPLESS_REDIS_URL"]
    assert not any(name.startswith("GAPLESS_BINANCE") for name in replica.environment)


def test_the_sidecar_of_a_real_installation_goes_to_the_exchange(tmp_path: Path) -> None:
    found = services(tmp_path, "real")
    assert "replica" not in found
    assert not any(name.endswith("_WS_URL") for name in found["streamer"].environment)
    assert "GAPLESS_MYSQL_URL" in found["streamer"].environment


@pytest.mark.parametrize("mode", ["real", "demo"])
def test_the_sidecar_has_longer_to_end_than_it_takes_at_most(tmp_path: Path, mode: Mode) -> None:
    assert services(tmp_path, mode)["streamer"].stop_wait_s > StreamerSettings().operations.stop_s + 10


def test_every_port_is_of_one_service(tmp_path: Path) -> None:
    kept = [port for name in services(tmp_path, "demo") for port in port_names(name)]
    assert set(PORT_NAMES) <= set(kept)
    assert sum(kept.count(name) for name in PORT_NAMES) == len(PORT_NAMES)
