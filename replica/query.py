"""Requests as values: parameters read and checked by the exchange's rules, and their weights.

Sources: the exchange's REST pages of 2026 (klines weights, defaults, maxima, error codes). Where the pages are silent
the choice is named in `docs/replica.md`: spot cuts a limit above its maximum, USD-M refuses it with -1130; spot refuses
unknown and repeated parameters, USD-M reads past them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from multidict import MultiMapping

from gapless.domain.instrument import Market
from replica.bars import INTERVAL_MS
from replica.refusal import Refusal, illegal_characters, invalid_symbol, invalid_value, missing, not_replicated

DEFAULT_LIMIT = 500
MAX_LIMIT = {Market.SPOT: 1000, Market.UM: 1500}

_UNSERVED_INTERVALS = {Market.SPOT: {"1s", "3d", "1w", "1M"}, Market.UM: {"3d", "1w", "1M"}}
_SYMBOL_LEGAL = r"^[\w\-._&&[^a-z]]{1,50}$"
_SYMBOL = re.compile(r"[\w\-.&]{1,50}")
_LOWER_ASCII = re.compile("[a-z]")
_NUMBER_LEGAL = "^[0-9]{1,20}$"
_NUMBER = re.compile(_NUMBER_LEGAL, re.ASCII)
_MICROS_FROM = 100_000_000_000_000
_ZONE = re.compile(r"([+-]?)(\d{1,2})(?::([0-5]\d))?", re.ASCII)
_SPOT_KLINES = {"symbol", "interval", "startTime", "endTime", "timeZone", "limit"}
_SPOT_INFO = {"symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"}


Params = MultiMapping[str]
"""Query parameters, which can repeat."""


@dataclass(frozen=True, slots=True)
class KlineQuery:
    """A checked klines request.

    Attributes:
        start_ms, end_ms: bounds on open time, **both inclusive**, None when not sent.
        limit: the most rows wanted.
        micros: answer in microseconds.
    """

    market: Market
    symbol: str
    interval: str
    interval_ms: int
    start_ms: int | None
    end_ms: int | None
    limit: int
    micros: bool = False


@dataclass(frozen=True, slots=True)
class InfoQuery:
    """A checked exchangeInfo request: which symbols (None: all), in which status, with permission sets or not."""

    symbols: tuple[str, ...] | None = None
    status: str | None = None
    permissions: frozenset[str] | None = None
    permission_sets: bool = True


def kline_weight(market: Market, params: Mapping[str, str]) -> int:
    """Weight of a klines request: 2 on spot; on USD-M 1, 2, 5 or 10 by `limit` (99, 499, 1000 are the last of each)."""
    if market is Market.SPOT:
        return 2
    text = params.get("limit", "")
    limit = int(text) if _NUMBER.match(text) else DEFAULT_LIMIT
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def kline_query(market: Market, params: Params, *, micros: bool = False) -> KlineQuery:
    """A klines request from its parameters.

    Raises:
        Refusal: with the exchange's code for what is missing, malformed or unknown.
    """
    if market is Market.SPOT:
        only(params, _SPOT_KLINES)
        _time_zone(params.get("timeZone", "0"))
    symbol = symbol_of(params)
    interval = params.get("interval", "")
    if not interval:
        raise missing("interval")
    if interval in _UNSERVED_INTERVALS[market]:
        raise not_replicated(f"interval {interval}")
    if interval not in INTERVAL_MS:
        raise Refusal(-1120, "Invalid interval.")
    limit = _limit(market, params)
    start_ms, end_ms = moment(market, params, "startTime", up=True), moment(market, params, "endTime", up=False)
    if market is Market.UM and start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise Refusal(-1023, "Start time is greater than end time.")
    return KlineQuery(market, symbol, interval, INTERVAL_MS[interval], start_ms, end_ms, limit, micros)


def symbol_of(params: Params) -> str:
    """The `symbol` parameter, which must be there and look like one."""
    symbol = params.get("symbol", "")
    if not symbol:
        raise missing("symbol")
    if not _SYMBOL.fullmatch(symbol) or _LOWER_ASCII.search(symbol):
        raise illegal_characters("symbol", _SYMBOL_LEGAL)
    return symbol


def info_query(market: Market, params: Params, known: Mapping[str, object]) -> InfoQuery:
    """An exchangeInfo request; `known` holds the symbols listed now. USD-M takes no parameters.

    Raises:
        Refusal: a parameter is unknown or malformed, or a symbol is not listed.
    """
    if market is Market.UM:
        return InfoQuery()
    only(params, _SPOT_INFO)
    symbols = symbols_of(params)
    for symbol in symbols or ():
        if symbol not in known:
            raise invalid_symbol()
    status = params.get("symbolStatus")
    if status is not None:
        if symbols is not None:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        if status not in ("TRADING", "HALT", "BREAK"):
            raise Refusal(-1122, "Invalid symbolStatus.")
    permissions = _permissions(params.get("permissions"))
    if permissions is not None and symbols is not None:
        raise Refusal(-1128, "Combination of optional parameters invalid.")
    shown = params.get("showPermissionSets", "true").lower()
    if shown not in ("true", "false"):
        raise invalid_value("showPermissionSets")
    return InfoQuery(symbols, status, permissions, shown == "true")


def wants_micros(market: Market, header: str | None) -> bool:
    """Whether the `X-MBX-TIME-UNIT` header asks for microseconds; USD-M does not know it.

    Raises:
        Refusal: spot got a unit that it does not have.
    """
    if market is Market.UM or header is None:
        return False
    unit = header.strip().upper()
    if unit not in ("MICROSECOND", "MILLISECOND"):
        raise invalid_value("X-MBX-TIME-UNIT")
    return unit == "MICROSECOND"


def only(params: Params, legal: set[str]) -> None:
    """Refuses unknown and repeated parameters, as spot does."""
    unknown = [name for name in params if name not in legal]
    if unknown:
        read = len(set(params) & legal)
        raise Refusal(
            -1104,
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{read + len(unknown)}'.",
        )
    for name in params:
        if len(params.getall(name)) > 1:
            raise Refusal(-1101, f"Duplicate values for parameter '{name}' detected.")


def number(params: Mapping[str, str], name: str) -> int | None:
    text = params.get(name)
    if text is None:
        return None
    if not text:
        raise Refusal(-1105, f"Parameter '{name}' was empty.")
    if not _NUMBER.match(text):
        raise illegal_characters(name, _NUMBER_LEGAL)
    return int(text)


def _limit(market: Market, params: Mapping[str, str]) -> int:
    limit = number(params, "limit")
    if limit is None:
        return DEFAULT_LIMIT
    if limit == 0 or (market is Market.UM and limit > MAX_LIMIT[market]):
        raise invalid_value("limit")
    return min(limit, MAX_LIMIT[market])


def moment(market: Market, params: Mapping[str, str], name: str, *, up: bool) -> int | None:
    """A bound in ms. Spot takes microseconds too; as open times are whole minutes, rounding inwards changes nothing."""
    at = number(params, name)
    if at is None or market is Market.UM or at < _MICROS_FROM:
        return at
    return -(-at // 1000) if up else at // 1000


def _time_zone(text: str) -> None:
    match = _ZONE.fullmatch(text)
    if not match:
        raise invalid_value("timeZone")
    minutes = (int(match[2]) * 60 + int(match[3] or 0)) * (-1 if match[1] == "-" else 1)
    if not -12 * 60 <= minutes <= 14 * 60:
        raise invalid_value("timeZone")
    if minutes:
        raise not_replicated("timeZone other than 0: bars begin at UTC")


def _list(text: str, name: str) -> list[str]:
    try:
        values = json.loads(text)
    except ValueError:
        raise illegal_characters(name, r'^\["[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}\]$') from None
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise invalid_value(name)
    return values


def symbols_of(params: Mapping[str, str]) -> tuple[str, ...] | None:
    """Spot's `symbol` or `symbols`, None for all."""
    one, many = params.get("symbol"), params.get("symbols")
    if one is not None and many is not None:
        raise Refusal(-1128, "Combination of optional parameters invalid.")
    if one is not None:
        if not one:
            raise Refusal(-1105, "Parameter 'symbol' was empty.")
        return (one,)
    return None if many is None else tuple(_list(many, "symbols"))


def _permissions(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    return frozenset(_list(text, "permissions") if text.startswith("[") else [text])
