"""What our sidecar holds: 20,000 messages a second, bursts of 50,000, 600 books, 10,000 slow streams."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.live.contenders import OURS, OURS_RAW
from benchmarks.live.feed import Feed, Shape
from benchmarks.live.machine import BareRedis, Cores, SenderHandle, cpu_s, rss_bytes, sender
from benchmarks.live.runs import Paced, RunError, running
from benchmarks.live.verdict import Verdicts
from benchmarks.sql_servers import bench_servers

RATE, BURST_RATE, BURST_S = 20_000.0, 50_000.0, 5.0
P50_MS, P99_MS = 0.5, 10.0
BOOKS, BOOKS_MB = 600, 400.0
STREAMS, STREAMS_MB, STREAMS_CPU = 10_000, 400.0, 0.5
_BOOKS_RATE, _BOOKS_S = 8000.0, 40.0
"""Long enough that nothing grows any more: after fifteen seconds books still fill."""
_SLOW_RATE, _SLOW_S = 1000.0, 10.0


def hold_rate(
    verdicts: Verdicts, source: SenderHandle, redis: BareRedis, feed: Feed, home: Path, where: Cores, seconds: float
) -> None:
    """20,000 messages a second on one core: nothing lost, and how late."""
    what = f"{RATE:,.0f}/s for {seconds:.0f} s"
    try:
        with running(OURS, source, redis, feed, home, where, stamped=True) as run:
            paced = run.pace(RATE, seconds)
    except RunError as error:
        verdicts.failed(what, error)
        return
    _say(paced, "of a core used", paced.rate / paced.per_cpu_s)
    verdicts.at_most(f"{what}: messages lost", paced.lost, 0)
    verdicts.at_most(f"{what}: messages doubled", paced.doubled, 0)
    verdicts.at_most(f"{what}: p50 from due to acknowledged", paced.p50_ms, P50_MS, " ms")
    verdicts.at_most(f"{what}: p99 from due to acknowledged", paced.p99_ms, P99_MS, " ms")


def hold_burst(
    verdicts: Verdicts, source: SenderHandle, redis: BareRedis, feed: Feed, home: Path, where: Cores
) -> None:
    """50,000 messages a second for five seconds, then drained."""
    what = f"burst of {BURST_RATE:,.0f}/s for {BURST_S:.0f} s"
    try:
        with running(OURS, source, redis, feed, home, where, stamped=True) as run:
            paced = run.pace(BURST_RATE, BURST_S)
    except RunError as error:
        verdicts.failed(what, error)
        return
    _say(paced, "s until drained", paced.drained_s)
    verdicts.at_most(f"{what}: messages lost", paced.lost, 0)
    verdicts.at_most(f"{what}: messages doubled", paced.doubled, 0)


def hold_books(verdicts: Verdicts, redis: BareRedis, home: Path, where: Cores, mysql_url: str = "") -> None:
    """600 symbols with books of about 1,000 levels a side, the sidecar with or without a database."""
    what = f"memory with {BOOKS} books of 1,000 levels a side{', with MySQL' if mysql_url else ''}"
    shape = Shape(symbols=BOOKS, messages=120_000, mix=(0.6, 0.4, 0.0))
    options = ("--symbols", str(BOOKS), "--messages", str(shape.messages), "--mix", "0.6,0.4,0")
    try:
        with (
            sender(where.others, *options) as source,
            running(OURS, source, redis, Feed(shape), home, where, mysql_url=mysql_url) as run,
        ):
            source.rate(_BOOKS_RATE)
            time.sleep(_BOOKS_S)
            memory = rss_bytes(run.process.pid) / 1e6
    except RunError as error:
        verdicts.failed(what, error)
        return
    verdicts.at_most(what, memory, BOOKS_MB, " MB")


def hold_books_both_ways(verdicts: Verdicts, redis: BareRedis, home: Path, where: Cores) -> None:
    """The same with no database, and with a private one."""
    hold_books(verdicts, redis, home, where)
    with bench_servers("mariadb", buffer_pool_mb=256) as servers:
        for server in servers:
            hold_books(verdicts, redis, home, where, server.url)


def hold_streams(verdicts: Verdicts, redis: BareRedis, home: Path, where: Cores) -> None:
    """10,000 streams, each with a message in ten seconds, in one process."""
    what = f"{STREAMS:,} slow streams"
    shape = Shape(symbols=STREAMS // 2, messages=100_000, mix=(0.0, 0.5, 0.5))
    options = ("--symbols", str(shape.symbols), "--messages", str(shape.messages), "--mix", "0,0.5,0.5")
    try:
        with (
            sender(where.others, *options) as source,
            running(OURS_RAW, source, redis, Feed(shape), home, where, channels="trades,book_ticker") as run,
        ):
            held = _until_all(source)
            source.rate(_SLOW_RATE)
            cpu, began = cpu_s(run.process.pid), time.monotonic()
            time.sleep(_SLOW_S)
            share = (cpu_s(run.process.pid) - cpu) / (time.monotonic() - began)
            memory = rss_bytes(run.process.pid) / 1e6
    except RunError as error:
        verdicts.failed(what, error)
        return
    verdicts.at_least(f"{what}: held by one process", held, STREAMS)
    verdicts.at_most(f"{what}: memory", memory, STREAMS_MB, " MB")
    verdicts.at_most(f"{what}: of a core, at {_SLOW_RATE:,.0f} messages/s", share, STREAMS_CPU)


def _until_all(source: SenderHandle) -> int:
    deadline = time.monotonic() + 60
    while True:
        held = sum(int(streams) for streams, _, _ in source.state()["peers"])
        if held >= STREAMS or time.monotonic() > deadline:
            return held
        time.sleep(0.2)


def _say(paced: Paced, what: str, value: float) -> None:
    print(
        f"  {paced.sent:,} messages: p50 {paced.p50_ms:.3f}, mean {paced.mean_ms:.3f}, p99 {paced.p99_ms:.2f}, "
        f"worst {paced.worst_ms:.1f} ms; {value:.2f} {what}; {paced.rss_bytes / 1e6:.0f} MB; gaps told {paced.gaps}"
    )
