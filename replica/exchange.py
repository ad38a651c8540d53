"""The exchange itself, without a network: a request in, an answer out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gapless.domain.instrument import Market
from gapless.domain.window import iso
from gapless.errors import ConfigError
from replica.answer import Answer, rows_body
from replica.clock import ReplicaClock
from replica.faulting import spoil
from replica.faults import FaultScript, Occasion
from replica.info import exchange_info
from replica.limits import EXCHANGE_LIMITS, Limiter, LimitRules
from replica.live.market import LiveMarket
from replica.live.messages import Live
from replica.live.rest import LIVE_ENDPOINTS, GeneratedRest, LiveRest
from replica.metrics import GeneratedMetrics
from replica.query import KlineQuery, Params, info_query, kline_query, kline_weight, wants_micros
from replica.refusal import Refusal, error_body, not_replicated
from replica.restatements import Restatements
from replica.series_query import funding_query, period_query
from replica.source import GeneratedSource, Source
from replica.stats import Stats


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the exchange sees it.

    Attributes:
        path: `/api/v3/klines`.
        params: query parameters, decoded.
        address: the client's IP address.
        time_unit: its `X-MBX-TIME-UNIT` header.
    """

    path: str
    params: Params
    address: str
    time_unit: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path the replica serves: whose it is, what it is called in the counts, and what it weighs.

    Attributes:
        pool: the five-minute pool it counts in, by its name in `LimitRules`; such requests weigh nothing.
    """

    market: Market
    name: str
    weight: Callable[[Mapping[str, str]], int]
    pool: str | None = None


def _flat(weight: int) -> Callable[[Mapping[str, str]], int]:
    return lambda _: weight


ENDPOINTS = {
    "/api/v3/ping": Endpoint(Market.SPOT, "ping", _flat(1)),
    "/api/v3/time": Endpoint(Market.SPOT, "time", _flat(1)),
    "/api/v3/exchangeInfo": Endpoint(Market.SPOT, "exchangeInfo", _flat(20)),
    "/api/v3/klines": Endpoint(Market.SPOT, "klines", lambda params: kline_weight(Market.SPOT, params)),
    "/fapi/v1/ping": Endpoint(Market.UM, "ping", _flat(1)),
    "/fapi/v1/time": Endpoint(Market.UM, "time", _flat(1)),
    "/fapi/v1/exchangeInfo": Endpoint(Market.UM, "exchangeInfo", _flat(1)),
    "/fapi/v1/klines": Endpoint(Market.UM, "klines", lambda params: kline_weight(Market.UM, params)),
    "/fapi/v1/fundingRate": Endpoint(Market.UM, "fundingRate", _flat(0), "funding_per_5m"),
    "/fapi/v1/fundingInfo": Endpoint(Market.UM, "fundingInfo", _flat(0), "funding_per_5m"),
    **{path: Endpoint(market, name, weight) for path, (market, name, weight) in LIVE_ENDPOINTS.items()},
    **{
        f"/futures/data/{name}": Endpoint(Market.UM, name, _flat(0), "futures_data_per_5m")
        for name in (
            "openInterestHist",
            "topLongShortAccountRatio",
            "topLongShortPositionRatio",
            "globalLongShortAccountRatio",
            "takerlongshortRatio",
        )
    },
}
"""What is served, with the exchange's weights."""


