"""Under the replica's random faults: how much of what was sent arrives, how late, and how soon after a cut all is live.

What was sent is the replica's own ledger: aggregate trades all of them, for they can be brought again; diffs less those
that reached nobody. What arrived are the Streams' ids, each once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.live.machine import ROOT, BareRedis, Cores, end, free_port, pinned
from benchmarks.live.verdict import Verdicts
from tests.fixtures.live import START, LiveReplica, live_process

ARRIVED, MEAN_MS, LIVE_P95_S = 0.999, 200.0, 3.0
_SYMBOLS = 20
_FAULTED_S, _CUTS, _READY_S, _REST_S = 25.0, 15, 30.0, 6.0
_HEALTHY_S = 1.0
_RULES = (
    {"match": {"kind": ["trades", "depth"], "probability": 0.002}, "action": {"drop": True}},
    {"match": {"kind": ["trades", "depth"], "probability": 0.01}, "action": {"duplicate": 1}},
    {"match": {"kind": ["trades", "depth"], "probability": 0.01}, "action": {"reorder": 2}},
    {"match": {"probability": 0.002}, "action": {"delay_ms": 150}},
    {"match": {"probability": 0.0002, "each": "connection"}, "action": {"cut": {"how": "reset"}}},
)
_PREFIX = {"@aggTrade": "md.trades.binance.", "@depth@100ms": "md.depth.binance."}


class NotReady(Exception):
    """The sidecar was not ready in time."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Our command against the replica."""

    process: subprocess.Popen[bytes]
    port: int

    def ready(self) -> bool:
        """Whether all its books are live, all its connections open, and Redis answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError):
            return False

    def says(self) -> str:
        """What `/readyz` answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return str(answer.read().decode().strip())
        except urllib.error.HTTPError as error:
            return error.read().decode().strip()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_S
        while not self.ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise NotReady("the sidecar is not ready; its /readyz says why")
            time.sleep(0.02)


def measure(verdicts: Verdicts, redis: BareRedis, home: Path, where: Cores) -> None:
    """A while of random faults, then cuts one after another."""
    with redis.client() as client:
        client.flushall()
    live = live_process("--generate", "7", "--symbols", str(_SYMBOLS), "--start", START)
    port = free_port()
    values = {**live.environment, "GAPLESS_REDIS_URL": redis.url, "GAPLESS_VAR_DIR": str(home / "faults"),
              "GAPLESS_MYSQL_URL": "", "GAPLESS_EXCHANGES_FILE": str(_compressed(home))}  # fmt: skip
    command = [sys.executable, "-m", "gapless", "stream", "--symbols", "all:USDT", "--market", "spot",
               "--channels", "depth,trades", "--port", str(port)]  # fmt: skip
    log = (home / "faults.log").open("ab")
    process = pinned(command, where.measured, stdout=log, stderr=log, cwd=ROOT, env={**os.environ, **values})
    sidecar = Sidecar(process, port)
    try:
        live.activity(trades_per_s=20)
        sidecar.wait_ready()
        _faulted(verdicts, live, redis)
        live.faults()
        sidecar.wait_ready()
        _reconnects(verdicts, live, sidecar)
    except NotReady as error:
        verdicts.failed("the sidecar under the replica's faults", error)
    finally:
        end(process)
        live.stop()


def _compressed(home: Path) -> Path:
    """Settings in which a connection that lived a second is forgiven its end: cuts come that fast here."""
    place = home / "exchanges.yaml"
    place.write_text(f"connections:\n  healthy_s: {_HEALTHY_S}\n")
    return place


def _faulted(verdicts: Verdicts, live: LiveReplica, redis: BareRedis) -> None:
    before = live.sent()["streams"]["spot"]
    live.faults(*_RULES, seed=11)
    offset_ms = live.now_ms() - time.time() * 1000
    time.sleep(_FAULTED_S)
    after = live.sent()["streams"]["spot"]
    time.sleep(_REST_S)  # what was sent last, and what is brought again, has its time to arrive
    applied = {str(rule["action"]): rule["applied"] for rule in live.fault_counts()}
    sent = arrived = doubled = 0
    late: list[float] = []
    for name, ledger in after.items():
        suffix = name[name.index("@") :]
        first, last = before[name]["last_id"] + 1, ledger["last_id"]
        ids, times = _entries(redis, _PREFIX[suffix], name, first, last, offset_ms)
        doubled += len(ids) - len(set(ids))
        arrived += len(set(ids))
        late += times
        sent += ledger["messages"] - before[name]["messages"]
        if suffix != "@aggTrade":
            sent -= ledger["unheard_messages"] - before[name]["unheard_messages"]
    print(f"  {sent:,} messages of {len(after)} streams in {_FAULTED_S:.0f} s, faults applied: {applied}")
    verdicts.at_least("under random faults: share of what was sent that arrived", arrived / sent, ARRIVED)
    verdicts.at_most("under random faults: ids twice in a Stream", doubled, 0)
    verdicts.at_most("under random faults: mean from event to Redis", float(np.mean(late)), MEAN_MS, " ms")


def _entries(
    redis: BareRedis, prefix: str, name: str, first: int, last: int, offset_ms: float
) -> tuple[list[int], list[float]]:
    """Ids between two of the exchange's that a Stream holds, and how long after the event each was in it."""
    raw = name[: name.index("@")].upper()
    key = f"{prefix}{raw.removesuffix('USDT')}/USDT"
    with redis.client() as client:
        entries = client.xrange(key)
    ids, times = [], []
    for stream_id, fields in entries:
        number = int(fields[b"i"])
        if first <= number <= last:
            ids.append(number)
            times.append(int(stream_id.split(b"-")[0]) + offset_ms - int(fields[b"e"]))
    return ids, times


def _reconnects(verdicts: Verdicts, live: LiveReplica, sidecar: Sidecar) -> None:
    took = []
    for _ in range(_CUTS):
        opened = live.connection_counts("spot")["opened"]
        began = time.monotonic()
        cut = live.cut(market="spot", how="reset")
        while live.connection_counts("spot")["opened"] < opened + cut or not sidecar.ready():
            if time.monotonic() - began > _READY_S:
                counts = f"{cut} cut, {live.connection_counts('spot')['opened'] - opened} opened since"
                raise NotReady(f"not live again {_READY_S:.0f} s after a cut: {counts}; {sidecar.says()}")
            time.sleep(0.02)
        took.append(time.monotonic() - began)
        time.sleep(1.5 * _HEALTHY_S)
    p50, p95 = np.percentile(took, [50, 95])
    print(f"  {_CUTS} cuts: live again after {p50:.2f} s at the median, {max(took):.2f} s at most")
    verdicts.at_most("from a cut to all books live again: p95", float(p95), LIVE_P95_S, " s")
