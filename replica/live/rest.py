"""REST beside the streams: order books, trades, tickers, mark prices and open interest of the live market.

Weights and limits: reference sections 3 and 4. Where the pages are silent, what is chosen stands in `docs/replica.md`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from gapless.domain.instrument import Market
from replica.bars import DAY_MS, MINUTE_MS
from replica.live.instrument import LiveInstrument
from replica.live.market import LiveMarket
from replica.live.path import eight, mix
from replica.metrics import STEP_MS, GeneratedMetrics
from replica.query import Params, moment, number, only, symbol_of, symbols_of
from replica.refusal import Refusal, invalid_symbol, invalid_value

HOUR_MS = 60 * MINUTE_MS
UM_TRADES_KEPT_MS = 48 * HOUR_MS
_MOST_TRADES = 1000
_UM_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_DEPTH = {
    Market.SPOT: (100, ((100, 5), (500, 25), (1000, 50), (5000, 250))),
    Market.UM: (500, ((50, 2), (100, 5), (500, 10), (1000, 20))),
}
_FULL_ONLY = frozenset(
    ("priceChange", "priceChangePercent", "weightedAvgPrice", "lastQty", "bidPrice", "bidQty", "askPrice", "askQty")
)


class LiveRest(Protocol):
    """Who answers for the live side."""

    def answer(self, market: Market, name: str, params: Params, now_ms: int) -> bytes:
        """The body of an answer.

        Raises:
            Refusal: with the exchange's code.
        """


def _number(params: Mapping[str, str], name: str, default: int) -> int:
    text = params.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= 20 else default


def _depth_weight(market: Market, params: Mapping[str, str]) -> int:
    default, weights = _DEPTH[market]
    limit = _number(params, "limit", default)
    return next((weight for most, weight in weights if limit <= most), weights[-1][1])


def _day_weight(params: Mapping[str, str]) -> int:
    if "symbol" in params:
        return 2
    count = params.get("symbols", "").count(",") + 1 if "symbols" in params else 101
    return 2 if count <= 20 else 40 if count <= 100 else 80


def _one_or_all(one: int, many: int) -> Callable[[Mapping[str, str]], int]:
    return lambda params: one if "symbol" in params else many


LIVE_ENDPOINTS: dict[str, tuple[Market, str, Callable[[Mapping[str, str]], int]]] = {
    "/api/v3/depth": (Market.SPOT, "depth", lambda params: _depth_weight(Market.SPOT, params)),
    "/api/v3/aggTrades": (Market.SPOT, "aggTrades", lambda _: 4),
    "/api/v3/ticker/24hr": (Market.SPOT, "ticker/24hr", _day_weight),
    "/api/v3/ticker/bookTicker": (Market.SPOT, "ticker/bookTicker", _one_or_all(2, 4)),
    "/fapi/v1/depth": (Market.UM, "depth", lambda params: _depth_weight(Market.UM, params)),
    "/fapi/v1/aggTrades": (Market.UM, "aggTrades", lambda _: 20),
    "/fapi/v1/openInterest": (Market.UM, "openInterest", lambda _: 1),
    "/fapi/v1/premiumIndex": (Market.UM, "premiumIndex", _one_or_all(1, 10)),
    "/fapi/v1/ticker/24hr": (Market.UM, "ticker/24hr", _one_or_all(1, 40)),
    "/fapi/v1/ticker/bookTicker": (Market.UM, "ticker/bookTicker", _one_or_all(2, 5)),
}
"""By path: whose it is, its name in the counts, its weight."""


class GeneratedRest:
    """The generated market's answers."""

    def __init__(self, live: LiveMarket, metrics: GeneratedMetrics) -> None:
        self._live, self._metrics = live, metrics

    def answer(self, market: Market, name: str, params: Params, now_ms: int) -> bytes:
        if name == "depth":
            symbol, limit = depth_query(market, params)
            return self._live.snapshot(market, self._instrument(market, symbol).listing.raw_symbol, limit)
        if name == "aggTrades":
            return f"[{','.join(self._trades(market, params, now_ms))}]".encode()
        if name == "openInterest":
            return self._open_interest(symbol_of(params), now_ms)
        tell = {"ticker/24hr": self._day, "ticker/bookTicker": self._top, "premiumIndex": self._premium}[name]
        legal = {"symbol", "symbols", "type", "symbolStatus"} - ({"type"} if name == "ticker/bookTicker" else set())
        if market is Market.SPOT:
            only(params, legal)
            chosen = symbols_of(params)
            alone = "symbol" in params
        else:
            alone = "symbol" in params
            chosen = (symbol_of(params),) if alone else None
        if chosen is None:
            told = [tell(each, now_ms) for each in self._live.listings(market)]
        else:
            told = [tell(self._instrument(market, symbol), now_ms) for symbol in chosen]
        if name == "ticker/24hr" and market is Market.SPOT and params.get("type", "FULL") == "MINI":
            told = [{field: value for field, value in each.items() if field not in _FULL_ONLY} for each in told]
        return _json(told[0] if alone else told)

    def _instrument(self, market: Market, symbol: str) -> LiveInstrument:
        if self._live.listing(market, symbol) is None:
            raise invalid_symbol()
        return self._live.instrument(market, symbol)

    def _trades(self, market: Market, params: Params, now_ms: int) -> list[str]:
        from_id, start_ms, end_ms, limit = trades_query(market, params)
        symbol = symbol_of(params)
        tape = self._instrument(market, symbol).tape
        listing = self._live.listing(market, symbol)
        assert listing is not None  # noqa: S101 - the line before asked for it
        kept_ms = max(listing.listed_ms, now_ms - UM_TRADES_KEPT_MS if market is Market.UM else 0)
        oldest, last = tape.from_time(kept_ms, now_ms), tape.last_id(now_ms)
        if from_id is not None:
            first = from_id
        elif start_ms is not None:
            first = tape.from_time(start_ms, now_ms)
            last = last if end_ms is None else min(last, tape.last_id(end_ms))
        else:
            last = last if end_ms is None else min(last, tape.last_id(end_ms))
            first = last - limit + 1
        first = max(first, oldest)
        return self._live.rest_trades(market, symbol, first, min(last, first + limit - 1))

    def _open_interest(self, symbol: str, now_ms: int) -> bytes:
        listing = self._instrument(Market.UM, symbol).listing
        start_ms = now_ms // STEP_MS * STEP_MS
        found = self._metrics.read(symbol, start_ms, start_ms + 1).open_interest or ["0"]
        whole, _, rest = found[0].partition(".")
        decimals = listing.quantity_decimals
        amount = f"{whole}.{rest[:decimals].ljust(decimals, '0')}" if decimals else whole
        return _json({"openInterest": amount, "symbol": symbol, "time": now_ms})

    def _top(self, instrument: LiveInstrument, now_ms: int) -> dict[str, Any]:
        path, listing = instrument.path, instrument.listing
        if instrument.book is not None and instrument.book_awake(now_ms):
            cell, bid, ask = instrument.book.best
            update_id = instrument.book.update_id
        else:
            cell = path.cell(now_ms)
            draw = mix(path.phase_ms, cell)
            bid, ask = 1 + draw % instrument.trade_unit, 1 + (draw >> 32) % instrument.trade_unit
            update_id = 0
        told: dict[str, Any] = {
            "symbol": listing.raw_symbol,
            "bidPrice": path.price(cell),
            "bidQty": path.quantity(bid),
            "askPrice": path.price(cell + 1),
            "askQty": path.quantity(ask),
        }
        if listing.market is Market.UM:
            told |= {"time": now_ms, "lastUpdateId": update_id}
        return told

    def _premium(self, instrument: LiveInstrument, now_ms: int) -> dict[str, Any]:
        mark = self._live.marks.mark(instrument.listing, instrument.path, now_ms)
        return {
            "symbol": instrument.listing.raw_symbol,
            "markPrice": mark.mark,
            "indexPrice": mark.spot,
            "estimatedSettlePrice": mark.settle,
            "lastFundingRate": mark.rate,
            "interestRate": "0.00010000",
            "nextFundingTime": mark.funding_ms,
            "time": now_ms,
        }

    def _day(self, instrument: LiveInstrument, now_ms: int) -> dict[str, Any]:
        """The last 24 hours, estimated from two prices and the usual volume: an order of liquidity."""
        path, listing = instrument.path, instrument.listing
        opened, closed = path.mid_eight(now_ms - DAY_MS), path.mid_eight(now_ms)
        change, middle = closed - opened, (opened + closed) // 2
        volume = listing.typical_volume * 300
        tape = instrument.tape
        first, last = tape.from_time(now_ms - DAY_MS, now_ms), tape.last_id(now_ms)
        sign = "-" if change < 0 else ""
        percent = abs(change) * 100_000 // max(1, opened)
        top = self._top(instrument, now_ms) if listing.market is Market.SPOT else {}
        told: dict[str, Any] = {
            "symbol": listing.raw_symbol,
            "priceChange": sign + eight(abs(change)),
            "priceChangePercent": f"{sign}{percent // 1000}.{percent % 1000:03d}",
            "weightedAvgPrice": eight(middle),
            "lastPrice": path.price(path.cell(now_ms)),
            "lastQty": path.quantity(tape.trade(last).quantity),
            "openPrice": eight(opened),
            "highPrice": eight(max(opened, closed) * 1001 // 1000),
            "lowPrice": eight(min(opened, closed) * 999 // 1000),
            "volume": path.quantity(volume * 10**listing.quantity_decimals),
            "quoteVolume": eight(volume * middle),
            "openTime": now_ms - DAY_MS,
            "closeTime": now_ms,
            "firstId": first,
            "lastId": last,
            "count": last - first + 1,
        }
        return {**told, **{key: top[key] for key in ("bidPrice", "bidQty", "askPrice", "askQty") if top}}


def depth_query(market: Market, params: Params) -> tuple[str, int]:
    """Symbol and limit of `/depth`: spot cuts a limit above 5000, USD-M knows seven limits only."""
    if market is Market.SPOT:
        only(params, {"symbol", "limit", "symbolStatus"})
    symbol, limit = symbol_of(params), number(params, "limit")
    if limit is None:
        return symbol, _DEPTH[market][0]
    if limit == 0 or (market is Market.UM and limit not in _UM_DEPTHS):
        raise invalid_value("limit")
    return symbol, min(limit, 5000)


def trades_query(market: Market, params: Params) -> tuple[int | None, int | None, int | None, int]:
    """`fromId`, both times in ms (inclusive), and the limit of `/aggTrades`."""
    if market is Market.SPOT:
        only(params, {"symbol", "fromId", "startTime", "endTime", "limit"})
    symbol_of(params)
    limit = number(params, "limit")
    if limit == 0 or (market is Market.UM and limit is not None and limit > _MOST_TRADES):
        raise invalid_value("limit")
    from_id = number(params, "fromId")
    start_ms = moment(market, params, "startTime", up=True)
    end_ms = moment(market, params, "endTime", up=False)
    if from_id is not None and (start_ms is not None or end_ms is not None):
        raise Refusal(-1128, "Combination of optional parameters invalid.")
    if market is Market.UM and start_ms is not None and end_ms is not None:
        if start_ms > end_ms:
            raise Refusal(-1023, "Start time is greater than end time.")
        if end_ms - start_ms >= HOUR_MS:
            raise Refusal(-1127, "More than 1 hours between startTime and endTime.")
    return from_id, start_ms, end_ms, min(limit or 500, _MOST_TRADES)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
