"""REST calls that the live sidecar makes: book snapshots, trades by id, open interest, what trades most.

All of them pass the client's pacer. Weights: reference sections 3 and 4.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TypeVar

import msgspec

from gapless.domain.instrument import Market
from gapless.errors import ExchangeError
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.streams.messages import Levels

_DEPTH = {
    Market.SPOT: ("publicGetDepth", (100, 500, 1000, 5000), (5, 25, 50, 250)),
    Market.UM: ("fapiPublicGetDepth", (50, 100, 500, 1000), (2, 5, 10, 20)),
}
_TRADES = {Market.SPOT: ("publicGetAggTrades", 4), Market.UM: ("fapiPublicGetAggTrades", 20)}
_DAY = {Market.SPOT: ("publicGetTicker24hr", 80), Market.UM: ("fapiPublicGetTicker24hr", 40)}
TRADES_A_PAGE = 1000
_T = TypeVar("_T")


class Snapshot(msgspec.Struct, frozen=True, rename="camel"):
    """A book as REST gives it, best levels first."""

    last_update_id: int
    bids: Levels
    asks: Levels


class RestTrade(msgspec.Struct, frozen=True):
    """What is looked at of an aggregate trade; `a` is its id, `T` its time in ms."""

    a: int
    T: int


class OpenInterest(msgspec.Struct, frozen=True, rename="camel"):
    """Contracts open, in base units, as text; `time` is the exchange's, ms."""

    open_interest: str
    time: int


class _Volume(msgspec.Struct, rename="camel"):
    symbol: str
    quote_volume: str


def depth_weight(market: Market, limit: int) -> int:
    """What a snapshot of so many levels a side costs; more than the exchange gives costs what it gives."""
    _, limits, weights = _DEPTH[market]
    return weights[min(bisect_left(limits, limit), len(limits) - 1)]


def trades_weight(market: Market) -> int:
    """What a page of trades costs."""
    return _TRADES[market][1]


async def depth_snapshot(rest: BinanceRest, raw_symbol: str, limit: int) -> Snapshot:
    """The best `limit` levels a side (USD-M: 5, 10, 20, 50, 100, 500 or 1000; spot: up to 5000)."""
    body = await _body(rest, _DEPTH[rest.market][0], {"symbol": raw_symbol, "limit": limit},
                       depth_weight(rest.market, limit), f"{raw_symbol} book of {limit}", "object")  # fmt: skip
    return _decoded(body, Snapshot, f"{raw_symbol} book")


async def agg_trades(
    rest: BinanceRest, raw_symbol: str, from_id: int, limit: int = TRADES_A_PAGE
) -> list[tuple[RestTrade, bytes]]:
    """Aggregate trades from an id on, oldest first, each with its JSON as received (without `e`, `E`, `s`).

    USD-M serves the last 48 hours alone; an older id is answered with the oldest it has, or with an error.
    """
    endpoint, weight = _TRADES[rest.market]
    body = await _body(rest, endpoint, {"symbol": raw_symbol, "fromId": from_id, "limit": limit}, weight,
                       f"{raw_symbol} trades from {from_id}", "array")  # fmt: skip
    rows = _decoded(body, list[msgspec.Raw], f"{raw_symbol} trades")
    return [(_decoded(row, RestTrade, f"{raw_symbol} trades"), bytes(row)) for row in rows]


async def open_interest(rest: BinanceRest, raw_symbol: str) -> OpenInterest:
    """What is open now; USD-M alone."""
    body = await _body(
        rest, "fapiPublicGetOpenInterest", {"symbol": raw_symbol}, 1, f"{raw_symbol} open interest", "object"
    )
    return _decoded(body, OpenInterest, f"{raw_symbol} open interest")


async def quote_volumes(rest: BinanceRest) -> dict[str, float]:
    """By raw symbol what was traded in 24 hours, in the quote asset: an order of liquidity, no number to keep."""
    endpoint, weight = _DAY[rest.market]
    body = await _body(rest, endpoint, {}, weight, "volumes of a day", "array")
    return {each.symbol: float(each.quote_volume) for each in _decoded(body, list[_Volume], "volumes of a day")}


async def _body(
    rest: BinanceRest, endpoint: str, params: dict[str, str | int], weight: int, about: str, expects: str
) -> str:
    reply = await rest.call(
        endpoint, params, weight=weight, about=about, expects="array" if expects == "array" else "object"
    )
    return reply.body


def _decoded(body: str | bytes | msgspec.Raw, kind: type[_T], about: str) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ExchangeError(f"binance {about}: not what the exchange documents ({error})") from None
