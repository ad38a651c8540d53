"""What stands in Redis and MySQL after outages, counted against the replica's truth and against what `md.gaps` told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from redis import Redis
from sqlalchemy import text

from gapless.domain.instrument import Market, unified_symbol
from gapless.domain.live import GAPS_KEY, GapEvent, GapReason, Kind, book_key, gap_of, stream_key
from gapless.domain.schema import Source
from gapless.storage.mysql import MySql
from gapless.storage.mysql.books import moment, ms_of
from tests.fixtures.live import LiveReplica

MINUTE_MS = 60_000
_TRADE_FIELDS = ("a", "p", "q", "T", "m")
_KLINE_PATHS = {Market.SPOT: "/api/v3/klines", Market.UM: "/fapi/v1/klines"}
_INFO_PATHS = {Market.SPOT: "/api/v3/exchangeInfo", Market.UM: "/fapi/v1/exchangeInfo"}
_BAR_TRADES, _BAR_VALUES = 8, (1, 2, 3, 4, 5, 7, 8, 9, 10)
"""Places in a row of REST; the values in the order of the columns of `_BARS`."""
_EVERYWHERE = (Kind.DEPTH, Kind.TRADES, Kind.KLINES, Kind.BOOK_TICKER)
_ALONE_ON_UM = (Kind.MARK_PRICE, Kind.LIQUIDATIONS)
_BARS = text(
    "SELECT symbol, ts, open, high, low, close, volume, quote_volume, trades, taker_buy_volume, "
    "taker_buy_quote_volume, source FROM ohlcv WHERE `interval` = '1m' AND ts >= :first AND ts < :end"
)
_BAR_COUNT = text("SELECT COUNT(*) FROM ohlcv WHERE `interval` = '1m' AND ts >= :first AND ts < :end")
_LIQUIDATIONS = text("SELECT COUNT(*) FROM liquidation")


class Series(NamedTuple):
    """An instrument, and its name on the exchange."""

    symbol: str
    market: Market
    raw: str

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of which it has Streams."""
        return (*_EVERYWHERE, *_ALONE_ON_UM) if self.market is Market.UM else _EVERYWHERE


def listed(live: LiveReplica, most: int) -> list[Series]:
    """The first so many of each market that trade."""
    assert live.process is not None
    found = []
    for market in Market:
        rows = [row for row in live.process.get(_INFO_PATHS[market])["symbols"] if row["status"] == "TRADING"]
        found += [
            Series(unified_symbol(market, row["baseAsset"], row["quoteAsset"]), market, row["symbol"])
            for row in rows[:most]
        ]
    return found


# -- trades ------------------------------------------------------------------------------------------------------------


class Written(NamedTuple):
    """A trade in its Stream: when it was written there (host) and made (exchange), ms, and what it says."""

    id: int
    written_ms: int
    event_ms: int
    says: dict[str, Any]


def written_trades(redis: Redis, series: Series) -> list[Written]:
    """All of a Stream, in its order."""
    rows: Any = redis.xrange(stream_key(Kind.TRADES, "binance", series.symbol))
    return [
        Written(int(fields[b"i"]), int(name.split(b"-")[0]), int(fields[b"e"]), json.loads(fields[b"d"]))
        for name, fields in rows
    ]


