"""Which processes of this machine are ours, told by proof and never by name, and how they are ended.

A process is ours when it carries the stack's marker in its environment, belongs to the session of our supervisor, works
in a database folder of ours, or descends from such a process. Four rules, because each alone has a hole: a program may
overwrite its environment (PostgreSQL does), leave the session (its backends do), or lose its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gapless.stack.service import MARKER

_PROC = Path("/proc")
_LISTEN = "0A"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Process:
    """A process at one moment. `started` (clock ticks since boot) tells it from a later one with the same id."""

    pid: int
    started: int
    parent: int = field(compare=False)
    session: int = field(compare=False)

    def command(self) -> str:
        """Its command line, or an empty string once it is gone."""
        with contextlib.suppress(OSError):
            return (
                (_PROC / str(self.pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            )
        return ""

    def carries(self, marker: bytes) -> bool:
        """Whether its environment holds `marker` (unreadable for processes of other users: then no)."""
        with contextlib.suppress(OSError):
            return marker in (_PROC / str(self.pid) / "environ").read_bytes().split(b"\0")
        return False

    def works_in(self, folder: Path) -> bool:
        with contextlib.suppress(OSError):
            return (_PROC / str(self.pid) / "cwd").readlink() == folder
        return False

    def send(self, number: signal.Signals) -> None:
        """Signal exactly this process: nothing happens when its id belongs to another one by now."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if read_process(self.pid) == self:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


class SessionRecord(msgspec.Struct, frozen=True):
    """The supervisor's session as it was started: process ids mean nothing without start time and boot."""

    pid: int
    started: int
    boot: str


def boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def read_process(pid: int) -> Process | None:
    """The living process `pid`, or None (zombies are not living)."""
    try:
        # The name stands in parentheses and may itself hold anything, so count from the last one.
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    return Process(pid=pid, parent=int(fields[1]), session=int(fields[3]), started=int(fields[19]))


def snapshot() -> dict[int, Process]:
    """Every living process by its id."""
    found = (read_process(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return {process.pid: process for process in found if process is not None}


def ours(
    everything: Mapping[int, Process], *, stack_id: str, session: SessionRecord | None, data_folders: Collection[Path]
) -> list[Process]:
    """Our processes among `everything`, oldest first; never the calling one or its ancestors."""
    marker = f"{MARKER}={stack_id}".encode()
    mine = {
        process.pid
        for process in everything.values()
        if _in_session(process, everything, session)
        or process.carries(marker)
        or any(process.works_in(folder) for folder in data_folders)
    }
    grew = True
    while grew:
        children = {process.pid for process in everything.values() if process.parent in mine} - mine
        mine |= children
        grew = bool(children)
    mine -= _with_ancestors(os.getpid(), everything)
    return sorted((everything[pid] for pid in mine), key=lambda process: (process.started, process.pid))


def _in_session(process: Process, everything: Mapping[int, Process], session: SessionRecord | None) -> bool:
    if session is None or session.boot != boot_id() or process.session != session.pid:
        return False
    # While the session has members the kernel gives its number to nobody else; a leader with another start time
    # means that ours ended long ago and the number came round again.
    leader = everything.get(session.pid)
    return leader is None or leader.started == session.started


def _with_ancestors(pid: int, everything: Mapping[int, Process]) -> set[int]:
    line: set[int] = set()
    while pid in everything and pid not in line:
        line.add(pid)
        pid = everything[pid].parent
    return line


def listens(processes: Collection[Process], port: int) -> bool:
    """Whether one of these processes listens on a TCP port of the loopback address."""
    rows = (line.split() for line in (_PROC / "net" / "tcp").read_text().splitlines()[1:])
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTEN and row[1] == f"0100007F:{port:04X}"}
    return bool(sockets) and any(not sockets.isdisjoint(_open_files(process)) for process in processes)


def _open_files(process: Process) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in (_PROC / str(process.pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(entry.readlink())


def end(
    processes: Collection[Process], *, stores: Mapping[Path, signal.Signals], timeout_s: float, stores_timeout_s: float
) -> list[Process]:
    """Ask these to end, kill what has not in time, and return what lives even then (nothing, normally).

    Args:
        stores: the data folders of the databases, whose servers work in them, each with its signal for a clean end.
            They come last, because the others write to them as they end, and get more time to save their data.
    """
    left: list[Process] = []
    serving = {
        process: number for process in processes for folder, number in stores.items() if process.works_in(folder)
    }
    others = [process for process in processes if process not in serving]
    left += _end_together(dict.fromkeys(others, signal.SIGTERM), timeout_s)
    left += _end_together(serving, stores_timeout_s)
    return left


def _end_together(requests: Mapping[Process, signal.Signals], timeout_s: float) -> list[Process]:
    # Only the topmost are asked: a server ends its own children, in an order of its own.
    pids = {process.pid for process in requests}
    for process, number in requests.items():
        if process.parent not in pids:
            process.send(number)
    left = _wait_gone(requests, timeout_s)
    for process in left:
        process.send(signal.SIGKILL)
    return _wait_gone(left, 10)


def _wait_gone(processes: Iterable[Process], timeout_s: float) -> list[Process]:
    deadline = time.monotonic() + timeout_s
    while True:
        left = [process for process in processes if read_process(process.pid) == process]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
