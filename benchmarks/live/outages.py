"""MySQL away for ten minutes and, in the midst of it, no network for five: at real pace, then all that was written.

    python -m benchmarks.live.outages [--mysql-minutes 10] [--cut-minutes 5]

The real command with all channels, against the replica behind a wire that can be cut. MySQL is killed (SIGKILL). After
three tenths of its absence the network goes: in the first half of the cut packets vanish, in the second connections are
refused. Then every trade, book and bar is held against the replica's truth, and `md.gaps` against what was missing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.live import repaired
from benchmarks.live.faults import NotReady
from benchmarks.live.machine import BareRedis, bare_redis, end
from benchmarks.live.repaired import MINUTE_MS, Series, TradeAccount
from benchmarks.live.scene import LOOK_S, STOP_S, Scene, played
from benchmarks.live.verdict import Verdicts
from gapless.domain.live import GapReason

NOTICED_S, RETURN_S, STORED_S = 25.0, 60.0, 30.0
"""From vanishing packets to books that say `stale` (silence is believed after 20 s); from the network's return to all
books live and all trades of the cut written (the longest pause between attempts is 30 s); from MySQL's return to all
closed bars in it (the longest pause 10 s; the network is back two minutes before, and REST is asked again for bars of a
cut of five minutes after 80 s at most: shorter lengths may miss this one)."""
GROWTH, MOST_MB = 1.5, 400.0
_STEADY_S, _TOLD_S = 120.0, 80.0
_CUT_AFTER = 0.3


def measure(verdicts: Verdicts, redis: BareRedis, home: Path, mysql_s: float, cut_s: float) -> None:
    """Both outages, and the account afterwards."""
    with redis.client() as client:
        client.flushall()
    try:
        with played(home, redis) as scene:
            scene.first_ms = scene.live.now_ms() // MINUTE_MS * MINUTE_MS
            scene.stay(_STEADY_S)
            before = scene.rss[-1]
            cut = _outages(verdicts, scene, mysql_s, cut_s)
            scene.stay(_TOLD_S)  # a return is told at most once a minute
            end_ms = scene.live.now_ms() // MINUTE_MS * MINUTE_MS
            scene.wait(lambda: scene.closed(end_ms), "the newest bars in MySQL")
            verdicts.at_most("memory at most", max(scene.rss), MOST_MB, " MB")
            verdicts.at_most("memory at most, to that before the outages", max(scene.rss) / before, GROWTH, "x")
            _books(verdicts, scene)
            _ending(verdicts, scene)
            _trades(verdicts, scene, cut)
            _bars(verdicts, scene, end_ms)
    except NotReady as error:
        verdicts.failed("MySQL and the network away", error)


@dataclass(frozen=True, slots=True)
class Cut:
    """When there was no network: exchange and host time, ms."""

    from_ms: int
    until_ms: int
    from_host_ms: int
    until_host_ms: int


def _outages(verdicts: Verdicts, scene: Scene, mysql_s: float, cut_s: float) -> Cut:
    """Until all seems well again."""
    times: dict[str, tuple[int, int]] = {}
    seen: dict[str, float] = {}
    steps: list[tuple[float, str, Callable[[], None]]] = [
        (0.0, "MySQL is killed", lambda: scene.server.stop(kill=True)),
        (_CUT_AFTER * mysql_s, "packets vanish", scene.wire.vanish),
        (_CUT_AFTER * mysql_s + cut_s / 2, "connections are refused", scene.wire.refuse),
        (_CUT_AFTER * mysql_s + cut_s, "the network is back", scene.wire.mend),
        (mysql_s, "MySQL is back", scene.server.start),
    ]
    began = time.monotonic()

    def sofar() -> None:
        """Note when what is hoped for came, each once."""
        back = times.get("the network is back")
        for name, since, holds in (
            ("stale", "packets vanish", scene.books_stale),
            ("live", "the network is back", lambda: _live_since(scene, back)),
            ("stored", "MySQL is back", lambda: scene.closed(times["MySQL is back"][0])),
        ):
            if since in times and name not in seen and holds():
                seen[name] = time.time() - times[since][1] / 1000
                print(f"  {name} {seen[name]:.1f} s after: {since}", flush=True)

    for after, what, do in sorted(steps, key=lambda step: step[0]):
        while time.monotonic() < began + after:
            scene.look()
            sofar()
            time.sleep(LOOK_S)
        do()
        times[what] = scene.live.now_ms(), time.time_ns() // 1_000_000
        print(f"  {time.monotonic() - began:6.1f} s: {what}", flush=True)

    def well() -> bool:
        sofar()
        return "live" in seen and "stored" in seen

    scene.wait(well, "live books and stored bars")
    print(f"  {scene.wire.passed} connections, {scene.spooled} bars on disk for MySQL at most")
    verdicts.at_most("from vanishing packets to books that say so", seen.get("stale", 9e9), NOTICED_S, " s")
    verdicts.at_most("from the network's return to all books live", seen["live"], RETURN_S, " s")
    verdicts.at_most("from MySQL's return to all closed bars in it", seen["stored"], STORED_S, " s")
    first, last = times["packets vanish"], times["the network is back"]
    return Cut(first[0], last[0], first[1], last[1])


def _live_since(scene: Scene, back: tuple[int, int] | None) -> bool:
    return back is not None and repaired.books_live_since(scene.redis, scene.series, back[0])


def _books(verdicts: Verdicts, scene: Scene) -> None:
    """The exchange stands still: what it made is written, and the books are its own."""
    scene.live.freeze()
    whole: dict[Series, dict[str, Any]] = {}

    def read() -> bool:
        whole.update(repaired.whole_books(scene.redis, scene.series))
        return len(whole) == len(scene.series)

    scene.stay(10.0)  # the last entries, and the books that are shown while somebody wants them
    scene.wait(read, "all levels of live books")
    compared, wrong = repaired.untrue_levels(scene.live, whole)
    print(f"  {len(whole)} live books, {compared:,} levels compared")
    verdicts.at_most("levels that differ from the exchange's book at the same update", wrong, 0)


def _ending(verdicts: Verdicts, scene: Scene) -> None:
    scene.look()
    pid = status.pid if (status := scene.status()) is not None else 0
    verdicts.at_most("whether the process is another than at the start", int(pid != scene.process.pid), 0)
    verdicts.at_most("status at SIGTERM", end(scene.process, STOP_S), 0)
    verdicts.at_least("its last word is: all was written", int(scene.said()[-1].endswith("all was written")), 1)


def _trades(verdicts: Verdicts, scene: Scene, cut: Cut) -> None:
    account, events, written_s = TradeAccount(), repaired.told(scene.redis), 0.0
    of_cut = untold = open_ = breaks = untold_breaks = 0
    for series in scene.series:
        written = repaired.written_trades(scene.redis, series)
        account.count(scene.live, series, written)
        words = repaired.last_words(events, series)
        open_ += sum(not brought for brought in words.values())
        missed = [each for each in written if cut.from_ms < each.event_ms < cut.until_ms]
        of_cut += len(missed)
        untold += sum(not words.get(each.id, False) for each in missed)
        written_s = max([written_s, *(each.written_ms / 1000 - cut.until_host_ms / 1000 for each in missed)])
        broken = repaired.untold_breaks(scene.redis, events, series)
        breaks, untold_breaks = breaks + broken[0], untold_breaks + broken[1]
    streams, cuts, returns = repaired.boundaries(events, scene.series, cut.from_host_ms)
    reasons = Counter(f"{event.reason} of {event.kind}" for event in events)
    told = ", ".join(f"{count} {what}" for what, count in sorted(reasons.items()))
    shed = sum(event.reason == GapReason.SHED for event in events)
    print(f"  {account.made:,} trades, {of_cut:,} of them while there was no network; {account.late} behind later ones")
    print(f"  md.gaps: {told}")
    verdicts.at_most("from the network's return to all its trades written", written_s, RETURN_S, " s")
    verdicts.at_most("trades missing", account.missing, 0)
    verdicts.at_most("trades twice", account.doubled, 0)
    verdicts.at_most("trades with other values than the exchange's", account.differing, 0)
    verdicts.at_most("trades of the cut that md.gaps does not call missing and brought", untold, 0)
    verdicts.at_most("trades that md.gaps calls missing to the last", open_, 0)
    verdicts.at_most(f"of {streams} Streams, those whose cut or return was not told", 2 * streams - cuts - returns, 0)
    verdicts.at_most(f"breaks between diffs ({breaks}) that were not told", untold_breaks, 0)
    verdicts.at_most("losses by shedding", shed, 0)


def _bars(verdicts: Verdicts, scene: Scene, end_ms: int) -> None:
    events, window = repaired.told(scene.redis), (scene.first_ms, end_ms)
    truth = {each: repaired.true_bars(scene.live, each, *window) for each in scene.series}
    missing, differing, sources = repaired.untrue_bars(scene.db, truth, *window)
    closes = [repaired.untold_closes(scene.redis, events, each, bars) for each, bars in truth.items()]
    unclosed, untold = (sum(counts) for counts in zip(*closes, strict=True))
    in_streams, stored = repaired.liquidations(scene.redis, scene.db, scene.series)
    told = ", ".join(f"{count} by {source.name}" for source, count in sources.items())
    print(f"  {(end_ms - scene.first_ms) // MINUTE_MS} minutes of {len(scene.series)} symbols in MySQL: {told}")
    verdicts.at_most("bars that MySQL lacks", missing, 0)
    verdicts.at_most("bars with other values than the exchange's", differing, 0)
    verdicts.at_most(f"closes that were not received ({unclosed}) and not told as brought", untold, 0)
    verdicts.at_most(f"liquidations of the Streams ({in_streams}) that MySQL lacks", in_streams - stored, 0)


def main() -> int:
    """Status 1 when a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mysql-minutes", type=float, default=10.0)
    parser.add_argument("--cut-minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, help="of no use here; given to every benchmark")
    asked = parser.parse_args()
    if asked.cut_minutes > (1 - _CUT_AFTER) * asked.mysql_minutes:
        parser.error("the cut lies within MySQL's absence: at most seven tenths of it")
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as folder, bare_redis(frozenset(os.sched_getaffinity(0))) as redis:
        measure(verdicts, redis, Path(folder), asked.mysql_minutes * 60, asked.cut_minutes * 60)
    if verdicts.missed:
        print(f"  missed: {'; '.join(verdicts.missed)}")
    return 1 if verdicts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
