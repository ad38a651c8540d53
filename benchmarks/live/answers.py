"""What the sender answers over REST, so that a streamer starts against it unchanged: the spot market's own paths."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec
import numpy as np

from benchmarks.live.feed import TRADE, Feed, ordinals

_PLENTY = 100_000_000
_PAGE = 1000
_UNWRITTEN = re.compile(rb":0+(?=[,}])")
"""Ids and times are zeros in a frame that nobody has written them into yet: no numbers to JSON."""


class Answers:
    """The REST side of a feed; `ordinal` says how far the stream has come."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._symbols = {name: i for i, name in enumerate(feed.names)}
        self._info: bytes | None = None
        self.snapshots = 0
        self.others: dict[str, int] = {}

    def of(self, path: str, query: dict[str, str], ordinal: int) -> Any:
        """The body of an answer; None for a path that is not served."""
        name = path.rpartition("/")[2]
        self.others[name] = self.others.get(name, 0) + 1
        match name:
            case "ping":
                return {}
            case "time":
                return {"serverTime": time.time_ns() // 1_000_000}
            case "exchangeInfo":
                return self._exchange_info()
            case "depth":
                return self._depth(self._symbols[query["symbol"]], int(query.get("limit", 100)), ordinal)
            case "aggTrades":
                return self._trades(query, ordinal)
            case "24hr":
                return [{"symbol": each, "quoteVolume": f"{1_000_000 - i}.0", "lastPrice": "1.0", "count": 1}
                        for i, each in enumerate(self._feed.names)]  # fmt: skip
            case "klines":
                return []
        return None

    def _exchange_info(self) -> bytes:
        if self._info is None:
            body = {
                "timezone": "UTC",
                "serverTime": time.time_ns() // 1_000_000,
                # Snapshots must not be what is waited for here; pacing by small budgets is tested elsewhere.
                "rateLimits": [
                    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": _PLENTY},
                    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": _PLENTY},
                ],
                "exchangeFilters": [],
                "symbols": [_symbol(name) for name in self._feed.names],
            }
            self._info = msgspec.json.encode(body)
        return self._info

    def _depth(self, symbol: int, limit: int, ordinal: int) -> dict[str, Any]:
        self.snapshots += 1
        last, bids, asks = self._feed.book_at(symbol, ordinal)
        return {
            "lastUpdateId": last,
            "bids": list(bids.items())[:limit],
            "asks": list(asks.items())[:limit],
        }

    def _trades(self, query: dict[str, str], ordinal: int) -> list[Any]:
        symbol = self._symbols[query["symbol"]]
        first, limit = int(query.get("fromId", 0)), int(query.get("limit", 500))
        rows = []
        for wanted in range(first, first + min(limit, _PAGE)):
            at = int(ordinals(self._feed, TRADE, symbol, np.array([wanted]))[0])
            if at >= ordinal:
                break
            frame = self._feed.frames[0][at % self._feed.shape.messages]
            text = _UNWRITTEN.sub(b":1", frame[frame.index(b'{"stream"') :])
            row = msgspec.json.decode(text)["data"]
            row = {key: row[key] for key in ("p", "q", "m", "M")}
            rows.append({"a": wanted, "f": wanted, "l": wanted, "T": time.time_ns() // 1_000_000, **row})
        return rows


def streams_in(path: str, query: dict[str, str]) -> list[str]:
    """The streams a WebSocket URL asks for."""
    if "streams" in query:
        return [each for each in query["streams"].split("/") if each]
    return [each for each in path.partition("/ws/")[2].split("/") if each]


def _symbol(name: str) -> dict[str, Any]:
    return {
        "symbol": name,
        "status": "TRADING",
        "baseAsset": name.removesuffix("USDT"),
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "orderTypes": ["LIMIT", "MARKET"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000",
             "tickSize": "0.01000000"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
        ],
    }  # fmt: skip
