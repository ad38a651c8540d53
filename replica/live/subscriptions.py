"""What a client may say: URLs, SUBSCRIBE and its like, and what the exchange answers. Pure.

Source: reference sections 7 and 8. A null result proves nothing: streams that do not exist and those of the other route
are acknowledged too. Errors are wrapped, as on the wire.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

from gapless.domain.instrument import Market

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_PUBLIC_MARKS = ("@bookTicker", "@depth", "@rpiDepth", "@trade")
_ROUTES = ("/public", "/market", "/private")
_TEXT_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")  # alphanumeric by the page; UUIDs have dashes
_MAX_UNSIGNED = 2**64


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client connected.

    Attributes:
        route: of USD-M `/public`, `/market`, `/private` (of accounts: silent here) or nothing, which serves public
            streams alone; of spot nothing.
        combined: `/stream` rather than `/ws`.
        streams: those that the URL names.
    """

    route: str
    combined: bool
    streams: list[str]


def parse_place(market: Market, path: str, query: str) -> Place | None:
    """The place of a raw path and query (both percent-encoded); None where nothing is served.

    `/ws/a/b`, `/stream?streams=a/b`, below a route on USD-M.
    """
    route = ""
    if market is Market.UM:
        for each in _ROUTES:
            if path.startswith(each + "/"):
                route, path = each, path[len(each) :]
    if path == "/ws" or path.startswith("/ws/"):
        return Place(route, False, _names(path[len("/ws/") :]))
    if path.rstrip("/") != "/stream":
        return None
    named = [value for key, _, value in (part.partition("=") for part in query.split("&")) if key == "streams"]
    return Place(route, True, _names(named[0]) if named else [])


def _names(text: str) -> list[str]:
    """Names between slashes, each once. Not as a form's: a plus sign is one (`@kline_1d@+08:00`)."""
    return list(dict.fromkeys(name for name in unquote(text).split("/") if name))


def is_served(market: Market, route: str, stream: str) -> bool:
    """Whether a stream speaks on a route. Those of another route are acknowledged and stay silent."""
    if market is Market.SPOT:
        return True
    public = stream == "!bookTicker" or any(mark in stream for mark in _PUBLIC_MARKS)
    if route in ("", "/public"):
        return public
    return route == "/market" and not public


@dataclass(slots=True)
class Answer:
    """What a request leads to: its answer's text, and the streams that come and go."""

    text: bytes
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    combined: bool | None = None


class Desk:
    """The subscriptions of one connection."""

    def __init__(self, market: Market, place: Place, most: int) -> None:
        self.market, self.route, self.combined = market, place.route, place.combined
        self._most = most
        self._names: dict[str, None] = dict.fromkeys(place.streams)

    @property
    def streams(self) -> list[str]:
        """What is subscribed, in order."""
        return list(self._names)

    def answer(self, text: str | bytes) -> Answer:
        """Does what a request wants, if it is one."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _error(3, "Invalid JSON: expected value at line 1 column 1", None)
        if not isinstance(request, dict):
            return _error(2, "Invalid request: expected an object", None)
        wrong_id = self._wrong_id(request)
        if wrong_id:
            return _error(2, f"Invalid request: {wrong_id}", None)
        number = request.get("id")
        unknown = sorted(set(request) - {"method", "params", "id"})
        if "method" not in request:
            return _error(2, "Invalid request: missing field `method` at line 1 column 1", number)
        method, params = request["method"], request.get("params", [])
        if method not in _METHODS:
            legal = ", ".join(f"`{name}`" for name in _METHODS)
            return _error(2, f"Invalid request: unknown variant `{method}`, expected one of {legal}", number)
        if unknown:
            return _error(2, f"Invalid request: unknown field `{unknown[0]}`", number)
        if not isinstance(params, list):
            return _error(2, "Invalid request: params must be an array", number)
        if method == "LIST_SUBSCRIPTIONS":
            return _result(self.streams, number)
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(method, params, number)
        if not all(isinstance(name, str) for name in params) or not params:
            return _error(2, "Invalid request: params must be an array of stream names", number)
        return self._subscribe(params, number) if method == "SUBSCRIBE" else self._unsubscribe(params, number)

    def _wrong_id(self, request: dict[str, Any]) -> str | None:
        number = request.get("id")
        whole = isinstance(number, int) and not isinstance(number, bool)
        text = isinstance(number, str) and _TEXT_ID.fullmatch(number) is not None
        if self.market is Market.UM:
            # The page says unsigned integer alone; the exchange's own SDK sends UUIDs here as well.
            fine = text or (whole and 0 <= int(number or 0) < _MAX_UNSIGNED)
            return None if fine else "request ID must be an unsigned integer"
        return None if number is None or whole or text else "request ID must be an integer, text or null"

    def _subscribe(self, params: list[str], number: Any) -> Answer:
        added = [name for name in dict.fromkeys(params) if name not in self._names]
        if len(self._names) + len(added) > self._most:
            return _error(4, "Too many subscriptions", number)
        self._names.update(dict.fromkeys(added))
        answer = _result(None, number)
        answer.added = list(dict.fromkeys(params))  # named again counts: a silent subscription begins anew
        return answer

    def _unsubscribe(self, params: list[str], number: Any) -> Answer:
        answer = _result(None, number)
        answer.removed = [name for name in dict.fromkeys(params) if name in self._names]
        for name in answer.removed:
            del self._names[name]
        return answer

    def _property(self, method: str, params: list[Any], number: Any) -> Answer:
        if not params or not isinstance(params[0], str):
            return _error(2, "Invalid request: property name must be a string", number)
        if params[0] != "combined":
            return _error(0, "Unknown property", number)
        if len(params) > (2 if method == "SET_PROPERTY" else 1):
            return _error(2, "Invalid request: too many parameters", number)
        if method == "GET_PROPERTY":
            return _result(self.combined, number)
        if len(params) < 2 or not isinstance(params[1], bool):
            return _error(1, "Invalid value type: expected Boolean", number)
        self.combined = params[1]
        answer = _result(None, number)
        answer.combined = self.combined
        return answer


def request_streams(text: str | bytes) -> list[str]:
    """The streams that a request names, as far as it can be read."""
    try:
        request = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    params = request.get("params") if isinstance(request, dict) else None
    return [name for name in params if isinstance(name, str)] if isinstance(params, list) else []


def error_text(code: int, msg: str, number: Any) -> bytes:
    """An error as on the wire."""
    return msgspec.json.encode({"error": {"code": code, "msg": msg}, "id": number})


def request_id(text: str | bytes) -> Any:
    """A request's id, None when it has none that can be read."""
    try:
        request = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return request.get("id") if isinstance(request, dict) else None


def _error(code: int, msg: str, number: Any) -> Answer:
    return Answer(error_text(code, msg, number))


def _result(result: Any, number: Any) -> Answer:
    return Answer(msgspec.json.encode({"result": result, "id": number}))
