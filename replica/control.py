"""The replica's own endpoints, under `/replica/`: counts, clock, limits. The exchange has none of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from aiohttp import web

from gapless.domain.instrument import Market
from gapless.domain.window import iso, parse_time
from gapless.errors import ConfigError
from replica.exchange import Exchange
from replica.limits import LimitRules

_MAX_SPEED = 1_000_000.0


def add_control(app: web.Application, exchange: Exchange) -> None:
    """Registers the control endpoints."""

    async def stats(_: web.Request) -> web.Response:
        return web.json_response(exchange.stats.report())

    async def reset_stats(_: web.Request) -> web.Response:
        exchange.stats.reset()
        return web.json_response({})

    async def clock(_: web.Request) -> web.Response:
        return web.json_response(_clock(exchange))

    async def set_clock(request: web.Request) -> web.Response:
        move_clock(exchange, await _json(request))
        return web.json_response(_clock(exchange))

    async def set_limits(request: web.Request) -> web.Response:
        exchange.set_limits(changed_limits(exchange.limits, await _json(request)))
        return web.json_response({market.value: _rules(rules) for market, rules in exchange.limits.items()})

    app.router.add_get("/replica/stats", stats)
    app.router.add_post("/replica/stats/reset", reset_stats)
    app.router.add_get("/replica/clock", clock)
    app.router.add_post("/replica/clock", set_clock)
    app.router.add_post("/replica/limits", set_limits)


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
            elif not (key == "raw_per_5m" and value is None):
                _integer(value, key)
        limits[Market(name)] = replace(limits[Market(name)], **change)
    return limits


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
