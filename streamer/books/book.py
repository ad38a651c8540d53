"""A book: two sides of price -> quantity, both the exchange's own strings. Pure.

A diff is one `dict.update` a side: removed levels stay in it with quantity zero until the side is swept, which is when
it has grown by a third. A tidy side is in order, best price first, and a changed level keeps its place; so the best
levels are the head of the dict and whatever was added since, and nothing has to be kept sorted.

Prices are told apart as strings and ordered by `float`, which never puts two decimals in the wrong order but may call
two of more than 15 digits equal: then `Decimal` decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import islice

from msgspec import DecodeError, Raw

from gapless.exchanges.binance.streams.messages import Levels, decode_levels

ZEROS = frozenset({"0", *("0." + "0" * digits for digits in range(1, 19))})
"""How the exchange writes that a level is gone."""

_DEFERRED_BYTES = 96 * 1024
"""About sixty diffs of a busy symbol. 600 books that all wait at this bound hold 58 MB; published once a second, a book
of a symbol with ten diffs a second holds 15 kB."""
_SLACK = 333
_ROOM = 1030
"""A dict of up to 1,365 strings takes 26 kB, the next one 52 kB: a side of 1,000 levels is swept before."""


class Side:
    """One side.

    Attributes:
        levels: price -> quantity; zeros are in it until it is swept, what lies beyond `known_to` until it is cut.
        known_to: the worst price up to which every level is known; None when all are.
    """

    __slots__ = ("_asks", "_known", "_ordered", "_sweep_at", "depth", "known_to", "levels")

    def __init__(self, asks: bool, levels: Iterable[tuple[str, str]], *, whole: bool, depth: int) -> None:
        self._asks = asks
        self.depth = depth
        self.levels = dict(levels)
        self.known_to: str | None = None
        self._known: float | None = None
        self._ordered = 0
        self._sweep_at = 0
        self.tidy()
        if not whole and self.known_to is None and self.levels:
            self._know_to(next(reversed(self.levels)))

    def update(self, pairs: Levels) -> None:
        """Set levels to these quantities."""
        levels = self.levels
        levels.update(pairs)
        if len(levels) > self._sweep_at:
            self._sweep()

    def best(self, n: int) -> Levels:
        """The best `n` levels known, best first; fewer when fewer are known."""
        if len(self.levels) - self._ordered > _SLACK:
            self.tidy()
        levels, zeros = self.levels, ZEROS
        head: Levels = []
        for level in islice(levels.items(), self._ordered):
            if level[1] not in zeros:
                head.append(level)
                if len(head) == n:
                    break
        added = len(levels) - self._ordered
        if added:
            tail = islice(reversed(levels.items()), added)
            if len(head) == n:
                edge = float(head[-1][0])
                if self._asks:
                    head += [level for level in tail if float(level[0]) <= edge and level[1] not in zeros]
                else:
                    head += [level for level in tail if float(level[0]) >= edge and level[1] not in zeros]
            else:
                head += [level for level in tail if level[1] not in zeros]
            head = self._in_order(head)
        del head[n:]
        while head and not self.knows(head[-1][0]):
            head.pop()
        return head

    def all(self) -> Levels:
        """Every level known, best first."""
        self.tidy()
        levels = list(self.levels.items())
        while levels and not self.knows(levels[-1][0]):
            levels.pop()
        return levels

    def knows(self, price: str) -> bool:
        """Whether a price is not beyond `known_to`."""
        known = self._known
        if known is None:
            return True
        value = float(price)
        if value == known:
            # equal as floats is not yet equal
            return not _better(self.known_to or price, price, self._asks)
        return value < known if self._asks else value > known

    def reaches_beyond(self, other: Side) -> bool:
        """Whether this side knows levels that the other does not."""
        if other.known_to is None:
            return False
        return self.known_to is None or _better(other.known_to, self.known_to, self._asks)

    def tidy(self) -> None:
        """Let go of zeros, put the rest in order, and cut it to `depth` beyond twice that."""
        zeros, levels = ZEROS, self.levels
        prices = self._sorted([price for price, quantity in levels.items() if quantity not in zeros])
        if len(prices) > 2 * self.depth:
            del prices[self.depth :]
            if self.knows(prices[-1]):
                self._know_to(prices[-1])
        self._take({price: levels[price] for price in prices}, len(prices))

    def _sweep(self) -> None:
        """Let go of zeros, which is quick; cut what is too long, which is not."""
        zeros, items = ZEROS, self.levels.items()
        kept = {price: quantity for price, quantity in islice(items, self._ordered) if quantity not in zeros}
        ordered = len(kept)
        kept.update(level for level in islice(items, self._ordered, None) if level[1] not in zeros)
        self._take(kept, ordered)
        if len(kept) > 2 * self.depth:
            self.tidy()

    def _take(self, levels: dict[str, str], ordered: int) -> None:
        self.levels = levels
        self._ordered = ordered
        self._sweep_at = len(levels) + (_SLACK if len(levels) <= _ROOM else len(levels) // 2)

    def _know_to(self, price: str) -> None:
        self.known_to = price
        self._known = float(price)

    def _sorted(self, prices: list[str]) -> list[str]:
        """Best first."""
        by_value = dict(zip(map(float, prices), prices, strict=True))
        if len(by_value) < len(prices):
            return sorted(prices, key=Decimal, reverse=not self._asks)
        return [by_value[value] for value in sorted(by_value, reverse=not self._asks)]

    def _in_order(self, levels: Levels) -> Levels:
        """Best first."""
        quantities = dict(levels)
        return [(price, quantities[price]) for price in self._sorted(list(quantities))]


class Book:
    """Both sides of a symbol at one update id.

    Args:
        levels: how many a side were asked for: a side with fewer is known to its end.
        depth: how many a side are kept, see `Side.tidy`.

    Attributes:
        broken: a deferred diff could not be read: the book is not to be believed.
    """

    __slots__ = ("_asks", "_bids", "_deferred", "_deferred_bytes", "broken")

    def __init__(self, bids: Levels, asks: Levels, *, levels: int, depth: int) -> None:
        shared: dict[str, str] = {}
        """Two thirds of a snapshot's quantities are repeated in it (measured): each is held once."""
        self._bids = _side(False, bids, levels, depth, shared)
        self._asks = _side(True, asks, levels, depth, shared)
        self._deferred: list[tuple[Raw, Raw]] = []
        self._deferred_bytes = 0
        self.broken = False

    @property
    def bids(self) -> Side:
        """As of all diffs."""
        if self._deferred:
            self._settle()
        return self._bids

    @property
    def asks(self) -> Side:
        """As of all diffs."""
        if self._deferred:
            self._settle()
        return self._asks

    @property
    def sizes(self) -> tuple[int, int]:
        """Levels held a side, about: what was removed and not swept counts, what is deferred does not.

        For a status, which must not make all books read what they deferred at once.
        """
        return len(self._bids.levels), len(self._asks.levels)

    def defer(self, bids: Raw, asks: Raw, size: int) -> None:
        """A diff whose levels are read when somebody looks, or when many wait: a side's levels lie all over the memory,
        and once they are in the processor's cache the diffs that follow cost a half.

        Args:
            size: bytes of the message that the levels are part of, which is kept for so long.
        """
        self._deferred.append((bids, asks))
        self._deferred_bytes += size
        if self._deferred_bytes > _DEFERRED_BYTES:
            self._settle()

    def apply(self, bids: Levels, asks: Levels) -> None:
        """A diff: absolute quantities, zero removes."""
        if bids:
            self.bids.update(bids)
        if asks:
            self.asks.update(asks)

    def top(self, n: int) -> tuple[Levels, Levels]:
        """The best `n` bids and asks."""
        return self.bids.best(n), self.asks.best(n)

    def crossed(self) -> bool:
        """Whether someone would buy for no less than someone sells: then the book is wrong."""
        return crossed(self.bids.best(1), self.asks.best(1))

    def widen(self, other: Book) -> None:
        """Take the sides of another book of the same id that know more than these."""
        if other.bids.reaches_beyond(self.bids):
            self._bids = other.bids
        if other.asks.reaches_beyond(self.asks):
            self._asks = other.asks

    def _settle(self) -> None:
        deferred, self._deferred, self._deferred_bytes = self._deferred, [], 0
        try:
            for raw, _ in deferred:
                if levels := decode_levels(raw):
                    self._bids.update(levels)
            for _, raw in deferred:
                if levels := decode_levels(raw):
                    self._asks.update(levels)
        except DecodeError:
            self.broken = True


def crossed(bids: Levels, asks: Levels) -> bool:
    """Whether the best bid is not below the best ask."""
    if not bids or not asks:
        return False
    bid, ask = bids[0][0], asks[0][0]
    low, high = float(bid), float(ask)
    return low > high or (low == high and Decimal(bid) >= Decimal(ask))


def _side(asks: bool, pairs: Levels, levels: int, depth: int, shared: dict[str, str]) -> Side:
    own = [(price, shared.setdefault(quantity, quantity)) for price, quantity in pairs]
    return Side(asks, own, whole=len(pairs) < levels, depth=depth)


def _better(price: str, than: str, asks: bool) -> bool:
    return Decimal(price) < Decimal(than) if asks else Decimal(price) > Decimal(than)
