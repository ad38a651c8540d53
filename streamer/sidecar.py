"""The running sidecar itself: who hears the connections, who ticks, who tells losses."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gapless.domain.instrument import Instrument, Market
from gapless.domain.interval import Interval
from gapless.domain.live import Entry, GapEvent, book_key
from gapless.exchanges.binance.streams.names import StreamSpec, stream_specs
from streamer.channels.channel import EXCHANGE, Channel
from streamer.connections import LaneView, Take
from streamer.continuity.backfill import left_open
from streamer.continuity.boundaries import Boundaries
from streamer.continuity.holes import Range
from streamer.continuity.moment import Moment
from streamer.operations.request import StreamRequest
from streamer.operations.settings_file import StreamerSettings
from streamer.outlet import Outlet
from streamer.refusals import Refusals
from streamer.resuming import Tails
from streamer.side import MarketSide

_TICK_S = 0.01
"""Often, so that each time few books are read and written, and no message waits for many of them."""
_NEWEST_EVERY = 10
_LOOK_EVERY = 100
_REFRESHED_IN_S = 5.0


class Sidecar:
    """A running session: who hears the connections, and who ticks.

    Attributes:
        sides: by market. gaps: events told since the start, by reason.
        ending: whether connections are closed because all is to end.
    """

    def __init__(
        self,
        request: StreamRequest,
        options: StreamerSettings,
        outlet: Outlet,
        refusals: Refusals,
        *,
        say: Callable[[str], None],
    ) -> None:
        self.request = request
        self.options = options
        self.outlet = outlet
        self.refusals = refusals
        self.sides: dict[Market, MarketSide] = {}
        self.gaps: Counter[str] = Counter()
        self.ending = False
        self._silent: dict[tuple[Market, str], int] = {}
        self.boundaries = Boundaries(options.continuity, self.tell)
        self.specs: dict[tuple[Market, str], StreamSpec] = {}
        self._say = say
        self._redis_answers = True
        self._dropped: set[tuple[Market, str]] = set()
        self._shed: list[tuple[str, int, int]] = []
        self._carriers: Counter[tuple[Market, str]] = Counter()
        self._tails: Mapping[str, Sequence[Entry]] = {}
        self._open_before: Mapping[str, Sequence[Range]] = {}

    # ---- what is wanted ----------------------------------------------------------------------------------------------

    def specs_of(self, instruments: Sequence[Instrument]) -> list[StreamSpec]:
        """The exchange's streams that the request needs of these instruments."""
        request = self.request
        return [
            spec for each in instruments for spec in stream_specs(each, request.channels, intervals=request.intervals)
        ]

    def prepare(self, specs: Sequence[StreamSpec], tails: Tails) -> None:
        """Before these are wanted: what was written of them before; and those that are wanted no longer are let go."""
        wanted = {(spec.market, spec.name): spec for spec in specs}
        gone = [spec for key, spec in self.specs.items() if key not in wanted]
        new = [spec for key, spec in wanted.items() if key not in self.specs]
        self._tails, self._open_before = tails.entries, left_open(tails.gaps)
        for spec in gone:
            self.sides[spec.market].close(spec)
            self._silent.pop((spec.market, spec.name), None)
        self.boundaries.stopped(gone, self.now())
        self.boundaries.started(new, self.now())
        self.specs = wanted

    def begun(self) -> None:
        """All that is wanted has its channel: what was written before is needed no longer."""
        self._tails, self._open_before = {}, {}

    # ---- what connections say ----------------------------------------------------------------------------------------

    def taker(self, spec: StreamSpec) -> Take:
        side = self.sides[spec.market]
        return (side.channels.get(spec.name) or side.open(spec, self._tails, self._open_before)).take

    def on_opened(self, lane: LaneView, specs: Sequence[StreamSpec]) -> None:
        now = self.now()
        self.boundaries.opened(specs, now)
        again = {(spec.market, spec.name) for spec in specs} & self._dropped
        if again:
            self._dropped -= again
            self._say(f"{lane.market}{lane.route}: {len(again)} streams come again")
        for spec in specs:
            self._carriers[spec.market, spec.name] += 1
            self._silent.pop((spec.market, spec.name), None)
            if (channel := self._channel(spec)) is not None:
                channel.carried(now.ns)

    def on_ended(self, lane: LaneView, specs: Sequence[StreamSpec], why: str, covered: bool) -> None:
        if self.ending:
            return  # no loss: nothing of it is wanted any more, and `stopped` is told of all
        now = self.now()
        self.boundaries.ended([spec for spec in specs if (spec.market, spec.name) in self.specs], why, covered, now)
        for spec in specs:
            key = spec.market, spec.name
            self._carriers[key] = max(0, self._carriers[key] - 1)
            channel = self._channel(spec)
            if channel is None or self._carriers[key]:
                continue
            if not covered:
                self.sides[spec.market].backfill.because(spec.symbol, "reconnect")
            channel.dropped(now.ns)
            self._dropped.add(key)

    def on_silent(self, spec: StreamSpec, silent_s: float) -> None:
        self._silent[spec.market, spec.name] = time.time_ns()
        self.boundaries.silent(spec, silent_s, self.now())

    def is_silent(self, spec: StreamSpec, last_ns: int) -> bool:
        """Whether a stream ought to speak and does not. `last_ns`: when it last did, UTC ns."""
        return last_ns < self._silent.get((spec.market, spec.name), 0)

    def on_unread(self, payload: bytes) -> None:
        self.refusals.take(None, payload, "frame: of no stream that is wanted, and no answer")

    def _channel(self, spec: StreamSpec) -> Channel | None:
        return self.sides[spec.market].channels.get(spec.name)

    # ---- what is told ------------------------------------------------------------------------------------------------

    def tell(self, gap: GapEvent) -> None:
        """An event for `md.gaps`."""
        self.gaps[gap.reason] += 1
        self.outlet.tell(gap)

    def now(self) -> Moment:
        """This moment, on the clock of whichever market is known."""
        for side in self.sides.values():
            return side.now()
        wall_ns = time.time_ns()
        return Moment(time.monotonic_ns(), wall_ns, wall_ns // 1_000_000)

    def on_trades_shed(self, exchange: str, symbol: str, first: int, last: int) -> None:
        """Trades that were in order already had no room on their way out: they are brought again when there is."""
        self._shed.append((symbol, first, last))

    def _look_at_redis(self) -> None:
        state = self.outlet.state()
        if state.connected != self._redis_answers:
            self._redis_answers = state.connected
            why = state.last_error or "it does not answer as fast as it is written to"
            self._say("Redis takes entries again" if state.connected else f"entries wait: {why}")
        if not self._shed or not state.connected or state.stage or state.spooling:
            return
        shed, self._shed = self._shed, []
        for symbol, first, last in shed:
            for side in self.sides.values():
                side.bring_again(symbol, first, last)

    # ---- time --------------------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """What time brings about, until cancelled."""
        turn = 0
        share = _NEWEST_EVERY * _TICK_S / _REFRESHED_IN_S
        while True:
            await asyncio.sleep(_TICK_S)
            turn += 1
            now_ns = time.monotonic_ns()
            for side in self.sides.values():
                side.tick(now_ns)
                if turn % _NEWEST_EVERY == 0:
                    side.refresh(share)
                    side.show_newest()
                if turn % _LOOK_EVERY == 0:
                    side.look()
            if turn % _LOOK_EVERY == 0:
                self.boundaries.look(self.now())
                self._look_at_redis()

    def bars_confirmed(self, market: Market, symbol: str, interval: Interval, trades: Mapping[int, int | None]) -> None:
        """What REST said of bars that were not sent, see `BarWatch.confirmed`."""
        side = self.sides[market]
        side.bars.confirmed(symbol, interval, trades, side.now())

    async def show_wanted(self, redis: Redis) -> None:
        """Once a second: all levels of the books that somebody asked for. Until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            books = [(side, raw, book_key("want", EXCHANGE, channel.spec.symbol))
                     for side in self.sides.values() for raw, channel in side.books.items()]  # fmt: skip
            if not books:
                continue
            with suppress(RedisError, OSError):  # a wish that cannot be read is none; the outlet says what is wrong
                wishes = await redis.mget([key for _, _, key in books])
                for (side, raw, _), wish in zip(books, wishes, strict=True):
                    if wish is not None:
                        side.show_full(raw)
