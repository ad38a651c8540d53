"""Random fault schedules on a whole session; pytest takes a few, for more:

    python -m tests.streamer.session.storm --seeds 50

A schedule is a number. What it did is said when it fails, and by `--seed N` it is done again: the faults are the same,
the moments at which they meet the messages are the host's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from redis import Redis

from gapless.stack.redis import PrivateRedis
from tests.fixtures.live import START, LiveReplica, live_in_loop
from tests.fixtures.redis import OwnRedis, free_port
from tests.streamer.session.running import (
    QUICK,
    RAW,
    Running,
    books_stay_live,
    free_of_limits,
    heard_again,
    running,
    settle,
)

Rule = dict[str, Any]
_LONGEST_S = 0.9
_SPOKEN = ["trades", "depth", "klines", "book_ticker", "mark_price"]


def message_rules(draw: random.Random) -> list[Rule]:
    """What befalls messages, for a while."""
    each = draw.choice(["message", "connection"])

    def rule(action: Rule, most: float) -> Rule:
        kinds = draw.sample(_SPOKEN, draw.randint(1, len(_SPOKEN)))
        match = {"kind": kinds, "probability": round(draw.uniform(0.002, most), 4)}
        return {"match": match if "delay_ms" in action else {**match, "each": each}, "action": action}

    menu = [
        rule({"drop": True}, 0.1),
        rule({"duplicate": draw.randint(1, 3)}, 0.2),
        rule({"reorder": draw.randint(1, 5)}, 0.1),
        rule({"delay_ms": draw.randint(20, 400)}, 0.02),
        rule({"wrong": {"garbage": True}}, 0.02),
        rule({"wrong": {"remove": "a"}}, 0.02),
        rule({"wrong": {"set": {"unheard_of": [1, {"deep": True}]}}}, 0.1),
        rule({"skew_ms": draw.randint(-5000, 5000)}, 0.1),
        rule({"silence": {"s": round(draw.uniform(0.1, 0.8), 2)}}, 0.01),
        rule({"stall": {"s": round(draw.uniform(0.1, 0.8), 2), "keep": draw.random() < 0.5}}, 0.01),
    ]
    return draw.sample(menu, draw.randint(1, 5))


def rest_rules(draw: random.Random) -> list[Rule]:
    """What befalls requests, for a while."""
    paths = ["*/depth", "*/aggTrades"]
    menu: list[Rule] = [
        {"status": draw.choice([500, 502, 503])},
        {"status": {"code": 429, "retry_after": 1}},
        {"delay_ms": draw.randint(50, 600)},
        {"reset": True},
        {"half_json": True},
        {"html": True},
    ]
    return [
        {"match": {"path": draw.choice(paths), "probability": 0.5, "times": 4}, "action": action}
        for action in draw.sample(menu, draw.randint(0, 2))
    ]


def blow(live: LiveReplica, draw: random.Random) -> str:
    """One thing that befalls connections; says which."""
    market = draw.choice([None, "spot", "um"])
    what = draw.choice(["reset", "close", "half_open", "shutdown", "network", "stale snapshots", "nothing", "nothing"])
    match what:
        case "reset" | "half_open":
            live.cut(market=market, how=what)
        case "close":
            live.cut(market=market, how="close", code=draw.choice([1001, 1008, 1011]))
        case "shutdown":
            live.shutdown(market=market, after_s=draw.choice([0.2, _LONGEST_S - 0.1]))
        case "network":
            live.cut_network(round(draw.uniform(0.05, 0.6), 2))
        case "stale snapshots":
            live.activity(snapshot_lag_ms=draw.choice([0, 150, 400]))
    return f"{what} {market or 'both'}"


async def storm(seed: int, redis_url: str, var_dir: Path, *, blows: int = 6, transport: str | None = None) -> list[str]:
    """A session through one schedule, and then its account; returns what befell it."""
    draw = random.Random(seed)
    redundancy = draw.choice([1, 1, 2])
    library = transport or draw.choice(["picows", "websockets"])
    options = msgspec.structs.replace(
        QUICK, connections=msgspec.structs.replace(QUICK.connections, redundancy=redundancy)
    )
    told = [f"seed {seed}, {library}, redundancy {redundancy}"]
    async with live_in_loop("--generate", "7", "--start", START) as live:
        live.activity(trades_per_s=draw.choice([20, 60, 150]), diff_ms=draw.choice([50, 100]))
        free_of_limits(live)
        async with running(live, redis_url, var_dir, options=options, transport=library) as run:
            await run.until(lambda: run.books_live(len(RAW)), "live books")
            for number in range(blows):
                rules = message_rules(draw)
                if draw.random() < 0.3:
                    refuse = {"status": draw.choice([429, 418, 503]), "retry_after": 1}
                    rules.append({"match": {"times": 2}, "action": {"refuse": refuse}})
                requests = rest_rules(draw)
                live.faults(*rules, seed=seed * 100 + number)
                live.rest_faults(*requests, seed=seed * 100 + number)
                befell = blow(live, draw)
                told.append(f"{befell}; {[rule['action'] for rule in rules]}; {[rule['action'] for rule in requests]}")
                await asyncio.sleep(draw.uniform(0.1, 0.7))
            await _calm(live, run)
            try:
                await settle(run, timeout_s=30)
            except AssertionError as error:
                raise AssertionError("\n".join([str(error), *told, *run.said[-10:], str(run.status())])) from error
            assert await run.stop() == 0
    return told


async def _calm(live: LiveReplica, run: Running) -> None:
    """No more faults, and everybody is heard again."""
    live.faults()
    live.rest_faults()
    live.cut_network(0)
    live.activity(snapshot_lag_ms=0)
    await asyncio.sleep(_LONGEST_S)  # stalls and announced ends last so long, and nothing shows when they are over
    await heard_again(run)
    await books_stay_live(run)


async def _soak(seeds: Sequence[int], blows: int, transport: str | None) -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        own = OwnRedis(PrivateRedis(Path(folder) / "redis", free_port(), "test-only-password"))
        own.start()
        try:
            for seed in seeds:
                began = time.monotonic()
                with Redis.from_url(own.url) as redis:
                    redis.flushall()
                try:
                    await storm(seed, own.url, Path(folder) / str(seed), blows=blows, transport=transport)
                    print(f"seed {seed}: well, {time.monotonic() - began:.1f} s", flush=True)
                except Exception as error:
                    failed += 1
                    print(f"seed {seed}: {error}", flush=True)
                    if not isinstance(error, AssertionError):
                        traceback.print_exception(error)
        finally:
            own.kill()
    print(f"{len(seeds) - failed} of {len(seeds)} schedules well")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many schedules")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--first", type=int, default=0, help="the first schedule")
    parser.add_argument("--blows", type=int, default=6, help="how many blows each")
    parser.add_argument("--transport", choices=["picows", "websockets"], help="instead of one drawn")
    said = parser.parse_args()
    seeds = [said.seed] if said.seed is not None else range(said.first, said.first + said.seeds)
    return asyncio.run(_soak(list(seeds), said.blows, said.transport))


if __name__ == "__main__":
    raise SystemExit(main())
