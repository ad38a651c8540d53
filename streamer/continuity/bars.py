"""Closed bars without holes: which close is awaited, which came again or otherwise, which must be asked of REST. Pure.

USD-M sends no close for a bar without trades, so a close that does not come is no loss before REST has said that the
bar had trades. "Over" is judged by the exchange's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import msgspec

from gapless.domain.interval import Interval
from gapless.domain.live import GapEvent, GapReason, Kind
from gapless.exchanges.binance.streams.messages import KlineBar
from streamer.continuity.moment import Moment
from streamer.continuity.settings import ContinuitySettings

_REMEMBERED = 32
_AWAITED = 1_500
DIFFERS = "differs"
"""The reason of an event about a bar that was closed twice, with different values."""


class Came(Enum):
    """What a close is to those before it."""

    NEW = "new"
    AGAIN = "again"  # the same bar: another connection's
    OTHERWISE = "otherwise"  # the same open time, other values: the later one is what the exchange says now


class Wanted(NamedTuple):
    """Bars to be asked of REST, by open time in ms, ascending."""

    symbol: str
    interval: Interval
    opens: tuple[int, ...]


class BarTally(msgspec.Struct):
    """Counts of bars since the start."""

    closed: int = 0
    again: int = 0
    otherwise: int = 0
    wanted: int = 0
    quiet: int = 0  # REST has them, without trades: the stream sends none
    missed: int = 0  # REST has them, with trades: the stream should have sent them
    absent: int = 0  # the exchange has none
    unanswered: int = 0  # REST could not be asked often enough


class _Awaited:
    __slots__ = ("asked", "due_ms")

    def __init__(self, due_ms: int) -> None:
        self.asked = 0
        self.due_ms = due_ms


class _Line:
    """One symbol and interval. Every bar before `next_open` came, was settled by REST, or is awaited."""

    __slots__ = ("awaited", "next_open", "seen")

    def __init__(self, next_open: int) -> None:
        self.next_open = next_open
        self.awaited: dict[int, _Awaited] = {}
        self.seen: dict[int, tuple[str | int, ...] | None] = {}  # values of the newest; None: settled by REST

    def remember(self, open_ms: int, values: tuple[str | int, ...] | None) -> None:
        self.seen[open_ms] = values
        if len(self.seen) > _REMEMBERED:
            del self.seen[min(self.seen)]


class BarWatch:
    """All closed bars of one market.

    Args:
        tell: takes the events of `md.gaps`.
        kept: whether what REST has is stored anywhere; otherwise a bar that was not sent stays missing, and is told so.
    """

    def __init__(
        self,
        settings: ContinuitySettings,
        tell: Callable[[GapEvent], None],
        *,
        kept: bool = True,
        exchange: str = "binance",
    ) -> None:
        self.tally = BarTally()
        self._settings = settings
        self._tell = tell
        self._kept = kept
        self._exchange = exchange
        self._lines: dict[tuple[str, Interval], _Line] = {}

    def track(self, symbol: str, interval: Interval, now: Moment) -> None:
        """Await the bar that is open now, and all after it."""
        self._lines.setdefault((symbol, interval), _Line(interval.floor(now.exchange_ms)))

    def untrack(self, symbol: str, interval: Interval) -> None:
        """Await nothing more."""
        self._lines.pop((symbol, interval), None)

    def closed(self, symbol: str, bar: KlineBar, now: Moment) -> Came:
        """A close came. What differs from what came before is told, with both."""
        interval = Interval(bar.i)
        line = self._lines.setdefault((symbol, interval), _Line(bar.t))
        values = (bar.o, bar.h, bar.l, bar.c, bar.v, bar.q, bar.n, bar.V, bar.Q)
        before = line.seen.get(bar.t)
        if before == values:
            self.tally.again += 1
            return Came.AGAIN
        if before is not None:
            self.tally.otherwise += 1
            line.remember(bar.t, values)
            what = f"closed twice: {_text(before)}, then {_text(values)}"
            self._event(symbol, interval, (bar.t, bar.t), 0, True, what, now, DIFFERS)
            return Came.OTHERWISE
        if bar.t < line.next_open and bar.t not in line.awaited and bar.t not in line.seen:
            self.tally.again += 1  # from before what is remembered, or from before the beginning
            return Came.AGAIN
        if bar.t >= line.next_open:
            self._await(symbol, interval, line, bar.t, now)
            line.next_open = bar.t + interval.ms
        line.awaited.pop(bar.t, None)
        line.remember(bar.t, values)
        self.tally.closed += 1
        return Came.NEW

    def wanted(self, now: Moment) -> list[Wanted]:
        """Bars that are over by the grace and did not come: to be asked of REST, and answered by `confirmed`.

        What is not answered is wanted again, later each time; after the last time it is told as missing.
        """
        found = []
        grace_ms = self._settings.bar_grace_ms
        for (symbol, interval), line in self._lines.items():
            if line.next_open + interval.ms + grace_ms <= now.exchange_ms:
                self._await(symbol, interval, line, interval.floor(now.exchange_ms - grace_ms), now)
                line.next_open = max(line.next_open, interval.floor(now.exchange_ms - grace_ms))
            if not line.awaited:
                continue
            opens, given_up = [], []
            for open_ms, awaited in line.awaited.items():
                if awaited.due_ms > now.exchange_ms:
                    continue
                if awaited.asked >= self._settings.bar_attempts:
                    given_up.append(open_ms)
                    continue
                self.tally.wanted += not awaited.asked
                awaited.asked += 1
                awaited.due_ms = now.exchange_ms + grace_ms * awaited.asked
                opens.append(open_ms)
            self._give_up(symbol, interval, line, given_up, "REST did not answer", now)
            if opens:
                found.append(Wanted(symbol, interval, tuple(sorted(opens))))
        return found

    def confirmed(self, symbol: str, interval: Interval, trades: Mapping[int, int | None], now: Moment) -> None:
        """What REST said of wanted bars; those it has are stored if bars are kept at all.

        Args:
            trades: by open time how many trades the bar had; None: the exchange has no such bar, as yet.
        """
        line = self._lines.get((symbol, interval))
        if line is None:
            return
        missed, absent = [], []
        for open_ms, count in sorted(trades.items()):
            awaited = line.awaited.get(open_ms)
            if awaited is None:
                continue  # it came meanwhile
            if count is None:
                if awaited.asked >= self._settings.bar_attempts:
                    absent.append(open_ms)
                    self._settle(line, open_ms)
                continue
            self._settle(line, open_ms)
            if count:
                missed.append(open_ms)
            else:
                self.tally.quiet += 1
        self.tally.missed += len(missed)
        self.tally.absent += len(absent)
        for first, last in _runs(missed, interval):
            bars = (last - first) // interval.ms + 1
            what = (
                "not sent; stored from REST" if self._kept else "not sent; REST has it, no database is there to keep it"
            )
            self._event(symbol, interval, (first, last), bars, self._kept, what, now)
        for first, last in _runs(absent, interval):
            self._event(symbol, interval, (first, last), 0, True, "the exchange has none", now)

    def _await(self, symbol: str, interval: Interval, line: _Line, until_ms: int, now: Moment) -> None:
        grace_ms = self._settings.bar_grace_ms
        # After a long sleep of the host: the patrol of the store brings what is older.
        first = max(line.next_open, until_ms - _AWAITED * interval.ms)
        if first > line.next_open:
            self._lost(symbol, interval, line.next_open, first - interval.ms, now)
        for open_ms in range(first, until_ms, interval.ms):
            line.awaited[open_ms] = _Awaited(open_ms + interval.ms + grace_ms)
        if len(line.awaited) > _AWAITED:
            excess = sorted(line.awaited)[: len(line.awaited) - _AWAITED]
            self._give_up(symbol, interval, line, excess, "too many at once", now)

    def _lost(self, symbol: str, interval: Interval, first: int, last: int, now: Moment) -> None:
        bars = (last - first) // interval.ms + 1
        self.tally.unanswered += bars
        self._event(symbol, interval, (first, last), bars, False, "too many at once", now)

    def _give_up(
        self, symbol: str, interval: Interval, line: _Line, opens: Sequence[int], why: str, now: Moment
    ) -> None:
        for open_ms in opens:
            self._settle(line, open_ms)
        self.tally.unanswered += len(opens)
        for first, last in _runs(sorted(opens), interval):
            bars = (last - first) // interval.ms + 1
            self._event(symbol, interval, (first, last), bars, False, f"not sent; {why}", now)

    def _settle(self, line: _Line, open_ms: int) -> None:
        del line.awaited[open_ms]
        line.remember(open_ms, None)

    def _event(
        self,
        symbol: str,
        interval: Interval,
        opens: tuple[int, int],
        count: int,
        repaired: bool,
        detail: str,
        now: Moment,
        reason: str = GapReason.HOLE,
    ) -> None:
        self._tell(
            GapEvent(
                kind=Kind.KLINES,
                exchange=self._exchange,
                symbol=symbol,
                reason=reason,
                count=count,
                at_ms=now.wall_ns // 1_000_000,
                repaired=repaired,
                detail=f"{interval} closed: {detail}",
                first=str(opens[0]),
                last=str(opens[1]),
            )
        )


def _text(values: tuple[str | int, ...]) -> str:
    return "/".join(map(str, values))


def _runs(opens: Sequence[int], interval: Interval) -> Iterator[tuple[int, int]]:
    """First and last of each run of neighbours."""
    first = last = -1
    for open_ms in opens:
        if first >= 0 and open_ms != last + interval.ms:
            yield first, last
            first = -1
        first = open_ms if first < 0 else first
        last = open_ms
    if first >= 0:
        yield first, last
