"""The live fault script at work: which rule meets which message, handshake or request, and how often each did. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gapless.domain.instrument import Market
from replica.fault_schema import listed
from replica.live.fault_schema import LiveAction, LiveRule, LiveScript, Wrong
from replica.noise import stream_key

_EVENT_TIME = re.compile(rb'"E":(\d+)')
_GARBAGE = "<html>502 Bad Gateway</html>"
_MASK = (1 << 64) - 1


@dataclass(slots=True)
class _Work:
    """A rule, its counts and its random stream."""

    rule: LiveRule
    key: int
    seen: int = 0
    applied: int = 0
    span_ms: tuple[int | None, int | None] = field(init=False)

    def __post_init__(self) -> None:
        self.span_ms = self.rule.match.span_ms()

    def due(self, now_ms: int) -> bool:
        """Counts what concerns the rule, and says whether it takes effect (which counts as applied)."""
        start_ms, end_ms = self.span_ms
        if (start_ms is not None and now_ms < start_ms) or (end_ms is not None and now_ms >= end_ms):
            return False
        self.seen += 1
        match = self.rule.match
        if match.times is not None and self.applied >= match.times:
            return False
        if self.seen <= match.after or (match.every is not None and self.seen % match.every):
            return False
        if match.nth is not None and self.seen not in listed(match.nth):
            return False
        if match.probability < 1 and _word(self.key, self.seen) / 2**64 >= match.probability:
            return False
        self.applied += 1
        return True


@dataclass(slots=True)
class StreamRules:
    """The rules that concern a stream's messages: decided once for all connections, and for each alone."""

    once: list[_Work]
    each: list[_Work]


class LiveFaults:
    """A script at work."""

    def __init__(self, script: LiveScript) -> None:
        self.script = script
        seed = str(self.script.seed)
        self._works = [
            _Work(rule, int(stream_key(seed, "live fault", str(number))))
            for number, rule in enumerate(self.script.rules)
        ]

    def of_stream(self, market: Market, stream: str, symbol: str, kind: str) -> StreamRules | None:
        """The rules that concern a stream; None when there are none."""
        works = [
            work
            for work in self._works
            if work.rule.action.scope == "message" and work.rule.match.meets_stream(market, stream, symbol, kind)
        ]
        if not works:
            return None
        each = [work for work in works if work.rule.by_connection]
        return StreamRules([work for work in works if not work.rule.by_connection], each)

    def meeting(self, works: Sequence[_Work], now_ms: int, connection: int | None = None) -> Iterator[LiveAction]:
        """The actions that meet a message, in order, counted as applied. The caller may stop."""
        for work in works:
            if (connection is None or work.rule.match.meets_connection(connection)) and work.due(now_ms):
                yield work.rule.action

    def of_handshake(self, market: Market, streams: list[str], connection: int, now_ms: int) -> Iterator[LiveAction]:
        """What befalls a handshake; `connection` is the number it would get."""
        return self._of("handshake", market, streams, connection, now_ms)

    def of_request(self, market: Market, streams: list[str], connection: int, now_ms: int) -> Iterator[LiveAction]:
        """What befalls a request."""
        return self._of("request", market, streams, connection, now_ms)

    def report(self) -> list[dict[str, Any]]:
        """For each rule: its name, action, how many messages, handshakes or requests it concerned, and how many it
        changed."""
        return [
            {"name": work.rule.name, "action": work.rule.action.name, "seen": work.seen, "applied": work.applied}
            for work in self._works
        ]

    def _of(self, scope: str, market: Market, streams: list[str], connection: int, now_ms: int) -> Iterator[LiveAction]:
        for work in self._works:
            match = work.rule.match
            if work.rule.action.scope != scope or not match.meets_connection(connection):
                continue
            if match.meets_names(market, streams) and work.due(now_ms):
                yield work.rule.action


def skewed(data: bytes, by_ms: int) -> bytes:
    """A payload with its event time off; one without stays as it is."""
    return _EVENT_TIME.sub(lambda found: b'"E":%d' % (int(found[1]) + by_ms), data, count=1)


def spoilt(data: bytes, wrong: Wrong) -> bytes:
    """A payload with fields taken out, set or added, or what is none at all; that stays as it is."""
    if wrong.garbage:
        return (_GARBAGE if wrong.garbage is True else wrong.garbage).encode()
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return data  # another rule made it garbage
    for path in [] if wrong.remove is None else listed(wrong.remove):
        _put(value, path.split("."), None, remove=True)
    for path, new in wrong.set.items():
        _put(value, path.split("."), new, remove=False)
    return msgspec.json.encode(value)


def _put(value: Any, path: list[str], new: Any, *, remove: bool) -> None:
    *outer, last = path
    for name in outer:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        return
    if remove:
        value.pop(last, None)
    else:
        value[last] = new


def _word(key: int, position: int) -> int:
    """One 64-bit word of a random stream: the finaliser of splitmix64, on plain integers for single draws."""
    mixed = (position * 0x9E3779B97F4A7C15 + key) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)
