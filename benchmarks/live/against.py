"""Ours against cryptofeed on the same feed: messages a processor second as fast as each takes, latencies at 5 k/s.

Interleaved: every contender once a round, ratios of medians over the rounds.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from benchmarks.live.contenders import LEAST, OURS, OURS_RAW, OURS_WEBSOCKETS, THEIRS, cryptofeed_python
from benchmarks.live.feed import Feed
from benchmarks.live.machine import BareRedis, Cores, SenderHandle
from benchmarks.live.runs import Paced, RunError, Saturated, running
from benchmarks.live.verdict import Verdicts, median, spread

FLOORS = {OURS: 8.0, OURS_WEBSOCKETS: 5.0, OURS_RAW: 25.0}
P50_SHARE, P99_SHARE = 1 / 5, 1 / 2
_SATURATED_S = 4.0
_PACED_S = 7.0
RATE = 5000.0


def compare_cpu(
    verdicts: Verdicts, source: SenderHandle, redis: BareRedis, feed: Feed, home: Path, where: Cores, rounds: int
) -> None:
    """Messages for each processor second, all contenders once a round."""
    cryptofeed_python()
    found: dict[str, list[Saturated]] = defaultdict(list)
    for _ in range(rounds):
        for contender in (THEIRS, *FLOORS):
            try:
                with running(contender, source, redis, feed, home, where) as run:
                    found[contender.name].append(run.saturate(_SATURATED_S))
            except RunError as error:
                print(f"  {error}", flush=True)
    if len(found[THEIRS.name]) < rounds:
        verdicts.failed("messages a processor second, against cryptofeed", "the baseline did not run")
        return
    base = median([each.per_cpu_s for each in found[THEIRS.name]])
    for name, each in found.items():
        each_cpu = [one.per_cpu_s for one in each]
        print(
            f"  {name:26} {median(each_cpu) / 1e3:7.1f} k messages/cpu-s ({spread([one / 1e3 for one in each_cpu])}), "
            f"{median([one.per_s for one in each]) / 1e3:.1f} k/s, "
            f"{max(one.rss_bytes for one in each) / 1e6:.0f} MB, gaps told {sum(one.gaps for one in each)}"
        )
    for contender, floor in FLOORS.items():
        what = f"{contender.name}: messages a processor second, x cryptofeed"
        if len(found[contender.name]) < rounds:
            verdicts.failed(what, "a run did not end well")
        else:
            verdicts.at_least(what, median([one.per_cpu_s for one in found[contender.name]]) / base, floor, "x")


def compare_latency(
    verdicts: Verdicts, source: SenderHandle, redis: BareRedis, feed: Feed, home: Path, where: Cores, rounds: int
) -> None:
    """From due to acknowledged at 5,000 messages a second, each once a round.

    The p50 is judged as it is, and once more above that of `LEAST`, which shows how much of it is the machine's.
    """
    found: dict[str, list[Paced]] = defaultdict(list)
    for _ in range(rounds):
        for contender in (THEIRS, LEAST, OURS):
            try:
                with running(contender, source, redis, feed, home, where, stamped=True) as run:
                    found[contender.name].append(run.pace(RATE, _PACED_S))
            except RunError as error:
                verdicts.failed(f"latency at {RATE:,.0f}/s", error)
                return
    for name, each in found.items():
        p50s, p99s = spread([one.p50_ms for one in each]), spread([one.p99_ms for one in each])
        print(f"  {name:26} p50 {p50s} ms, p99 {p99s} ms, lost {sum(one.lost for one in each)}")
    theirs, least, ours = (median([one.p50_ms for one in found[who.name]]) for who in (THEIRS, LEAST, OURS))
    print(f"  {LEAST.name}: p50 at {RATE:,.0f}/s is {least / theirs:.2f} of cryptofeed's")
    verdicts.at_most(f"{OURS.name}: p50 at {RATE:,.0f}/s, of cryptofeed's", ours / theirs, P50_SHARE)
    what = f"{OURS.name}: p50 at {RATE:,.0f}/s above the least, of cryptofeed's"
    verdicts.at_most(what, (ours - least) / (theirs - least), P50_SHARE)
    p99 = median([one.p99_ms for one in found[OURS.name]]) / median([one.p99_ms for one in found[THEIRS.name]])
    verdicts.at_most(f"{OURS.name}: p99 at {RATE:,.0f}/s, of cryptofeed's", p99, P99_SHARE)
