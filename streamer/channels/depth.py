"""Depth: the diffs of a book in order, each once, and the book they make."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gapless.domain.live import Entry, GapReason
from gapless.exchanges.binance.streams.messages import (
    DepthHead,
    RawDepth,
    decode_depth,
    decode_depth_head,
    decode_message,
)
from gapless.exchanges.binance.streams.names import StreamSpec
from gapless.exchanges.binance.streams.sequence import Span, Step, sequence_of
from streamer.books.outcome import Gap, Outcome, Why
from streamer.books.sync import BookSync
from streamer.channels.channel import Channel, Desk

TellGap = Callable[[StreamSpec, GapReason, Gap | None, str], None]
"""A loss in a Stream: what is missing, if it has ids, and a sentence."""

_SAID = {
    Why.BACKWARDS: "the exchange's update ids began anew",
    Why.CROSSED: "the book's best bid met its best ask; it is built anew",
    Why.GARBLED: "the levels of a diff could not be read; the book is built anew",
    Why.DIFFERS: "the exchange's snapshot says otherwise; it is built anew",
    Why.ASKED: "it is built anew",
}


class DepthChannel(Channel):
    """Diffs with a book.

    Args:
        on_ask: told when a snapshot is wanted. on_state: told when the book's state changed.
    """

    __slots__ = ("_on_ask", "_on_state", "_tell", "sync")

    def __init__(
        self,
        spec: StreamSpec,
        desk: Desk,
        sync: BookSync,
        *,
        tell: TellGap,
        on_ask: Callable[[DepthChannel, Why], None],
        on_state: Callable[[DepthChannel], None],
    ) -> None:
        super().__init__(spec, desk)
        self.sync = sync
        self._tell = tell
        self._on_ask = on_ask
        self._on_state = on_state

    def take(self, data: bytes, received_ns: int) -> None:
        try:
            diff: Any = decode_message(data)
        except msgspec.DecodeError:
            diff = None
        if type(diff) is not RawDepth:
            self.decode(data, RawDepth)  # says what is wrong
            return
        if self.sync.regular(diff, len(data), received_ns):
            event_ms, update_id = diff.E, diff.u
            self.put(self.out, event_ms, received_ns, b"%d" % update_id, data)
            desk = self.desk
            delay = received_ns // 1_000_000 - event_ms - desk.offset_ms
            desk.delays.counts[0 if delay < 0 else delay if delay < 60_000 else 60_000] += 1
            self.delay_ms += delay
            self.last_id = update_id
            self.latest = (event_ms, received_ns, b"")
            return
        try:
            outcome = self.sync.take(decode_depth(data), data, received_ns, time.monotonic_ns())
        except msgspec.DecodeError as error:
            self.refuse(data, f"json: {error}")
        except ValueError as error:
            self.refuse(data, f"fields: {error}")
        else:
            self.act(outcome)

    def resume(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.sync.resume(int(entries[-1].identity), entries[-1].event_ms)  # what lies between is told as a gap

    def tick(self, now_ns: int) -> None:
        """Gaps whose patience is over."""
        if self.sync.waiting:
            self.act(self.sync.due(now_ns))

    def dropped(self, now_ns: int) -> None:
        self.state = "stale"
        self.act(self.sync.lost(now_ns))

    def act(self, outcome: Outcome) -> None:
        """Do what an outcome says: tell gaps, pass diffs on, ask for a snapshot."""
        for gap in outcome.gaps:
            self._tell(self.spec, GapReason.HOLE, gap, "diffs were not received; the book is built anew")
        for diff, raw, received_ns in outcome.publish:
            self.emit(diff.E, received_ns, b"%d" % diff.u, raw)
            self.last_id = diff.u
        if outcome.why in _SAID:
            self._tell(self.spec, GapReason.RESYNC, None, _SAID[outcome.why])
        if outcome.ask is not None:
            self._on_ask(self, outcome.ask)
        if outcome.became is not None:
            self._on_state(self)

    def publish(self) -> None:
        """A diff is no state: the book has keys of its own."""
        self.dirty = False


class DiffChannel(Channel):
    """Diffs without a book: only their order is looked at, their levels are not read.

    A diff that came too early waits `patience_ms` for the one before it, which another connection may bring.
    """

    __slots__ = ("_held", "_most", "_patience_ns", "_regular", "_rules", "_tell", "id")

    def __init__(self, spec: StreamSpec, desk: Desk, *, tell: TellGap, patience_ms: int, held: int) -> None:
        super().__init__(spec, desk)
        self.id = -1
        self._rules = sequence_of(spec.market)
        self._regular = self._rules.regular
        self._held: dict[int, tuple[Span, int, int, int, bytes]] = {}  # by last id: when, event, received, payload
        self._patience_ns = patience_ms * 1_000_000
        self._most = held
        self._tell = tell

    def take(self, data: bytes, received_ns: int) -> None:
        try:
            head: DepthHead = decode_depth_head(data)
            update_id = head.u
            if self._regular(head.U, head.pu, self.id) and not self._held:
                self.id = self.last_id = update_id
                event_ms = head.E
                self.put(self.out, event_ms, received_ns, b"%d" % update_id, data)
                desk = self.desk
                delay = received_ns // 1_000_000 - event_ms - desk.offset_ms
                desk.delays.counts[0 if delay < 0 else delay if delay < 60_000 else 60_000] += 1
                self.delay_ms += delay
                self.latest = (event_ms, received_ns, b"")
                return
            span = self._rules.span(head.U, head.u, head.pu)
        except msgspec.DecodeError as error:
            self.refuse(data, f"json: {error}")
            return
        except ValueError as error:
            self.refuse(data, f"fields: {error}")
            return
        step = Step.NEXT if self.id < 0 else self._rules.step(span, self.id)
        if step is Step.NEXT:
            self._follow(span, head.E, received_ns, data)
        elif step is Step.OLD or span.last in self._held:
            self.duplicates += 1
        else:
            self._held[span.last] = (span, time.monotonic_ns(), head.E, received_ns, data)
            if len(self._held) > self._most:
                self._skip()

    def resume(self, entries: Sequence[Entry]) -> None:
        if entries:
            self.id = int(entries[-1].identity)

    def tick(self, now_ns: int) -> None:
        while self._held and min(held[1] for held in self._held.values()) <= now_ns - self._patience_ns:
            self._skip()

    def dropped(self, now_ns: int) -> None:
        self.state = "stale"
        while self._held:
            self._skip()

    def publish(self) -> None:
        self.dirty = False

    def _follow(self, span: Span, event_ms: int, received_ns: int, data: bytes) -> None:
        self._pass(span, event_ms, received_ns, data)
        for last, (held, _, event, received, payload) in sorted(self._held.items()):
            step = self._rules.step(held, self.id)
            if step is not Step.FUTURE:
                del self._held[last]
            if step is Step.NEXT:
                self._pass(held, event, received, payload)
            self.duplicates += step is Step.OLD

    def _pass(self, span: Span, event_ms: int, received_ns: int, data: bytes) -> None:
        self.id = span.last
        self.last_id = span.last
        self.emit(event_ms, received_ns, b"%d" % span.last, data)

    def _skip(self) -> None:
        """Take the hole before the first that waits for a loss."""
        span, _, event_ms, received_ns, data = self._held.pop(min(self._held))
        self._tell(self.spec, GapReason.HOLE, Gap(*self._rules.missing(span, self.id)), "diffs were not received")
        self._follow(span, event_ms, received_ns, data)
