"""exchangeInfo of both markets: symbol objects with every field of the exchange's, and the rate limits in force.

Shapes after recordings of July 2026; a test compares the keys with those recordings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gapless.domain.instrument import Market
from replica.limits import LimitRules
from replica.query import InfoQuery

Symbol = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SymbolFacts:
    """What a symbol object says that differs between symbols. `tick_units` counts units of `10**-price_decimals`."""

    raw_symbol: str
    base: str
    quote: str
    status: str
    price_decimals: int
    tick_units: int
    quantity_decimals: int
    onboard_ms: int = 0
    delivery_ms: int = 0
    underlying: str = "Layer-1"


def um_symbol(facts: SymbolFacts) -> Symbol:
    """A perpetual as `/fapi/v1/exchangeInfo` lists it."""
    tick = _decimal(facts.tick_units, facts.price_decimals)
    step = _decimal(1, facts.quantity_decimals)
    return {
        "symbol": facts.raw_symbol,
        "pair": facts.raw_symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": facts.delivery_ms,
        "onboardDate": facts.onboard_ms,
        "status": facts.status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": facts.base,
        "quoteAsset": facts.quote,
        "marginAsset": facts.quote,
        "pricePrecision": facts.price_decimals,
        "quantityPrecision": facts.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [facts.underlying],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "70000000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "7000000", "stepSize": step},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
            {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": "NONE"},
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY", "DCA", "PSB"],
    }


def spot_symbol(facts: SymbolFacts) -> Symbol:
    """A pair as `/api/v3/exchangeInfo` lists it: no listing date, every decimal with eight places."""
    tick = _decimal(facts.tick_units, facts.price_decimals, 8)
    step = _decimal(1, facts.quantity_decimals, 8)
    return {
        "symbol": facts.raw_symbol,
        "status": facts.status,
        "baseAsset": facts.base,
        "baseAssetPrecision": 8,
        "quoteAsset": facts.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": [
            "LIMIT",
            "LIMIT_MAKER",
            "MARKET",
            "STOP_LOSS",
            "STOP_LOSS_LIMIT",
            "TAKE_PROFIT",
            "TAKE_PROFIT_LIMIT",
        ],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9222449.00000000", "stepSize": step},
            {"filterType": "ICEBERG_PARTS", "limit": 100},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.00000000",
                "maxQty": "160.64030255",
                "stepSize": "0.00000000",
            },
            {
                "filterType": "TRAILING_DELTA",
                "minTrailingAboveDelta": 10,
                "maxTrailingAboveDelta": 2000,
                "minTrailingBelowDelta": 10,
                "maxTrailingBelowDelta": 2000,
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": "2",
                "bidMultiplierDown": "0.5",
                "askMultiplierUp": "2",
                "askMultiplierDown": "0.5",
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"],
    }


def exchange_info(
    market: Market, query: InfoQuery, symbols: Mapping[str, Symbol], *, mark: str, rules: LimitRules, time: int
) -> bytes:
    """The body of exchangeInfo.

    Args:
        mark: what stands under `gaplessReplica`, so that nobody takes it for the exchange's.
        time: server time in the unit asked for.
    """
    chosen = _chosen(query, symbols)
    body: dict[str, Any] = {"timezone": "UTC", "serverTime": time, "gaplessReplica": mark}
    if market is Market.UM:
        body["futuresType"] = "U_MARGINED"
    body["rateLimits"] = _rate_limits(market, rules)
    body["exchangeFilters"] = []
    if market is Market.UM:
        assets = sorted({symbol["marginAsset"] for symbol in chosen} | {"USDT"})
        body["assets"] = [{"asset": name, "marginAvailable": True, "autoAssetExchange": "-10000"} for name in assets]
    body["symbols"] = chosen
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _chosen(query: InfoQuery, symbols: Mapping[str, Symbol]) -> list[Symbol]:
    names = symbols if query.symbols is None else query.symbols
    chosen = [symbols[name] for name in names]
    if query.status is not None:
        chosen = [symbol for symbol in chosen if symbol["status"] == query.status]
    if query.permissions is not None:
        wanted = query.permissions
        chosen = [symbol for symbol in chosen if any(wanted & set(group) for group in symbol["permissionSets"])]
    if not query.permission_sets:
        chosen = [{key: value for key, value in symbol.items() if key != "permissionSets"} for symbol in chosen]
    return chosen


def _rate_limits(market: Market, rules: LimitRules) -> list[dict[str, Any]]:
    limits = [("REQUEST_WEIGHT", "MINUTE", 1, rules.weight_per_minute or 2_000_000_000)]
    if market is Market.UM:
        limits += [("ORDERS", "MINUTE", 1, 1200), ("ORDERS", "SECOND", 10, 300)]
    else:
        limits += [("ORDERS", "SECOND", 10, 100), ("ORDERS", "DAY", 1, 200_000)]
    if rules.raw_per_5m:
        limits.append(("RAW_REQUESTS", "MINUTE", 5, rules.raw_per_5m))
    names = ("rateLimitType", "interval", "intervalNum", "limit")
    return [dict(zip(names, limit, strict=True)) for limit in limits]


def _decimal(units: int, decimals: int, pad: int = 0) -> str:
    if not decimals:
        return f"{units}." + "0" * pad if pad else str(units)
    whole, rest = divmod(units, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}" + "0" * max(0, pad - decimals)
