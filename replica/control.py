"""The replica's own endpoints, under `/replica/`: counts, clock, limits, faults, restatements, the network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from aiohttp import web

from gapless.domain.instrument import Market
from gapless.domain.window import DAY_MS, Window, iso, parse_time
from gapless.errors import ConfigError
from replica.bars import INTERVAL_MS
from replica.exchange import Exchange
from replica.faults import parse_script
from replica.limits import LimitRules
from replica.live.control import LiveControl
from replica.network import Network
from replica.query import KlineQuery
from replica.vision.archive import Archive

_OPTIONAL = {"raw_per_5m", "funding_per_5m", "futures_data_per_5m"}
_MAX_SPEED = 1_000_000.0
_LONGEST_SPAN_MS = 3660 * DAY_MS


def add_control(app: web.Application, exchange: Exchange, archive: Archive, network: Network) -> None:
    """Registers the control endpoints."""

    async def stats(_: web.Request) -> web.Response:
        told = {**exchange.stats.report(), "network_resets": network.resets, "faults": exchange.faults.report()}
        return web.json_response(told)

    async def reset_stats(_: web.Request) -> web.Response:
        exchange.stats.reset()
        network.resets = 0
        return web.json_response({})

    async def clock(_: web.Request) -> web.Response:
        return web.json_response(_clock(exchange))

    async def set_clock(request: web.Request) -> web.Response:
        move_clock(exchange, await _json(request))
        return web.json_response(_clock(exchange))

    async def halts(request: web.Request) -> web.Response:
        market, window = span(request.query)
        found = exchange.source.halts(market, window)
        return web.json_response({"halts": [{"start": iso(halt.start_ms), "end": iso(halt.end_ms)} for halt in found]})

    async def set_limits(request: web.Request) -> web.Response:
        exchange.set_limits(changed_limits(exchange.limits, await _json(request)))
        return web.json_response({market.value: _rules(rules) for market, rules in exchange.limits.items()})

    async def set_faults(request: web.Request) -> web.Response:
        exchange.faults = parse_script(await _json(request), "in the request")
        return web.json_response({"faults": exchange.faults.report()})

    async def restate(request: web.Request) -> web.Response:
        bar, values = restatement(await _json(request))
        exchange.restate(bar, values)
        return web.json_response({"row": json.loads(exchange.rows(bar, exchange.clock.now_ms())[0])})

    async def cut(request: web.Request) -> web.Response:
        wish = await _json(request)
        _known(wish, {"cut_s"}, "/replica/network")
        network.cut(wish.get("cut_s"))
        return web.json_response({"cut_s": network.left_s()})

    async def cut_left(_: web.Request) -> web.Response:
        return web.json_response({"cut_s": network.left_s()})

    async def republish(request: web.Request) -> web.Response:
        wish = await _json(request)
        _known(wish, {"path"}, "/replica/vision/republish")
        return web.json_response({"republished": archive.republish(wish.get("path"))})

    app.router.add_get("/replica/stats", stats)
    app.router.add_get("/replica/network", cut_left)
    app.router.add_post("/replica/network", cut)
    app.router.add_post("/replica/vision/republish", republish)
    app.router.add_post("/replica/stats/reset", reset_stats)
    app.router.add_get("/replica/clock", clock)
    app.router.add_post("/replica/clock", set_clock)
    app.router.add_get("/replica/halts", halts)
    app.router.add_post("/replica/limits", set_limits)
    app.router.add_post("/replica/faults", set_faults)
    app.router.add_post("/replica/restate", restate)


def add_live_control(app: web.Application, live: LiveControl) -> None:
    """Registers those of the live side, `/replica/live/...`."""

    async def ask(request: web.Request) -> web.Response:
        return web.json_response(live.ask(request.match_info["name"], request.query))

    async def tell(request: web.Request) -> web.Response:
        return web.json_response(live.tell(request.match_info["name"], await _json(request)))

    app.router.add_get("/replica/live/{name:.*}", ask)
    app.router.add_post("/replica/live/{name:.*}", tell)


@web.middleware
async def refuse_wrong_use(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turns a wrong control request into HTTP 422 with one line under `error`."""
    try:
        response: web.StreamResponse = await handler(request)
    except ConfigError as error:
        return web.json_response({"error": str(error)}, status=422)
    return response


