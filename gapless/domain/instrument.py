"""Instruments and their names: an exchange, a market, a symbol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Market(StrEnum):
    """A market of an exchange: `spot`, or `um` (Binance's USD-margined perpetual futures)."""

    SPOT = "spot"
    UM = "um"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable thing, as the exchange lists it.

    Attributes:
        exchange: lower-case name, `binance`.
        symbol: unified notation, which names the market too: `BTC/USDT` on spot, `BTC/USDT:USDT` for the perpetual.
            May hold any UTF-8 (Chinese-named coins exist).
        market: the market it trades on.
        raw_symbol: the exchange's own name, `BTCUSDT`.
        base, quote: assets; on futures `base` keeps the exchange's multiplier (`1000PEPE`).
        status: the exchange's own word, `TRADING`, `SETTLING`, `BREAK`, ...
        tick_size, step_size: smallest price and quantity steps, None when the exchange names none.
        contract_multiplier: units of the coin in one base unit (1000 for `1000PEPE`), 1 for most.
        listed_ms: first moment of its life, ms; None where the exchange does not say (spot).
        delisted_ms: end of its life, ms; None while it is alive.
    """

    exchange: str
    symbol: str
    market: Market
    raw_symbol: str
    base: str
    quote: str
    status: str
    tick_size: Decimal | None = None
    step_size: Decimal | None = None
    contract_multiplier: int = 1
    listed_ms: int | None = None
    delisted_ms: int | None = None

    @property
    def trading(self) -> bool:
        """Whether bars are being made now. Unknown words of the exchange count as not trading."""
        return self.status == "TRADING"


def unified_symbol(market: Market, base: str, quote: str, settle: str | None = None) -> str:
    """`BTC/USDT` on spot, `BTC/USDT:USDT` on USD-M (`settle`, the margin asset, defaults to the quote)."""
    return f"{base}/{quote}" if market is Market.SPOT else f"{base}/{quote}:{settle or quote}"


def market_of(symbol: str) -> Market | None:
    """The market that a unified symbol names; None for a raw symbol, which names none."""
    if "/" not in symbol:
        return None
    return Market.UM if ":" in symbol else Market.SPOT