@dataclass(slots=True)
class Exchange:
    """Both markets over one source, with their limits and counts.

    Attributes:
        live, live_rest: the streams and their REST; a generated market brings its own, a recorded one has none unless
            it is given.
    """

    source: Source
    clock: ReplicaClock
    limits: dict[Market, LimitRules] = field(default_factory=lambda: dict(EXCHANGE_LIMITS))
    faults: FaultScript = field(default_factory=FaultScript)
    restatements: Restatements = field(default_factory=Restatements)
    stats: Stats = field(default_factory=Stats)
    live: Live | None = None
    live_rest: LiveRest | None = None
    limiters: dict[Market, Limiter] = field(init=False)

    def __post_init__(self) -> None:
        self.limiters = {market: Limiter(self.limits[market]) for market in Market}
        if self.live is None and isinstance(self.source, GeneratedSource):
            market, universe = self.source.market, self.source.universe
            self.live = generated = LiveMarket(market, universe, self.clock.now_ms)
            self.live_rest = GeneratedRest(generated, GeneratedMetrics(market, universe))

    def set_limits(self, limits: dict[Market, LimitRules]) -> None:
        """Puts other limits in force; counts and bans begin anew."""
        self.limits = limits
        self.limiters = {market: Limiter(limits[market]) for market in Market}

    def answer(self, call: Call) -> Answer:
        """The exchange's answer to a request, counted and weighed."""
        endpoint = ENDPOINTS.get(call.path)
        if endpoint is None:
            self.stats.unknown_paths[call.path[:100] if len(self.stats.unknown_paths) < 100 else "..."] += 1
            return Answer(404, b"<html><body><h2>404 Not found</h2></body></html>", {}, "text/html")
        answer = self._answer(endpoint, call)
        counts = self.stats.markets[endpoint.market]
        counts.requests[endpoint.name] += 1
        counts.statuses[answer.status] += 1
        counts.rows += len(answer.rows or ())
        return answer

    def rows(self, query: KlineQuery, now_ms: int) -> list[str]:
        """The rows that answer a checked klines request, restatements included."""
        rows = self.source.rows(query, now_ms)
        return self.restatements.apply(query.market, query.symbol, query.interval, rows, micros=query.micros)

    def restate(self, query: KlineQuery, values: Mapping[str, object]) -> None:
        """Changes the closed bar that opens at `query.start_ms`.

        Raises:
            ConfigError: there is no such bar, it is still open, or a value is wrong.
        """
        now_ms = self.clock.now_ms()
        what = f"{query.symbol} {query.interval} at {iso(query.start_ms or 0)}"
        try:
            rows = self.source.rows(query, now_ms)
        except Refusal as refusal:
            raise ConfigError(f"no bar of {what} to restate: {refusal.message}") from None
        if query.start_ms is None or not rows:
            raise ConfigError(f"no bar of {what} to restate")
        if query.start_ms + query.interval_ms > now_ms:
            raise ConfigError(f"the bar of {what} is still open: only closed bars are restated")
        self.restatements.add(query.market, query.symbol, query.interval, query.start_ms, values)

    def _answer(self, endpoint: Endpoint, call: Call) -> Answer:
        now_ms = self.clock.now_ms()
        weight = endpoint.weight(call.params)
        verdict = self.limiters[endpoint.market].admit(call.address, weight, now_ms, endpoint.pool)
        counts = self.stats.markets[endpoint.market]
        if endpoint.pool is None:
            counts.weigh(weight, now_ms)
            headers = used_weight_headers(endpoint.market, verdict.used)
        else:
            counts.pool(endpoint.pool, now_ms)
            headers = {}
        kind = "application/json;charset=UTF-8" if endpoint.market is Market.SPOT else "application/json"
        if verdict.status != 200:
            if verdict.retry_after_s is not None:
                headers["Retry-After"] = str(verdict.retry_after_s)
            return Answer(verdict.status, error_body(-1003, verdict.message), headers, kind)
        try:
            answer = self._data(endpoint, call, now_ms, headers, kind)
        except Refusal as refusal:
            answer = Answer(refusal.status, refusal.body, headers, kind)
        if not self.faults.script.rules:
            return answer
        symbol, interval = call.params.get("symbol", ""), call.params.get("interval", "")
        occasion = Occasion(call.path, endpoint.market, symbol, interval, now_ms)
        return spoil(answer, occasion, call.address, self.faults, self.limiters[endpoint.market])

    def _data(self, endpoint: Endpoint, call: Call, now_ms: int, headers: dict[str, str], kind: str) -> Answer:
        market = endpoint.market
        micros = wants_micros(market, call.time_unit)
        time = now_ms * 1000 if micros else now_ms
        if endpoint.name == "klines":
            rows = self.rows(kline_query(market, call.params, micros=micros), now_ms)
            return Answer(200, rows_body(rows), headers, kind, rows)
        if endpoint.pool is not None:
            rows = self._series(endpoint, call.params, now_ms)
            return Answer(200, rows_body(rows), headers, kind, rows)
        if call.path in LIVE_ENDPOINTS:
            if self.live_rest is None:
                raise not_replicated(f"{call.path} of recorded bars")
            return Answer(200, self.live_rest.answer(market, endpoint.name, call.params, now_ms), headers, kind)
        if endpoint.name == "exchangeInfo":
            symbols = self.source.symbols(market, now_ms)
            query = info_query(market, call.params, symbols)
            rules = self.limits[market]
            body = exchange_info(market, query, symbols, mark=self.source.mark, rules=rules, time=time)
            return Answer(200, body, headers, kind)
        if endpoint.name == "time":
            return Answer(200, json.dumps({"serverTime": time}, separators=(",", ":")).encode(), headers, kind)
        return Answer(200, b"{}", headers, kind)

    def _series(self, endpoint: Endpoint, params: Params, now_ms: int) -> list[str]:
        series = self.source.series
        if endpoint.name == "fundingRate":
            return series.funding(funding_query(params), now_ms)
        if endpoint.name == "fundingInfo":
            return series.funding_info(now_ms)
        return series.periods(period_query(endpoint.name, params), now_ms)


def used_weight_headers(market: Market, used: int) -> dict[str, str]:
    """The headers by which the exchange tells an address what it has used this minute; spot sends two."""
    headers = {"X-MBX-USED-WEIGHT-1M": str(used)}
    if market is Market.SPOT:
        headers["X-MBX-USED-WEIGHT"] = str(used)
    return headers
