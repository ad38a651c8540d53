"""A group of streams and the connections that carry it: one at a time, two at once if so set, one more while it is
replaced."""

from __future__ import annotations

import asyncio
import traceback

from streamer.connections.lane import Lane
from streamer.connections.office import Office
from streamer.connections.patience import Backoff
from streamer.connections.plan import ShardKey
from streamer.connections.silence import Stream
from streamer.transport import ConnectFailed

_LOOK_S = 0.02


class Shard:
    """Keeps the streams coming until it is cancelled.

    Attributes:
        streams: by name; changed by `want` alone.
        lanes: those that live, the newest last.
    """

    def __init__(self, key: ShardKey, office: Office) -> None:
        self.key = key
        self.streams: dict[str, Stream] = {}
        self.lanes: list[Lane] = []
        self._office = office
        self._settings = office.settings

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for slot in range(self._settings.redundancy):
                group.create_task(self._keep(slot, group), name=f"slot {slot} of {self.key}")

    def want(self, added: list[Stream], removed: list[Stream]) -> None:
        """Changes what it carries, on the connections at hand."""
        for stream in removed:
            self.streams.pop(stream.spec.name, None)
        for stream in added:
            self.streams[stream.spec.name] = stream
        for lane in self.lanes:
            lane.want(added, removed)

    async def _keep(self, slot: int, group: asyncio.TaskGroup) -> None:
        """One connection after the other: a successor beside it where there is time for one, else as soon as may be."""
        settings, office = self._settings, self._office
        backoff = Backoff(settings.backoff_s, settings.backoff_cap_s, settings.healthy_s)
        lane = await self._opened(slot, backoff, group, at_once=True)
        if slot:
            # Half a life apart from the first one's, so that the two are never replaced together.
            lane.retires_s = lane.opened_s + (lane.retires_s - lane.opened_s) / 2
        while True:
            await lane.attention.wait()
            if office.closing:
                return
            ended_by_itself = lane.has_ended
            if ended_by_itself:
                backoff.ended(office.clock() - lane.opened_s, spoke=lane.messages > 0)
            successor = await self._opened(slot, backoff, group)
            if not lane.has_ended:
                if not await self._hand_over(lane, successor):
                    backoff.ended(office.clock() - successor.opened_s, spoke=successor.messages > 0)
                    lane.refuse_replacement()
                    continue
                await lane.close(lane.replace_why)
                office.state.replaced += 1
            successor.reconnects = lane.reconnects
            if ended_by_itself:
                successor.reconnects += 1
                market = self.key.market
                office.state.reconnects[market] = office.state.reconnects.get(market, 0) + 1
            lane = successor

    async def _opened(self, slot: int, backoff: Backoff, group: asyncio.TaskGroup, *, at_once: bool = False) -> Lane:
        """A connection, however long it takes: after backoff, within the budget, and not while the market refuses."""
        office, market = self._office, self.key.market
        told = ""
        while True:
            await asyncio.sleep(max(self._wait_s(), 0.0 if at_once else backoff.delay_s(office.random())))
            at_once = False
            async with office.connecting:
                if self._wait_s():
                    continue  # somebody else had the last of the budget, or was refused, meanwhile
                office.budget.took(office.clock())
                office.state.attempts += 1
                lane = Lane(self.key, slot, self.streams.values(), office)
                try:
                    await lane.open()
                except ConnectFailed as error:
                    office.state.refused += 1
                    backoff.failed()
                    halt_s = office.refusals.note(market, error.status or 0, error.retry_after_s, office.clock())
                    said = f"connection {self.key}: {error}" + (f"; left alone for {halt_s:g} s" if halt_s else "")
                    if said != told:
                        office.say(said)
                        told = said
                    continue
            office.refusals.connected(market)
            missing = [stream for stream in self.streams.values() if stream.spec.name.encode() not in lane.entries]
            gone = [entry.stream for entry in lane.entries.values() if entry.stream.spec.name not in self.streams]
            lane.want(missing, gone)
            self.lanes.append(lane)
            group.create_task(self._run(lane), name=f"connection {lane.id} of {self.key}")
            return lane

    def _wait_s(self) -> float:
        """How long nobody may try: this market refused, or the process has spent its attempts."""
        office, now_s = self._office, self._office.clock()
        return max(office.refusals.wait_s(self.key.market, now_s), office.budget.wait_s(now_s))

    async def _run(self, lane: Lane) -> None:
        """The life of one connection; its end is told whatever ends it."""
        why = "stopped"
        try:
            ended = await lane.run()
            why = lane.closing_why or ended.why
        finally:
            self.lanes.remove(lane)
            for entry in lane.entries.values():
                entry.stream.past_messages += entry.count
                entry.stream.past_ns = max(entry.stream.past_ns, entry.last_ns)
            self._office.intake.on_ended(lane.view(), lane.specs(), why, self._covered(lane))
        if not lane.closing_why:
            self._office.state.cut += 1
            self._office.say(f"connection {self.key} ended by itself: {why}")
        if ended.receiver_failed and ended.error is not None:
            trace = "".join(traceback.format_exception(ended.error)).strip()
            self._office.say(f"connection {self.key}: a message could not be taken, this is a bug: {trace}")
            if self._office.failed():
                raise ended.error

    async def _hand_over(self, old: Lane, new: Lane) -> bool:
        """Waits until the new connection has what the old one had. False: the new one ended, the old one stays."""
        office, settings = self._office, self._settings
        until_s = office.clock() + settings.overlap_s
        # Looked at again and again: what is waited for is counted on the hot path, where no event is set.
        while not (self._caught_up(old, new) or new.has_ended or old.has_ended or office.clock() >= until_s):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        if not old.has_ended and not new.has_ended:
            await asyncio.sleep(settings.linger_s)
        return not new.has_ended or old.has_ended

    def _caught_up(self, old: Lane, new: Lane) -> bool:
        """Every stream that spoke lately on the old one has spoken on the new one."""
        lately_ns = self._office.utc_ns() - int(self._settings.lately_s * 1e9)
        for name, entry in old.entries.items():
            if entry.wanted and entry.last_ns > lately_ns:
                other = new.entries.get(name)
                if other is not None and not other.count:
                    return False
        return all(entry.carried_s is not None for entry in new.entries.values() if entry.wanted)

    def _covered(self, lane: Lane) -> bool:
        return all(
            any(_carries(other, name, entry.last_ns) for other in self.lanes)
            for name, entry in lane.entries.items()
            if entry.wanted and entry.carried_s is not None
        )


def _carries(other: Lane, name: bytes, last_ns: int) -> bool:
    """Whether another connection has what came until then and what comes next."""
    entry = other.entries.get(name)
    if entry is None or entry.carried_s is None or other.state != "open":
        return False
    return entry.count > 0 or last_ns <= entry.carried_ns
