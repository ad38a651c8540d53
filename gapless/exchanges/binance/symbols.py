"""exchangeInfo of both markets -> instruments, request limits, and whose data this is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from gapless.domain.instrument import Instrument, Market, unified_symbol
from gapless.errors import ExchangeError

EXCHANGE = "binance"
PERPETUALS = frozenset({"PERPETUAL", "TRADIFI_PERPETUAL"})
"""Contract types without an expiry: coins, and (since 2026-07) stocks and commodities."""

NEVER_DELIVERED_MS = 4_133_404_800_000
"""The `deliveryDate` of a perpetual that nobody plans to delist: 2100-12-25T08:00Z."""

_UNIT_MS = {"SECOND": 1_000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}
_POWER_OF_TEN = re.compile(r"(10{3,})\D")
_MILLION = re.compile(r"1M[A-Z]{3,}")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """One of the exchange's request limits: `limit` units of `kind` in each window of `window_ms`."""

    kind: str
    window_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """What one market lists.

    Attributes:
        instruments: in the exchange's order; no two share a unified symbol.
        earlier_lives: listings whose unified symbol now belongs to another in `instruments` (a ticker lived twice).
        left_out: contracts that are not perpetual, counted by contract type.
        rate_limits: request limits as published, order limits left out.
        origin: `binance`, or `replica:<seed>` when the answer carries the replica's mark.
    """

    market: Market
    instruments: tuple[Instrument, ...]
    earlier_lives: tuple[Instrument, ...]
    left_out: Mapping[str, int]
    rate_limits: tuple[RateLimit, ...]
    origin: str


class _Limit(msgspec.Struct, rename="camel"):
    rate_limit_type: str
    interval: str
    interval_num: int
    limit: int


class _Filter(msgspec.Struct, rename="camel"):
    filter_type: str
    tick_size: str | None = None
    step_size: str | None = None


