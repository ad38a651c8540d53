"""A tiny exchange whose book is known at every update id."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec

from gapless.domain.instrument import Market
from gapless.exchanges.binance.live_rest import Snapshot
from gapless.exchanges.binance.streams.messages import Depth, Levels, RawDepth
from streamer.books.book import Book

Sides = tuple[dict[int, int], dict[int, int]]
"""Bids and asks: price in hundredths -> quantity in thousandths."""


def price(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def quantity(thousandths: int) -> str:
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"


@dataclass
class Oracle:
    """Makes diffs; remembers the book after each single update.

    Args:
        width: prices a side. On USD-M ids leap, as they do there.
    """

    market: Market
    seed: int
    width: int = 12
    now_ms: int = 1_000_000
    history: dict[int, Sides] = field(default_factory=dict)
    last: int = 1000
    symbol: str = "BTCUSDT"

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        bids = {9_900 - step: 1000 + step for step in range(self.width)}
        asks = {10_100 + step: 2000 + step for step in range(self.width)}
        self._sides: Sides = bids, asks
        self.history[self.last] = dict(bids), dict(asks)

    def diff(self) -> Depth:
        """The next 100 ms of the market."""
        self.now_ms += 100
        um, before = self.market is Market.UM, self.last
        changed: tuple[dict[int, int], dict[int, int]] = {}, {}
        first = 0
        for _ in range(self._random.randint(1, 4)):
            self.last += self._random.randint(1, 5) if um else 1
            first = first or self.last
            side = self._random.randint(0, 1)
            level = (9_900 - self._random.randrange(self.width), 10_100 + self._random.randrange(self.width))[side]
            amount = self._random.choice((0, 0, 1, 500, 12_345))
            changed[side][level] = amount
            self._sides[side].pop(level, None)
            if amount:
                self._sides[side][level] = amount
            self.history[self.last] = dict(self._sides[0]), dict(self._sides[1])
        bids, asks = ([(price(p), quantity(q)) for p, q in each.items()] for each in changed)
        return Depth(E=self.now_ms, s=self.symbol, U=first, u=self.last, b=bids, a=asks, pu=before if um else None)

    def snapshot(self, levels: int, back: int = 0) -> Snapshot:
        """The book now, or as it was so many updates ago."""
        ids = list(self.history)
        at = ids[max(0, len(ids) - 1 - back)]
        return Snapshot(at, *(side[:levels] for side in self.levels(at)))

    def levels(self, at: int) -> tuple[Levels, Levels]:
        """All levels at an update id, best first."""
        bids, asks = self.history[at]
        return (
            [(price(p), quantity(q)) for p, q in sorted(bids.items(), reverse=True)],
            [(price(p), quantity(q)) for p, q in sorted(asks.items())],
        )

    def agrees(self, book: Book, at: int) -> bool:
        """Whether a book is this one at an id, as far as it claims to know; all of both sides that is."""
        return all(
            mine.all() == [level for level in truth if mine.knows(level[0])]
            for mine, truth in zip((book.bids, book.asks), self.levels(at), strict=True)
        )


def unread(diff: Depth) -> tuple[RawDepth, int]:
    """A diff as it comes off the wire, its levels still to be read; and its size."""
    text = msgspec.json.encode(diff)
    return msgspec.json.decode(text, type=RawDepth), len(text)
