"""Random schedules against an oracle: lanes that drop, repeat, reorder; a REST side that lags, fails and forgets.

`python -m tests.streamer.continuity.storm --schedules 100000` runs many; the suite runs some hundreds.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from gapless.domain.live import GapEvent
from streamer.continuity.backfill import left_open
from streamer.continuity.line import Line, Room
from streamer.continuity.moment import Moment
from streamer.continuity.search import Ask, Found, Tracked
from streamer.continuity.searches import SERVED_MS, Searches
from streamer.continuity.settings import ContinuitySettings

WALL_MS = 1_763_700_000_000
Item = tuple[int, str]


@dataclass
class Told:
    """What a reader of `md.gaps` makes of it: of events about the same ids the later one counts."""

    events: list[GapEvent] = field(default_factory=list)

    def missing(self) -> set[int]:
        """Ids that are told as missing, as things stand at the end."""
        found: set[int] = set()
        for event in self.events:
            ids = range(int(event.first), int(event.last) + 1)
            if event.repaired:
                found.difference_update(ids)
            else:
                found.update(ids)
        return found

    def absent(self) -> set[int]:
        """Ids of which it is told that the exchange never gave them, or declared them void."""
        return {
            id
            for event in self.events
            if event.repaired and event.detail.endswith("no trades of these ids")
            for id in range(int(event.first), int(event.last) + 1)
        }


class Storm:
    """One random schedule; `run` raises AssertionError where a promise is broken."""

    def __init__(self, seed: int, settings: ContinuitySettings | None = None) -> None:
        self.rng = rng = random.Random(seed)
        self.settings = settings or ContinuitySettings(
            hold_ms=rng.choice([500, 5_000, 100_000]),
            held_trades=rng.choice([3, 20, 50_000]),
            holes=rng.choice([2, 5, 1_000]),
            searches=rng.choice([1, 2_000]),
            gather_ms=rng.choice([0, 1_000, 5_000]),
            deadline_s=rng.choice([3.0, 1_800.0]),
            ids=rng.choice([5, 200_000]),
            longest_pause_s=4.0,
        )
        self.ms = 0
        self.base = rng.choice([0, 1, 5_000])
        self.head = self.base  # the next id that the exchange gives
        self.never = {id for id in range(self.base + 1, self.base + 600) if rng.random() < rng.choice([0, 0, 0.02])}
        self.void = {id for id in self.never if rng.random() < 0.5}
        self.drop, self.again, self.shuffle = rng.choice([0, 0.05, 0.5]), rng.choice([0, 0.2]), rng.choice([0, 0.2])
        self.rest_fails, self.rest_lag = rng.choice([0, 0, 0.3, 0.9]), rng.choice([0, 0, 5])
        self.forgets_below = -1
        self.down = [False, False]
        self.lanes: list[list[int]] = [[], []]
        self.told = Told()
        self.emitted: list[int] = []
        self.deferred: set[int] = set()
        self.room = Room(rng.choice([600, 10**9]))
        self.begin()
        self.searches: Searches[Item] = Searches(self.settings, "binance", self.told.events.append, rng.random)
        self.asks: list[Ask[Item]] = []
        self.restarts = rng.choice([0, 0, 0.05])

    def begin(self) -> None:
        self.line: Line[Item] = Line(self.settings, room=self.room, weigh=lambda item: 100)
        self.of = Tracked("BTC/USDT", "BTCUSDT", self.line, self.release)

    def restart(self) -> None:
        """The process ends in order, the lanes with it, and another begins where it ended."""
        self.searches.drop(self.of, self.now, "the writer stopped")
        assert not self.line.troubled
        assert len(self.searches) == self.room.used == 0
        if self.rng.random() < 0.5:
            self.asks.clear()  # else the answers come to who has no use for them any longer
        for queue in self.lanes:
            queue.clear()
        self.begin()
        if self.emitted:
            self.line.resume(max(self.emitted))
            self.of.began = self.line.next_id
            left = left_open(self.told.events).get("BTC/USDT", [])
            self.deferred |= {id for each in left for id in range(each.first, each.last + 1)}
            self.searches.reopen(self.of, left, self.now)

    def run(self, steps: int = 60) -> None:
        """Chaos, then calm until all is settled, then the reckoning."""
        for _ in range(steps):
            self.chaos()
        self.calm()
        self.reckon()

    def chaos(self) -> None:
        rng = self.rng
        self.ms += rng.choice([0, 1, 20, 100, 100, 400])
        for _ in range(rng.choice([0, 1, 1, 5, 20])):
            self.trade()
        for lane in (0, 1):
            if rng.random() < 0.05:
                self.down[lane] = not self.down[lane]
                self.lanes[lane].clear()  # what was under way is gone with the connection
            queue = self.lanes[lane]
            if rng.random() < self.shuffle and len(queue) > 1:
                at = rng.randrange(len(queue) - 1)
                queue[at], queue[at + 1] = queue[at + 1], queue[at]
            for _ in range(min(len(queue), rng.choice([0, 1, 10, 50]))):
                id = queue.pop(0)
                self.receive(id)
                if rng.random() < self.again:
                    self.receive(rng.choice([id, max(self.base, id - rng.randrange(30))]))
        if rng.random() < 0.01:
            self.forgets_below = max(self.forgets_below, self.head - rng.randrange(40))
        self.rest()
        self.look()
        if rng.random() < self.restarts:
            self.restart()

    def trade(self) -> None:
        while self.head in self.never:
            self.head += 1
        for lane in (0, 1):
            if not self.down[lane] and (self.rng.random() >= self.drop or self.head == self.base):
                self.lanes[lane].append(self.head)
        self.head += 1

    def receive(self, id: int) -> None:
        if id in self.never or id >= self.head:
            return
        # The regular case, as the channel has it.
        if id == self.line.expected:
            self.line.expected = id + 1
            self.release([(id, "stream")])
        else:
            self.release(self.line.irregular(id, (id, "stream"), self.ms * 1_000_000))

    def release(self, items: Sequence[Item]) -> None:
        self.deferred |= {id for each in self.line.deferred for id in range(each.first, each.last + 1)}
        self.emitted += [id for id, _ in items]

    def rest(self) -> None:
        """Some requests are made, some answered, in any order."""
        rng = self.rng
        while len(self.asks) < 2 and (ask := self.searches.next_ask(self.now)):
            self.asks.append(ask)
        for ask in list(self.asks):
            if rng.random() < 0.5:
                self.asks.remove(ask)
                if rng.random() < self.rest_fails:
                    self.searches.failed(ask, "away", self.now, lasting=rng.random() < 0.02)
                else:
                    self.searches.answered(ask, self.page(ask), self.now)

    def page(self, ask: Ask[Item]) -> list[Found[Item]]:
        first = max(ask.first, self.forgets_below)
        known = range(first, max(first, self.head - self.rest_lag))
        rows = [id for id in known if id not in self.never or id in self.void][: ask.limit]
        old_ms = self.now.exchange_ms - SERVED_MS - 1 if first > ask.first else self.now.exchange_ms
        return [Found(id, old_ms, None if id in self.void else (id, "rest")) for id in rows]

    def look(self) -> None:
        # Deferred ids are known to the line alone until it is looked at.
        self.release([])
        if self.line.troubled or self.of.searches:
            self.searches.look(self.of, self.now)

    def calm(self) -> None:
        """All is well again: both lanes, REST; and some last trades, by which the lanes are known to be whole."""
        self.down, self.drop, self.shuffle, self.rest_fails, self.rest_lag = [False, False], 0, 0, 0, 0
        for _ in range(3):
            self.trade()
        for _ in range(4_000):
            self.ms += 100
            for queue in self.lanes:
                while queue:
                    self.receive(queue.pop(0))
            self.rest()
            self.look()
            if not self.line.troubled and not len(self.searches) and not self.asks:
                return
        raise AssertionError(f"never settled: {self.line.missing(0, 10**9)}, {len(self.searches)} searches")

    def reckon(self) -> None:
        assert self.line.held == self.line.held_bytes == self.room.used == 0
        assert self.line.expected == self.line.next_id == self.head
        if not self.emitted:
            return
        truth = set(range(self.emitted[0], self.head)) - self.never
        emitted = set(self.emitted)
        assert len(emitted) == len(self.emitted), "an id was emitted twice"
        assert emitted <= truth, "an id was emitted that never was"
        lost = truth - emitted
        told = self.told.missing()
        assert lost <= told, f"lost and not told: {sorted(lost - told)}"
        if not any("ranges:" in event.detail for event in self.told.events):
            assert told <= lost | self.never, f"told as lost, but emitted: {sorted(told - lost - self.never)}"
            assert self.told.absent() <= self.never, "told as never given, but given"
        if not self.restarts and not any("ranges:" in event.detail for event in self.told.events):
            assert self.searches.tally.lost == len(told)
        top = -1
        for id in self.emitted:
            assert id > top or id in self.deferred, f"{id} after {top}, which nobody told"
            top = max(top, id)
        for event in self.told.events:
            assert event.count >= 0
            assert int(event.first) <= int(event.last)
            assert event.count <= int(event.last) - int(event.first) + 1

    @property
    def now(self) -> Moment:
        wall_ms = WALL_MS + self.ms
        return Moment(self.ms * 1_000_000, wall_ms * 1_000_000, wall_ms)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    began, totals = time.monotonic(), {"emitted": 0, "missing": 0, "brought": 0, "lost": 0, "absent": 0, "deferred": 0}
    for seed in range(options.first, options.first + options.schedules):
        storm = Storm(seed)
        try:
            storm.run()
        except AssertionError as error:
            print(f"seed {seed}: {error}", file=sys.stderr)
            return 1
        totals["emitted"] += len(storm.emitted)
        for name in totals.keys() - {"emitted"}:
            totals[name] += getattr(storm.searches.tally, name)
    seconds = round(time.monotonic() - began, 1)
    print(msgspec.json.encode({"schedules": options.schedules, "seconds": seconds, **totals}).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