@dataclass(slots=True)
class TradeAccount:
    """Trades of all symbols, from the first that a connection was sent to the last that was made.

    Attributes:
        made: by the exchange. missing: not in their Stream. doubled: there twice. differing: with other values.
        late: not behind the one before them in the Stream.
    """

    made: int = 0
    missing: int = 0
    doubled: int = 0
    differing: int = 0
    late: int = 0

    def count(self, live: LiveReplica, series: Series, written: Sequence[Written]) -> None:
        """Add a symbol; the clock of the replica stands."""
        sent = live.stream_sent(series.market, f"{series.raw.lower()}@aggTrade")
        first = min([int(sent["first_id"]), *(each.id for each in written)])
        truth = live.trades(series.market, series.raw, first, int(sent["last_id"]))
        says = {each.id: each.says for each in written}
        ids = [int(row["a"]) for row in truth]
        self.made += len(ids)
        self.missing += len(set(ids) - set(says)) + (int(sent["last_id"]) - first + 1 - len(set(ids)))
        self.doubled += len(written) - len(says)
        self.differing += len(set(says) - set(ids))
        self.differing += sum(
            any(row[name] != says[row["a"]][name] for name in _TRADE_FIELDS) for row in truth if row["a"] in says
        )
        self.late += sum(before.id > after.id for before, after in pairwise(written))


# -- md.gaps -----------------------------------------------------------------------------------------------------------


def told(redis: Redis) -> list[GapEvent]:
    """All events, oldest first."""
    rows: Any = redis.xrange(GAPS_KEY)
    return [gap_of(name.decode(), fields) for name, fields in rows]


def last_words(events: Iterable[GapEvent], series: Series) -> dict[int, bool]:
    """By trade id that was told as missing: whether the last event about it says that it was brought."""
    found: dict[int, bool] = {}
    for event in events:
        if event.kind is Kind.TRADES and event.symbol == series.symbol and event.first.isdecimal():
            found.update(dict.fromkeys(range(int(event.first), int(event.last) + 1), event.repaired))
    return found


def boundaries(events: Sequence[GapEvent], series: Sequence[Series], since_ms: int) -> tuple[int, int, int]:
    """How many Streams there are, and of them those whose cut, and whose return, was told after a time (host, ms)."""
    streams = {(kind, each.symbol) for each in series for kind in each.kinds}
    cuts, returns = set(), set()
    for event in events:
        key = event.kind, event.symbol
        if event.reason == GapReason.RECONNECT and event.at_ms >= since_ms and key in streams and not event.first:
            if "cut" in event.detail:
                cuts.add(key)
            if "carried again" in event.detail:
                returns.add(key)
    return len(streams), len(cuts), len(returns)


def untold_breaks(redis: Redis, events: Sequence[GapEvent], series: Series) -> tuple[int, int]:
    """Where the diffs in a Stream do not follow each other; of these, where no hole was told."""
    holes = [
        (int(event.first), int(event.last))
        for event in events
        if (event.kind, event.symbol, event.reason) == (Kind.DEPTH, series.symbol, GapReason.HOLE) and event.first
    ]
    rows: Any = redis.xrange(stream_key(Kind.DEPTH, "binance", series.symbol))
    diffs = [json.loads(fields[b"d"]) for _, fields in rows]
    breaks = untold = 0
    for before, after in pairwise(diffs):
        follows = after["pu"] == before["u"] if series.market is Market.UM else after["U"] == before["u"] + 1
        if not follows:
            breaks += 1
            untold += not any(first <= before["u"] + 1 <= last for first, last in holes)
    return breaks, untold


def untold_closes(
    redis: Redis, events: Sequence[GapEvent], series: Series, bars: Sequence[Sequence[Any]]
) -> tuple[int, int]:
    """Of the exchange's bars those whose close is not in the Stream; of these, those that no event says were brought.

    Args:
        bars: rows of REST. USD-M sends no close of a bar without trades: none of that market's is missed here.
    """
    rows: Any = redis.xrange(stream_key(Kind.KLINES, "binance", series.symbol))
    parts = (fields[b"i"].decode().split(":") for _, fields in rows)
    found = {int(open_ms) for _, open_ms, closed, *_ in parts if closed == "1"}
    wanted = {int(bar[0]) for bar in bars if bar[_BAR_TRADES] or series.market is Market.SPOT}
    brought: set[int] = set()
    for event in events:
        if event.kind is Kind.KLINES and event.symbol == series.symbol and event.first and event.repaired:
            brought.update(range(int(event.first), int(event.last) + 1, MINUTE_MS))
    return len(wanted - found), len(wanted - found - brought)


