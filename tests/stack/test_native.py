"""The whole native stack, for real: it starts, carries load, survives kills, tells nobody its secrets and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gapless.config import Settings, load_settings
from gapless.errors import ConfigError
from gapless.stack import processes
from gapless.stack.airflow import COMPONENTS
from gapless.stack.contents import read_contents
from gapless.stack.hourly import ensure_green_run
from gapless.stack.keys import load_keys
from gapless.stack.native import NativeStack
from gapless.stack.state import load_state

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SERVICES = {"mariadb", "postgresql", "redis", "replica", "metrics", "archive-streams", "streamer", *COMPONENTS}


def pids(stack: NativeStack) -> dict[str, int | None]:
    return {service.name: service.pid for service in stack.status().services}


def eventually(true: Callable[[], bool], timeout_s: float = 60) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.1)
    return False


def test_every_part_is_up_and_healthy_and_a_second_up_changes_nothing(running: NativeStack) -> None:
    status = running.status()
    assert {service.name for service in status.services} == SERVICES
    assert {service.state for service in status.services} == {"running"}
    assert status.unhealthy == []
    before = pids(running)
    began = time.monotonic()
    running.up(Settings(), "demo")
    assert pids(running) == before
    assert time.monotonic() - began < 15


def test_the_hourly_dag_turns_green_and_a_second_time_is_there_already(running: NativeStack) -> None:
    ensure_green_run(running.api(), say=print, timeout_s=200)
    assert ensure_green_run(running.api(), say=print, timeout_s=200).reused
    settings = load_settings(native=True, **running.running_values())
    assert settings.mysql_url is not None
    contents = read_contents(settings.mysql_url.get_secret_value(), now_ms=time.time_ns() // 1_000_000)
    assert {(one.market, one.interval) for one in contents.series} >= {("spot", "1m"), ("um", "1m"), ("um", "1h")}
    assert contents.lake_files > 0
    files = list(running.layout.home("demo").joinpath("lake", "ohlcv").rglob("*.parquet"))
    assert len(files) == contents.lake_files
    assert sum(path.stat().st_size for path in files) == contents.lake_bytes
    assert not (running.layout.var / "lake").exists()


def test_two_runs_of_fifty_tasks_at_once_succeed_and_leave_every_part_healthy(running: NativeStack) -> None:
    api = running.api()
    assert eventually(lambda: api.find_dag("load_of_fifty") is not None)
    api.unpause("load_of_fifty")
    runs = [api.trigger("load_of_fifty", note=str(number))["dag_run_id"] for number in range(2)]

    def ended() -> bool:
        return all(api.run("load_of_fifty", run)["state"] in ("success", "failed") for run in runs)

    assert eventually(ended, 240)
    for run in runs:
        tasks = api.tasks("load_of_fifty", run)
        assert len(tasks) == 50
        assert {task["state"] for task in tasks} == {"success"}
    assert running.status().unhealthy == []


def test_everything_listens_on_loopback_alone(running: NativeStack) -> None:
    ours = {process.pid for process in running.leftovers()}
    sockets = {socket for pid in ours for socket in sockets_of(pid)}
    listening = [
        (address, inode)
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for address, state, inode in tcp_table(table)
        if state == "0A" and inode in sockets
    ]
    assert len(listening) >= 5
    assert {address for address, _ in listening} == {"0100007F"}


def tcp_table(path: str) -> list[tuple[str, str, str]]:
    rows = [line.split() for line in Path(path).read_text().splitlines()[1:]]
    return [(row[1].partition(":")[0], row[3], row[9]) for row in rows]


def sockets_of(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):  # it may end while it is looked at
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def test_no_secret_stands_in_a_command_line_a_log_or_a_file_others_may_read(running: NativeStack) -> None:
    keys = load_keys(running.layout.keys_file)
    secrets = [value.encode() for value in (getattr(keys, name) for name in keys.__struct_fields__)]
    for process in processes.snapshot().values():
        command = process.command().encode()
        assert not any(secret in command for secret in secrets), process.pid
    for path in running.layout.var.rglob("*"):
        if not path.is_file() or path.is_relative_to(running.layout.mariadb / "data"):
            continue
        reachable = path.stat().st_mode & 0o044 and path.suffix != ".pyc"
        if reachable or path.is_relative_to(running.layout.logs) or "logs" in path.parts:
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


def test_a_service_that_dies_is_started_again(running: NativeStack) -> None:
    before = pids(running)["redis"]
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: pids(running)["redis"] not in (before, None))
    running.up(Settings(), "demo")
    assert running.status().unhealthy == []


def test_after_a_kill_of_the_supervisor_up_recovers(running: NativeStack) -> None:
    kill_supervisor(running)
    running.up(Settings(), "demo")
    assert {service.state for service in running.status().services} == {"running"}
    assert running.status().unhealthy == []


def test_down_leaves_nothing_also_without_its_supervisor(running: NativeStack) -> None:
    assert running.leftovers()
    kill_supervisor(running)
    running.down()
    assert running.leftovers() == []
    assert marked_processes(running) == []
    assert running.status().services == []
    running.down()


def test_a_port_taken_while_the_stack_was_down_is_given_up_for_another(native: NativeStack) -> None:
    native.down()
    kept = load_state(native.layout.state_file).ports["redis"] if native.layout.state_file.exists() else 0
    with socket.create_server(("127.0.0.1", kept)) as squatter:
        native.up(Settings(), "demo")
        now = load_state(native.layout.state_file).ports["redis"]
        assert now != squatter.getsockname()[1]
    assert native.status().unhealthy == []
    assert f"127.0.0.1:{now}/" in native.running_values()["redis_url"]


def test_without_space_nothing_is_started(native: NativeStack, tmp_path: Path) -> None:
    crowded = NativeStack(native.layout, environment={}, say=print, min_free_mb=10**9)
    with pytest.raises(ConfigError, match="make room"):
        crowded.up(Settings(), "demo")


def kill_supervisor(stack: NativeStack) -> None:
    session = processes.read_process(int((stack.layout.run / "supervisord.pid").read_text()))
    assert session is not None
    session.send(signal.SIGKILL)
    assert eventually(lambda: processes.read_process(session.pid) != session)


def marked_processes(stack: NativeStack) -> list[int]:
    """Every process that names the stack's folder in its command or works below it: not the way `down` looks."""
    folder = str(stack.layout.var)
    found = []
    for process in processes.snapshot().values():
        works_below = False
        with contextlib.suppress(OSError):
            works_below = Path(f"/proc/{process.pid}/cwd").readlink().is_relative_to(folder)
        if (folder in process.command() or works_below) and process.pid != os.getpid():
            found.append(process.pid)
    return found
