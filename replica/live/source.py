"""What the live edge needs of a market: what its streams say, and the truth beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gapless.domain.instrument import Market


class LiveEvent(Protocol):
    """One message of a stream, as the exchange sends it.

    Attributes:
        data: the payload, without an envelope.
        first_id, last_id: its ids (trade, update); None or negative where it has none.
    """

    @property
    def market(self) -> Market: ...
    @property
    def stream(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def event_ms(self) -> int: ...
    @property
    def raw_symbol(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def first_id(self) -> int: ...
    @property
    def last_id(self) -> int: ...


class LiveSource(Protocol):
    """A market's live side, without sockets."""

    def knows(self, market: Market, stream: str) -> bool:
        """Whether there is such a stream."""

    def watch(self, market: Market, stream: str) -> None:
        """Asks for a stream's messages from now on; counted."""

    def unwatch(self, market: Market, stream: str) -> None:
        """Takes that back."""

    def advance(self, now_ms: int) -> Sequence[LiveEvent]:
        """What happened since the last time, in the exchange's order."""

    def truth(self, market: Market, raw_symbol: str) -> Any:
        """The book and the ids as they are now, as JSON values."""
