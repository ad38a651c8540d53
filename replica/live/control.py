"""The live side's own endpoints, under `/replica/live/`: faults, activity, limits, what was sent, the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.live.connection import Connection
from replica.live.fault_schema import CloseCode, Cut, CutHow, Seconds, parse_live_script
from replica.live.hub import Hub
from replica.live.ledger import StreamSent
from replica.live.rules import changed_rules


class _CutWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which connections (all of both markets when none are named), and how they end."""

    market: Market | None = None
    connection: int | None = None
    how: CutHow = "reset"
    code: CloseCode = 1001
    reason: str = ""


class _ShutdownWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which connections are told that the server goes, and how long before it does."""

    market: Market | None = None
    connection: int | None = None
    after_s: Seconds = 10.0


class LiveControl:
    """Answers control requests; a test in the same loop calls it directly."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._asked: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "sent": self._sent,
            "connections": lambda _: {"connections": hub.report()},
            "truth": self._truth,
            "trades": self._trades,
            "faults": lambda _: {"faults": hub.faults.report()},
        }
        self._told: dict[str, Callable[[Any], Any]] = {
            "faults": self._play,
            "activity": self._activity,
            "limits": self._limits,
            "cut": self._cut,
            "shutdown": self._shutdown,
            "sent/reset": self._forget,
            "tick": self._tick,
        }

    def ask(self, name: str, query: Mapping[str, str]) -> Any:
        """A GET of `/replica/live/NAME`.

        Raises:
            ConfigError: there is no such thing, or the query is wrong.
        """
        if name not in self._asked:
            raise ConfigError(f"nothing to read under /replica/live/{name}: choose from {', '.join(self._asked)}")
        self._hub.tick()  # what the clock has reached counts, whether the pump came by or not
        return self._asked[name](query)

    def tell(self, name: str, body: Any) -> Any:
        """A POST of `/replica/live/NAME`.

        Raises:
            ConfigError: there is no such thing, or the body is wrong.
        """
        if name not in self._told:
            raise ConfigError(f"nothing to do under /replica/live/{name}: choose from {', '.join(self._told)}")
        return self._told[name](body)

    def _sent(self, query: Mapping[str, str]) -> Any:
        hub, wanted = self._hub, query.get("stream")
        markets = [_market(query["market"])] if "market" in query else list(Market)
        return {
            "streams": {
                market.value: {
                    stream: fan.sent.report()
                    for stream, fan in hub.fans[market].items()
                    if wanted is None or stream == wanted
                }
                for market in markets
            },
            "connections": {market.value: hub.counts[market].report() for market in markets},
            "now_ms": hub.clock.now_ms(),
            "longest_tick_ms": round(hub.longest_tick_s * 1000, 3),
        }

    def _truth(self, query: Mapping[str, str]) -> Any:
        update = query.get("update_id")
        return self._hub.live.truth(
            _market(query.get("market", "")), query.get("symbol", ""), None if update is None else _whole(update)
        )

    def _trades(self, query: Mapping[str, str]) -> Any:
        span = _whole(query.get("first", "")), _whole(query.get("last", ""))
        market, symbol = _market(query.get("market", "")), query.get("symbol", "")
        return {"trades": self._hub.live.trades_between(market, symbol, *span)}

    def _play(self, body: Any) -> Any:
        self._hub.play(parse_live_script(body, "in the request"))
        return {"faults": self._hub.faults.report()}

    def _activity(self, body: Any) -> Any:
        if not isinstance(body, dict):
            raise ConfigError("/replica/live/activity wants a JSON object such as {'trades_per_s': 50}")
        changes = dict(body)
        market, symbols = changes.pop("market", None), changes.pop("symbols", None)
        if symbols is not None and not (isinstance(symbols, list) and all(isinstance(each, str) for each in symbols)):
            raise ConfigError("symbols must be a list of raw symbols")
        wanted = None if market is None else _market(market)
        self._hub.tick()
        self._hub.live.activity(changes, market=wanted, symbols=symbols)
        return {}

    def _limits(self, body: Any) -> Any:
        self._hub.rules = changed_rules(self._hub.rules, body)
        return {market.value: msgspec.to_builtins(rules) for market, rules in self._hub.rules.items()}

    def _cut(self, body: Any) -> Any:
        wish = _read(body, _CutWish, "cut")
        chosen = self._chosen(wish.market, wish.connection)
        for connection in chosen:
            self._hub.end(connection, Cut(wish.how, wish.code, wish.reason), "cut")
        return {"connections": len(chosen)}

    def _shutdown(self, body: Any) -> Any:
        wish = _read(body, _ShutdownWish, "shutdown")
        chosen = self._chosen(wish.market, wish.connection)
        for connection in chosen:
            self._hub.shut_down(connection, wish.after_s)
        return {"connections": len(chosen)}

    def _forget(self, _: Any) -> Any:
        for market, fans in self._hub.fans.items():
            self._hub.counts[market].reset()
            for fan in fans.values():
                fan.sent = StreamSent()
        return {}

    def _tick(self, _: Any) -> Any:
        self._hub.tick()
        return {"now_ms": self._hub.clock.now_ms()}

    def _chosen(self, market: Market | None, number: int | None) -> list[Connection]:
        return [
            connection
            for connection in self._hub.connections
            if not connection.ending
            and (market is None or connection.market is market)
            and (number is None or connection.number == number)
        ]


def _read(body: Any, kind: Any, name: str) -> Any:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"/replica/live/{name}: {error}") from None


def _market(name: Any) -> Market:
    if name not in list(Market):
        raise ConfigError(f"market must be spot or um, not {name!r}")
    return Market(name)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"an id is a whole number, not {text!r}")
    return int(text)
