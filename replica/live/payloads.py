"""The exchange's messages and REST rows as text. Source: reference sections 3, 4, 7 and 8, and recordings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from gapless.domain.instrument import Market
from replica.live.book import Book
from replica.live.path import PricePath
from replica.live.tape import FILLS, Trade
from replica.universe import Listing

_BOOL = ("false", "true")
_HASHED = 20


class Payloads:
    """What one instrument's messages look like."""

    def __init__(self, listing: Listing, path: PricePath) -> None:
        self._path = path
        self._um = listing.market is Market.UM
        self._symbol = json.dumps(listing.raw_symbol, ensure_ascii=False)
        self._named = f'"s":{self._symbol}'
        self._pair = f'"s":{self._symbol},"ps":{self._symbol}'

    def agg_trade(self, trade: Trade) -> bytes:
        price, quantity = self._path.price(trade.cell), self._path.quantity(trade.quantity)
        first = trade.id * FILLS
        head = f'{{"e":"aggTrade","E":{trade.time_ms},'
        tail = f'"f":{first},"l":{first + FILLS - 1},"T":{trade.time_ms},"m":{_BOOL[trade.maker]}'
        if self._um:
            text = (
                f'{head}"a":{trade.id},{self._named},"p":"{price}","q":"{quantity}","nq":"{quantity}",{tail},"st":1}}'
            )
        else:
            text = f'{head}{self._named},"a":{trade.id},"p":"{price}","q":"{quantity}",{tail},"M":true}}'
        return text.encode()

    def rest_trade(self, trade: Trade) -> str:
        """The row of REST."""
        price, quantity = self._path.price(trade.cell), self._path.quantity(trade.quantity)
        first = trade.id * FILLS
        more = f'"nq":"{quantity}",' if self._um else ""
        end = "" if self._um else ',"M":true'
        return (
            f'{{"a":{trade.id},"p":"{price}","q":"{quantity}",{more}"f":{first},"l":{first + FILLS - 1},'
            f'"T":{trade.time_ms},"m":{_BOOL[trade.maker]}{end}}}'
        )

    def fills(self, trade: Trade) -> list[bytes]:
        """The single trades of an aggregate one."""
        price, first, left = self._path.price(trade.cell), trade.id * FILLS, trade.quantity
        made = []
        for at in range(FILLS):
            part = left if at == FILLS - 1 else left // FILLS
            left -= part
            head = f'{{"e":"trade","E":{trade.time_ms},'
            body = f'"t":{first + at},"p":"{price}","q":"{self._path.quantity(part)}"'
            if self._um:
                text = f'{head}"T":{trade.time_ms},{self._named},{body},"X":"MARKET","m":{_BOOL[trade.maker]}}}'
            else:
                text = f'{head}{self._named},{body},"T":{trade.time_ms},"m":{_BOOL[trade.maker]},"M":true}}'
            made.append(text.encode())
        return made

    def book_ticker(self, update_id: int, best: tuple[int, int, int], at_ms: int) -> bytes:
        cell, bid, ask = best
        path = self._path
        values = (
            f'"b":"{path.price(cell)}","B":"{path.quantity(bid)}",'
            f'"a":"{path.price(cell + 1)}","A":"{path.quantity(ask)}"'
        )
        if self._um:
            text = f'{{"e":"bookTicker","u":{update_id},{self._pair},{values},"T":{at_ms},"E":{at_ms},"st":1}}'
        else:
            text = f'{{"u":{update_id},{self._named},{values}}}'
        return text.encode()

    def diff(
        self, book: Book, bids: Iterable[int], asks: Iterable[int], ids: tuple[int, int, int], at_ms: int
    ) -> bytes:
        """A change of the book in these cells.

        Args:
            ids: `U`, `u`, and the `u` before.
        """
        first, last, _ = ids
        path_price, path_quantity = self._path.price, self._path.quantity
        has_bid, has_ask = book.bids.get, book.asks.get
        b = ",".join(
            [f'["{path_price(at)}","{path_quantity(has_bid(at, 0))}"]' for at in sorted(bids, reverse=not self._um)]
        )
        a = ",".join([f'["{path_price(at)}","{path_quantity(has_ask(at, 0))}"]' for at in sorted(asks)])
        if self._um:
            return self._um_depth(at_ms, ids, b, a)
        return f'{{"e":"depthUpdate","E":{at_ms},{self._named},"U":{first},"u":{last},"b":[{b}],"a":[{a}]}}'.encode()

    def partial(self, book: Book, levels: int, ids: tuple[int, int, int], at_ms: int) -> bytes:
        """The best levels: on USD-M in the shape of a diff, on spot without symbol and time."""
        bids, asks = self.levels(book.bids, book.asks, levels)
        if self._um:
            return self._um_depth(at_ms, ids, bids, asks)
        return f'{{"lastUpdateId":{ids[1]},"bids":[{bids}],"asks":[{asks}]}}'.encode()

    def snapshot(
        self, update_id: int, bids: dict[int, int], asks: dict[int, int], limit: int, at_ms: int, now_ms: int
    ) -> bytes:
        """The answer of REST."""
        b, a = self.levels(bids, asks, limit)
        times = f'"E":{now_ms},"T":{at_ms},' if self._um else ""
        return f'{{"lastUpdateId":{update_id},{times}"bids":[{b}],"asks":[{a}]}}'.encode()

    def levels(self, bids: dict[int, int], asks: dict[int, int], limit: int) -> tuple[str, str]:
        """The best levels of both sides as the inside of a JSON array."""
        price, quantity = self._path.price, self._path.quantity
        best_bids, best_asks = sorted(bids, reverse=True)[:limit], sorted(asks)[:limit]
        return (
            ",".join([f'["{price(at)}","{quantity(bids[at])}"]' for at in best_bids]),
            ",".join([f'["{price(at)}","{quantity(asks[at])}"]' for at in best_asks]),
        )

    def force_order(self, at_ms: int, cell: int, quantity: int, *, sold: bool) -> bytes:
        """A liquidation; what was sold was a long."""
        price, average = self._path.price(cell - 5 if sold else cell + 6), self._path.price(cell if sold else cell + 1)
        side = "SELL" if sold else "BUY"
        amount, last = self._path.quantity(quantity), self._path.quantity(quantity - quantity // 3)
        return (
            f'{{"e":"forceOrder","E":{at_ms},"o":{{{self._named},"S":"{side}","o":"LIMIT","f":"IOC",'
            f'"q":"{amount}","p":"{price}","ap":"{average}","X":"FILLED","l":"{last}","z":"{amount}","T":{at_ms - 1},'
            f'"ps":{self._symbol},"st":1}}}}'
        ).encode()

    def mark_price(self, at_ms: int, mark: str, index: str, settle: str, rate: str, funding_ms: int) -> str:
        return (
            f'{{"e":"markPriceUpdate","E":{at_ms},{self._named},"p":"{mark}","ap":"{mark}","P":"{settle}",'
            f'"i":"{index}","r":"{rate}","T":{funding_ms},"st":1}}'
        )

    def kline(self, at_ms: int, row: list[str | int], interval: str, trades: tuple[int, int], *, closed: bool) -> bytes:
        """A bar from its REST row; `trades` are its first and last trade id."""
        k = {
            "t": row[0], "T": row[6], "i": interval, "f": trades[0], "L": trades[1], "o": row[1], "c": row[4],
            "h": row[2], "l": row[3], "v": row[5], "n": row[8], "x": closed, "q": row[7], "V": row[9], "Q": row[10],
        }  # fmt: skip
        body = json.dumps(k, separators=(",", ":"))
        body = body.replace(',"i":', f',{self._named},"i":', 1)
        return f'{{"e":"kline","E":{at_ms},{self._named},"k":{body[:-1]},"B":"0"}}}}'.encode()

    def _um_depth(self, at_ms: int, ids: tuple[int, int, int], bids: str, asks: str) -> bytes:
        first, last, before = ids
        return (
            f'{{"e":"depthUpdate","E":{at_ms},"T":{at_ms},{self._pair},"U":{first},"u":{last},"pu":{before},'
            f'"b":[{bids}],"a":[{asks}],"st":1}}'
        ).encode()


def book_hash(bids: list[list[str]], asks: list[list[str]], levels: int = _HASHED) -> str:
    """A digest of the best levels, best first: equal books have equal ones."""
    text = "\n".join(f"{price} {quantity}" for side in (bids[:levels], asks[:levels]) for price, quantity in side)
    return hashlib.sha256(text.encode()).hexdigest()
