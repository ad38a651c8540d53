"""One market of the sidecar: its channels, books and snapshots, its missing trades, its closed bars."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from gapless.domain.instrument import Market
from gapless.domain.interval import Interval
from gapless.domain.live import Entry, GapEvent, GapReason, Kind, book_key, stream_key
from gapless.errors import GaplessError
from gapless.exchanges.binance.live_rest import RestTrade, Snapshot, agg_trades, quote_volumes, trades_weight
from gapless.exchanges.binance.rest import BinanceRest
from gapless.exchanges.binance.streams.messages import Kline
from gapless.exchanges.binance.streams.names import StreamSpec
from gapless.exchanges.pacing import Standing
from streamer.books.checks import CheckPlan
from streamer.books.outcome import BookState, Gap, Why
from streamer.books.publishing import TopSchedule, full_text
from streamer.books.snapshots import SnapshotDesk
from streamer.books.sync import BookSync
from streamer.channels.channel import EXCHANGE, LAST_EXPIRES_MS, Channel, Desk
from streamer.channels.depth import DepthChannel, DiffChannel
from streamer.channels.states import BookTickerChannel, KlineChannel, LiquidationChannel, MarkPriceChannel
from streamer.channels.trades import Trade, TradesChannel
from streamer.continuity.allowance import Allowance
from streamer.continuity.backfill import TradeBackfill
from streamer.continuity.bars import BarWatch, Came
from streamer.continuity.holes import Range
from streamer.continuity.moment import Moment
from streamer.operations.settings_file import StreamerSettings
from streamer.outlet import Outlet
from streamer.stores import Stores

_RANK_EVERY_S = 3_600.0
_BUDGET_EVERY_S = 5.0


class MarketSide:
    """What the sidecar does for one market.

    Args:
        rest: entered by the owner, and closed by it.
        top: levels a side of the published books. books: whether there are any.
        stores: take what also goes to MySQL.

    Attributes:
        channels: by the stream's name. books: by raw symbol. standing: of the request budget, as last read.
    """

    def __init__(
        self,
        market: Market,
        rest: BinanceRest,
        outlet: Outlet,
        options: StreamerSettings,
        *,
        top: int,
        books: bool,
        refuse: Callable[[StreamSpec, bytes, str], None],
        tell: Callable[[GapEvent], None],
        stores: Stores,
    ) -> None:
        self.market = market
        self.rest = rest
        self.standing: Standing | None = None
        self.channels: dict[str, Channel] = {}
        self.books: dict[str, DepthChannel] = {}
        self.desk = Desk(outlet, refuse)
        self.bars = BarWatch(options.continuity, tell, kept=stores.keeps_bars)
        self.backfill: TradeBackfill[Trade] = TradeBackfill(
            market, self._ask_trades, Trade, options.continuity, tell=tell, exchange_ms=self.exchange_ms
        )
        weight = options.continuity.budget_share * rest.usable_weight
        self._searching = Allowance(weight / trades_weight(market), time.monotonic())
        self._outlet = outlet
        self._with_books = books
        self._settings = msgspec.structs.replace(options.books, top_levels=top)
        self._tell = tell
        self._stores = stores
        self.snapshots = SnapshotDesk(rest, self, self._settings)
        self._tops = TopSchedule(self._settings)
        self._checks = CheckPlan(self._settings.checks_per_minute, time.monotonic_ns())
        self._shown = 0

    # ---- channels --------------------------------------------------------------------------------------------------

    def open(
        self, spec: StreamSpec, tails: Mapping[str, Sequence[Entry]], open_before: Mapping[str, Sequence[Range]]
    ) -> Channel:
        """The channel of a stream that is wanted from now on."""
        channel = self._make(spec)
        tail = tails.get(stream_key(spec.kind, EXCHANGE, spec.symbol), ())
        if isinstance(channel, TradesChannel):
            newest = max(tail, key=lambda entry: int(entry.identity), default=None)
            self.backfill.track(
                spec.symbol,
                spec.raw_symbol,
                channel.line,
                channel.pass_on,
                resume=(int(newest.identity), newest.event_ms) if newest else None,
                reopen=open_before.get(spec.symbol, ()) if newest else (),
            )
        else:
            channel.resume(tail)
        if isinstance(channel, DepthChannel):
            self.books[spec.raw_symbol] = channel
            self._tops.add(spec.raw_symbol, channel.sync, time.monotonic_ns())
        if spec.kind is Kind.KLINES:
            self.bars.track(spec.symbol, Interval(spec.interval), self.now())
        self.channels[spec.name] = channel
        return channel

    def close(self, spec: StreamSpec) -> None:
        """A stream that is wanted no longer."""
        channel = self.channels.pop(spec.name, None)
        if isinstance(channel, TradesChannel):
            self.backfill.untrack(spec.symbol)
        if isinstance(channel, DepthChannel):
            self.books.pop(spec.raw_symbol, None)
            self._tops.remove(spec.raw_symbol)
            self.snapshots.drop(spec.raw_symbol)
        if spec.kind is Kind.KLINES:
            self.bars.untrack(spec.symbol, Interval(spec.interval))

    def bring_again(self, symbol: str, first: int, last: int) -> None:
        """Search for trades that were passed on and got lost on their way out."""
        for channel in self.channels.values():
            if isinstance(channel, TradesChannel) and channel.spec.symbol == symbol:
                channel.line.reopen(first, last)
                self.backfill.look_at(symbol)

    def _make(self, spec: StreamSpec) -> Channel:
        match spec.kind:
            case Kind.TRADES:
                line = self.backfill.line(lambda trade: len(trade.payload))
                return TradesChannel(spec, self.desk, line, lambda channel: self.backfill.look_at(channel.spec.symbol))
            case Kind.DEPTH if self._with_books:
                sync = BookSync(self.market, self._settings, time.monotonic_ns())
                return DepthChannel(
                    spec, self.desk, sync, tell=self.tell_loss, on_ask=self._snapshot_wanted, on_state=self._book_became
                )
            case Kind.DEPTH:
                patience, held = self._settings.patience_ms, self._settings.held
                return DiffChannel(spec, self.desk, tell=self.tell_loss, patience_ms=patience, held=held)
            case Kind.KLINES:
                return KlineChannel(spec, self.desk, self._closed)
            case Kind.BOOK_TICKER:
                return BookTickerChannel(spec, self.desk)
            case Kind.MARK_PRICE:
                return MarkPriceChannel(spec, self.desk)
            case Kind.LIQUIDATIONS:
                return LiquidationChannel(spec, self.desk, self._stores.on_liquidation)
        raise ValueError(f"{spec.kind} is no channel")

    def _closed(self, spec: StreamSpec, kline: Kline, received_ns: int) -> bool:
        """A bar closed; whether for the first time. One that closes again with other values is stored all the same."""
        came = self.bars.closed(spec.symbol, kline.k, self.now())
        if came is not Came.AGAIN:
            self._stores.on_bar(spec, kline, received_ns)
        return came is Came.NEW

    # ---- books -----------------------------------------------------------------------------------------------------

    def opening(self, raw_symbol: str) -> None:
        if (channel := self.books.get(raw_symbol)) is not None:
            channel.sync.expecting()

    def arrived(self, raw_symbol: str, snapshot: Snapshot, levels: int) -> None:
        if (channel := self.books.get(raw_symbol)) is not None:
            channel.act(channel.sync.snapshot(snapshot, levels, time.monotonic_ns()))

    def failed(self, raw_symbol: str, why: str) -> None:
        if (channel := self.books.get(raw_symbol)) is not None:
            channel.sync.unexpected()

    def _snapshot_wanted(self, channel: DepthChannel, why: Why) -> None:
        ask = self.snapshots.deepen if channel.sync.state is BookState.LIVE else self.snapshots.build
        ask(channel.spec.raw_symbol)

    def _book_became(self, channel: DepthChannel) -> None:
        """A book that stopped being true must not look alive for another second: it shows nothing until its turn."""
        sync = channel.sync
        if sync.state is BookState.LIVE:
            self.snapshots.joined(channel.spec.raw_symbol)
        elif sync.state is BookState.STALE:
            text = b'{"event_ms":%d,"received_ns":%d,"state":"stale","id":%d,"bids":[],"asks":[]}'
            id, event_ms, received_ns = sync.stands()
            key = book_key("top", EXCHANGE, channel.spec.symbol)
            self._outlet.keep(key, text % (event_ms, received_ns, id), LAST_EXPIRES_MS)

    # ---- losses ----------------------------------------------------------------------------------------------------

    def tell_loss(self, spec: StreamSpec, reason: GapReason, gap: Gap | None, detail: str) -> None:
        """Tell a loss in a Stream."""
        self._tell(
            GapEvent(
                kind=spec.kind,
                exchange=EXCHANGE,
                symbol=spec.symbol,
                reason=reason,
                at_ms=time.time_ns() // 1_000_000,
                detail=detail,
                first=str(gap.first) if gap else "",
                last=str(gap.last) if gap else "",
                count=-1 if gap else 0,
            )
        )

    # ---- time ------------------------------------------------------------------------------------------------------

    def exchange_ms(self) -> int:
        """The exchange's clock; the host's while it was never read."""
        try:
            return self.rest.clock.now_ms()
        except LookupError:
            return time.time_ns() // 1_000_000

    def now(self) -> Moment:
        """This moment, by all clocks."""
        return Moment(time.monotonic_ns(), time.time_ns(), self.exchange_ms())

    def tick(self, now_ns: int) -> None:
        """A hundred times a second: gaps whose patience is over, books whose turn it is."""
        for channel in self.books.values():
            if channel.sync.waiting:
                channel.tick(now_ns)
        if not self._with_books:
            for each in self.channels.values():
                each.tick(now_ns)
        for due in self._tops.due(now_ns):
            book = self.books[due.symbol]
            if due.payload is None:
                book.act(due.outcome)
                continue
            self._outlet.keep(book_key("top", EXCHANGE, book.spec.symbol), due.payload, LAST_EXPIRES_MS)
            if due.thin:
                self.snapshots.deepen(due.symbol)

    def show_newest(self) -> None:
        """Ten times a second: the newest values that are not written yet."""
        dirty = self.desk.dirty
        for channel in dirty:
            channel.publish()
        dirty.clear()

    def refresh(self, share: float) -> None:
        """Write this share of all newest values again, the next ones in turn, so that none of them expires."""
        names = list(self.channels)
        if not names:
            return
        for _ in range(min(len(names), int(len(names) * share) + 1)):
            self._shown = (self._shown + 1) % len(names)
            self.channels[names[self._shown]].show()

    def look(self) -> None:
        """Once a second: bars that did not close, a book to compare."""
        # While MySQL is away for long, what is asked could not be kept, and would count as not answered.
        if self._stores.takes_bars and (wanted := self.bars.wanted(self.now())):
            self._stores.want_bars(self.market, wanted)
        live = [name for name, channel in self.books.items() if channel.sync.state is BookState.LIVE]
        due = self._checks.due(live, time.monotonic_ns())
        if due is not None:
            self.snapshots.check(due)

    def show_full(self, raw_symbol: str) -> None:
        """Write all levels of a book that somebody wants."""
        channel = self.books.get(raw_symbol)
        if channel is None:
            return
        text, outcome = full_text(channel.sync, time.monotonic_ns())
        if text is None:
            channel.act(outcome)
        else:
            self._outlet.keep(book_key("full", EXCHANGE, channel.spec.symbol), text, LAST_EXPIRES_MS)

    async def run(self) -> None:
        """Snapshots, missing trades, the order of liquidity, the budget; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.backfill.run())
            group.create_task(self._follow_budget())
            if self._with_books:
                group.create_task(self.snapshots.run())
                group.create_task(self._rank())

    async def _ask_trades(self, raw_symbol: str, first: int, limit: int) -> Sequence[tuple[RestTrade, bytes]]:
        await asyncio.sleep(self._searching.wait_s(time.monotonic()))
        return await agg_trades(self.rest, raw_symbol, first, limit)

    async def _rank(self) -> None:
        while True:
            with suppress(GaplessError):  # an order is a wish; without one, names decide
                self.snapshots.rank(await quote_volumes(self.rest))
            await asyncio.sleep(_RANK_EVERY_S)

    async def _follow_budget(self) -> None:
        while True:
            with suppress(GaplessError):  # the budget is somebody else's to watch; here it is shown
                self.standing = await self.rest.standing()
            await asyncio.sleep(_BUDGET_EVERY_S)
