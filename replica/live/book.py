"""One instrument's order book: changed by a moving price, by chance and by trades; every change has an update id.

A level is a cell of the price path with a quantity. The best bid is always at the path's cell and the best ask in the
next one, so the book is never crossed, and trades know their price without it. A journal of what each change overwrote
leads back to the book after any of the last updates.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable
from random import Random

from replica.live.path import mix
from replica.live.tape import EPOCH_MS

IDS_A_MS = 64
"""Update ids begin at so many times the milliseconds since 2020: a replica started again is above those it gave."""

_JOURNAL = 8192
_MOMENTS = 4096


class Changes:
    """What changed since it was last taken: the cells of each side in order of first change, and the first id."""

    __slots__ = ("asks", "bids", "first_id", "last_taken")

    def __init__(self, update_id: int) -> None:
        self.bids: dict[int, None] = {}
        self.asks: dict[int, None] = {}
        self.first_id = -1
        self.last_taken = update_id

    def taken(self, update_id: int) -> None:
        """All up to this id were told."""
        self.bids, self.asks = {}, {}
        self.first_id, self.last_taken = -1, update_id


class Book:
    """The levels of one instrument by cell, quantities in the listing's units.

    Args:
        holes: update ids have holes (USD-M).
        unit: what a large level's quantity is about.
        levels: how many levels a side, about.

    Attributes:
        update_id: of the newest change; `oldest_id`: the oldest update whose book is still known.
    """

    def __init__(self, key: int, cell: int, at_ms: int, *, holes: bool, unit: int, levels: int) -> None:
        # Chance, not secrets: the same seed makes the same book at the same moment.
        self._random = Random(mix(key, at_ms))  # noqa: S311
        self._holes, self._unit = holes, max(4, unit)
        self._window = max(2, levels * 4 // 3)
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.cell = cell
        self.update_id = (at_ms - EPOCH_MS) * IDS_A_MS
        self.listeners: list[Changes] = []
        self._ids, self._cells, self._was = array("q"), array("q"), array("q")
        self._skip = 0
        self._fill(cell)
        # The book as it was found has no history.
        for column in (self._ids, self._cells, self._was):
            del column[:]
        self.update_id = self.oldest_id = (at_ms - EPOCH_MS) * IDS_A_MS
        self._moments: deque[tuple[int, int]] = deque([(at_ms, self.update_id)], maxlen=_MOMENTS)

    @property
    def best(self) -> tuple[int, int, int]:
        """Cell of the best bid, and the quantities of best bid and best ask."""
        return self.cell, self.bids[self.cell], self.asks[self.cell + 1]

    def awake(self, cell: int, at_ms: int) -> None:
        """Goes on after a time in which nobody looked: ids jump to where they would be, and price with them."""
        self.update_id = max(self.update_id, (at_ms - EPOCH_MS) * IDS_A_MS)
        self.move(cell)
        self.noted(at_ms)

    def noted(self, at_ms: int) -> None:
        """The book is at this id at this moment."""
        if self._moments[-1][1] != self.update_id:
            self._moments.append((at_ms, self.update_id))

    def id_at(self, at_ms: int) -> int:
        """The update id of an earlier moment, as far back as is known."""
        for then_ms, update_id in reversed(self._moments):
            if then_ms <= at_ms:
                return max(update_id, self.oldest_id)
        return self.oldest_id

    def move(self, cell: int) -> None:
        """The best bid is at another cell from now on: levels that price passed are taken, new ones appear behind."""
        was = self.cell
        if cell == was:
            return
        if self._holes:
            self._skip += self._random.getrandbits(6)
        self.cell = cell
        if abs(cell - was) > self._window:
            self._rebuild(cell)
            return
        if cell > was:
            for passed in range(was + 1, cell + 1):
                self._ask(passed, 0)
                if passed == cell or self._chance(3):
                    self._bid(passed, self._quantity())
            self._ask_best(cell + 1)
            for far in range(max(1, was - self._window), max(1, cell - self._window)):
                self._bid(far, 0)
            for far in range(was + 1 + self._window, cell + 1 + self._window):
                if self._chance(3):
                    self._ask(far, self._quantity())
            return
        for passed in range(was, cell, -1):
            self._bid(passed, 0)
            if passed == cell + 1 or self._chance(3):
                self._ask(passed, self._quantity())
        if cell not in self.bids:
            self._bid(cell, self._quantity())
        for far in range(cell + 1 + self._window, was + 1 + self._window):
            self._ask(far, 0)
        for far in range(max(1, cell - self._window), max(1, was - self._window)):
            if self._chance(3):
                self._bid(far, self._quantity())

    def stir(self, count: int) -> None:
        """So many levels change at random, most of them near the top: quantities, levels that go, levels that come."""
        draw, window, cell = self._random.getrandbits, self._window, self.cell
        if self._holes:
            self._skip += draw(6)
        for _ in range(count):
            word = draw(24)
            depth = word >> 8
            away = (depth * depth >> 16) * window >> 16
            goes = away and not word & 6
            if word & 1:
                at = cell - away
                if at >= 1:
                    self._bid(at, 0 if goes and at in self.bids else self._quantity())
            else:
                at = cell + 1 + away
                self._ask(at, 0 if goes and at in self.asks else self._quantity())

    def trade(self, quantity: int, *, sold: bool) -> None:
        """A trade at the best price: `sold` into the best bid, or bought from the best ask. The level never goes empty,
        since price moves on its path alone; what is taken out whole is put back by others at once."""
        if self._holes:
            self._skip += self._random.getrandbits(5)
        side, at = (self.bids, self.cell) if sold else (self.asks, self.cell + 1)
        left = side[at] - quantity
        (self._bid if sold else self._ask)(at, left if left > 0 else self._quantity())

    def at(self, update_id: int) -> tuple[int, dict[int, int], dict[int, int]] | None:
        """The book just after an update: the update's id (at most the newest), bids, asks; None if forgotten."""
        if update_id >= self.update_id:
            return self.update_id, self.bids, self.asks
        if update_id < self.oldest_id:
            return None
        bids, asks = dict(self.bids), dict(self.asks)
        at = len(self._ids) - 1
        while at >= 0 and self._ids[at] > update_id:
            cell, was = self._cells[at], self._was[at]
            side, cell = (bids, cell) if cell > 0 else (asks, -cell)
            if was:
                side[cell] = was
            else:
                side.pop(cell, None)
            at -= 1
        return update_id, bids, asks

    def _rebuild(self, cell: int) -> None:
        for passed in [at for at in self.bids if at > cell or at < cell - self._window]:
            self._bid(passed, 0)
        for passed in [at for at in self.asks if at <= cell or at > cell + 1 + self._window]:
            self._ask(passed, 0)
        self._fill(cell)

    def _fill(self, cell: int) -> None:
        self._near(range(cell, max(0, cell - self._window), -1), self.bids, self._bid)
        self._near(range(cell + 1, cell + 1 + self._window), self.asks, self._ask)
        self._ask_best(cell + 1)

    def _near(self, cells: Iterable[int], side: dict[int, int], put: Callable[[int, int], None]) -> None:
        for at in cells:
            if at not in side and (at == self.cell or self._chance(3)):
                put(at, self._quantity())

    def _ask_best(self, at: int) -> None:
        if at not in self.asks:
            self._ask(at, self._quantity())

    def _chance(self, of_four: int) -> bool:
        return self._random.getrandbits(2) < of_four

    def _quantity(self) -> int:
        word = self._random.getrandbits(24)
        return 1 + ((word & 0xFFF) * (word >> 12) * self._unit >> 24)

    def _bid(self, cell: int, quantity: int) -> None:
        was = self.bids.get(cell, 0)
        if was == quantity:
            return
        if quantity:
            self.bids[cell] = quantity
        else:
            del self.bids[cell]
        self._changed(cell, was)
        for listener in self.listeners:
            listener.bids[cell] = None
            if listener.first_id < 0:
                listener.first_id = self.update_id

    def _ask(self, cell: int, quantity: int) -> None:
        was = self.asks.get(cell, 0)
        if was == quantity:
            return
        if quantity:
            self.asks[cell] = quantity
        else:
            del self.asks[cell]
        self._changed(-cell, was)
        for listener in self.listeners:
            listener.asks[cell] = None
            if listener.first_id < 0:
                listener.first_id = self.update_id

    def _changed(self, signed_cell: int, was: int) -> None:
        if self._holes:
            self.update_id += 1 + self._random.getrandbits(2) + self._skip
            self._skip = 0
        else:
            self.update_id += 1
        self._ids.append(self.update_id)
        self._cells.append(signed_cell)
        self._was.append(was)
        if len(self._ids) >= 2 * _JOURNAL:
            self.oldest_id = self._ids[_JOURNAL - 1]
            for column in (self._ids, self._cells, self._was):
                del column[:_JOURNAL]
