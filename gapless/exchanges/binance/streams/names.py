"""Which streams the exchange has, what they are called, and by which route they come. Pure.

Source: reference sections 7 and 8 (spot-api-docs of 2026-07, the USD-M change notice of 2026-03-06).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from gapless.domain.instrument import Instrument, Market
from gapless.domain.live import Kind
from gapless.errors import ConfigError


class Route(StrEnum):
    """Where below a market's URL a stream is served. On USD-M the wrong route acknowledges and stays silent."""

    SPOT = ""
    PUBLIC = "/public"
    MARKET = "/market"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream of the exchange that feeds one of ours.

    Attributes:
        symbol: unified; `raw_symbol` is the exchange's.
        name: as in the envelope and in SUBSCRIBE: `btcusdt@depth@100ms`.
        interval: of klines, else empty.
        quiet_s: after how long without a message a watchdog may doubt it; infinite where silence is normal for hours.
    """

    kind: Kind
    market: Market
    symbol: str
    raw_symbol: str
    name: str
    route: Route
    interval: str = ""
    quiet_s: float = float("inf")


CHANNELS = (Kind.DEPTH, Kind.TRADES, Kind.KLINES, Kind.BOOK_TICKER, Kind.MARK_PRICE, Kind.LIQUIDATIONS)
"""What can be asked for. Mark prices and liquidations exist on USD-M alone."""

_SUFFIX = {
    Kind.DEPTH: "@depth@100ms",
    Kind.TRADES: "@aggTrade",
    Kind.BOOK_TICKER: "@bookTicker",
    Kind.MARK_PRICE: "@markPrice@1s",
    Kind.LIQUIDATIONS: "@forceOrder",
}
_UM_PUBLIC = frozenset({Kind.DEPTH, Kind.BOOK_TICKER})
_UM_ALONE = frozenset({Kind.MARK_PRICE, Kind.LIQUIDATIONS})
_QUIET_S = {Kind.MARK_PRICE: 15.0}
"""The exchange sends a mark price every second, whatever happens. The others may be silent for as long as nobody
trades: how long is normal for a symbol shows only while it runs."""


def stream_specs(
    instrument: Instrument, channels: Iterable[Kind], *, intervals: Sequence[str] = ("1m",)
) -> Iterator[StreamSpec]:
    """The exchange's streams that these channels of an instrument need; channels its market has not are left out."""
    market, lower = instrument.market, instrument.raw_symbol.lower()
    for kind in channels:
        if kind in _UM_ALONE and market is Market.SPOT:
            continue
        um_route = Route.PUBLIC if kind in _UM_PUBLIC else Route.MARKET
        route = Route.SPOT if market is Market.SPOT else um_route
        for interval in intervals if kind is Kind.KLINES else ("",):
            suffix = f"@kline_{interval}" if kind is Kind.KLINES else _SUFFIX[kind]
            yield StreamSpec(
                kind, market, instrument.symbol, instrument.raw_symbol, lower + suffix, route, interval,
                _QUIET_S.get(kind, float("inf")),
            )  # fmt: skip


def combined_url(base: str, route: Route, names: Sequence[str]) -> str:
    """The URL of a combined connection: `wss://fstream.binance.com/market/stream?streams=btcusdt@aggTrade/...`.

    Args:
        base: `Settings.ws_url(market)`. names: none for a connection that subscribes by messages.
    """
    url = f"{base}{route}/stream"
    return f"{url}?streams={'/'.join(quote(name, safe='@!') for name in names)}" if names else url


def parse_channels(text: str) -> tuple[Kind, ...]:
    """`depth,trades` as kinds, each once, in the order of `CHANNELS`.

    Raises:
        ConfigError: one is unknown, or there is none.
    """
    asked = {word.strip() for word in text.split(",") if word.strip()}
    unknown = sorted(asked - set(CHANNELS))
    if unknown or not asked:
        raise ConfigError(f"--channels {text}: write some of {', '.join(CHANNELS)}")
    return tuple(kind for kind in CHANNELS if kind in asked)
