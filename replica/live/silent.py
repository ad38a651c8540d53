"""The live side of recorded bars: there is none. Every stream is acknowledged, none speaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.live.messages import LiveMessage


class Silent:
    """A market that says nothing."""

    def knows(self, market: Market, stream: str) -> bool:
        return False

    def watch(self, market: Market, stream: str) -> None:
        """Nobody waits for anything: no stream is known."""

    def unwatch(self, market: Market, stream: str) -> None:
        """Nothing was watched."""

    def advance(self, now_ms: int) -> list[LiveMessage]:
        return []

    def activity(
        self, changes: Mapping[str, Any], *, market: Market | None = None, symbols: Iterable[str] | None = None
    ) -> None:
        raise ConfigError("recorded bars have no streams whose activity could be changed")

    def truth(self, market: Market, raw_symbol: str, update_id: int | None = None) -> dict[str, Any]:
        raise ConfigError("recorded bars have no books")

    def trades_between(self, market: Market, raw_symbol: str, first: int, last: int) -> list[dict[str, Any]]:
        raise ConfigError("recorded bars have no trades")
