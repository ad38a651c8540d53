"""What the live side hands over: messages, how busy a market is, and the interface of every live market."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from gapless.domain.instrument import Market
from gapless.errors import ConfigError


class LiveMessage(NamedTuple):
    """One message of one stream, without an envelope.

    Attributes:
        stream: as it is subscribed to: `btcusdt@depth@100ms`.
        data: the payload, a JSON object (an array for `!markPrice@arr`).
        kind: `trades`, `depth`, `klines`, `book_ticker`, `mark_price`, `liquidations` as the house names them; besides
            `fills` (`@trade`) and `partial` (`@depth20`).
        first_id, last_id: the exchange's ids in it: of trades their id twice, of diffs `U` and `u`, of klines the open
            time twice, of mark prices and liquidations the event time twice.
    """

    market: Market
    stream: str
    data: bytes
    event_ms: int
    raw_symbol: str
    kind: str
    first_id: int
    last_id: int


class Activity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How busy an instrument is.

    Attributes:
        trades_per_s: aggregate trades a second; 0: it does not trade.
        diff_ms: how often its book changes besides by trades, ms; 0: never.
        diff_levels: levels changed at random each time, besides those that a moving price changes.
        levels: levels a side that its book has, about; in force when its book is started.
        liquidations_per_min: how often somebody is liquidated (USD-M).
        kline_ms: how often an open bar is sent; 0: as the exchange (250 ms on USD-M, 2 s on spot).
        snapshot_lag_ms: how much older a REST snapshot is than the diffs sent at the time.
    """

    trades_per_s: float = 5.0
    diff_ms: int = 100
    diff_levels: int = 10
    levels: int = 500
    liquidations_per_min: float = 1.0
    kline_ms: int = 0
    snapshot_lag_ms: int = 0


def checked_activity(activity: Activity, changes: Mapping[str, Any]) -> Activity:
    """The activity with some fields changed.

    Raises:
        ConfigError: a field is unknown, or a value is not possible.
    """
    try:
        changed = msgspec.convert({**msgspec.structs.asdict(activity), **changes}, Activity)
    except msgspec.ValidationError as error:
        raise ConfigError(f"activity: {error}") from None
    wrong = [name for name, value in msgspec.structs.asdict(changed).items() if not 0 <= value <= 1_000_000]
    if wrong:
        raise ConfigError(f"activity: {wrong[0]} must be between 0 and a million")
    return changed


class Live(Protocol):
    """The exchange's live side as a value: no sockets, no tasks; time comes in with each call."""

    def knows(self, market: Market, stream: str) -> bool:
        """Whether the market has this stream now. What it does not know stays silent."""

    def watch(self, market: Market, stream: str) -> None:
        """Counts a listener; only watched streams cost anything. Of an unknown stream: nothing."""

    def unwatch(self, market: Market, stream: str) -> None:
        """Takes one listener off."""

    def advance(self, now_ms: int) -> list[LiveMessage]:
        """Everything that happened since the last advance, in the exchange's order."""

    def activity(
        self, changes: Mapping[str, Any], *, market: Market | None = None, symbols: Iterable[str] | None = None
    ) -> None:
        """Changes fields of `Activity` from now on, for all instruments, a market's, or these raw symbols.

        Raises:
            ConfigError: a field is unknown, or a value is not possible.
        """

    def truth(self, market: Market, raw_symbol: str, update_id: int | None = None) -> dict[str, Any]:
        """The oracle: `update_id, bids, asks` (all levels, best first), `hash` of the best 20 a side; of now also
        `first_trade_id` (since the start), `last_trade_id`, `now_ms`.

        Args:
            update_id: the book just after this update; the last some thousands of updates are known.

        Raises:
            ConfigError: the instrument or the update is not known.
        """

    def trades_between(self, market: Market, raw_symbol: str, first: int, last: int) -> list[dict[str, Any]]:
        """The aggregate trades with these ids, both inclusive, as REST gives them.

        Raises:
            ConfigError: the instrument is not known.
        """