class _SpotSymbol(msgspec.Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[_Filter] = []


class _UmSymbol(_SpotSymbol, rename="camel", kw_only=True):
    contract_type: str
    margin_asset: str | None = None  # the quote asset, then
    onboard_date: int = 0
    delivery_date: int = 0


class _Info(msgspec.Struct, rename="camel", kw_only=True):
    symbols: msgspec.Raw
    rate_limits: list[_Limit] = []  # none: the limits we know stay in force
    gapless_replica: Any = None


def parse_exchange_info(body: str | bytes, market: Market) -> ExchangeInfo:
    """Read an exchangeInfo body. Fields we do not know are fine; one without which a bar cannot be filed is not.

    Spot names no listing date, so a spot instrument has no `listed_ms`; a symbol that left is gone from the list or
    in status `BREAK`. A perpetual lives from `onboardDate` to `deliveryDate`, which is a sentinel until its delisting
    is decided. Delisted perpetuals stay listed as `SETTLING` for years.

    Raises:
        ExchangeError: not an exchangeInfo body, or a known field is missing or of another type.
    """
    try:
        info = msgspec.json.decode(body, type=_Info)
        found, left_out = _read_spot(info.symbols) if market is Market.SPOT else _read_um(info.symbols)
    except (msgspec.DecodeError, InvalidOperation) as error:
        raise ExchangeError(
            f"binance {market}: exchangeInfo is not in the form we know ({error}); "
            "look for a change notice of the exchange or for a proxy that rewrites answers"
        ) from None
    instruments, earlier = _one_each(found)
    return ExchangeInfo(
        market=market,
        instruments=instruments,
        earlier_lives=earlier,
        left_out=left_out,
        rate_limits=tuple(
            RateLimit(limit.rate_limit_type, limit.interval_num * _UNIT_MS[limit.interval], limit.limit)
            for limit in info.rate_limits
            if limit.rate_limit_type != "ORDERS" and limit.interval in _UNIT_MS
        ),
        origin=_origin(info.gapless_replica),
    )


def contract_multiplier(base: str) -> int:
    """Units of the coin in one unit of this asset: 1000 for `1000PEPE`, 1,000,000 for `1MBABYDOGE`, else 1.

    The exchange publishes no factor; its names follow a rule. A power of ten from 1000 up, written in front of
    something that is not a digit, is a factor (`1000X` is a thousand X, `1000000MOG`); so is `1M` before at
    least three capitals. Coins whose own name begins with digits are not that: `1INCH`, `0G`, `2Z`, `4`, `42`.
    Checked against the 818 symbols of 2026-07-03.
    """
    if match := _POWER_OF_TEN.match(base):
        return int(match[1])
    return 1_000_000 if _MILLION.match(base) else 1


def _read_spot(symbols: msgspec.Raw) -> tuple[list[Instrument], dict[str, int]]:
    listed = msgspec.json.decode(symbols, type=list[_SpotSymbol])
    return [_instrument(s, Market.SPOT, unified_symbol(Market.SPOT, s.base_asset, s.quote_asset)) for s in listed], {}


def _read_um(symbols: msgspec.Raw) -> tuple[list[Instrument], dict[str, int]]:
    listed = msgspec.json.decode(symbols, type=list[_UmSymbol])
    others = Counter(s.contract_type or "unnamed" for s in listed if s.contract_type not in PERPETUALS)
    return [_perpetual(s) for s in listed if s.contract_type in PERPETUALS], dict(others)


def _perpetual(symbol: _UmSymbol) -> Instrument:
    return _instrument(
        symbol,
        Market.UM,
        unified_symbol(Market.UM, symbol.base_asset, symbol.quote_asset, symbol.margin_asset),
        listed_ms=symbol.onboard_date if symbol.onboard_date > 0 else None,
        delisted_ms=symbol.delivery_date if 0 < symbol.delivery_date < NEVER_DELIVERED_MS else None,
    )


def _instrument(
    symbol: _SpotSymbol, market: Market, unified: str, listed_ms: int | None = None, delisted_ms: int | None = None
) -> Instrument:
    filters = {each.filter_type: each for each in symbol.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    return Instrument(
        exchange=EXCHANGE,
        symbol=unified,
        market=market,
        raw_symbol=symbol.symbol,
        base=symbol.base_asset,
        quote=symbol.quote_asset,
        status=symbol.status,
        tick_size=_size(price.tick_size) if price else None,
        step_size=_size(lot.step_size) if lot else None,
        contract_multiplier=contract_multiplier(symbol.base_asset),
        listed_ms=listed_ms,
        delisted_ms=delisted_ms,
    )


def _size(text: str | None) -> Decimal | None:
    """A step as published; the exchange writes zero for "no step"."""
    return (Decimal(text) or None) if text else None


def _one_each(found: list[Instrument]) -> tuple[tuple[Instrument, ...], tuple[Instrument, ...]]:
    """The listing that holds each unified symbol now, and those that held it before.

    A ticker can live twice: an old contract stays listed as SETTLING under another raw symbol. The trading one wins,
    then the one that ends last, then the one listed last, then the greater raw symbol, so that every reader agrees.
    """
    by_symbol: dict[str, Instrument] = {}
    earlier: list[Instrument] = []
    for instrument in found:
        holder = by_symbol.setdefault(instrument.symbol, instrument)
        if holder is not instrument:
            last, first = sorted((holder, instrument), key=_claim, reverse=True)
            by_symbol[instrument.symbol] = last
            earlier.append(first)
    return tuple(by_symbol.values()), tuple(earlier)


def _claim(instrument: Instrument) -> tuple[bool, int, int, str]:
    ends = NEVER_DELIVERED_MS if instrument.delisted_ms is None else instrument.delisted_ms
    return instrument.trading, ends, instrument.listed_ms or 0, instrument.raw_symbol


def _origin(mark: object) -> str:
    if mark is None:
        return EXCHANGE
    seed = mark.get("seed", "unnamed") if isinstance(mark, Mapping) else mark
    return f"replica:{seed}"
