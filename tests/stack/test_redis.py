"""The private Redis: loopback only, its password told to nobody, its data where we said."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from gapless.errors import ConfigError, StorageError
from gapless.stack.redis import PrivateRedis
from tests.fixtures.redis import OwnRedis, free_port

PASSWORD = "s3cret-never-shown"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[OwnRedis]:
    own = OwnRedis(PrivateRedis(tmp_path / "a folder with spaces", free_port(), PASSWORD))
    own.start()
    yield own
    own.kill()


def test_the_password_is_in_one_private_file_and_on_no_command_line(running: OwnRedis) -> None:
    assert running.process
    assert running.server.config_path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in " ".join(running.server.command())
    assert PASSWORD.encode() not in Path(f"/proc/{running.process.pid}/cmdline").read_bytes()
    assert PASSWORD not in repr(running.server)


def test_it_listens_on_loopback_alone(running: OwnRedis) -> None:
    port = f":{running.server.port:04X}"
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[1].endswith(port) and row[3] == "0A"]
    assert listening == [f"0100007F{port}"]


def test_nothing_is_evicted_and_data_outlives_a_restart(running: OwnRedis) -> None:
    assert running.process
    with Redis.from_url(running.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("币安人生", "1")
    running.process.terminate()
    running.process.wait(10)
    running.start()
    with Redis.from_url(running.url, decode_responses=True) as client:
        assert client.get("币安人生") == "1"


def test_a_stranger_on_the_port_is_named(running: OwnRedis, tmp_path: Path) -> None:
    other = PrivateRedis(tmp_path / "other", running.server.port, "another-password")
    with pytest.raises(StorageError, match="another Redis listens on"):
        other.wait_ready(1)


def test_a_server_that_does_not_come_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="did not answer"):
        PrivateRedis(tmp_path, free_port(), PASSWORD).wait_ready(0.1)


@pytest.mark.parametrize("password", ["", "two words", 'quo"te', "line\nrequirepass x"])
def test_a_password_that_would_break_the_file_is_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(ConfigError, match="password"):
        PrivateRedis(tmp_path, 1, password).write_config()


def test_a_second_start_on_a_taken_port_ends_by_itself(running: OwnRedis, tmp_path: Path) -> None:
    second = PrivateRedis(tmp_path / "second", running.server.port, PASSWORD)
    second.write_config()
    done = subprocess.run(second.command(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
