"""One run of one contender: warm up until its books are live, then as fast as it takes, or at a pace, and what came."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.live.contenders import Contender, start
from benchmarks.live.feed import DEPTH, TRADE, Feed, ordinals
from benchmarks.live.machine import BareRedis, Cores, SenderHandle, cpu_s, end, free_port, rss_bytes
from benchmarks.live.timetable import Stretch, Timetable

Ints = NDArray[np.int64]

WARM_RATE = 2000.0
_WARM_S = 60.0
_DROPPED = 0.2
"""The share of a paced run that is not judged: its beginning."""
_STILL_S, _LOST_S, _LOOK_S, _BUSY = 0.5, 3.0, 0.1, 0.4
_SETTLE_S = 60.0
_END_S, _LINES_A_SECOND = 20.0, 100_000


class RunError(Exception):
    """A contender did not do what it was started for."""


@dataclass(frozen=True, slots=True)
class Saturated:
    """As fast as it takes: messages for each processor second of its own, and each second."""

    per_cpu_s: float
    per_s: float
    sent: int
    rss_bytes: int
    gaps: int


@dataclass(frozen=True, slots=True)
class Paced:
    """At a pace: latencies from due to acknowledged, ms; and whether all came, and once.

    Attributes:
        sent: messages of the judged part. lost: of them, not acknowledged. doubled: acknowledged twice.
        per_cpu_s: messages for each processor second. gaps: events in `md.gaps` since the start of the pace.
        drained_s: from the end of the pace to the last acknowledgement.
    """

    rate: float
    sent: int
    lost: int
    doubled: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    mean_ms: float
    per_cpu_s: float
    rss_bytes: int
    gaps: int
    drained_s: float


class Run:
    """A started contender, its books live."""

    def __init__(self, contender: Contender, process: subprocess.Popen[bytes], sender: SenderHandle, redis: BareRedis,
                 feed: Feed, stamps: Path | None, port: int) -> None:  # fmt: skip
        self.port = port
        self.contender, self.process, self.sender, self.redis = contender, process, sender, redis
        self.feed, self.stamps = feed, stamps

    def warm_up(self) -> None:
        """A slow pace until every book was asked for and all streams flow."""
        before = self.sender.state()["snapshots"]
        deadline = time.monotonic() + _WARM_S
        while not self.sender.state()["peers"]:
            self._check(deadline, "did not connect")
            time.sleep(0.1)
        self.sender.rate(WARM_RATE)
        wanted = self.feed.shape.symbols if self.contender.books and self.feed.shape.mix[DEPTH] else 0
        while self.sender.state()["snapshots"] - before < wanted:
            self._check(deadline, f"asked for {self.sender.state()['snapshots'] - before} of {wanted} snapshots")
            time.sleep(0.1)
        while self.contender.options is not None and not self.ready():
            self._check(deadline, "is not ready; its /readyz says why")
            time.sleep(0.1)
        time.sleep(2.0)
        while self.sender.state()["behind"]:
            self._check(deadline, "stays behind at the pace of the warm-up")
            time.sleep(0.1)

    def ready(self) -> bool:
        """Whether ours says that all its books are live, and that Redis answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError:
            return False

    def saturate(self, seconds: float) -> Saturated:
        """What it takes when the sender always has more, some thousand under way, counted until all is acknowledged."""
        self.sender.rate(0)
        first, cpu, _ = self._settle()
        before, gaps, began = (self._sent(), first), self.told(), time.monotonic()
        self.sender.saturate(self.redis)
        time.sleep(seconds)
        self.sender.rate(0)
        last, used, ended = self._settle(before)
        taken, sent = last - first, self._sent() - before[0]
        return Saturated(
            taken / (used - cpu), taken / (ended - began), sent, rss_bytes(self.process.pid), self.told() - gaps
        )

    def at_rest(self) -> tuple[int, int]:
        """Nothing more is sent, all is acknowledged: messages of the feed until then, trades written."""
        position = self.sender.rate(0)["position"]
        self._settle()
        return position, self.redis.entries("md.trades.*")

    def pace(self, rate: float, seconds: float) -> Paced:
        """So many messages a second; ends the contender, whose stamps are read then."""
        assert self.stamps is not None, "latencies need stamps"
        gaps = self.told()
        self.sender.rate(0)
        before = (self._settle()[0], self._sent())
        first = self.sender.rate(rate)["position"]
        cpu = cpu_s(self.process.pid)
        time.sleep(seconds)
        state = self.sender.rate(0)
        used = cpu_s(self.process.pid) - cpu
        last, ended_ns = state["position"], state["now_ns"]
        self._settle((before[1], before[0]))
        rss, gaps = rss_bytes(self.process.pid), self.told() - gaps
        # It writes a line for each message at its end.
        if status := end(self.process, _END_S + (last - first) / _LINES_A_SECOND):
            raise RunError(f"{self.contender.name} ended with status {status}")
        table = Timetable(0)
        table.stretches = [
            Stretch(int(ordinal), int(start), float(pace)) for ordinal, start, pace in state["stretches"]
        ]
        found, stamps = read_stamps(self.stamps, self.feed)
        mine = (found >= first) & (found < last)
        found, stamps = found[mine], stamps[mine]
        unique = len(np.unique(found))
        latency = (stamps - table.times_ns(found))[found >= first + (last - first) * _DROPPED] / 1e6
        p50, p99 = np.percentile(latency, [50, 99])
        sent = last - first
        return Paced(
            rate, sent, sent - unique, len(found) - unique, float(p50), float(p99), float(latency.max()),
            float(latency.mean()), sent / used, rss, gaps, max(0.0, (int(stamps.max()) - ended_ns) / 1e9),
        )  # fmt: skip

    def _settle(self, since: tuple[int, int] | None = None) -> tuple[int, float, float]:
        """Wait until all is sent and acknowledged: entries, processor seconds and the time then.

        Args:
            since: messages sent and entries written before: what was sent after is waited for, and for what is lost
                of it no longer than the process is at work.
        """
        deadline, patience = time.monotonic() + _SETTLE_S, _STILL_S if since is None else _LOST_S
        seen = self._standing()
        while True:
            if since and not self.sender.state()["behind"] and seen[0] - since[1] >= self._sent() - since[0]:
                return seen
            time.sleep(_LOOK_S)
            now = self._standing()
            if now[0] != seen[0] or now[1] - seen[1] > _BUSY * (now[2] - seen[2]):
                seen = now
            elif now[2] - seen[2] > patience and not self.sender.state()["behind"]:
                return seen
            self._check(deadline, "does not come to rest")

    def _sent(self) -> int:
        return sum(int(done) for _, done, _ in self.sender.state()["peers"])

    def _standing(self) -> tuple[int, float, float]:
        return self.redis.entries(), cpu_s(self.process.pid), time.monotonic()

    def told(self) -> int:
        """Events in `md.gaps`."""
        with self.redis.client() as client:
            return int(client.xlen("md.gaps"))

    def _check(self, deadline: float, what: str) -> None:
        if self.process.poll() is not None:
            raise RunError(f"{self.contender.name} ended with status {self.process.returncode}; see its log")
        if time.monotonic() > deadline:
            raise RunError(f"{self.contender.name} {what}")


