"""Searches for missing trades: which holes are asked for, what an answer means, when to give up, what is told. Pure.

A search covers the holes of one symbol that became due together and lie near each other, so that a burst of small
holes is one event and a few requests. It is told when it opens (repaired 0) and when it ends: what was brought
(repaired 1), then, as events of their own, what is lost (repaired 0) and what never was (count 0, repaired 1). Of
events about the same ids the later one counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from gapless.domain.live import GapEvent, GapReason, Kind
from streamer.continuity.holes import Lost, Range
from streamer.continuity.moment import Moment
from streamer.continuity.search import (
    A_PAGE,
    Ask,
    Found,
    Search,
    Tally,
    Tracked,
    ids_of,
    ids_within,
    near_each_other,
    pieces,
    told_singly,
)
from streamer.continuity.settings import ContinuitySettings

T = TypeVar("T")
SERVED_MS = 47 * 3_600_000
"""USD-M serves the trades of 48 hours; an answer that begins about so long ago begins there, whatever was asked for."""

REFUSALS = 3
"""So often a search asks again after an answer that says no."""


class Searches(Generic[T]):
    """All searches of one market.

    Args:
        tell: takes the events of `md.gaps`.
        jitter: of [0, 1), for pauses.
    """

    def __init__(
        self,
        settings: ContinuitySettings,
        exchange: str,
        tell: Callable[[GapEvent], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.tally = Tally()
        self._settings = settings
        self._exchange = exchange
        self._tell = tell
        self._jitter = jitter
        self._open: list[Search[T]] = []

    def __len__(self) -> int:
        return len(self._open)

    def look(self, of: Tracked[T], now: Moment) -> bool:
        """See to a symbol's holes; whether it is to be looked at again."""
        self._pass_on(of, of.line.overdue(now.ns))
        mine = list(of.searches)
        self._news(of, mine, now)
        waited = of.line.waiting_ns(now.ns)
        if waited >= 0 and (not mine or waited >= self._settings.gather_ms * 1_000_000):
            mine += self._opened(of, now)
        for search in mine:
            if not search.asking:
                self._end_if_done(search, now)
        return of.line.troubled or bool(of.searches)

    def reopen(self, of: Tracked[T], ranges: Sequence[Range], now: Moment) -> None:
        """Search for what a process before this one left open; what is beyond the bound stays told as missing."""
        for each in ranges[: max(0, self._settings.searches - len(self._open))]:
            of.line.reopen(*each)
        self._opened(of, now)

    def next_ask(self, now: Moment) -> Ask[T] | None:
        """The request to make now: of the oldest search that may ask. It is asking until it is answered or failed."""
        for search in self._open:
            if not search.asking and search.ask_ns <= now.ns and (ask := self._ask(search, now)):
                search.asking = True
                return ask
        return None

    def next_ns(self) -> int | None:
        """When the next search may ask, on the monotonic clock; None: none is waiting."""
        return min((search.ask_ns for search in self._open if not search.asking), default=None)

    def answered(self, ask: Ask[T], rows: Sequence[Found[T]], now: Moment) -> None:
        """REST gave these, ascending."""
        search, line = ask.search, ask.search.of.line
        search.asking = False
        top = min(max((row.id for row in rows), default=-1), search.last)
        before = line.filled
        items = [(row.id, row.item) for row in rows if row.item is not None and row.id <= search.last]
        released = line.fill(items)
        brought = line.filled - before
        self.tally.brought += brought
        self._pass_on(search.of, released)
        lacking = line.missing(ask.first, top) if top >= ask.first else []
        if lacking:
            self._judge(ask, lacking, rows, now)
        if brought or lacking:
            search.failures, search.ask_ns = 0, now.ns
        else:
            search.why = "the exchange's REST does not have them yet"
            self._pause(search, now)
        self._end_if_done(search, now)

    def failed(
        self, ask: Ask[T], why: str, now: Moment, *, lasting: bool = False, refused: bool = False, wait_s: float = 0.0
    ) -> None:
        """REST did not answer. It is asked again, after `wait_s` or more.

        Args:
            lasting: asking again would not help.
            refused: the answer was no: perhaps a passing confusion of the exchange's; said again and again it is none.
        """
        search = ask.search
        if refused:
            search.refusals += 1
            lasting = lasting or search.refusals > REFUSALS
        search.asking = False
        search.why = why
        self.tally.failures += 1
        if lasting:
            self._lose(search, search.first, search.last, why)
        else:
            self._pause(search, now, wait_s)
        self._end_if_done(search, now)

    def drop(self, of: Tracked[T], now: Moment, why: str) -> None:
        """Search no longer for a symbol's trades: what waits goes on, what is missing is told, each range exactly."""
        self._pass_on(of, of.line.finish())
        mine = list(of.searches)
        self._news(of, mine, now, quietly=True)
        for search in mine:
            search.reason = GapReason.STOPPED
            self._lose(search, search.first, search.last, why)
            self._end_if_done(search, now)
        for each in of.line.missing(0, of.line.next_id):
            self._count_lost(of, each.ids)
            self._event(of, GapReason.STOPPED, each, each.ids, now, False, why)
            self._pass_on(of, of.line.give_up(*each))

    def _opened(self, of: Tracked[T], now: Moment) -> list[Search[T]]:
        if len(self._open) >= self._settings.searches:
            return []
        found = []
        for near in near_each_other(of.line.due(now.ns), of.began):
            reason = of.reason if near[0].first <= of.reason_at <= near[-1].last else GapReason.HOLE
            search = Search(of, near[0].first, near[-1].last, ids_of(near), len(near), reason, now.ns, now.ns)
            found.append(search)
            self._open.append(search)
            of.searches.append(search)
            self.tally.opened += 1
            self.tally.missing += search.count
            self._event(
                of, search.reason, search, search.count, now, False, pieces(search.holes) or "searched for by REST"
            )
            self._bound(search)
        return found

    def _bound(self, search: Search[T]) -> None:
        """Give up at once what is too much or too old to be searched for."""
        if search.first == search.of.too_old >= 0:
            hole = search.of.line.missing(search.first, search.last)[0]
            old = f"over a restart, more than {self._settings.resume_minutes:g} minutes ago"
            self._lose(search, hole.first, hole.last, old)
        excess = search.count - self._settings.ids
        for each in search.of.line.missing(search.first, search.last):
            if excess <= 0:
                break
            last = min(each.last, each.first + excess - 1)
            self._lose(search, each.first, last, f"more than {self._settings.ids} trades at once")
            excess -= last - each.first + 1

    def _news(self, of: Tracked[T], mine: Sequence[Search[T]], now: Moment, *, quietly: bool = False) -> None:
        """What the line did by itself."""
        line = of.line
        for hole in line.deferred:
            self.tally.deferred += 1
            for search in mine:
                if not search.told_deferred and not quietly and hole.first <= search.last and search.first <= hole.last:
                    search.told_deferred = True
                    what = "what follows waits no longer: they come out of order"
                    self._event(of, search.reason, search, search.count, now, False, what)
        line.deferred.clear()
        for lost in line.lost:
            self._count_lost(of, lost.last - lost.first + 1)
            within = [search for search in mine if search.first <= lost.last and lost.first <= search.last]
            if within and not lost.came:
                within[0].lost.append(lost)
            else:
                self._event(of, GapReason.HOLE, lost, lost.last - lost.first + 1, now, False, lost.why)
        line.lost.clear()

    def _ask(self, search: Search[T], now: Moment) -> Ask[T] | None:
        missing = search.of.line.missing(search.first, search.last)
        sure = [
            each for each in missing if not any(doubt.first <= each.first <= doubt.last for doubt in search.doubted)
        ]
        doubting = not sure and bool(missing)
        if doubting and now.ns < search.doubted_ns:
            search.ask_ns = search.doubted_ns
            return None
        wanted = missing if doubting else sure
        if not wanted:
            return None
        # One more than is missing: a later trade proves that those before it are not still to come.
        return Ask(search, wanted[0].first, min(A_PAGE, wanted[-1].last - wanted[0].first + 2), doubting)

    def _judge(self, ask: Ask[T], lacking: Sequence[Range], rows: Sequence[Found[T]], now: Moment) -> None:
        """Ids below the greatest of an answer that are not in it."""
        search = ask.search
        void = [row.id for row in rows if row.item is None and row.id <= search.last]
        for id in void:
            if search.of.line.missing(id, id):
                self._absent(search, Range(id, id))
        begins_ms = rows[0].time_ms
        for each in lacking:
            for left in search.of.line.missing(*each):
                if left.last < rows[0].id and begins_ms < now.exchange_ms - SERVED_MS:
                    self._lose(search, left.first, left.last, "older than what the exchange serves by REST")
                elif ask.doubting:
                    self._absent(search, left)
                elif left not in search.doubted:
                    search.doubted.append(left)
                    search.doubted_ns = now.ns + self._settings.confirm_ms * 1_000_000

    def _absent(self, search: Search[T], ids: Range) -> None:
        search.absent.append(ids)
        self.tally.absent += ids.ids
        self._pass_on(search.of, search.of.line.give_up(*ids))

    def _lose(self, search: Search[T], first: int, last: int, why: str) -> None:
        line = search.of.line
        gone = [Lost(*each, why) for each in line.missing(first, last)]
        search.lost += gone
        self._count_lost(search.of, ids_of(gone))
        self._pass_on(search.of, line.give_up(first, last))

    def _count_lost(self, of: Tracked[T], count: int) -> None:
        of.lost += count
        self.tally.lost += count

    def _pause(self, search: Search[T], now: Moment, wait_s: float = 0.0) -> None:
        settings = self._settings
        pause_s = min(settings.first_pause_s * 2 ** min(search.failures, 16), settings.longest_pause_s)
        search.failures += 1
        search.ask_ns = now.ns + int(max(wait_s, pause_s * (0.5 + self._jitter() / 2)) * 1e9)

    def _end_if_done(self, search: Search[T], now: Moment) -> None:
        line = search.of.line
        missing = line.missing(search.first, search.last)
        if missing and now.ns - search.opened_ns >= self._settings.deadline_s * 1e9:
            why = f"not brought in {self._settings.deadline_s:g} s" + (f": {search.why}" if search.why else "")
            self._lose(search, search.first, search.last, why)
            missing = []
        if missing or search not in search.of.searches:
            return
        self._open.remove(search)
        search.of.searches.remove(search)
        self._told(search, now)

    def _told(self, search: Search[T], now: Moment) -> None:
        of, lost = search.of, told_singly(search.lost)
        never = told_singly([Lost(*each, "the exchange has no trades of these ids") for each in search.absent])
        brought = search.count - ids_of(search.lost) - ids_of(search.absent)
        whole = (search.first, search.last)
        if [(each.first, each.last) for each in (*lost, *never)] != [whole]:
            took_s = (now.ns - search.opened_ns) / 1e9
            self._event(of, search.reason, search, brought, now, True, f"brought in {took_s:.1f} s")
        for each in lost:
            self._event(of, search.reason, each, ids_within(search.lost, each), now, False, each.why)
        for each in never:
            self._event(of, search.reason, each, 0, now, True, each.why)

    def _event(
        self,
        of: Tracked[T],
        reason: str,
        ids: Search[T] | Range | Lost,
        count: int,
        now: Moment,
        repaired: bool,
        detail: str,
    ) -> None:
        self._tell(
            GapEvent(
                kind=Kind.TRADES,
                exchange=self._exchange,
                symbol=of.symbol,
                reason=reason,
                count=count,
                at_ms=now.wall_ns // 1_000_000,
                repaired=repaired,
                detail=detail,
                first=str(ids.first),
                last=str(ids.last),
            )
        )

    def _pass_on(self, of: Tracked[T], items: Sequence[T]) -> None:
        if items:
            of.release(items)
