"""The Redis writer alone against redis-benchmark's best rate of the same XADD, at 100 B, 500 B and 5 kB.

    python -m benchmarks.live.writer write REDIS_URL BYTES COUNT    what is measured: one process, one connection

Both write entries of the same four fields to 100 Streams; redis-benchmark with four clients, the best of three
pipelines. In turn, medians.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence

from benchmarks.live.machine import ROOT, BareRedis, Cores, pinned
from benchmarks.live.verdict import Verdicts, median, spread
from gapless.storage.live.fence import Loss
from gapless.storage.live.pipe import PipeSettings
from gapless.storage.live.resp import Command, Target
from gapless.storage.live.writer import RedisPipe

FLOOR = 0.8
SIZES = {100: 600_000, 500: 400_000, 5000: 60_000}
_STREAMS = 100
_PIPELINES = (16, 64, 256)
_E, _R, _I = "1763654400126", "1763654400126123456", "1000000001"


class Room:
    """Waits when the pipe is full; nothing else may happen here."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    def on_room(self, is_open: bool) -> None:
        if is_open:
            self.open.set()
        else:
            self.open.clear()

    def on_progress(self) -> None: ...

    def on_connected(self, again: bool) -> None: ...

    def on_losses(self, losses: Sequence[Loss]) -> None:
        raise AssertionError("Redis was restarted")

    def on_overtaken(self, command: Command) -> None:
        raise AssertionError("Redis refuses")

    def on_refused(self, command: Command, error: str) -> None:
        raise AssertionError(error)


async def write(url: str, size: int, count: int) -> dict[str, float]:
    """Write so many entries as fast as they are taken; entries a second and a processor second."""
    room = Room()
    pipe = RedisPipe(url, PipeSettings(), room)
    running = asyncio.create_task(pipe.run())
    try:
        await asyncio.wait_for(room.open.wait(), 10)
        targets = [Target(f"md.trades.bench.S{i}") for i in range(_STREAMS)]
        for target in targets:
            pipe.register(target)
        payload, identity, event_ms, received_ns = b"x" * size, _I.encode(), int(_E), int(_R)
        began, cpu = time.perf_counter(), time.process_time()
        for first in range(0, count, _STREAMS):
            if not pipe.is_open:
                await room.open.wait()
            for target in targets[: count - first]:
                pipe.put(target, event_ms, received_ns, identity, payload)
            if first % (5 * _STREAMS) == 0:
                await asyncio.sleep(0)
        if not await pipe.wait_idle(60):
            raise AssertionError("Redis did not acknowledge")
        took, used = time.perf_counter() - began, time.process_time() - cpu
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return {"per_s": count / took, "per_cpu_s": count / used}


def theirs(redis: BareRedis, where: Cores, size: int, count: int) -> float:
    """redis-benchmark's best of the pipelines, entries a second."""
    best = 0.0
    for pipeline in _PIPELINES:
        _flush(redis)
        program = shutil.which("redis-benchmark") or "redis-benchmark"
        how = ["-p", str(redis.port), "-c", "4", "-q", "--csv", "-P", str(pipeline), "-n", str(count // 2)]
        entry = ["*", "e", _E, "r", _R, "i", _I, "d", "x" * size]
        command = [program, *how, "-r", str(_STREAMS), "XADD", "md.trades.bench.S__rand_int__", *entry]
        process = pinned(command, where.measured, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        said, _ = process.communicate(timeout=120)
        best = max(best, float(said.decode().splitlines()[-1].split('","')[1].strip('"')))
    return best


def ours(redis: BareRedis, where: Cores, size: int, count: int) -> dict[str, float]:
    """The writer in a process of its own."""
    _flush(redis)
    command = [sys.executable, "-m", "benchmarks.live.writer", "write", redis.url, str(size), str(count)]
    process = pinned(command, where.measured, stdout=subprocess.PIPE, cwd=ROOT)
    said, _ = process.communicate(timeout=120)
    found: dict[str, float] = json.loads(said)
    return found


def compare(verdicts: Verdicts, redis: BareRedis, where: Cores, rounds: int) -> None:
    """Ours against theirs for each size."""
    rates: dict[int, list[float]] = defaultdict(list)
    best: dict[int, list[float]] = defaultdict(list)
    cpu: dict[int, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for size, count in SIZES.items():
            best[size].append(theirs(redis, where, size, count))
            found = ours(redis, where, size, count)
            rates[size].append(found["per_s"])
            cpu[size].append(found["per_cpu_s"])
    _flush(redis)
    for size in SIZES:
        print(
            f"  XADD of {size} B: ours {spread([each / 1e3 for each in rates[size]])} k/s, "
            f"{median(cpu[size]) / 1e3:.0f} k/cpu-s; redis-benchmark {spread([each / 1e3 for each in best[size]])} k/s"
        )
        share = median(rates[size]) / median(best[size])
        verdicts.at_least(f"the writer alone, {size} B, of redis-benchmark's best", share, FLOOR)


def _flush(redis: BareRedis) -> None:
    with redis.client() as client:
        client.flushall()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(write(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))))
