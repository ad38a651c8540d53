"""One connection's life: what it carries, what it hears, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from itertools import count

from msgspec import DecodeError

from gapless.exchanges.binance.streams.control import MESSAGES_A_SECOND, SHUTDOWN, Method, read_answer
from gapless.exchanges.binance.streams.messages import open_envelope
from gapless.exchanges.binance.streams.names import Route, StreamSpec, combined_url
from streamer.connections.office import Office
from streamer.connections.plan import ShardKey
from streamer.connections.seams import LaneState, LaneView
from streamer.connections.silence import Entry, Pulse, Stream, look
from streamer.connections.subscribing import Asked, Subscribing
from streamer.transport import Ended, Wire

_numbers = count(1)
_BRACE = ord("}")
_AFTER_NAME = b'","data":'
_RAW_SHUTDOWN = b'"serverShutdown"'


class Lane:
    """A connection and the streams on it, from the attempt to the end. Its shard owns it and awaits `run`.

    Attributes:
        attention: set when it ended, or when it wants to be replaced (`replace_why` says why).
        covered: said by the shard when it ended, see `Intake.on_ended`.
    """

    def __init__(self, key: ShardKey, slot: int, streams: Iterable[Stream], office: Office) -> None:
        self.id = next(_numbers)
        self.key = key
        self.slot = slot
        self.state: LaneState = "connecting"
        self.attention = asyncio.Event()
        self.replace_why = ""
        self.opened_s = 0.0
        self.opened_ns = 0
        self.reconnects = 0
        self.retires_s = float("inf")
        self._office = office
        self._settings = office.settings
        self._entries: dict[bytes, Entry] = {}
        for stream in streams:
            self._entries[stream.spec.name.encode()] = Entry(stream)
        self._subscribing = Subscribing(
            a_second=MESSAGES_A_SECOND[key.market] * office.settings.message_share,
            names_a_request=office.settings.names_a_request,
            ack_s=office.settings.ack_s,
        )
        self._pulse = Pulse(0.0)
        self._talk = asyncio.Event()
        self._ping = False
        self._wire: Wire | None = None
        self._messages = 0
        self._bytes = 0
        self._last_ns = 0
        self._closing_why = ""

    # The hot path

    def on_message(self, payload: bytes, received_ns: int) -> None:
        """`{"stream":"NAME","data":{...}}` in the exchange's own spelling is cut open by position."""
        end = payload.find(b'"', 11)
        entry = self._entries.get(payload[11:end])
        if entry is None or not payload.startswith(_AFTER_NAME, end) or payload[-1] != _BRACE:
            self._on_unusual(payload, received_ns)
            return
        entry.count += 1
        entry.last_ns = received_ns
        self._bytes += len(payload)
        entry.take(payload[end + 9 : -1], received_ns)

    def on_ended(self, ended: Ended) -> None:
        """`run` has the same from the wire."""

    # For its shard

    async def open(self) -> None:
        """Connects, with as many streams in the URL as fit, and asks for the others.

        Raises:
            ConnectFailed: there is no connection.
        """
        office, settings = self._office, self._settings
        base = office.urls[self.key.market]
        named = _that_fit([name.decode() for name in self._entries], settings.url_bytes - len(base))
        url = combined_url(base, self.key.route, named)
        self._wire = await office.transport.connect(
            url, self, proxy=office.proxy_for(url), timeout_s=settings.connect_s
        )
        self.opened_s, self.opened_ns = office.clock(), office.utc_ns()
        self.retires_s = self.opened_s + settings.life_s * (1.0 - settings.life_jitter * office.random())
        self._pulse = Pulse(office.awake_s())
        self.state = "open"
        self._ask("SUBSCRIBE", [name.decode() for name in self._entries][len(named) :])
        self._begin(named)

    async def run(self) -> Ended:
        """Until the connection ended; its end is not told yet. Cancelled: it is dropped."""
        wire = self._there()
        try:
            async with asyncio.TaskGroup() as group:
                talking = group.create_task(self._talk_on(wire), name=f"talk {self.key}")
                ended = await wire.run()
                talking.cancel()
        finally:
            self.state = "ended"
            wire.abort()
            self.attention.set()
        return ended

    async def close(self, why: str) -> None:
        """In order, and waited for; what the exchange sent before its answer is still taken."""
        if self.state != "open":
            return
        self.state, self._closing_why = "closing", why
        await self._there().close(self._settings.close_s)

    def drop(self, why: str) -> None:
        """At once: a peer that does not answer."""
        if self.state == "open":
            self.state, self._closing_why = "closing", why
            self._office.state.cut += 1
            self._office.say(f"connection {self.key} is dropped: {why}")
            self._there().abort()

    def replace(self, why: str) -> None:
        """Asks for a successor; until there is one this goes on."""
        if not self.replace_why and self.state == "open":
            self.replace_why = why
            self.attention.set()

    def refuse_replacement(self) -> None:
        """Its successor ended before it did: it may ask again."""
        self.replace_why = ""
        if not self.has_ended:
            self.attention.clear()

    def want(self, added: Sequence[Stream], removed: Sequence[Stream]) -> None:
        """Streams that are to be carried besides, and those that are not any more."""
        gone, new = [], []
        for stream in removed:
            entry = self._entries.get(stream.spec.name.encode())
            if entry is not None and entry.wanted:
                entry.wanted, entry.take = False, _let_go  # what is still on its way
                self._keep_count(entry)
                gone.append(stream.spec.name)
        for stream in added:
            name = stream.spec.name.encode()
            held = self._entries.get(name)
            if held is None or held.stream is not stream:
                self._entries[name] = Entry(stream)
                new.append(stream.spec.name)
        self._ask("UNSUBSCRIBE", gone)
        self._ask("SUBSCRIBE", new)

    # For the watchdog

    def look(self) -> None:
        """Everything that is judged by time."""
        if self.state != "open":
            return
        now_s = self._office.awake_s()
        said = self._pulse.look(self.messages + self._there().controls, now_s, self._settings)
        if said == "dead":
            self.drop(f"nothing was heard for {self._settings.dead_after_s:g} s, not even a pong")
            return
        if said == "ping":
            self._ping = True
            self._talk.set()
        if self._office.clock() >= self.retires_s:
            self.replace("its time was up")
        verdict = look(self._entries.values(), now_s, self._settings)
        for doubt in verdict.doubts:
            self._office.state.doubted += 1
            self._office.intake.on_silent(doubt.entry.stream.spec, doubt.silent_s)
        if verdict.replace:
            self.replace(verdict.replace)
        elif verdict.doubts:
            names = [doubt.entry.stream.spec.name for doubt in verdict.doubts]
            self._office.say(f"connection {self.key}: subscribing again to what fell silent: {_few(names)}")
            self._ask("UNSUBSCRIBE", names)
            self._ask("SUBSCRIBE", names)

    # What it is

    @property
    def has_ended(self) -> bool:
        return self.state == "ended"

    @property
    def entries(self) -> dict[bytes, Entry]:
        return self._entries

    @property
    def messages(self) -> int:
        return self._messages + sum(entry.count for entry in self._entries.values())

    @property
    def closing_why(self) -> str:
        """Why we closed it; empty: we did not."""
        return self._closing_why

    def specs(self) -> list[StreamSpec]:
        """What it carries that is still wanted."""
        return [e.stream.spec for e in self._entries.values() if e.wanted and e.carried_s is not None]

    def view(self) -> LaneView:
        last_ns = max([self._last_ns, *(entry.last_ns for entry in self._entries.values())])
        return LaneView(
            id=self.id,
            market=self.key.market,
            route=self.key.route,
            shard=self.key.number,
            slot=self.slot,
            state=self.state,
            streams=sum(1 for entry in self._entries.values() if entry.wanted),
            carried=sum(1 for entry in self._entries.values() if entry.wanted and entry.carried_s is not None),
            since_ms=self.opened_ns // 1_000_000,
            messages=self.messages,
            bytes=self._bytes,
            silent_s=max(0.0, (self._office.utc_ns() - last_ns) / 1e9) if last_ns else -1.0,
            reconnects=self.reconnects,
        )

    # Within

    def _there(self) -> Wire:
        if self._wire is None:
            raise RuntimeError(f"connection {self.key} was never opened")
        return self._wire

    def _keep_count(self, entry: Entry) -> None:
        self._messages += entry.count
        self._last_ns = max(self._last_ns, entry.last_ns)
        entry.count = entry.seen = 0

    def _ask(self, method: Method, names: Sequence[str]) -> None:
        if names and self.state == "open":
            self._subscribing.ask(method, names)
            self._talk.set()

    async def _talk_on(self, wire: Wire) -> None:
        """Sends what is due: requests at their pace, a ping when the watchdog wants one."""
        clock = self._office.clock
        while True:
            if self._ping:
                self._ping = False
                self._subscribing.spent(clock())
                await wire.ping()
            while (text := self._subscribing.due(clock())) is not None:
                await wire.send(text)
            for asked in self._subscribing.overdue(clock()):
                self.replace(f"{asked.method} of {_few(asked.names)} had no answer")
            self._talk.clear()
            try:
                async with asyncio.timeout(self._subscribing.wait_s(clock())):
                    await self._talk.wait()
            except TimeoutError:
                continue

    def _on_unusual(self, payload: bytes, received_ns: int) -> None:
        """Answers, the announcement of a shutdown, an envelope in another spelling, and what is none of these."""
        self._messages += 1
        self._bytes += len(payload)
        self._last_ns = received_ns
        if (answer := read_answer(payload)) is not None:
            asked = self._subscribing.answered(answer)
            if asked is not None:
                self._on_answered(asked, answer.error)
                return
        try:
            name, data = open_envelope(payload)
        except (DecodeError, UnicodeDecodeError):
            name, data = "", payload
        entry = self._entries.get(name.encode())
        if entry is not None:
            self._messages -= 1
            entry.count += 1
            entry.last_ns = received_ns
            entry.take(data, received_ns)
        elif name == SHUTDOWN or (not name and _RAW_SHUTDOWN in payload[:60]):
            self._office.say(f"connection {self.key}: the server announced that it will close it")
            self.replace("the server announced that it will close it")
        else:
            self._office.state.unread += 1
            self._office.intake.on_unread(payload)

    def _on_answered(self, asked: Asked, error: str) -> None:
        if error:
            self._office.state.request_errors += 1
            self._office.say(f"connection {self.key}: {asked.method} of {_few(asked.names)} was declined: {error}")
        elif asked.method == "SUBSCRIBE":
            self._begin(asked.names)
        else:
            for name in asked.names:
                entry = self._entries.get(name.encode())
                if entry is not None and not entry.wanted:
                    self._keep_count(entry)
                    del self._entries[name.encode()]

    def _begin(self, names: Sequence[str]) -> None:
        """These are carried from now on, those that were already excepted."""
        now_s, now_ns = self._office.awake_s(), self._office.utc_ns()
        begun = []
        for name in names:
            entry = self._entries.get(name.encode())
            if entry is None or not entry.wanted:
                continue
            if entry.carried_s is None:
                entry.carried(now_s, now_ns)
                begun.append(entry.stream.spec)
            else:
                entry.since_s = now_s  # subscribed again: from now on it has its time to speak
        if begun:
            self._office.intake.on_opened(self.view(), begun)


def _let_go(data: bytes, received_ns: int) -> None:
    """Of a stream that is not wanted any more."""


def _that_fit(names: Sequence[str], room_bytes: int) -> list[str]:
    """As many of the first names as a URL of that length has room for."""
    fit = []
    for name in names:
        room_bytes -= len(combined_url("", Route.SPOT, [name]))  # a little more than the name takes
        if room_bytes < 0:
            break
        fit.append(name)
    return fit


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