@contextmanager
def running(contender: Contender, sender: SenderHandle, redis: BareRedis, feed: Feed, home: Path, where: Cores,
            *, stamped: bool = False, channels: str = "depth,trades",
            mysql_url: str = "") -> Iterator[Run]:  # fmt: skip
    """A contender against an empty Redis; ended afterwards."""
    sender.rate(0)
    with redis.client() as client:
        client.flushall()
    stamps = home / "stamps.txt" if stamped else None
    if stamps:
        stamps.unlink(missing_ok=True)
    port = free_port()
    process = start(contender, sender, redis, home, where.measured, stamps=stamps, channels=channels, port=port,
                    mysql_url=mysql_url)  # fmt: skip
    try:
        run = Run(contender, process, sender, redis, feed, stamps, port)
        run.warm_up()
        yield run
    finally:
        end(process)
        sender.rate(0)


def read_stamps(place: Path, feed: Feed) -> tuple[Ints, Ints]:
    """Which messages of the feed were acknowledged, and when (monotonic ns)."""
    by_name = {name: i for i, name in enumerate(feed.names)}
    kinds = {"T": TRADE, "D": DEPTH}
    series: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for line in place.read_text().splitlines():
        kind, symbol, number, at_ns = line.split(" ")
        ids, times = series.setdefault((kinds[kind], by_name[symbol]), ([], []))
        ids.append(int(number))
        times.append(int(at_ns))
    found, stamps = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for (kind_, symbol_), (ids, times) in series.items():
        found.append(ordinals(feed, kind_, symbol_, np.array(ids)))
        stamps.append(np.array(times, np.int64))
    return np.concatenate(found), np.concatenate(stamps)