# -- books -------------------------------------------------------------------------------------------------------------


def books_live_since(redis: Redis, series: Sequence[Series], exchange_ms: int) -> bool:
    """Whether all published books are live, and none of them is from before a time of the exchange."""
    values: Any = redis.mget([book_key("top", "binance", each.symbol) for each in series])
    books = [json.loads(value) for value in values if value is not None]
    return len(books) == len(series) and all(b["state"] == "live" and b["event_ms"] >= exchange_ms for b in books)


def whole_books(redis: Redis, series: Sequence[Series]) -> dict[Series, dict[str, Any]]:
    """All levels of those that are live; asked for by this."""
    found = {}
    for each in series:
        redis.set(book_key("want", "binance", each.symbol), "1", ex=60)
        value: Any = redis.get(book_key("full", "binance", each.symbol))
        if value is not None and (book := json.loads(value))["state"] == "live":
            found[each] = book
    return found


def untrue_levels(live: LiveReplica, books: Mapping[Series, Mapping[str, Any]]) -> tuple[int, int]:
    """Levels of both sides that were compared with the oracle's at the books' ids, and those that differ."""
    compared = wrong = 0
    for each, book in books.items():
        truth = live.truth(each.market, each.raw, book["id"])
        for side in ("bids", "asks"):
            mine, theirs = book[side], [list(level) for level in truth[side]]
            compared += len(mine)
            wrong += sum(ours != true for ours, true in zip(mine, theirs, strict=False)) + max(
                0, len(mine) - len(theirs)
            )
            wrong += not mine
    return compared, wrong


# -- MySQL -------------------------------------------------------------------------------------------------------------


def bars_stored(db: MySql, first_ms: int, end_ms: int) -> int:
    """Minutes of a window in MySQL, all symbols together."""
    span = {"first": moment(first_ms), "end": moment(end_ms)}
    return int(db.run("counting bars", lambda c: c.scalar(_BAR_COUNT, span)) or 0)


def true_bars(live: LiveReplica, series: Series, first_ms: int, end_ms: int) -> list[list[Any]]:
    """The exchange's minutes of a window, 1,000 at most: rows of REST."""
    assert live.process is not None
    path, span = _KLINE_PATHS[series.market], {"startTime": first_ms, "endTime": end_ms - 1}
    rows: list[list[Any]] = live.process.get(path, symbol=series.raw, interval="1m", limit=1000, **span)
    return rows


def untrue_bars(
    db: MySql, truth: Mapping[Series, Sequence[Sequence[Any]]], first_ms: int, end_ms: int
) -> tuple[int, int, dict[Source, int]]:
    """Minutes of a window that MySQL lacks; those with a digit that differs; how many it has of each source."""
    span = {"first": moment(first_ms), "end": moment(end_ms)}
    rows = db.run("reading bars", lambda c: c.execute(_BARS, span).all())
    stored = {(row[0], ms_of(row[1])): tuple(row[2:11]) for row in rows}
    missing = differing = 0
    for series, bars in truth.items():
        missing += (end_ms - first_ms) // MINUTE_MS - len(bars)
        for bar in bars:
            mine = stored.get((series.symbol, bar[0]))
            missing += mine is None
            differing += mine is not None and mine != tuple(Decimal(bar[place]) for place in _BAR_VALUES)
    return missing, differing, Counter(Source(row[11]) for row in rows)


def liquidations(redis: Redis, db: MySql, series: Sequence[Series]) -> tuple[int, int]:
    """In the Streams, and in MySQL."""
    keys = [stream_key(Kind.LIQUIDATIONS, "binance", each.symbol) for each in series if each.market is Market.UM]
    stored = db.run("counting liquidations", lambda c: c.scalar(_LIQUIDATIONS))
    return sum(int(redis.xlen(key)) for key in keys), int(stored or 0)
