"""An event for each boundary at which a stream may have lost something: start, stop, cut, rollover, silence. Pure.

One event a Stream (`md.<kind>.<exchange>.<symbol>`), whatever number of the exchange's streams feeds it. A stream that
comes and goes is told at once the first time; what follows within the spacing is told as one event when it is over,
so that flapping costs an event a minute and Stream, not two an attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from gapless.domain.live import GapEvent, GapReason, Kind
from streamer.continuity.moment import Moment
from streamer.continuity.settings import ContinuitySettings


class Fed(Protocol):
    """What is needed of a `StreamSpec`."""

    @property
    def kind(self) -> Kind: ...
    @property
    def symbol(self) -> str: ...


_Key = tuple[Kind, str]


class _Trouble:
    """What one Stream went through since its last event."""

    __slots__ = ("cuts", "down_ns", "down_since_ns", "rollovers", "silences", "told_ns", "why")

    def __init__(self) -> None:
        self.cuts = self.rollovers = self.silences = self.down_ns = 0
        self.down_since_ns = -1
        self.told_ns: int | None = None
        self.why = ""

    @property
    def untold(self) -> bool:
        return bool(self.cuts or self.rollovers or self.silences or (self.down_ns and self.down_since_ns < 0))


class Boundaries:
    """The boundaries of all streams of an exchange.

    Args:
        tell: takes the events of `md.gaps`.
    """

    def __init__(
        self, settings: ContinuitySettings, tell: Callable[[GapEvent], None], *, exchange: str = "binance"
    ) -> None:
        self._spacing_ns = int(settings.boundary_spacing_s * 1e9)
        self._tell = tell
        self._exchange = exchange
        self._troubles: dict[_Key, _Trouble] = {}

    def started(self, fed: Iterable[Fed], now: Moment) -> None:
        """These are received from now on; what was before is somebody else's or nobody's."""
        for key in _keys(fed):
            self._event(key, GapReason.STARTED, -1, now, "received from now on")

    def stopped(self, fed: Iterable[Fed], now: Moment) -> None:
        """These are received no longer; all that was is written."""
        for key in _keys(fed):
            trouble = self._troubles.pop(key, None)
            if trouble is not None and trouble.untold:
                self._tell_of(key, trouble, now)
            self._event(key, GapReason.STOPPED, 0, now, "received no longer; all that was is written")

    def opened(self, fed: Iterable[Fed], now: Moment) -> None:
        """A connection carries these."""
        for key in _keys(fed):
            trouble = self._troubles.get(key)
            if trouble is not None and trouble.down_since_ns >= 0:
                trouble.down_ns += max(1, now.ns - trouble.down_since_ns)
                trouble.down_since_ns = -1

    def ended(self, fed: Iterable[Fed], why: str, covered: bool, now: Moment) -> None:
        """A connection that carried these ended. `covered`: another one carried all of them meanwhile."""
        for key in _keys(fed):
            trouble = self._troubles.setdefault(key, _Trouble())
            trouble.why = why
            if covered:
                trouble.rollovers += 1
            else:
                trouble.cuts += 1
                if trouble.down_since_ns < 0:
                    trouble.down_since_ns = now.ns
            self._at_once(key, trouble, now)

    def silent(self, fed: Fed, silent_s: float, now: Moment) -> None:
        """A stream that ought to speak did not for so long, and is asked for again."""
        key = (fed.kind, fed.symbol)
        trouble = self._troubles.setdefault(key, _Trouble())
        trouble.silences += 1
        trouble.why = f"nothing for {silent_s:.0f} s"
        self._at_once(key, trouble, now)

    def look(self, now: Moment) -> None:
        """Tell what had to wait. Once a second is often enough."""
        over = []
        for key, trouble in self._troubles.items():
            if trouble.told_ns is not None and now.ns - trouble.told_ns >= self._spacing_ns:
                if trouble.untold:
                    self._tell_of(key, trouble, now)
                elif trouble.down_since_ns < 0:
                    over.append(key)
        for key in over:
            del self._troubles[key]

    def _at_once(self, key: _Key, trouble: _Trouble, now: Moment) -> None:
        if trouble.told_ns is None or now.ns - trouble.told_ns >= self._spacing_ns:
            self._tell_of(key, trouble, now)

    def _tell_of(self, key: _Key, trouble: _Trouble, now: Moment) -> None:
        """One event of everything since the last, of its worst: what may have lost something outweighs what has not."""
        if trouble.cuts or trouble.down_ns:
            self._event(key, GapReason.RECONNECT, -1, now, _said(trouble))
        elif trouble.silences:
            self._event(key, GapReason.SILENT, -1, now, _said(trouble))
        else:
            self._event(key, GapReason.ROLLOVER, 0, now, _said(trouble))
        trouble.cuts = trouble.rollovers = trouble.silences = trouble.down_ns = 0
        trouble.told_ns = now.ns

    def _event(self, key: _Key, reason: GapReason, count: int, now: Moment, detail: str) -> None:
        self._tell(
            GapEvent(
                kind=key[0],
                exchange=self._exchange,
                symbol=key[1],
                reason=reason,
                count=count,
                at_ms=now.wall_ns // 1_000_000,
                repaired=count == 0,
                detail=detail,
            )
        )


def _said(trouble: _Trouble) -> str:
    parts = []
    if trouble.cuts:
        parts.append("cut" if trouble.cuts == 1 else f"cut {trouble.cuts} times")
    if trouble.down_ns:
        parts.append(f"carried again after {trouble.down_ns / 1e9:.1f} s")
    if trouble.rollovers:
        many = "" if trouble.rollovers == 1 else f" {trouble.rollovers} times"
        parts.append(f"replaced{many} while another connection ran")
    if trouble.silences:
        parts.append(f"silent {trouble.silences} times" if trouble.silences > 1 else "silent")
    why = "" if trouble.why == "cut" else trouble.why
    return ", ".join(parts) + (f": {why}" if why else "")


def _keys(fed: Iterable[Fed]) -> Iterator[_Key]:
    """Each Stream once: klines of several intervals are one."""
    yield from dict.fromkeys((each.kind, each.symbol) for each in fed)
