"""What a run needs of the machine: cores, a bare Redis, the sender's process, and what processes used."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

ROOT = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where: what is measured has a core of its own if there are two."""

    measured: frozenset[int]
    others: frozenset[int]

    def __str__(self) -> str:
        if self.measured == self.others:
            return "all on one core"
        return f"the measured process alone on core {min(self.measured)}; sender, Redis and harness on the others"


def cores() -> Cores:
    """The first core this process may use for what is measured, the rest for all else."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(usable[:1]), frozenset(usable[1:] or usable))


def pinned(command: Sequence[str], on: frozenset[int], **options: Any) -> subprocess.Popen[bytes]:
    """A process on these cores only."""
    return subprocess.Popen(
        [shutil.which("taskset") or "taskset", "-c", ",".join(map(str, sorted(on))), *command], **options
    )


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far, kernel included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_bytes(pid: int) -> int:
    """Resident memory of a process now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end(process: subprocess.Popen[bytes], timeout_s: float = 20.0) -> int:
    """SIGTERM, then SIGKILL; its status."""
    if process.poll() is None:
        process.terminate()
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


@dataclass(frozen=True, slots=True)
class BareRedis:
    """A server of the benchmark's own: no persistence, no password (cryptofeed's backend knows none)."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        return Redis(port=self.port)

    def entries(self, match: str = "*") -> int:
        """How many entries its Streams of these names ever took, trimmed ones included."""
        with self.client() as client:
            keys = [key for key in client.scan_iter(match, count=1000, _type="stream") if key != b"md.gaps"]
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.xinfo_stream(key)
            return sum(int(info["entries-added"]) for info in pipe.execute())


@contextmanager
def bare_redis(on: frozenset[int]) -> Iterator[BareRedis]:
    """Start one, and stop it by its pid."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        process = pinned(
            [shutil.which("redis-server") or "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--appendonly", "no", "--dir", folder, "--protected-mode", "no"],
            on, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _until_ready(port)
            yield BareRedis(port, process.pid)
        finally:
            end(process)


def _until_ready(port: int) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            with Redis(port=port) as client:
                client.ping()
                return
        except RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class SenderHandle:
    """The sender's process, told by HTTP."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, path: str) -> dict[str, Any]:
        """One of `/bench/...`."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def rate(self, rate: float) -> dict[str, Any]:
        """From now on so many messages a second; 0 none, -1 as many as are taken."""
        return self.ask(f"/bench/rate?rate={rate}")

    def saturate(self, redis: BareRedis) -> dict[str, Any]:
        """From now on as fast as they are acknowledged, some thousand under way."""
        return self.ask(f"/bench/rate?rate=-1&redis={redis.port}")

    def state(self) -> dict[str, Any]:
        return self.ask("/bench/state")


@contextmanager
def sender(on: frozenset[int], *options: str) -> Iterator[SenderHandle]:
    """Start the sender, and end it."""
    process = pinned([sys.executable, "-m", "benchmarks.live.sender", *options], on, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        yield SenderHandle(process, json.loads(process.stdout.readline())["port"])
    finally:
        end(process)
