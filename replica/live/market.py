"""The generated market, live: which streams are listened to, what happens next, and the oracle that knows it all.

One heap holds what is due: the trades, book steps, bars and marks of the instruments that somebody listens to. What
nobody listens to costs nothing and goes on all the same: trades are functions of their ids, and a book that is looked
at again has moved on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gapless.domain.instrument import Market
from gapless.errors import ConfigError
from replica.live.book import Book
from replica.live.instrument import FAR_MS, LiveInstrument
from replica.live.marks import Marks
from replica.live.messages import Activity, LiveMessage, checked_activity
from replica.live.names import ALL, StreamKey, Topic, read_name
from replica.live.payloads import book_hash
from replica.live.schedule import Schedule
from replica.live.timers import BookTimer, KlineTimer, LiquidationTimer, MarkTimer, Timer, TradeTimer
from replica.market import GeneratedMarket
from replica.universe import Listing

LEAP_MS = 60_000
"""A clock that jumps further than this leaps: nothing trades on the way, bars close, and prices go on from there."""

_MOST_TRADES = 100_000


class LiveMarket:
    """Both markets' live side over a generated market.

    Args:
        now_ms: the replica's clock.
        activity: how busy every instrument is at first.
    """

    def __init__(
        self,
        market: GeneratedMarket,
        universe: tuple[Listing, ...],
        now_ms: Callable[[], int],
        activity: Activity | None = None,
    ) -> None:
        self._market, self._clock = market, now_ms
        self.marks = Marks(market, universe)
        self._listings = {(listing.market, listing.raw_symbol): listing for listing in universe}
        self._lower = {(listing.market, listing.raw_symbol.lower()): listing for listing in universe}
        usual = activity or Activity()
        self._usual = dict.fromkeys(Market, usual)
        self._own: dict[tuple[Market, str], Activity] = {}
        self._instruments: dict[tuple[Market, str], LiveInstrument] = {}
        self._watched: Counter[tuple[Market, str]] = Counter()
        self._core: dict[tuple[Market, str], tuple[TradeTimer, BookTimer]] = {}
        self._liquidations: dict[str, LiquidationTimer] = {}
        self._timers: dict[tuple[Market, str], Timer] = {}
        self._schedule = Schedule()
        self._told: list[LiveMessage] = []
        self._last_ms = now_ms()

    def knows(self, market: Market, stream: str) -> bool:
        key = read_name(market, stream)
        if key is None:
            return False
        listing = self._lower.get((market, key.symbol))
        return key.symbol == ALL or (listing is not None and listing.exists(self._clock()))

    def watch(self, market: Market, stream: str) -> None:
        key = read_name(market, stream)
        if key is None or not self.knows(market, stream):
            return
        self._run(self._clock())
        self._watched[market, stream] += 1
        if self._watched[market, stream] == 1:
            self._start(market, stream, key)

    def unwatch(self, market: Market, stream: str) -> None:
        at = market, stream
        if at not in self._watched:
            return
        self._watched[at] -= 1
        if self._watched[at]:
            return
        del self._watched[at]
        key = read_name(market, stream)
        assert key is not None  # noqa: S101 - it was read when it was watched
        self._run(self._clock())
        self._stop(market, stream, key)

    def advance(self, now_ms: int) -> list[LiveMessage]:
        self._run(now_ms)
        told, self._told = self._told, []
        return told

    def activity(
        self, changes: Mapping[str, Any], *, market: Market | None = None, symbols: Iterable[str] | None = None
    ) -> None:
        now_ms = self._clock()
        chosen = list(symbols) if symbols is not None else None
        checked_activity(Activity(), changes)
        for symbol in chosen or ():
            if all((each, symbol) not in self._listings for each in Market if market in (None, each)):
                raise ConfigError(f"no instrument {symbol} to change the activity of")
        self._run(now_ms)
        if chosen is None:
            for each in Market if market is None else (market,):
                self._usual[each] = checked_activity(self._usual[each], changes)
                own = {at: checked_activity(activity, changes) for at, activity in self._own.items() if at[0] is each}
                self._own.update(own)
        else:
            for at in [(each, symbol) for each in Market if market in (None, each) for symbol in chosen]:
                if at in self._listings:
                    self._own[at] = checked_activity(self._activity(at), changes)
        timers = self._timers_by_instrument()
        for at, instrument in self._instruments.items():
            activity = self._activity(at)
            if activity == instrument.activity:
                continue
            if activity.trades_per_s != instrument.activity.trades_per_s:
                instrument.tape.pace(now_ms, activity.trades_per_s)
            instrument.activity = activity
            for timer in timers.get(at, ()):
                self._schedule.arm(timer, now_ms)

    def truth(self, market: Market, raw_symbol: str, update_id: int | None = None) -> dict[str, Any]:
        instrument = self._found(market, raw_symbol)
        book = instrument.book
        if book is None or (update_id is None and not instrument.book_awake(self._last_ms)):
            book = self.book(market, raw_symbol)
        at = book.at(book.update_id if update_id is None else update_id)
        if at is None or (update_id is not None and update_id > book.update_id):
            known = f"{book.oldest_id} to {book.update_id}"
            raise ConfigError(f"{market} {raw_symbol}: update {update_id} is not known; known are {known}")
        known_id, bids, asks = at
        sides = [json.loads(f"[{text}]") for text in instrument.payloads.levels(bids, asks, len(bids) + len(asks))]
        truth = {"update_id": known_id, "bids": sides[0], "asks": sides[1], "hash": book_hash(*sides)}
        if update_id is not None:
            return truth
        tape = instrument.tape
        last_id = tape.last_id(self._last_ms)
        return {**truth, "first_trade_id": tape.first_id, "last_trade_id": last_id, "now_ms": self._last_ms}

    def trades_between(self, market: Market, raw_symbol: str, first: int, last: int) -> list[dict[str, Any]]:
        return [json.loads(row) for row in self.rest_trades(market, raw_symbol, first, last)]

    # What the REST side asks for ----------------------------------------------------------------------------------

    def listing(self, market: Market, raw_symbol: str) -> Listing | None:
        """The listing, if the market knows it now."""
        listing = self._listings.get((market, raw_symbol))
        return listing if listing is not None and listing.exists(self._clock()) else None

    def listings(self, market: Market) -> list[LiveInstrument]:
        """All that trade now; ids of those that nobody asked for begin here."""
        self._run(self._clock())
        now_ms = self._last_ms
        return [
            self._found(*at)
            for at, listing in self._listings.items()
            if at[0] is market and listing.status(now_ms) == "TRADING" and listing.exists(now_ms)
        ]

    def instrument(self, market: Market, raw_symbol: str) -> LiveInstrument:
        """An instrument, started if it was not, at this moment."""
        self._run(self._clock())
        return self._found(market, raw_symbol)

    def book(self, market: Market, raw_symbol: str) -> Book:
        """Its book, which goes on from here for a while."""
        instrument = self.instrument(market, raw_symbol)
        book = instrument.wake(self._last_ms)
        self._arm_core((market, raw_symbol))
        return book

    def snapshot(self, market: Market, raw_symbol: str, limit: int) -> bytes:
        """The answer of `/depth`: the book as it is, or as it was `snapshot_lag_ms` ago."""
        book = self.book(market, raw_symbol)
        instrument, now_ms = self._found(market, raw_symbol), self._last_ms
        then_ms = now_ms - instrument.activity.snapshot_lag_ms
        at = book.at(book.update_id if then_ms == now_ms else book.id_at(then_ms))
        assert at is not None  # noqa: S101 - `id_at` gives what is known
        return instrument.payloads.snapshot(at[0], at[1], at[2], limit, then_ms, now_ms)

    def rest_trades(self, market: Market, raw_symbol: str, first: int, last: int) -> list[str]:
        """The trades with these ids up to now, as rows of REST."""
        instrument = self._found(market, raw_symbol)
        newest = instrument.tape.last_id(self._last_ms)
        ids = range(max(0, first), min(last, newest, first + _MOST_TRADES) + 1)
        return [instrument.payloads.rest_trade(instrument.tape.trade(each)) for each in ids]

    # What happens -------------------------------------------------------------------------------------------------

    def _run(self, now_ms: int) -> None:
        """Everything due up to a moment happens, in order."""
        if now_ms < self._last_ms or now_ms - self._last_ms > LEAP_MS:
            self._leap(now_ms)
            return
        self._schedule.run(now_ms)
        self._last_ms = now_ms

    def _leap(self, now_ms: int) -> None:
        """The clock was moved: trades go on with the next id, books with the next update, bars close on the way."""
        for instrument in self._instruments.values():
            next_id = instrument.tape.last_id(self._last_ms) + 1
            instrument.tape.restart(next_id, now_ms, instrument.activity.trades_per_s)
            if instrument.book_until_ms > self._last_ms:
                instrument.book_until_ms += now_ms - self._last_ms
        self._last_ms = now_ms
        self._schedule.leap(now_ms)

    def _start(self, market: Market, stream: str, key: StreamKey) -> None:
        now_ms = self._last_ms
        if key.symbol == ALL:
            self._start_all(stream, key, now_ms)
            return
        at = market, self._lower[market, key.symbol].raw_symbol
        instrument = self._found(*at)
        send = self._told_to
        if key.topic is Topic.KLINES:
            self._timers[market, stream] = KlineTimer(instrument, stream, key.interval, send)
        elif key.topic is Topic.MARK_PRICE:
            self._timers[market, stream] = MarkTimer(lambda: (instrument,), self.marks, stream, key.period_ms, send)
        elif key.topic is Topic.LIQUIDATIONS:
            self._listen_liquidations(instrument, stream, now_ms)
            return
        else:
            instrument.add(stream, key, now_ms)
            self._arm_core(at)
            return
        self._schedule.arm(self._timers[market, stream], now_ms)

    def _start_all(self, stream: str, key: StreamKey, now_ms: int) -> None:
        if key.topic is Topic.MARK_PRICE:
            timer = MarkTimer(self._trading_perpetuals, self.marks, stream, key.period_ms, self._told_to)
            self._timers[Market.UM, stream] = timer
            self._schedule.arm(timer, now_ms)
            return
        for instrument in self.listings(Market.UM):
            self._listen_liquidations(instrument, stream, now_ms)

    def _listen_liquidations(self, instrument: LiveInstrument, stream: str, now_ms: int) -> None:
        symbol = instrument.listing.raw_symbol
        if symbol not in self._liquidations:
            self._liquidations[symbol] = LiquidationTimer(instrument, self._told_to)
            self._schedule.arm(self._liquidations[symbol], now_ms)
        self._liquidations[symbol].names.append(stream)

    def _stop(self, market: Market, stream: str, key: StreamKey) -> None:
        timer = self._timers.pop((market, stream), None)
        if timer is not None:
            self._schedule.drop(timer)
            return
        if key.topic is Topic.LIQUIDATIONS:
            for symbol, each in list(self._liquidations.items()):
                each.names = [name for name in each.names if name != stream]
                if not each.names:
                    self._schedule.drop(self._liquidations.pop(symbol))
            return
        at = market, self._lower[market, key.symbol].raw_symbol
        self._instruments[at].drop(stream, self._last_ms)

    def _arm_core(self, at: tuple[Market, str]) -> None:
        """Trades and book of an instrument run while somebody needs them."""
        if at not in self._core:
            instrument = self._instruments[at]
            self._core[at] = TradeTimer(instrument), BookTimer(instrument)
        for timer in self._core[at]:
            if timer.due_ms >= FAR_MS or timer.due_ms <= self._last_ms:
                self._schedule.arm(timer, self._last_ms)

    def _timers_by_instrument(self) -> dict[tuple[Market, str], list[Timer]]:
        found: dict[tuple[Market, str], list[Timer]] = {at: list(pair) for at, pair in self._core.items()}
        for (market, stream), timer in self._timers.items():
            listing = self._lower.get((market, stream.partition("@")[0]))
            if listing is not None:
                found.setdefault((market, listing.raw_symbol), []).append(timer)
        for symbol, each in self._liquidations.items():
            found.setdefault((Market.UM, symbol), []).append(each)
        return found

    def _found(self, market: Market, raw_symbol: str) -> LiveInstrument:
        at = market, raw_symbol
        instrument = self._instruments.get(at)
        if instrument is None:
            if self.listing(market, raw_symbol) is None:
                raise ConfigError(f"no {market} instrument {raw_symbol}")
            instrument = self._instruments[at] = self._make(at, self._last_ms)
        return instrument

    def _trading_perpetuals(self) -> list[LiveInstrument]:
        """For a timer that is being fired: nothing else happens meanwhile."""
        return [self._found(*at) for at in self._listings if at[0] is Market.UM]

    def _make(self, at: tuple[Market, str], now_ms: int) -> LiveInstrument:
        return LiveInstrument(self._market, self._listings[at], self._activity(at), now_ms, self._told_to)

    def _activity(self, at: tuple[Market, str]) -> Activity:
        return self._own.get(at) or self._usual[at[0]]

    def _told_to(self, message: LiveMessage) -> None:
        self._told.append(message)
