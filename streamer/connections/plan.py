"""Which stream comes by which connection. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gapless.domain.instrument import Market
from gapless.exchanges.binance.streams.names import Route, StreamSpec


class ShardKey(NamedTuple):
    """A group of streams that come by one connection (by two at once, if so set)."""

    market: Market
    route: Route
    number: int

    def __str__(self) -> str:
        return f"{self.market}{self.route}#{self.number}"


class Change(NamedTuple):
    added: list[tuple[ShardKey, StreamSpec]]
    removed: list[tuple[ShardKey, StreamSpec]]


class Plan:
    """Streams by shard. A stream stays where it is for as long as it is wanted: a new one takes the first free place of
    its market and route, or opens a shard. So a change touches the connections it must, and no other."""

    def __init__(self, streams_a_shard: int) -> None:
        self._most = streams_a_shard
        self._place: dict[tuple[Market, str], ShardKey] = {}
        self.shards: dict[ShardKey, dict[str, StreamSpec]] = {}

    def want(self, specs: Iterable[StreamSpec]) -> Change:
        """Makes these, each once, the wanted ones. A shard without streams is gone afterwards."""
        wanted = {(spec.market, spec.name): spec for spec in specs}
        change = Change([], [])
        for place in [place for place in self._place if place not in wanted]:
            key = self._place.pop(place)
            change.removed.append((key, self.shards[key].pop(place[1])))
            if not self.shards[key]:
                del self.shards[key]
        first_free: dict[tuple[Market, Route], int] = {}
        for place, spec in wanted.items():
            if place in self._place:
                continue
            kind = (spec.market, spec.route)
            number = first_free.get(kind, 0)
            while len(self.shards.get(ShardKey(*kind, number), ())) >= self._most:
                number += 1
            first_free[kind] = number
            key = ShardKey(*kind, number)
            self._place[place] = key
            self.shards.setdefault(key, {})[spec.name] = spec
            change.added.append((key, spec))
        return change