def move_clock(exchange: Exchange, wish: Mapping[str, Any]) -> None:
    """Sets (`set`: ISO 8601 or ms), advances (`advance_ms`) or paces (`speed`) the clock, in this order.

    Raises:
        ConfigError: an unknown key or a wrong value.
    """
    _known(wish, {"set", "advance_ms", "speed"}, "/replica/clock")
    if "set" in wish:
        at = wish["set"]
        exchange.clock.set(parse_time(at) if isinstance(at, str) else _integer(at, "set"))
    if "advance_ms" in wish:
        exchange.clock.advance(_integer(wish["advance_ms"], "advance_ms"))
    if "speed" in wish:
        exchange.clock.pace(checked_speed(wish["speed"]))


def span(params: Mapping[str, str]) -> tuple[Market, Window]:
    """A market and a stretch of at most ten years: `market=spot&start=2026-11-01&end=2026-12-01`.

    Raises:
        ConfigError: a part is missing or wrong.
    """
    _known(params, {"market", "start", "end"}, "/replica/halts")
    market = params.get("market", "")
    if market not in list(Market):
        raise ConfigError(f"market must be spot or um, not {market!r}")
    window = Window(parse_time(params.get("start", "")), parse_time(params.get("end", "")))
    if window.length_ms > _LONGEST_SPAN_MS:
        raise ConfigError("ask for ten years of halts at most")
    return Market(market), window


def checked_speed(value: Any) -> float:
    """A pace between 0 (frozen) and a million.

    Raises:
        ConfigError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_SPEED:
        raise ConfigError(f"speed must be a number from 0 (frozen) to {_MAX_SPEED:.0f}, not {value!r}")
    return float(value)


def changed_limits(now: Mapping[Market, LimitRules], wish: Mapping[str, Any]) -> dict[Market, LimitRules]:
    """The limits with some fields changed: `{"um": {"weight_per_minute": 100}}`.

    Raises:
        ConfigError: an unknown market or field, or a value that is no limit.
    """
    _known(wish, {market.value for market in Market}, "/replica/limits")
    limits = dict(now)
    for name, change in wish.items():
        if not isinstance(change, Mapping):
            raise ConfigError(f"limits of {name} must be an object such as {{'weight_per_minute': 100}}")
        _known(change, {field.name for field in fields(LimitRules)}, f"limits of {name}")
        for key, value in change.items():
            if key == "retry_after":
                if not isinstance(value, bool):
                    raise ConfigError("retry_after must be true or false")
            elif not (key in _OPTIONAL and value is None):
                _integer(value, key)
        limits[Market(name)] = replace(limits[Market(name)], **change)
    return limits


def restatement(wish: Mapping[str, Any]) -> tuple[KlineQuery, Mapping[str, Any]]:
    """The bar that a restatement names, and its new values.

    Raises:
        ConfigError: an unknown or missing key, or a wrong value.
    """
    keys = {"market", "symbol", "interval", "open_time", "fields"}
    _known(wish, keys, "/replica/restate")
    absent = sorted(keys - set(wish))
    if absent:
        raise ConfigError(f"/replica/restate lacks {', '.join(absent)}")
    market, symbol, interval, at = (wish[key] for key in ("market", "symbol", "interval", "open_time"))
    if market not in list(Market) or interval not in INTERVAL_MS or not isinstance(symbol, str):
        raise ConfigError(f"no series {market} {symbol} {interval}: give spot or um, a raw symbol and an interval")
    if not isinstance(wish["fields"], Mapping):
        raise ConfigError("fields must be an object such as {'close': '101.5'}")
    open_ms = parse_time(at) if isinstance(at, str) else _integer(at, "open_time")
    step_ms = INTERVAL_MS[interval]
    if open_ms % step_ms:
        raise ConfigError(f"{iso(open_ms)} is no open time of {interval} bars")
    return KlineQuery(Market(market), symbol, interval, step_ms, open_ms, open_ms, 1), wish["fields"]


def _clock(exchange: Exchange) -> dict[str, Any]:
    now_ms = exchange.clock.now_ms()
    return {"now_ms": now_ms, "now": iso(now_ms), "speed": exchange.clock.speed}


def _rules(rules: LimitRules) -> dict[str, Any]:
    return {field.name: getattr(rules, field.name) for field in fields(rules)}


async def _json(request: web.Request) -> Mapping[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise ConfigError(f"{request.path} wants a JSON object in the body") from None
    if not isinstance(body, Mapping):
        raise ConfigError(f"{request.path} wants a JSON object in the body")
    return body


def _known(wish: Mapping[str, Any], legal: set[str], where: str) -> None:
    unknown = sorted(set(wish) - legal)
    if unknown:
        raise ConfigError(f"unknown key {', '.join(unknown)} in {where}: choose from {', '.join(sorted(legal))}")


def _integer(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} must be a whole number, zero or more, not {value!r}")
    return value
