"""Which processes are ours is proven, and exactly these are ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gapless.stack import processes
from gapless.stack.processes import Process, SessionRecord
from gapless.stack.service import MARKER

ID = f"test-{os.getpid()}"
NOWHERE = Path("/nonexistent")


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    children: list[subprocess.Popen[str]] = []
    yield children
    for child in children:
        child.kill()
        child.wait()


def start(started: list[subprocess.Popen[str]], code: str, *, marked: bool, folder: Path | None = None) -> int:
    """A Python process that prints a line once it is what it is meant to be."""
    environment = {"PATH": "/usr/bin:/bin", **({MARKER: ID} if marked else {})}
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        start_new_session=True,
    )
    started.append(child)
    assert child.stdout is not None
    child.stdout.readline()
    return child.pid


# A shell's background job, as the tests may be, bequeaths an ignored SIGINT: hence the handler.
WAIT = "import signal; signal.signal(2, signal.default_int_handler); print('ready', flush=True); signal.pause()"


def found(*, session: SessionRecord | None = None, folder: Path = NOWHERE) -> set[int]:
    everything = processes.snapshot()
    return {p.pid for p in processes.ours(everything, stack_id=ID, session=session, data_folders=[folder])}


def test_a_process_with_the_mark_is_ours_and_one_without_is_not(started: list[subprocess.Popen[str]]) -> None:
    ours, other = start(started, WAIT, marked=True), start(started, WAIT, marked=False)
    assert ours in found()
    assert other not in found()


def test_a_descendant_that_dropped_mark_and_session_is_ours(started: list[subprocess.Popen[str]]) -> None:
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {WAIT!r}], env={{}}, start_new_session=True, stdout=-1)\n"
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
    )
    environment = {"PATH": "/usr/bin:/bin", MARKER: ID}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    started.append(parent)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert {parent.pid, child} <= found()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_process_that_works_in_the_data_folder_is_ours(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    assert start(started, WAIT, marked=False, folder=tmp_path) in found(folder=tmp_path)


def test_a_member_of_the_recorded_session_is_ours_even_without_its_leader(
    started: list[subprocess.Popen[str]],
) -> None:
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {WAIT!r}], env={{}}, stdout=-1)\n"
        "child.stdout.readline(); print(child.pid, flush=True)\nimport os; os._exit(0)"
    )
    leader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    started.append(leader)
    assert leader.stdout is not None
    orphan = int(leader.stdout.readline())
    leader.wait()
    try:
        assert orphan in found(session=SessionRecord(pid=leader.pid, started=1, boot=processes.boot_id()))
        assert orphan not in found(session=SessionRecord(pid=leader.pid, started=1, boot="an earlier boot"))
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_a_session_whose_number_came_round_again_is_not_ours(started: list[subprocess.Popen[str]]) -> None:
    stranger = start(started, WAIT, marked=False)
    living = processes.read_process(stranger)
    assert living is not None
    earlier = SessionRecord(pid=stranger, started=living.started - 1, boot=processes.boot_id())
    assert stranger not in found(session=earlier)


def test_the_calling_process_is_never_among_ours(started: list[subprocess.Popen[str]]) -> None:
    mine = processes.read_process(os.getpid())
    assert mine is not None
    session = processes.read_process(mine.session)
    record = SessionRecord(pid=mine.session, started=session.started if session else 0, boot=processes.boot_id())
    assert os.getpid() not in found(session=record)


def test_who_listens_on_a_port_is_told_by_the_socket_not_by_the_port(started: list[subprocess.Popen[str]]) -> None:
    stranger = processes.read_process(start(started, WAIT, marked=False))
    mine = processes.read_process(os.getpid())
    assert stranger is not None
    assert mine is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert processes.listens([stranger, mine], port)
        assert not processes.listens([stranger], port)
    assert not processes.listens([mine], port)


def test_one_that_ignores_the_request_is_killed(started: list[subprocess.Popen[str]]) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"
    stubborn = processes.read_process(start(started, code, marked=True))
    assert stubborn is not None
    assert processes.end([stubborn], stores={}, timeout_s=0.2, stores_timeout_s=0.2) == []
    assert started[0].wait(5) == -signal.SIGKILL


def test_databases_end_last_and_with_their_own_signal(started: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    database = processes.read_process(start(started, WAIT, marked=True, folder=tmp_path))
    # This one ends only because its request comes while the database still lives.
    asks = f"import os, signal; signal.signal(15, lambda *_: (os.kill({started[0].pid}, 0), os._exit(7))); {WAIT}"
    client = processes.read_process(start(started, asks, marked=True))
    assert database is not None
    assert client is not None
    stores = {tmp_path: signal.SIGINT}
    assert processes.end([database, client], stores=stores, timeout_s=10, stores_timeout_s=10) == []
    assert started[1].wait(5) == 7
    assert started[0].wait(5) in (1, -signal.SIGINT)


def test_a_signal_never_reaches_a_later_process_with_the_same_id(started: list[subprocess.Popen[str]]) -> None:
    pid = start(started, WAIT, marked=False)
    earlier = Process(pid=pid, started=1, parent=1, session=1)
    earlier.send(signal.SIGKILL)
    assert started[0].poll() is None
    assert processes.end([earlier], stores={}, timeout_s=0.2, stores_timeout_s=0.2) == []
    assert started[0].poll() is None
