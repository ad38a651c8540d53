"""Who connections speak to, and what they say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from gapless.domain.instrument import Market
from gapless.exchanges.binance.streams.names import Route, StreamSpec

Take = Callable[[bytes, int], None]
"""Takes the `data` object of a message and when it was received, UTC ns."""

LaneState = Literal["connecting", "open", "closing", "ended"]


class LaneView(msgspec.Struct, frozen=True, kw_only=True):
    """One connection as it stands.

    Attributes:
        id: counts up within the process; a connection that replaces another has its own.
        shard: number of its group of streams within market and route. slot: 0, or 1 of the second at once.
        since_ms: when it opened, UTC ms; 0 before.
        silent_s: since its last message, seconds; -1 before the first.
        reconnects: how many connections of its slot ended without being replaced first.
    """

    id: int
    market: Market
    route: Route
    shard: int
    slot: int
    state: LaneState
    streams: int
    carried: int
    since_ms: int
    messages: int
    bytes: int
    silent_s: float
    reconnects: int


class ConnectionsState(msgspec.Struct, kw_only=True):
    """Counts since the start.

    Attributes:
        attempts, refused: attempts to connect, and those that failed.
        cut: connections that ended by themselves. replaced: by a new one that ran beside it first.
        reconnects: by market: connections opened in place of one that had been cut.
        doubted: streams subscribed again because they were silent.
        unread: frames that were neither of a stream nor an answer.
        request_errors: subscriptions that the exchange declined.
        failures: exceptions raised by whoever takes messages.
    """

    attempts: int = 0
    refused: int = 0
    cut: int = 0
    replaced: int = 0
    reconnects: dict[Market, int] = msgspec.field(default_factory=dict)
    doubted: int = 0
    unread: int = 0
    request_errors: int = 0
    failures: int = 0


class Intake(Protocol):
    """Who hears the streams. All are called from the event loop's thread and must neither wait nor raise."""

    def taker(self, spec: StreamSpec) -> Take:
        """Who takes this stream's messages; asked once when a stream is first wanted, and again if it is wanted anew.

        Of connections that run at once all feed the same taker: messages come doubled, and those of one connection
        may come behind those of the other. Each connection's own are in order.
        """

    def on_opened(self, lane: LaneView, specs: Sequence[StreamSpec]) -> None:
        """From now on these come by this connection: it opened, or a subscription was acknowledged. The first messages
        may have come before this."""

    def on_ended(self, lane: LaneView, specs: Sequence[StreamSpec], why: str, covered: bool) -> None:
        """These come by it no longer.

        Args:
            covered: another connection carries every one of them, and has spoken for each that spoke since it does:
                nothing is missing.
        """

    def on_silent(self, spec: StreamSpec, silent_s: float) -> None:
        """It ought to have spoken; it is about to be subscribed again."""

    def on_unread(self, payload: bytes) -> None:
        """A frame of no stream that is wanted, and no answer; counted already."""
